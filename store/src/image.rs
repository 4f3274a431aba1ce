//! Trees as file-system images, made by the standard tools `mksquashfs` and `mkfs.erofs`.
//!
//! The same tree, options and release of the tool give the same bytes: identifiers and times that
//! these tools would otherwise invent are fixed. Both tools read a plain copy of the tree, so that
//! copy must be possible here: foreign owners need their ids mapped, and devices need root. What squashfs
//! cannot hold by itself, [`Store::losses`] tells.

mod ext4;
mod tool;

use std::io;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

pub use ext4::{Ext4Options, uuid};
pub use tool::Tool;

use crate::{
    Beside, Cancel, ErrorKind, Kind, Need, Placing, Store, StoreError, TreeHash, Unmakeable,
};

/// A kind of image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ImageKind {
    /// squashfs, by `mksquashfs`. It keeps whole seconds from 1970 to 2106 and no access control
    /// lists; holes, devices, capabilities and hard links are kept.
    Squashfs,
    /// erofs, by `mkfs.erofs`. It keeps everything.
    Erofs,
}

impl ImageKind {
    /// The program that makes it.
    pub fn program(self) -> &'static str {
        match self {
            ImageKind::Squashfs => "mksquashfs",
            ImageKind::Erofs => "mkfs.erofs",
        }
    }

    /// The package that has the program, for hints.
    pub fn package(self) -> &'static str {
        match self {
            ImageKind::Squashfs => "squashfs-tools",
            ImageKind::Erofs => "erofs-utils",
        }
    }
}

/// How to make an image.
#[derive(Debug, Clone)]
pub struct ImageOptions {
    /// The kind of image.
    pub kind: ImageKind,
    /// The program to run, if it is not [`ImageKind::program`].
    pub program: Option<PathBuf>,
    /// Arguments for the compressor, in the tool's own words; none for the tool's default.
    pub compressor: Vec<String>,
    /// What to do about devices that this user cannot make in the copy that the tools read.
    pub devices: Unmakeable,
    /// Ends the export with [`StoreError::Interrupted`].
    pub cancel: Cancel,
    /// Gets the length of the image while it grows.
    pub progress: Option<Arc<AtomicU64>>,
}

impl ImageOptions {
    /// Default options: zstd for squashfs, lz4hc for erofs.
    pub fn new(kind: ImageKind) -> ImageOptions {
        let compressor: &[&str] = match kind {
            ImageKind::Squashfs => &["-comp", "zstd", "-Xcompression-level", "15"],
            ImageKind::Erofs => &["-zlz4hc"],
        };
        ImageOptions {
            kind,
            program: None,
            compressor: compressor.iter().map(|s| s.to_string()).collect(),
            devices: Unmakeable::LeaveOut,
            cancel: Cancel::new(),
            progress: None,
        }
    }
}

/// Why an image could not be made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ImageError {
    /// The program is missing.
    #[error("cannot run {}: {source} (it is part of {package})", program.display())]
    NoProgram {
        /// What was to be run.
        program: PathBuf,
        /// The package that has it.
        package: &'static str,
        /// What the system says.
        source: io::Error,
    },
    /// The program failed.
    #[error("{} failed ({status}): {detail}", program.display())]
    Failed {
        /// What was run.
        program: PathBuf,
        /// How it ended.
        status: ExitStatus,
        /// What it said.
        detail: String,
    },
}

impl Store {
    /// Writes a tree as a file-system image. An existing file is replaced when the new one is complete.
    pub fn export_image(
        &self,
        tree: TreeHash,
        image: &Path,
        options: &ImageOptions,
    ) -> Result<(), StoreError> {
        let failed = |e| StoreError::io("write", image, e);
        let partial = Beside::of(image).map_err(failed)?;
        self.write_image(tree, &partial, options)?;
        partial.place().map_err(failed)
    }

    /// Does what [`export_image`](Store::export_image) does, but for the last step: the caller gives it its name.
    pub fn write_image(
        &self,
        tree: TreeHash,
        image: &Beside,
        options: &ImageOptions,
    ) -> Result<(), StoreError> {
        let scratch = self.scratch("image")?;
        let copy = scratch.path().join("tree");
        self.place_until(tree, &copy, Placing::Copy, options.devices, &options.cancel)?;
        let target = std::path::absolute(image.path())
            .map_err(|e| StoreError::io("find", image.named(), e))?;
        let program = options.program.clone();
        let program = program.unwrap_or_else(|| options.kind.program().into());
        let mut tool = Tool::new(program, options.kind.package());
        // From here the tools find what has the longest paths.
        tool.folder(scratch.path());
        let copy = Path::new("tree");
        match options.kind {
            // It could read an archive too, but then its releases up to 4.5 write now these, now
            // those bytes.
            ImageKind::Squashfs => tool
                .arg(copy)
                .arg(&target)
                .args([
                    "-noappend",
                    "-no-progress",
                    "-quiet",
                    "-reproducible",
                    "-mkfs-time",
                    "0",
                ])
                .args(&options.compressor),
            ImageKind::Erofs => tool
                // The tool puts this time on the image itself, and lowers what is later to it:
                // nothing is.
                .env("SOURCE_DATE_EPOCH", self.after_all(tree)?.to_string())
                .args(["--quiet", "-U00000000-0000-0000-0000-000000000000"])
                .args(&options.compressor)
                .arg(&target)
                .arg(copy),
        };
        tool.run(&target, &options.cancel, options.progress.as_deref())
            .map_err(|error| match error.kind() {
                ErrorKind::NoSpace => error
                    .writing_to(image.named())
                    .needing(|| self.content_of(tree).map(Need::Archive)),
                _ => error,
            })
    }

    /// A second after the newest time in a tree, and not before 1970.
    fn after_all(&self, tree: TreeHash) -> Result<i64, StoreError> {
        let tree = self.tree(tree)?;
        let mut newest = tree.root.mtime.secs;
        let mut open = vec![tree.dir];
        let mut seen = std::collections::HashSet::new();
        while let Some(dir) = open.pop() {
            if !seen.insert(dir) {
                continue;
            }
            for entry in self.manifest(dir)?.entries() {
                newest = newest.max(entry.meta.mtime.secs);
                if let Kind::Dir { manifest } = entry.kind {
                    open.push(manifest);
                }
            }
        }
        Ok(newest.saturating_add(1).max(0))
    }
}
