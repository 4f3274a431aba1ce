//! `mstore export`

mod binhost;
mod format;
mod meter;
mod release;
mod several;
mod write;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;

use mstore_store::{Placing, StoreError};

use self::format::{Format, Layer, whole};
use self::release::Release;
use self::write::{Job, told, unfinished, unmakeable};
use crate::cli::context::Context;
use crate::cli::{Failure, output};
use crate::config;
use crate::project::Access;

/// Write a target or tree to an archive, an image, a medium or a folder; several into a folder of files
#[derive(clap::Args)]
pub struct Args {
    /// A target that is built, seed/NAME, snapshot/NAME, a gc root, or the hash of a tree or its beginning;
    /// with --to also a pattern such as 'stage3-*'
    #[arg(value_name = "TARGET|TREE")]
    what: String,
    /// File to write; its name tells the form: .tar, .tar.gz, .tar.xz, .tar.zst, .squashfs, .erofs, .iso,
    /// .disk, or .oci for a folder; - for a plain archive on standard output [default: the target's name
    /// and version with .tar.xz, or with the end that goes with --format]. With --to: further targets
    #[arg(value_name = "FILE")]
    archive: Vec<PathBuf>,
    /// Same as FILE
    #[arg(long, short, value_name = "FILE", conflicts_with_all = ["archive", "to"])]
    output: Option<PathBuf>,
    /// The form, whatever the file's name
    #[arg(long, value_name = "FORM")]
    format: Option<Format>,
    /// Level of compression, which is part of what makes the bytes: 1 to 19 for
    /// zst, 0 to 9 for xz, 1 to 9 for gz
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    /// For oci, iso and disk: the machine that can run it, by the name that `uname -m` has [default: that of
    /// the target, else this one]
    #[arg(long, value_name = "MACHINE")]
    machine: Option<String>,
    /// For oci: the name under which tools find the image in the folder
    #[arg(long, value_name = "NAME", default_value = "latest")]
    tag: String,
    /// For oci: compression of the layer: gz, zst or none
    #[arg(long, value_name = "FORM", default_value = "gz")]
    layer: Layer,
    /// Folder to write the tree to, which must not exist, or be empty. With --format, a pattern or several
    /// targets: folder for a file of each, by name; what is there and right is kept
    #[arg(long, value_name = "DIR")]
    to: Option<PathBuf>,
    /// Folder to write the packages of targets to, as binary packages of Portage, with their list; further
    /// targets may follow. What is there and right is kept
    #[arg(long, value_name = "DIR", conflicts_with_all = ["to", "output", "format", "level", "digests", "contents",
        "sign", "gpg_key", "lossy"])]
    binhost: Option<PathBuf>,
    /// How files come to the folder. Nobody may write to files that are linked: they are the store's
    #[arg(long, value_enum, default_value_t = Mode::Copy, requires = "to")]
    mode: Mode,
    /// With several, and with --binhost: write over files that are not known as exports
    #[arg(long)]
    replace: bool,
    /// Say what would be written, and write nothing
    #[arg(long, short = 'n')]
    dry_run: bool,
    /// For iso and disk: folder with what the tree lacks to start a machine (boot/vmlinuz-*, lib/modules,
    /// bin/busybox, usr/lib/grub), such as unpacked packages
    #[arg(long, value_name = "DIR")]
    boot_from: Option<PathBuf>,
    /// For iso and disk: the kernel, in place of the newest of --boot-from or of the tree
    #[arg(long, value_name = "FILE")]
    kernel: Option<PathBuf>,
    /// For iso and disk: the first root, in place of one that is made of busybox and the kernel's modules
    #[arg(long, value_name = "FILE")]
    initrd: Option<PathBuf>,
    /// For iso and disk: further words for the kernel
    #[arg(long, value_name = "WORDS", allow_hyphen_values = true)]
    append: Vec<String>,
    /// For iso and disk: do without a kernel and a boot loader; it starts no machine
    #[arg(long, conflicts_with_all = ["boot_from", "kernel", "initrd", "append"])]
    no_boot: bool,
    /// For disk: room that is free on it, such as 2G [default: a quarter of what is there, at least 64M]
    #[arg(long, value_name = "SIZE", value_parser = config::size)]
    free: Option<u64>,
    /// Also write FILE.DIGESTS, with BLAKE2B, SHA256 and SHA512
    #[arg(long)]
    digests: bool,
    /// Also write FILE.CONTENTS.gz, the list of what is in it
    #[arg(long)]
    contents: bool,
    /// Also sign it, and its DIGESTS, by the key of gpg that repo/gpg-key of the configuration file names:
    /// FILE.gpg
    #[arg(long)]
    sign: bool,
    /// Sign by this key
    #[arg(long, value_name = "KEY")]
    gpg_key: Option<String>,
    /// Write what the form can hold when it cannot hold everything, and tell what is lost
    #[arg(long)]
    lossy: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What was written, as JSON.
#[derive(serde::Serialize)]
struct Written<'a> {
    tree: String,
    /// The file or the folder.
    path: String,
    form: &'a str,
    /// Of a file, and of the layer of an image.
    bytes: Option<u64>,
    /// The digest of an image in the OCI layout.
    digest: Option<String>,
    /// The firmware that starts a medium.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    firmware: Vec<&'a str>,
    /// Files written beside it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    beside: Vec<String>,
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
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    if let Some(folder) = &args.binhost {
        return binhost::run(context, folder, &args);
    }
    if args.replace && args.to.is_none() {
        return Err(Failure::usage("--replace goes with --to and --binhost"));
    }
    if let Some(to) = &args.to {
        let several = args.format.is_some() || !args.archive.is_empty() || has_pattern(&args.what);
        return match several {
            true => several::run(context, to, &args),
            false => folder(context, to, &args),
        };
    }
    if args.archive.len() > 1 || has_pattern(&args.what) {
        return Err(
            Failure::usage("several targets need a folder to be written to")
                .hint("name it: --to DIR"),
        );
    }
    let named = args
        .output
        .clone()
        .or_else(|| args.archive.first().cloned());
    let format = args.format_of(named.as_deref())?;
    if format.needs_copy() {
        // These tools read a plain copy of the tree, with its owners.
        context.enter()?;
    }
    let release = Release::of(context, &args)?;
    let store = context.store(Access::ReadIfPresent)?;
    let found = context.tree(&store, &args.what)?;
    let file = named.unwrap_or_else(|| format!("{}.{}", found.name, format.suffix()).into());
    let to_stdout = file == Path::new("-");
    if to_stdout && format.compression().is_none() {
        return Err(Failure::usage("an image cannot go to standard output"));
    }
    if to_stdout && args.json {
        return Err(Failure::usage("--json: standard output is for the archive"));
    }
    if release.is_wanted() && (to_stdout || format == Format::Oci) {
        return Err(no_release());
    }
    let tree = whole(&store, found.tree, format, args.lossy)?;
    let replaced = !to_stdout && file.is_file();
    if args.dry_run {
        let action = if replaced { "replace" } else { "write" };
        output::line(format!("{action} {}", file.display()))?;
        return Ok(ExitCode::SUCCESS);
    }
    let made = Job {
        context,
        store: &store,
        found: &found,
        tree,
        file: &file,
        format,
        args: &args,
        written: Arc::default(),
        complete: &|_| Ok(()),
    }
    .write()?;
    release.make(&store, tree, &file)?;
    if !to_stdout {
        release.tell_of_others(&file, &[]);
    }
    if args.json {
        output::json(&Written {
            tree: tree.to_string(),
            path: file.display().to_string(),
            form: format.suffix(),
            bytes: made.bytes,
            digest: made.digest,
            firmware: made.medium.map(|m| m.firmware).unwrap_or_default(),
            beside: several::names(&release.names(&file)),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(digest) = &made.digest {
        // What it is pinned by is data.
        output::line(digest)?;
    }
    if made.bytes.is_some() {
        tell!("{}", told(&file, &made, replaced));
    }
    Ok(ExitCode::SUCCESS)
}

/// Says that nothing can be published beside what is no file.
fn no_release() -> Failure {
    Failure::usage("--digests, --contents and --sign are for files")
        .hint("an image in the OCI layout names everything by its hash")
}

/// Whether a word stands for several targets.
fn has_pattern(word: &str) -> bool {
    word.contains(['*', '?'])
}

impl Args {
    /// All that is to be exported.
    fn words(&self) -> Result<Vec<&str>, Failure> {
        let more = self.archive.iter().map(|word| {
            word.to_str().ok_or_else(|| {
                Failure::usage(format!("{}: not the name of a target", word.display()))
            })
        });
        std::iter::once(Ok(&*self.what)).chain(more).collect()
    }

    /// Everything besides a tree that decides the bytes of a file, as text.
    fn form(&self, format: Format) -> String {
        let state = |file: &Option<PathBuf>| {
            let Some(file) = file else {
                return String::new();
            };
            use std::os::unix::fs::MetadataExt as _;
            let meta = std::fs::metadata(file);
            let meta = meta.map(|meta| (meta.len(), meta.mtime(), meta.mtime_nsec()));
            format!("{} {meta:?}", file.display())
        };
        let mut text = format!("{} level {:?}", format.suffix(), self.level);
        if self.lossy {
            text.push_str(" lossy");
        }
        if format == Format::Oci {
            text.push_str(&format!(
                " {:?} {} {:?}",
                self.machine, self.tag, self.layer
            ));
        }
        if format.is_medium() {
            text.push_str(&format!(
                " boots {} from {} kernel {} initrd {} append {:?} free {:?}",
                !self.no_boot,
                state(&self.boot_from),
                state(&self.kernel),
                state(&self.initrd),
                self.append,
                self.free
            ));
        }
        text
    }

    /// The form, from `--format` or from the name of the file.
    fn format_of(&self, file: Option<&Path>) -> Result<Format, Failure> {
        match (self.format, file) {
            (Some(format), _) => Ok(format),
            (None, None) => Ok(Format::TarXz),
            (None, Some(file)) => {
                let name = file.to_string_lossy();
                Format::of_name(&name).ok_or_else(|| {
                    Failure::usage(format!(
                        "{name}: cannot tell the form of archive from this name"
                    ))
                    .hint(
                        "use .tar, .tar.gz, .tar.xz, .tar.zst, .oci, .squashfs, .erofs, .iso or .disk, \
                         or --format",
                    )
                })
            }
        }
    }
}

/// Says what is wrong with the folder that was given.
fn not_empty(to: &Path, error: StoreError) -> Failure {
    match &error {
        StoreError::Io { path, source, .. }
            if path == to
                && matches!(
                    source.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::NotADirectory
                ) =>
        {
            let what = match source.kind() {
                io::ErrorKind::DirectoryNotEmpty => "is not empty",
                _ => "is not a folder",
            };
            Failure::usage(format!("{} {what}", to.display()))
                .hint("give a folder that does not exist, or is empty")
        }
        _ => unfinished(error),
    }
}

fn folder(context: &Context, to: &Path, args: &Args) -> Result<ExitCode, Failure> {
    if args.dry_run || args.digests || args.contents || args.sign || args.level.is_some() {
        return Err(Failure::usage(
            "--dry-run, --level, --digests, --contents and --sign are for files",
        )
        .hint("with --format FORM a file is written into the folder"));
    }
    // Files of many owners are written.
    context.enter()?;
    let store = context.store(Access::ReadIfPresent)?;
    let tree = context.tree(&store, &args.what)?.tree;
    let how = match args.mode {
        Mode::Copy => Placing::Copy,
        Mode::Reflink => Placing::Reflink,
        Mode::Link => Placing::Link,
    };
    let cancel = context.cancel()?;
    let placed = store
        .place_until(tree, to, how, unmakeable(args.lossy), cancel)
        .map_err(|error| not_empty(to, error))?;
    if args.json {
        output::json(&Written {
            tree: tree.to_string(),
            path: to.display().to_string(),
            form: "folder",
            bytes: None,
            digest: None,
            firmware: Vec::new(),
            beside: Vec::new(),
        })?;
        return Ok(ExitCode::SUCCESS);
    }
    tell!(
        "{}: {} files linked, {} cloned, {} copied",
        to.display(),
        placed.linked,
        placed.cloned,
        placed.copied
    );
    Ok(ExitCode::SUCCESS)
}
