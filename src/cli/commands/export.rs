//! `mstore export`

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use mstore_store::compress::Compression;
use mstore_store::{
    Cancel, ErrorKind, ExportForm, ExportOptions, ImageKind, ImageOptions, Loss, OciOptions,
    Placing, Store, StoreError, TreeHash, Unmakeable,
};

use crate::build::host;
use crate::cli::context::Context;
use crate::cli::whole_file::{Destination, WholeFile};
use crate::cli::{Failure, bytes, output};
use crate::project::Access;
use crate::project::find::NamedTree;

/// Write a target or tree to an archive, an image or a folder
#[derive(clap::Args)]
pub struct Args {
    /// A target that is built, seed/NAME, snapshot/NAME, a gc root, or the hash of a tree or its beginning
    #[arg(value_name = "TARGET|TREE")]
    what: String,
    /// File to write; its name tells the form: .tar, .tar.gz, .tar.xz, .tar.zst, .squashfs, .erofs, or
    /// .oci for a folder; - for a plain archive on standard output [default: the target's name and
    /// version with .tar.xz, or with the end that goes with --format]
    #[arg(value_name = "FILE", conflicts_with = "output")]
    archive: Option<PathBuf>,
    /// Same as FILE
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// The form, whatever the file's name
    #[arg(long, value_name = "FORM")]
    format: Option<Format>,
    /// Level of compression, which is part of what makes the bytes: 1 to 19 for
    /// zst, 0 to 9 for xz, 1 to 9 for gz
    #[arg(long, value_name = "N")]
    level: Option<u32>,
    /// For oci: the machine that can run it, by the name that `uname -m` has [default: that of the
    /// target, else this one]
    #[arg(long, value_name = "MACHINE")]
    machine: Option<String>,
    /// For oci: the name under which tools find the image in the folder
    #[arg(long, value_name = "NAME", default_value = "latest")]
    tag: String,
    /// For oci: compression of the layer: gz, zst or none
    #[arg(long, value_name = "FORM", default_value = "gz")]
    layer: Layer,
    /// Folder to write instead of an archive: it must not exist, or be empty
    #[arg(long, value_name = "DIR", conflicts_with_all = ["archive", "output", "format", "level"])]
    to: Option<PathBuf>,
    /// How files come to the folder. Nobody may write to files that are linked: they are the store's
    #[arg(long, value_enum, default_value_t = Mode::Copy, requires = "to")]
    mode: Mode,
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
}

impl Written<'_> {
    fn print(self) -> Result<(), Failure> {
        output::json(&self)
    }
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

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    /// A plain archive
    Tar,
    /// An archive compressed by gzip
    #[value(name = "tar.gz")]
    TarGz,
    /// An archive compressed by xz
    #[value(name = "tar.xz")]
    TarXz,
    /// An archive compressed by zstd
    #[value(name = "tar.zst")]
    TarZst,
    /// A folder in the OCI image layout
    Oci,
    /// A squashfs image, made by mksquashfs
    Squashfs,
    /// An erofs image, made by mkfs.erofs
    Erofs,
}

/// Compression of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Layer {
    /// gzip, which everything reads
    Gz,
    /// zstd
    Zst,
    /// None
    None,
}

impl Format {
    fn of_name(name: &str) -> Option<Format> {
        let lower = name.to_ascii_lowercase();
        let ends = |all: &[&str]| all.iter().any(|end| lower.ends_with(end));
        Some(match Compression::from_name(name) {
            Some(Compression::None) => Format::Tar,
            Some(Compression::Gzip(_)) => Format::TarGz,
            Some(Compression::Xz(_)) => Format::TarXz,
            Some(Compression::Zstd(_)) => Format::TarZst,
            None if name == "-" => Format::Tar,
            None if ends(&[".oci"]) => Format::Oci,
            None if ends(&[".squashfs", ".sqfs"]) => Format::Squashfs,
            None if ends(&[".erofs"]) => Format::Erofs,
            None => return None,
        })
    }

    fn suffix(self) -> &'static str {
        match self {
            Format::Tar => "tar",
            Format::TarGz => "tar.gz",
            Format::TarXz => "tar.xz",
            Format::TarZst => "tar.zst",
            Format::Oci => "oci",
            Format::Squashfs => "squashfs",
            Format::Erofs => "erofs",
        }
    }

    fn form(self) -> ExportForm {
        match self {
            Format::Tar | Format::TarGz | Format::TarXz | Format::TarZst => ExportForm::Tar,
            Format::Oci => ExportForm::Oci,
            Format::Squashfs => ExportForm::Squashfs,
            Format::Erofs => ExportForm::Erofs,
        }
    }

    fn compression(self) -> Option<Compression> {
        Compression::from_name(&format!("x.{}", self.suffix()))
    }
}

/// Runs the command. The same tree gives the same bytes.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    if let Some(to) = &args.to {
        return folder(context, to, &args);
    }
    let named = args.output.clone().or_else(|| args.archive.clone());
    let format = args.format_of(named.as_deref())?;
    let image = match format {
        Format::Squashfs => Some(ImageKind::Squashfs),
        Format::Erofs => Some(ImageKind::Erofs),
        _ => None,
    };
    if image.is_some() {
        // These tools read a plain copy of the tree, with its owners.
        context.enter()?;
    }
    let store = context.store(Access::ReadIfPresent)?;
    let found = context.tree(&store, &args.what)?;
    let file = named.unwrap_or_else(|| format!("{}.{}", found.name, format.suffix()).into());
    if file == Path::new("-") && format.compression().is_none() {
        return Err(Failure::usage("an image cannot go to standard output"));
    }
    if file == Path::new("-") && args.json {
        return Err(Failure::usage("--json: standard output is for the archive"));
    }
    let tree = whole(&store, found.tree, format, args.lossy)?;
    if let Some(compression) = format.compression() {
        let compression = levelled(compression, args.level)?;
        let bytes = archive(context, &store, tree, &file, compression)?;
        match bytes {
            bytes if args.json => Written {
                tree: tree.to_string(),
                path: file.display().to_string(),
                form: format.suffix(),
                bytes,
                digest: None,
            }
            .print()?,
            Some(bytes) => tell!("{}: {}", file.display(), output::size(bytes)),
            None => {}
        }
        return Ok(ExitCode::SUCCESS);
    }
    match image {
        Some(kind) => image_file(context, &store, tree, &file, kind, &args)?,
        None => oci(context, &store, tree, &found, &file, args)?,
    }
    Ok(ExitCode::SUCCESS)
}

impl Args {
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
                        "use .tar, .tar.gz, .tar.xz, .tar.zst, .oci, .squashfs or .erofs, or --format",
                    )
                })
            }
        }
    }
}

/// Writes a squashfs or erofs image.
fn image_file(
    context: &Context,
    store: &Store,
    tree: TreeHash,
    file: &Path,
    kind: ImageKind,
    args: &Args,
) -> Result<(), Failure> {
    if args.level.is_some() {
        return Err(Failure::usage("--level: images have none"));
    }
    let failed =
        |e: std::io::Error| Failure::machine(format!("cannot write {}: {e}", file.display()));
    let Destination::Whole(place) = Destination::of(file).map_err(failed)? else {
        return Err(Failure::usage(format!(
            "{}: an image cannot be written to a device or pipe",
            file.display()
        ))
        .hint("write it to a file, and copy that"));
    };
    let options = ImageOptions {
        devices: unmakeable(args.lossy),
        cancel: context.cancel()?.clone(),
        ..ImageOptions::new(kind)
    };
    store
        .export_image(tree, &place, &options)
        .map_err(unfinished)?;
    let size = fs::metadata(file).map_or(0, |m| m.len());
    if args.json {
        return Written {
            tree: tree.to_string(),
            path: file.display().to_string(),
            form: match kind {
                ImageKind::Squashfs => Format::Squashfs.suffix(),
                ImageKind::Erofs => Format::Erofs.suffix(),
            },
            bytes: Some(size),
            digest: None,
        }
        .print();
    }
    tell!("{}: {}", file.display(), output::size(size));
    Ok(())
}

/// Writes a folder in the OCI image layout, and prints the digest of the image.
fn oci(
    context: &Context,
    store: &Store,
    tree: TreeHash,
    found: &NamedTree,
    file: &Path,
    args: Args,
) -> Result<(), Failure> {
    let machine = args.machine.or_else(|| found.platform.clone());
    let layer = match args.layer {
        Layer::Gz => Compression::Gzip(Compression::GZIP),
        Layer::Zst => Compression::Zstd(Compression::ZSTD),
        Layer::None => Compression::None,
    };
    let options = OciOptions {
        compression: levelled(layer, args.level)?,
        tag: Some(args.tag),
        cancel: context.cancel()?.clone(),
        ..OciOptions::for_machine(&machine.unwrap_or_else(host::machine))
    };
    let image = store.export_oci(tree, file, &options).map_err(unfinished)?;
    if args.json {
        return Written {
            tree: tree.to_string(),
            path: file.display().to_string(),
            form: Format::Oci.suffix(),
            bytes: Some(image.layer_bytes),
            digest: Some(image.digest.to_string()),
        }
        .print();
    }
    // What it is pinned by is data.
    output::line(&image.digest)?;
    tell!(
        "{}: {} for {}",
        file.display(),
        output::size(image.layer_bytes),
        options.architecture
    );
    Ok(())
}

/// What an export could not finish is gone.
fn unfinished(error: StoreError) -> Failure {
    match error.kind() {
        ErrorKind::Interrupted => Failure::interrupted().hint("nothing of the export was kept"),
        _ => error.into(),
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

/// The tree to be exported: the whole one if the form can hold it. Else this is told, and it is the tree
/// without the rest if that is wanted.
fn whole(store: &Store, tree: TreeHash, format: Format, lossy: bool) -> Result<TreeHash, Failure> {
    let form = format.form();
    let (small, losses): (Vec<Loss>, Vec<Loss>) = store
        .losses(tree, form)?
        .into_iter()
        .partition(|loss| loss.kind.is_small());
    let all: Vec<String> = losses.iter().map(lost).collect();
    if !all.is_empty() && !lossy {
        let elsewhere = match form {
            ExportForm::Squashfs => "an erofs image or a tar archive holds more",
            _ => "`--to DIR` writes everything to a folder",
        };
        return Err(Failure::found(format!(
            "{} cannot hold all of it: {}",
            format.suffix(),
            all.join("; ")
        ))
        .hint(format!("--lossy writes the rest; {elsewhere}")));
    }
    let note = output::Style::stderr();
    for loss in losses.iter().chain(&small) {
        tell!("{} lost: {}", note.note("note:"), lost(loss));
    }
    match all.is_empty() {
        true => Ok(tree),
        false => Ok(store.reduced(tree, form)?),
    }
}

/// A loss in words.
fn lost(loss: &Loss) -> String {
    let paths: Vec<String> = loss.paths.iter().map(|path| shortened(path)).collect();
    let more = match loss.count > paths.len() as u64 {
        true => ", ...",
        false => "",
    };
    format!(
        "{} {} ({}{more})",
        loss.count,
        loss.kind.words(loss.count > 1),
        paths.join(", ")
    )
}

/// A path for a line of text: of a long one the beginning.
fn shortened(path: &[u8]) -> String {
    const LONGEST: usize = 100;
    match path.len() > LONGEST {
        true => format!("{}...", bytes::shown(&path[..LONGEST])),
        false => bytes::shown(path),
    }
}

fn unmakeable(lossy: bool) -> Unmakeable {
    match lossy {
        true => Unmakeable::LeaveOut,
        false => Unmakeable::Fail,
    }
}

fn folder(context: &Context, to: &Path, args: &Args) -> Result<ExitCode, Failure> {
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
        Written {
            tree: tree.to_string(),
            path: to.display().to_string(),
            form: "folder",
            bytes: None,
            digest: None,
        }
        .print()?;
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

/// Writes an archive. Returns the size of a file.
fn archive(
    context: &Context,
    store: &Store,
    tree: TreeHash,
    file: &Path,
    compression: Compression,
) -> Result<Option<u64>, Failure> {
    let options = ExportOptions::new(compression);
    if file == Path::new("-") {
        let never = Cancel::new();
        let mut out = BufWriter::new(Watched {
            inner: std::io::stdout().lock(),
            cancel: &never,
            closed: false,
        });
        let written = store
            .export_tar(tree, &mut out, &options)
            .and_then(|_| flush(&mut out));
        // A reader that went away ends the command quietly, as elsewhere.
        let closed = out.get_ref().closed;
        // What could not be written is not tried again.
        drop(out.into_parts());
        if !closed {
            written?;
        }
        return Ok(None);
    }
    let failed =
        |e: std::io::Error| Failure::from(StoreError::io("write", file, e).writing_to(file));
    let blame = |e: StoreError| match e.kind() {
        ErrorKind::NoSpace => Failure::from(e.writing_to(file)),
        _ => Failure::from(e).about(file),
    };
    let place = match Destination::of(file).map_err(failed)? {
        Destination::Whole(place) => place,
        Destination::Stream => {
            let out = File::options().write(true).open(file).map_err(failed)?;
            let mut out = BufWriter::new(out);
            store.export_tar(tree, &mut out, &options).map_err(blame)?;
            out.flush().map_err(failed)?;
            return Ok(None);
        }
    };
    let whole = WholeFile::begin(place).map_err(failed)?;
    // A file without a name goes with the process, so that a signal may end that at once.
    let cancel = match whole.is_nameless() {
        true => Cancel::new(),
        false => context.cancel()?.clone(),
    };
    let mut out = BufWriter::new(Watched {
        inner: whole.file(),
        cancel: &cancel,
        closed: false,
    });
    let written = store
        .export_tar(tree, &mut out, &options)
        .map_err(blame)
        .and_then(|_| out.flush().map_err(failed));
    drop(out.into_parts());
    if cancel.is_cancelled() {
        return Err(unfinished(StoreError::Interrupted));
    }
    written?;
    whole.finish().map_err(failed)?;
    Ok(Some(fs::metadata(file).map_err(failed)?.len()))
}

fn flush(out: &mut impl Write) -> Result<(), StoreError> {
    out.flush()
        .map_err(|e| StoreError::io("write to", "stdout", e))
}

/// Where an archive goes, with an eye on who reads it and on who wants it to stop.
struct Watched<'a, W> {
    inner: W,
    cancel: &'a Cancel,
    /// Nobody reads it any more.
    closed: bool,
}

impl<W: Write> Watched<'_, W> {
    fn note<T>(&mut self, result: io::Result<T>) -> io::Result<T> {
        self.closed |= matches!(&result, Err(e) if e.kind() == io::ErrorKind::BrokenPipe);
        result
    }
}

impl<W: Write> Write for Watched<'_, W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.cancel.is_cancelled() {
            return Err(io::Error::other("interrupted"));
        }
        let result = self.inner.write(data);
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.note(result)
    }
}

/// The compression that a name asks for, with the level that was wished.
fn levelled(usual: Compression, level: Option<u32>) -> Result<Compression, Failure> {
    let Some(level) = level else {
        return Ok(usual);
    };
    let (chosen, range) = match usual {
        Compression::None => return Err(Failure::usage("--level: this form is not compressed")),
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
