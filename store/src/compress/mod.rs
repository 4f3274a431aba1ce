//! Compressed streams: recognised by their first bytes, read within bounds, written reproducibly.

mod decode;
mod encode;

pub use decode::{CompressError, DecodeLimits, Decoder};
pub use encode::{Encoder, ParseCompressionError};

use std::fmt;
use std::str::FromStr;

/// A form of compression that can be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Format {
    /// Not compressed at all.
    Plain,
    /// `gzip`, one member or many.
    Gzip,
    /// `bzip2`, one stream or many.
    Bzip2,
    /// `xz`, one stream or many.
    Xz,
    /// `zstd`, one frame or many, skippable ones too.
    Zstd,
}

impl Format {
    /// How many bytes [`Format::detect`] wants to see.
    pub const MAGIC: usize = 6;

    /// Recognises a form by its first bytes; anything unknown counts as plain.
    pub fn detect(first: &[u8]) -> Format {
        match first {
            [0x1f, 0x8b, ..] => Format::Gzip,
            [b'B', b'Z', b'h', b'1'..=b'9', ..] => Format::Bzip2,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Format::Xz,
            [0x28, 0xb5, 0x2f, 0xfd, ..] | [0x50..=0x5f, 0x2a, 0x4d, 0x18, ..] => Format::Zstd,
            _ => Format::Plain,
        }
    }

    /// The word for messages.
    pub fn word(self) -> &'static str {
        match self {
            Format::Plain => "plain",
            Format::Gzip => "gzip",
            Format::Bzip2 => "bzip2",
            Format::Xz => "xz",
            Format::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// How to compress what is written. Equal input and setting give equal bytes, however many processors there are.
///
/// The bytes do change between releases of the compressors, so nothing may be keyed on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// gzip at a level from 1 to 9.
    Gzip(u32),
    /// xz at a preset from 0 to 9, in independent blocks of a size that the preset fixes.
    Xz(u32),
    /// zstd at a level from 1 to 19.
    Zstd(i32),
}

impl Compression {
    /// The level used where none is named: gzip.
    pub const GZIP: u32 = 6;
    /// The level used where none is named: xz.
    pub const XZ: u32 = 6;
    /// The level used where none is named: zstd.
    pub const ZSTD: i32 = 3;

    /// Chooses by a file's name: `.tar`, `.tar.gz`, `.tgz`, `.tar.xz`, `.txz`, `.tar.zst`, `.tzst`, each at its usual level.
    pub fn from_name(name: &str) -> Option<Compression> {
        let name = name.to_ascii_lowercase();
        let ends = |list: &[&str]| list.iter().any(|end| name.ends_with(end));
        if ends(&[".tar"]) {
            Some(Compression::None)
        } else if ends(&[".tar.gz", ".tgz"]) {
            Some(Compression::Gzip(Self::GZIP))
        } else if ends(&[".tar.xz", ".txz"]) {
            Some(Compression::Xz(Self::XZ))
        } else if ends(&[".tar.zst", ".tar.zstd", ".tzst"]) {
            Some(Compression::Zstd(Self::ZSTD))
        } else {
            None
        }
    }

    /// The end of a file's name that goes with it, behind `.tar`.
    pub fn suffix(self) -> &'static str {
        match self {
            Compression::None => "",
            Compression::Gzip(_) => ".gz",
            Compression::Xz(_) => ".xz",
            Compression::Zstd(_) => ".zst",
        }
    }
}

impl fmt::Display for Compression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Compression::None => f.write_str("none"),
            Compression::Gzip(level) => write!(f, "gzip:{level}"),
            Compression::Xz(level) => write!(f, "xz:{level}"),
            Compression::Zstd(level) => write!(f, "zstd:{level}"),
        }
    }
}

impl FromStr for Compression {
    type Err = ParseCompressionError;

    /// Reads `none`, `gzip`, `xz`, `zstd` (`gz`, `zst`), with a level behind a colon if wanted.
    fn from_str(text: &str) -> Result<Compression, ParseCompressionError> {
        let error = || ParseCompressionError {
            text: text.chars().take(40).collect(),
        };
        let (name, level) = match text.split_once(':') {
            Some((name, level)) => (name, Some(level.parse::<u32>().map_err(|_| error())?)),
            None => (text, None),
        };
        let setting = match name {
            "none" if level.is_none() => Compression::None,
            "gzip" | "gz" => Compression::Gzip(level.unwrap_or(Self::GZIP)),
            "xz" => Compression::Xz(level.unwrap_or(Self::XZ)),
            "zstd" | "zst" => Compression::Zstd(match level {
                Some(level) => i32::try_from(level).map_err(|_| error())?,
                None => Self::ZSTD,
            }),
            _ => return Err(error()),
        };
        if setting.is_valid() {
            Ok(setting)
        } else {
            Err(error())
        }
    }
}

impl Compression {
    /// Whether the level exists.
    pub fn is_valid(self) -> bool {
        match self {
            Compression::None => true,
            Compression::Gzip(level) => (1..=9).contains(&level),
            Compression::Xz(level) => level <= 9,
            Compression::Zstd(level) => (1..=19).contains(&level),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_written_as_they_are_read() {
        for setting in [
            Compression::None,
            Compression::Gzip(9),
            Compression::Xz(0),
            Compression::Zstd(19),
        ] {
            assert_eq!(setting.to_string().parse(), Ok(setting));
        }
        assert_eq!("zst".parse(), Ok(Compression::Zstd(3)));
        for bad in [
            "", "lzma", "gzip:0", "gzip:10", "zstd:20", "zstd:-1", "xz:", "none:1",
        ] {
            assert!(bad.parse::<Compression>().is_err(), "{bad}");
        }
    }

    #[test]
    fn names_of_files_choose() {
        assert_eq!(
            Compression::from_name("a/b.TAR.ZST"),
            Some(Compression::Zstd(3))
        );
        assert_eq!(Compression::from_name("x.tgz"), Some(Compression::Gzip(6)));
        assert_eq!(Compression::from_name("x.tar.bz2"), None);
    }
}
