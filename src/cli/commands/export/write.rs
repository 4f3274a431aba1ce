//! Writes one tree in one form.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use mstore_store::compress::Compression;
use mstore_store::{
    Beside, Cancel, ErrorKind, ExportOptions, ImageKind, ImageOptions, OciOptions, Store,
    StoreError, TreeHash, Unmakeable,
};

use super::Args;
use super::format::{Format, Layer, levelled};
use super::meter::Meter;
use crate::build::host;
use crate::cli::context::Context;
use crate::cli::whole_file::{Destination, WholeFile};
use crate::cli::{Failure, output};
use crate::image::{self, MediaError, MediaOptions, Medium};
use crate::project::find::NamedTree;

/// What is to be written.
pub struct Job<'a> {
    pub context: &'a Context,
    pub store: &'a Store,
    /// What the tree is called.
    pub found: &'a NamedTree,
    /// The tree, or what the form can hold of it.
    pub tree: TreeHash,
    pub file: &'a Path,
    pub format: Format,
    pub args: &'a Args,
    /// Counts bytes.
    pub written: Arc<AtomicU64>,
    /// Is told where the file can be read when it is complete, and has not taken its place yet.
    pub complete: &'a dyn Fn(&Path) -> Result<(), Failure>,
}

/// What was written.
#[derive(Default)]
pub struct Made {
    /// Of a file, and of the layer of an image in the OCI layout; `None` of a stream.
    pub bytes: Option<u64>,
    /// The digest of an image in the OCI layout.
    pub digest: Option<String>,
    /// The machine that an image in the OCI layout is for.
    pub architecture: Option<String>,
    /// What a medium has.
    pub medium: Option<Medium>,
}

impl Job<'_> {
    /// Writes it, and shows meanwhile how far it is.
    pub fn write(&self) -> Result<Made, Failure> {
        let to_stdout = self.file == Path::new("-");
        let label = match to_stdout {
            true => String::new(),
            false => format!("writing {}", self.file.display()),
        };
        let _meter = (!to_stdout).then(|| Meter::start(label, self.written.clone()));
        if let Some(compression) = self.format.compression() {
            let compression = levelled(compression, self.args.level)?;
            let bytes = self.archive(compression)?;
            return Ok(Made {
                bytes,
                ..Made::default()
            });
        }
        match self.format {
            Format::Squashfs => self.image(ImageKind::Squashfs),
            Format::Erofs => self.image(ImageKind::Erofs),
            Format::Iso | Format::Disk => self.medium(),
            _ => self.oci(),
        }
    }

    /// The place of an image.
    fn place(&self) -> Result<std::path::PathBuf, Failure> {
        if self.args.level.is_some() {
            return Err(Failure::usage("--level: images have none"));
        }
        let failed = |e: std::io::Error| {
            Failure::machine(format!("cannot write {}: {e}", self.file.display()))
        };
        match Destination::of(self.file).map_err(failed)? {
            Destination::Whole(place) => Ok(place),
            Destination::Stream => Err(Failure::usage(format!(
                "{}: an image cannot be written to a device or pipe",
                self.file.display()
            ))
            .hint("write it to a file, and copy that")),
        }
    }

    /// Writes a squashfs or erofs image.
    fn image(&self, kind: ImageKind) -> Result<Made, Failure> {
        let place = self.place()?;
        let options = ImageOptions {
            devices: unmakeable(self.args.lossy),
            cancel: self.context.cancel()?.clone(),
            progress: Some(self.written.clone()),
            ..ImageOptions::new(kind)
        };
        let beside = self.beside(&place)?;
        let made = self.store.write_image(self.tree, &beside, &options);
        made.map_err(unfinished)?;
        self.finish(beside, Made::default())
    }

    /// Writes a medium that machines start from.
    fn medium(&self) -> Result<Made, Failure> {
        let place = self.place()?;
        let args = self.args;
        let options = MediaOptions {
            boots: !args.no_boot,
            from: args.boot_from.clone(),
            kernel: args.kernel.clone(),
            initrd: args.initrd.clone(),
            append: args
                .append
                .iter()
                .flat_map(|text| text.split_ascii_whitespace().map(str::to_owned))
                .collect(),
            title: self.found.name.clone(),
            machine: args.machine.clone().or_else(|| self.found.platform.clone()),
            free: args.free,
            lossy: args.lossy,
            cancel: self.context.cancel()?.clone(),
            progress: Some(self.written.clone()),
        };
        let beside = self.beside(&place)?;
        let made = match self.format {
            Format::Iso => image::iso(self.store, self.tree, &beside, &options),
            _ => image::disk(self.store, self.tree, &beside, &options),
        };
        let medium = made.map_err(|error| match error {
            MediaError::Store(error) => unfinished(error),
            other => other.into(),
        })?;
        let made = Made {
            medium: Some(medium),
            ..Made::default()
        };
        self.finish(beside, made)
    }

    fn beside(&self, place: &Path) -> Result<Beside, Failure> {
        Beside::of(place).map_err(|e| self.not_written(e))
    }

    /// Gives a file its name.
    fn finish(&self, beside: Beside, made: Made) -> Result<Made, Failure> {
        (self.complete)(beside.path())?;
        let bytes = fs::metadata(beside.path()).map_or(0, |m| m.len());
        beside.place().map_err(|e| self.not_written(e))?;
        Ok(Made {
            bytes: Some(bytes),
            ..made
        })
    }

    fn not_written(&self, e: io::Error) -> Failure {
        StoreError::io("write", self.file, e)
            .writing_to(self.file)
            .into()
    }

    /// Writes a folder in the OCI image layout.
    fn oci(&self) -> Result<Made, Failure> {
        let args = self.args;
        let machine = args.machine.clone().or_else(|| self.found.platform.clone());
        let layer = match args.layer {
            Layer::Gz => Compression::Gzip(Compression::GZIP),
            Layer::Zst => Compression::Zstd(Compression::ZSTD),
            Layer::None => Compression::None,
        };
        let options = OciOptions {
            compression: levelled(layer, args.level)?,
            tag: Some(args.tag.clone()),
            cancel: self.context.cancel()?.clone(),
            ..OciOptions::for_machine(&machine.unwrap_or_else(host::machine))
        };
        let image = self.store.export_oci(self.tree, self.file, &options);
        let image = image.map_err(unfinished)?;
        Ok(Made {
            bytes: Some(image.layer_bytes),
            digest: Some(image.digest.to_string()),
            architecture: Some(options.architecture),
            medium: None,
        })
    }

    /// Writes an archive. Returns the size of a file.
    fn archive(&self, compression: Compression) -> Result<Option<u64>, Failure> {
        let (store, tree, file) = (self.store, self.tree, self.file);
        let options = ExportOptions::new(compression);
        if file == Path::new("-") {
            let never = Cancel::new();
            let mut out = BufWriter::new(Watched {
                inner: std::io::stdout().lock(),
                cancel: &never,
                closed: false,
                written: &self.written,
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
            false => self.context.cancel()?.clone(),
        };
        let mut out = BufWriter::new(Watched {
            inner: whole.file(),
            cancel: &cancel,
            closed: false,
            written: &self.written,
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
        (self.complete)(&whole.path())?;
        whole.finish().map_err(failed)?;
        Ok(Some(fs::metadata(file).map_err(failed)?.len()))
    }
}

/// Tells what became of a file, with what stands beside it on the medium.
pub fn told(file: &Path, made: &Made, replaced: bool) -> String {
    let mut text = format!(
        "{}: {}",
        file.display(),
        output::size(made.bytes.unwrap_or_default())
    );
    if let Some(architecture) = &made.architecture {
        text.push_str(&format!(" for {architecture}"));
    }
    if let Some(medium) = &made.medium {
        match medium.firmware.is_empty() {
            true => text.push_str(", starts no machine"),
            false => text.push_str(&format!(", starts by {}", medium.firmware.join(" and "))),
        }
        if let Some(kernel) = &medium.kernel {
            text.push_str(&format!(", Linux {kernel}"));
        }
    }
    if replaced {
        text.push_str("; what was there before is replaced");
    }
    if let Some(medium) = &made.medium
        && medium.modules == Some(0)
    {
        text.push_str(&format!(
            "\n{} no modules of this kernel were found: it has to find its disk without any",
            output::Style::stderr().note("note:")
        ));
    }
    text
}

/// What an export could not finish is gone.
pub fn unfinished(error: StoreError) -> Failure {
    match error.kind() {
        ErrorKind::Interrupted => Failure::interrupted().hint("nothing of the export was kept"),
        _ => error.into(),
    }
}

/// What to do about what a user cannot make.
pub fn unmakeable(lossy: bool) -> Unmakeable {
    match lossy {
        true => Unmakeable::LeaveOut,
        false => Unmakeable::Fail,
    }
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
    written: &'a AtomicU64,
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
        if let Ok(n) = result {
            self.written.fetch_add(n as u64, Ordering::Relaxed);
        }
        self.note(result)
    }

    fn flush(&mut self) -> io::Result<()> {
        let result = self.inner.flush();
        self.note(result)
    }
}
