//! `mstore export`

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_store::compress::Compression;
use mstore_store::{ExportOptions, Placing, TreeHash};

use super::place::{Place, Session};
use super::{Failure, object, output};
use crate::plan::{Pins, Staleness};

/// Write a target or tree to an archive or a folder
#[derive(clap::Args)]
pub struct Args {
    /// A target that is built, or the hash of a tree
    #[arg(value_name = "TARGET|TREE")]
    what: String,
    /// File to write: .tar, .tar.gz, .tar.xz or .tar.zst; - for standard output [default: the target's
    /// name and version with .tar.xz]
    #[arg(value_name = "FILE")]
    archive: Option<PathBuf>,
    /// Level of compression, which is part of what makes the bytes: 1 to 19 for
    /// zst, 0 to 9 for xz, 1 to 9 for gz
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    /// Folder to write instead of an archive: it must not exist, or be empty
    #[arg(long, value_name = "DIR", conflicts_with_all = ["archive", "level"])]
    to: Option<PathBuf>,
    /// How files come to the folder. Nobody may write to files that are linked: they are the store's
    #[arg(long, value_enum, default_value_t = Mode::Copy, requires = "to")]
    mode: Mode,
}

/// How files come to a folder.
#[derive(clap::ValueEnum, Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Files of their own
    Copy,
    /// Files that share their blocks with the store where the file system can, else copies
    Reflink,
    /// Further names of files of the store; copies on another file system
    Link,
}

/// Runs the command. The same tree gives the same bytes.
pub fn run(place: &Place, args: Args) -> Result<ExitCode, Failure> {
    if args.to.is_some() {
        // Files of many owners are written.
        place.enter().map_err(Failure::machine)?;
    }
    let store = place.store_to_read()?;
    let (tree, name) = object::tree(place, &store, &args.what)?;
    if let Some(folder) = args.to {
        let how = match args.mode {
            Mode::Copy => Placing::Copy,
            Mode::Reflink => Placing::Reflink,
            Mode::Link => Placing::Link,
        };
        let placed = store.place(tree, &folder, how)?;
        tell!(
            "{}: {} files linked, {} cloned, {} copied",
            folder.display(),
            placed.linked,
            placed.cloned,
            placed.copied
        );
        return Ok(ExitCode::SUCCESS);
    }
    let file = args
        .archive
        .unwrap_or_else(|| format!("{name}.tar.xz").into());
    let compression = compression(&file, args.level)?;
    let options = ExportOptions::new(compression);
    if file == Path::new("-") {
        let mut out = BufWriter::new(std::io::stdout().lock());
        store.export_tar(tree, &mut out, &options)?;
        return match out.flush() {
            Ok(()) => Ok(ExitCode::SUCCESS),
            Err(e) => Err(Failure::machine(format!("cannot write to stdout: {e}"))),
        };
    }
    let failed =
        |e: std::io::Error| Failure::machine(format!("cannot write {}: {e}", file.display()));
    let partial = partial_name(&file);
    let written = File::create(&partial).map_err(failed).and_then(|f| {
        let mut out = BufWriter::new(f);
        store.export_tar(tree, &mut out, &options)?;
        let f = out.into_inner().map_err(|e| failed(e.into_error()))?;
        f.sync_all().map_err(failed)?;
        fs::rename(&partial, &file).map_err(failed)
    });
    if let Err(e) = written {
        // Never a half-written archive under the final name.
        let _ = fs::remove_file(&partial);
        return Err(e);
    }
    let size = fs::metadata(&file).map_err(failed)?.len();
    tell!("{}: {}", file.display(), output::size(size));
    Ok(ExitCode::SUCCESS)
}

fn partial_name(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".part");
    name.into()
}

/// The tree of a target that is built, and a name for its archive.
pub fn target(session: &Session, what: &str) -> Result<(TreeHash, String), Failure> {
    let graph = session.graph(&[what.to_owned()], Pins::Optional)?;
    let staleness = Staleness::walk(&graph, &session.facts, &mut ())?;
    let mut requested = graph.requested();
    let (Some(target), None) = (requested.next(), requested.next()) else {
        return Err(Failure::usage(format!(
            "`{what}` names several targets; one is expected"
        )));
    };
    match staleness.target_tree(target, &session.facts)? {
        Some(tree) => Ok((
            tree,
            format!("{}-{}", target.name.replace('/', "-"), target.version),
        )),
        None => Err(
            Failure::usage(format!("{what} is not built, or not up to date"))
                .hint(format!("build it first: mstore realise {what}")),
        ),
    }
}

fn compression(file: &Path, level: Option<u32>) -> Result<Compression, Failure> {
    let name = file.to_string_lossy();
    if name == "-" {
        return Ok(Compression::None);
    }
    let usual = Compression::from_name(&name).ok_or_else(|| {
        Failure::usage(format!(
            "{name}: cannot tell the form of archive from this name"
        ))
        .hint("use .tar, .tar.gz, .tar.xz or .tar.zst")
    })?;
    let Some(level) = level else {
        return Ok(usual);
    };
    let (chosen, range) = match usual {
        Compression::None => return Err(Failure::usage("--level: a plain .tar is not compressed")),
        Compression::Gzip(_) => (Compression::Gzip(level), 1..=9),
        Compression::Xz(_) => (Compression::Xz(level), 0..=9),
        Compression::Zstd(_) => (Compression::Zstd(level.cast_signed()), 1..=19),
    };
    if range.contains(&level) {
        Ok(chosen)
    } else {
        Err(Failure::usage(format!(
            "--level: {level} is not from {} to {}",
            range.start(),
            range.end()
        )))
    }
}
