//! `mstore init`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use crate::build::host;
use crate::cli::context::{Context, current_dir};
use crate::cli::whole_file::WholeFile;
use crate::cli::{Failure, output};
use crate::plan::embedded::{self, VIRTUAL_SPECS};
use crate::plan::entry::ENTRY_NAME;
use crate::plan::lock::check_name;

/// Write a metro.conf to begin with
///
/// It collects the standard specifications, so that everything they describe can be built at once, and has the
/// section for what shall differ. Files that are there are not touched.
#[derive(clap::Args)]
pub struct Args {
    /// Folder to write it to, which is made if need be [default: the current one]
    #[arg(value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Add a subarchitecture of this name, for this machine: its compiler flags stand in
    /// specs/subarch/NAME.conf
    #[arg(long, value_name = "NAME")]
    subarch: Option<String>,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Machines as `uname -m` prints them, the architecture of each, and its subarchitecture that runs everywhere.
const MACHINES: [(&str, &str, &str); 6] = [
    ("x86_64", "x86-64bit", "generic_64"),
    ("aarch64", "arm-64bit", "arm64_generic"),
    ("riscv64", "riscv-64bit", "rv64gc"),
    ("armv7l", "arm-32bit", "armv7a"),
    ("i686", "x86-32bit", "generic_32"),
    ("i586", "x86-32bit", "generic_32"),
];

/// A subarchitecture to add.
struct Own {
    arch: &'static str,
    /// The text of its file.
    text: String,
}

/// Runs the command.
pub fn run(_context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let machine = host::machine();
    let known = MACHINES.iter().find(|(name, ..)| *name == machine);
    let own = match &args.subarch {
        Some(name) => Some(own_subarch(name, known, &machine)?),
        None => None,
    };
    let cwd = current_dir()?;
    let folder = args.folder.as_deref().map_or(cwd.clone(), |f| cwd.join(f));
    let subarch = args.subarch.as_deref();
    let mut files = Vec::new();
    if let (Some(name), Some(own)) = (subarch, &own) {
        let path = folder.join(format!("specs/subarch/{name}.conf"));
        files.push((path, own.text.clone()));
    }
    // Last, so that whoever sees it sees what it names.
    files.push((
        folder.join(ENTRY_NAME),
        entry(subarch.zip(own.as_ref().map(|o| o.arch))),
    ));
    if let Some((path, _)) = files
        .iter()
        .find(|(path, _)| fs::symlink_metadata(path).is_ok())
    {
        return Err(Failure::usage("is there already, and nothing was written")
            .about(path)
            .hint("`mstore list` shows what can be built with it"));
    }
    for (path, text) in &files {
        write(path, text)
            .map_err(|e| Failure::machine(format!("cannot write it: {e}")).about(path))?;
    }
    let target = subarch
        .or(known.map(|(_, _, subarch)| *subarch))
        .map(|subarch| format!("stage3-{subarch}"));
    if args.json {
        let paths: Vec<String> = files.iter().map(|(p, _)| p.display().to_string()).collect();
        output::json(&serde_json::json!({ "written": paths, "target": target }))?;
        return Ok(ExitCode::SUCCESS);
    }
    for (path, _) in &files {
        output::line(path.display())?;
    }
    match target {
        Some(target) => {
            let at = match args.folder {
                Some(folder) => format!(" -C {}", folder.display()),
                None => String::new(),
            };
            tell!("hint: `mstore{at} realise {target}` builds a system with it");
        }
        None => tell!("hint: `mstore list` shows what can be built with it"),
    }
    Ok(ExitCode::SUCCESS)
}

/// The subarchitecture `name`, like the one of this machine that runs everywhere.
fn own_subarch(
    name: &str,
    known: Option<&(&str, &'static str, &str)>,
    machine: &str,
) -> Result<Own, Failure> {
    check_name(name)
        .ok()
        .filter(|()| !name.contains('/'))
        .ok_or_else(|| {
            Failure::usage(format!("`{name}` cannot name a subarchitecture"))
                .hint("use letters, digits and -_.+")
        })?;
    let path = format!("subarch/{name}.conf");
    if embedded::standard_spec(&path).is_some() {
        return Err(Failure::usage(format!(
            "the standard specifications have a subarchitecture `{name}`"
        ))
        .hint("give it another name")
        .hint(format!(
            "`mstore specs export {path}` copies that one, to be changed"
        )));
    }
    let Some((_, arch, like)) = known else {
        return Err(Failure::usage(format!(
            "the standard specifications have no architecture for this machine ({machine})"
        ))
        .hint("`mstore list` shows those that they have"));
    };
    let like = format!("subarch/{like}.conf");
    let like = embedded::standard_spec(&like)
        .map(|file| String::from_utf8_lossy(file.data))
        .unwrap_or_default();
    let body = like.lines().filter(|line| !line.starts_with('#'));
    let body: String = body.flat_map(|line| [line, "\n"]).collect();
    Ok(Own {
        arch,
        text: format!(
            "# {name}: CFLAGS are the flags of stage3; stage1 and stage2 have those of the architecture.\n{body}"
        ),
    })
}

/// The text of a metro.conf, with a subarchitecture of an architecture.
fn entry(own: Option<(&str, &str)>) -> String {
    let mut text = format!(
        "\
# Everything that the standard specifications describe, and what is different here.
[collect {VIRTUAL_SPECS}/metro.conf]

[section user]

# What can stand here is explained in hooks.conf (mstore specs cat hooks.conf), such as
#
#   hostname: example
#   packages: NAME NAME
#   motd: [
#   Welcome.
#   ]
"
    );
    if let Some((name, arch)) = own {
        text.push_str(&format!(
            "\n# Its flags stand in specs/subarch/{name}.conf.\nsubarches/{arch}: {name}\n"
        ));
    }
    text
}

/// Writes a file and the folders above it.
fn write(path: &Path, text: &str) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = WholeFile::begin(path.to_path_buf())?;
    file.file().write_all(text.as_bytes())?;
    file.finish()
}
