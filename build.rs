//! Embeds the standard specs: writes a sorted table of every file under `stdlib-specs/`.

use std::fmt::Write as _;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

fn main() -> io::Result<()> {
    let base = PathBuf::from(env::var("CARGO_MANIFEST_DIR").map_err(io::Error::other)?);
    let specs = base.join("stdlib-specs");
    println!("cargo::rerun-if-changed=stdlib-specs");
    println!("cargo::rerun-if-changed=build.rs");

    let mut files = Vec::new();
    if specs.is_dir() {
        walk(&specs, "", &mut files)?;
    }
    files.sort();

    let mut table = String::from("&[\n");
    for (name, path, executable) in &files {
        let path = path
            .to_str()
            .ok_or_else(|| io::Error::other(format!("{} is not UTF-8", path.display())))?;
        writeln!(
            table,
            "    Embedded {{ path: {name:?}, executable: {executable}, data: include_bytes!({path:?}) }},"
        )
        .map_err(io::Error::other)?;
    }
    table.push_str("]\n");
    let out = PathBuf::from(env::var("OUT_DIR").map_err(io::Error::other)?);
    fs::write(out.join("embedded_specs.rs"), table)
}

/// Collects `(name relative to stdlib-specs, path, executable)`. Hidden files, editor leftovers and
/// anything that is neither a file nor a directory stay out.
fn walk(dir: &Path, prefix: &str, files: &mut Vec<(String, PathBuf, bool)>) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let Ok(name) = entry.file_name().into_string() else {
            return Err(io::Error::other(format!(
                "{}: a name that is not UTF-8",
                dir.display()
            )));
        };
        if name.starts_with('.') || name.ends_with('~') {
            continue;
        }
        let path = entry.path();
        let kind = entry.file_type()?;
        let full = format!("{prefix}{name}");
        if kind.is_dir() {
            walk(&path, &format!("{full}/"), files)?;
        } else if kind.is_file() {
            let executable = entry.metadata()?.permissions().mode() & 0o100 != 0;
            files.push((full, path, executable));
        } else {
            return Err(io::Error::other(format!(
                "{}: only files and directories can be embedded",
                path.display()
            )));
        }
    }
    Ok(())
}
