//! The forms of export, and what each cannot hold.

use mstore_store::compress::Compression;
use mstore_store::{ExportForm, Loss, Store, TreeHash};

use crate::cli::{Failure, bytes, output};

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
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
    /// A live medium: an ISO 9660 image that machines start from, by xorriso
    Iso,
    /// A disk that machines start from, with the tree as ext4
    Disk,
}

/// Compression of a layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Layer {
    /// gzip, which everything reads
    Gz,
    /// zstd
    Zst,
    /// None
    None,
}

impl Format {
    /// The form that the end of a name tells.
    pub fn of_name(name: &str) -> Option<Format> {
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
            None if ends(&[".iso"]) => Format::Iso,
            None if ends(&[".disk", ".img", ".raw"]) => Format::Disk,
            None => return None,
        })
    }

    /// The end of names of files of this form.
    pub fn suffix(self) -> &'static str {
        match self {
            Format::Tar => "tar",
            Format::TarGz => "tar.gz",
            Format::TarXz => "tar.xz",
            Format::TarZst => "tar.zst",
            Format::Oci => "oci",
            Format::Squashfs => "squashfs",
            Format::Erofs => "erofs",
            Format::Iso => "iso",
            Format::Disk => "disk",
        }
    }

    /// What holds the files.
    pub fn form(self) -> ExportForm {
        match self {
            Format::Tar | Format::TarGz | Format::TarXz | Format::TarZst => ExportForm::Tar,
            Format::Oci => ExportForm::Oci,
            Format::Squashfs | Format::Iso => ExportForm::Squashfs,
            Format::Erofs => ExportForm::Erofs,
            Format::Disk => ExportForm::Ext4,
        }
    }

    /// The compression of an archive; `None` for everything else.
    pub fn compression(self) -> Option<Compression> {
        Compression::from_name(&format!("x.{}", self.suffix()))
    }

    /// Whether tools make it, which read a plain copy of the tree with its owners.
    pub fn needs_copy(self) -> bool {
        self.compression().is_none() && self != Format::Oci
    }

    /// Whether machines start from it.
    pub fn is_medium(self) -> bool {
        matches!(self, Format::Iso | Format::Disk)
    }
}

/// The compression that a name asks for, with the level that was wished.
pub fn levelled(usual: Compression, level: Option<u32>) -> Result<Compression, Failure> {
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

/// The tree to be exported: the whole one if the form can hold it. Else this is told, and it is the tree
/// without the rest if that is wanted.
pub fn whole(
    store: &Store,
    tree: TreeHash,
    format: Format,
    lossy: bool,
) -> Result<TreeHash, Failure> {
    let form = format.form();
    let (small, losses): (Vec<Loss>, Vec<Loss>) = store
        .losses(tree, form)?
        .into_iter()
        .partition(|loss| loss.kind.is_small());
    let all: Vec<String> = losses.iter().map(lost).collect();
    if !all.is_empty() && !lossy {
        let elsewhere = match form {
            ExportForm::Squashfs | ExportForm::Ext4 => "an erofs image or a tar archive holds more",
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
