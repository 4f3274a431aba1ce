//! `mstore specs`

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use serde::Serialize;

use crate::cli::context::{Context, current_dir};
use crate::cli::whole_file::WholeFile;
use crate::cli::{Failure, output};
use crate::plan::Entry;
use crate::plan::embedded::{self, Embedded, VIRTUAL_SPECS};

/// List, print or copy the standard specifications
///
/// They are part of this program and appear to specifications below /usr/share/mstore/specs. A file in
/// the folder `specs` beside metro.conf takes the place of the one with the same path.
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(clap::Subcommand)]
enum Command {
    /// List the files, and what takes their place here
    List(List),
    /// Print files as they come with this program
    Cat(Cat),
    /// Copy files into the folder `specs` beside metro.conf, to change them there
    Export(Export),
}

#[derive(clap::Args)]
struct List {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(clap::Args)]
struct Cat {
    /// Paths of files, such as targets/seedling/stage1.conf
    #[arg(value_name = "PATH", required = true)]
    paths: Vec<String>,
}

#[derive(clap::Args)]
struct Export {
    /// Paths of files, or of folders with all below them
    #[arg(value_name = "PATH", required_unless_present = "all")]
    paths: Vec<String>,
    /// Copy all files
    #[arg(long, conflicts_with = "paths")]
    all: bool,
    /// Copy them into this folder instead
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Replace files that are there
    #[arg(long)]
    force: bool,
    /// Print what would be written, and write nothing
    #[arg(short = 'n', long)]
    dry_run: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    match args.command {
        Command::List(args) => list(context, &args),
        Command::Cat(args) => cat(&args),
        Command::Export(args) => export(context, &args),
    }
}

/// A file as `list --json` tells it.
#[derive(Serialize)]
struct Line {
    path: &'static str,
    /// The file that takes its place.
    replaced_by: Option<PathBuf>,
}

fn list(context: &Context, args: &List) -> Result<ExitCode, Failure> {
    let shadow = Entry::choose(context.entry(), &current_dir()?)?.shadow();
    let line = |file: &'static Embedded| {
        let own = shadow.as_ref().map(|shadow| shadow.join(file.path));
        Line {
            path: file.path,
            replaced_by: own.filter(|path| path.is_file()),
        }
    };
    let lines: Vec<Line> = embedded::replaceable().map(line).collect();
    if args.json {
        output::json(&lines)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for line in lines {
        text.push_str(line.path);
        if let Some(path) = line.replaced_by {
            text.push_str(&format!(" (replaced by {})", path.display()));
        }
        text.push('\n');
    }
    output::bytes(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// The files that a word means: one, or with `folders` all below one.
fn named(word: &str, folders: bool) -> Result<Vec<&'static Embedded>, Failure> {
    // As error messages write them.
    let path = word.strip_prefix(VIRTUAL_SPECS).unwrap_or(word);
    let path = path.trim_matches('/');
    let means =
        |file: &&Embedded| file.path == path || folders && Path::new(file.path).starts_with(path);
    let found: Vec<_> = embedded::replaceable().filter(means).collect();
    if found.is_empty() || path.is_empty() {
        let failure = Failure::usage(format!("the standard specifications have no file {word}"));
        return Err(failure.hint("`mstore specs list` lists them"));
    }
    Ok(found)
}

fn cat(args: &Cat) -> Result<ExitCode, Failure> {
    for word in &args.paths {
        for file in named(word, false)? {
            output::bytes(file.data)?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn export(context: &Context, args: &Export) -> Result<ExitCode, Failure> {
    let cwd = current_dir()?;
    let entry = Entry::choose(context.entry(), &cwd)?;
    let folder = match &args.to {
        Some(folder) => folder.clone(),
        None => entry.shadow().unwrap_or_else(|| cwd.join("specs")),
    };
    let mut files: Vec<&Embedded> = Vec::new();
    if args.all {
        files.extend(embedded::replaceable());
    }
    for word in &args.paths {
        files.extend(named(word, true)?);
    }
    files.sort_by_key(|file| file.path);
    files.dedup_by_key(|file| file.path);
    // Nothing is written where something would be lost.
    let taken = |file: &&&Embedded| fs::symlink_metadata(folder.join(file.path)).is_ok();
    if let Some(file) = files.iter().find(taken).filter(|_| !args.force) {
        let path = folder.join(file.path);
        let failure = Failure::usage("is there already, and nothing was written").about(&path);
        return Err(failure.hint("--force replaces it"));
    }
    for file in &files {
        let path = folder.join(file.path);
        if !args.dry_run {
            write(&path, file.data)
                .map_err(|e| Failure::machine(format!("cannot write it: {e}")).about(&path))?;
        }
        if !args.json {
            output::line(path.display())?;
        }
    }
    if args.json {
        let paths = files.iter().map(|file| folder.join(file.path));
        let paths: Vec<String> = paths.map(|path| path.display().to_string()).collect();
        output::json(&serde_json::json!({ "written": paths, "dry_run": args.dry_run }))?;
    }
    if entry.is_builtin() && args.to.is_none() {
        tell!(
            "note: they count when there is a metro.conf beside `specs`, with the line `[collect {}/metro.conf]`",
            VIRTUAL_SPECS
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Writes a file and the folders above it.
fn write(path: &Path, data: &[u8]) -> std::io::Result<()> {
    if let Some(parent) = path.parent() {
        fs::create_dir_all(parent)?;
    }
    let file = WholeFile::begin(path.to_path_buf())?;
    file.file().write_all(data)?;
    file.finish()
}
