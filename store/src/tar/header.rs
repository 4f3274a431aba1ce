//! The 512-byte header block: fields, numbers and checksum, without any I/O.

use super::error::{EntryFault, show};

/// The unit that archives are made of.
pub(crate) const BLOCK: usize = 512;

/// Rounds a content size up to whole blocks; `None` if that overflows.
pub(crate) fn padded(size: u64) -> Option<u64> {
    size.checked_next_multiple_of(BLOCK as u64)
}

/// Which of the historic layouts a header follows; they differ in what lies after the link name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Dialect {
    /// Before POSIX: nothing follows the link name.
    V7,
    /// POSIX: a prefix of 155 bytes for the name.
    Ustar,
    /// As POSIX, but times take the last bytes of the prefix.
    Star,
    /// GNU tar before PAX: times and a sparse map where POSIX has the prefix.
    Gnu,
}

/// One header block whose checksum was found right.
pub(crate) struct Header<'a> {
    block: &'a [u8; BLOCK],
    /// The layout.
    pub dialect: Dialect,
}

impl<'a> Header<'a> {
    /// Checks the checksum and tells the layout.
    pub fn parse(block: &'a [u8; BLOCK]) -> Result<Header<'a>, EntryFault> {
        let stored = number(&block[148..156], "checksum").map_err(|_| EntryFault::Checksum)?;
        // Old systems summed signed bytes; both sums are in circulation.
        let mut unsigned: i64 = 0;
        let mut signed: i64 = 0;
        for (i, &byte) in block.iter().enumerate() {
            let byte = if (148..156).contains(&i) { b' ' } else { byte };
            unsigned += i64::from(byte);
            signed += i64::from(byte as i8);
        }
        if stored != i128::from(unsigned) && stored != i128::from(signed) {
            return Err(EntryFault::Checksum);
        }
        let dialect = match &block[257..265] {
            b"ustar  \0" => Dialect::Gnu,
            [b'u', b's', b't', b'a', b'r', 0, ..] if &block[508..512] == b"tar\0" => Dialect::Star,
            [b'u', b's', b't', b'a', b'r', 0, ..] => Dialect::Ustar,
            _ => Dialect::V7,
        };
        Ok(Header { block, dialect })
    }

    /// The name as the header alone gives it.
    pub fn name(&self) -> Vec<u8> {
        let name = text(&self.block[..100]);
        let prefix = match self.dialect {
            Dialect::Ustar => text(&self.block[345..500]),
            Dialect::Star => text(&self.block[345..476]),
            Dialect::V7 | Dialect::Gnu => &[],
        };
        if prefix.is_empty() {
            name.to_vec()
        } else {
            [prefix, b"/", name].concat()
        }
    }

    /// The link target as the header alone gives it.
    pub fn link(&self) -> Vec<u8> {
        text(&self.block[157..257]).to_vec()
    }

    /// The type flag.
    pub fn flag(&self) -> u8 {
        self.block[156]
    }

    /// The stored size.
    pub fn size(&self) -> Result<u64, EntryFault> {
        unsigned(&self.block[124..136], "size")
    }

    /// The permission bits; old tools put the file type in the higher ones.
    pub fn mode(&self) -> Result<u16, EntryFault> {
        let mode = number(&self.block[100..108], "mode")?;
        Ok((mode & 0o7777) as u16)
    }

    /// The numeric owner.
    pub fn uid(&self) -> Result<u64, EntryFault> {
        unsigned(&self.block[108..116], "owner")
    }

    /// The numeric group.
    pub fn gid(&self) -> Result<u64, EntryFault> {
        unsigned(&self.block[116..124], "group")
    }

    /// The modification time in whole seconds.
    pub fn mtime(&self) -> Result<i64, EntryFault> {
        let value = number(&self.block[136..148], "modification time")?;
        i64::try_from(value).map_err(|_| EntryFault::NumberTooLarge {
            field: "modification time",
            value: value.to_string(),
        })
    }

    /// The device numbers.
    pub fn device(&self) -> Result<(u64, u64), EntryFault> {
        if self.dialect == Dialect::V7 {
            return Ok((0, 0));
        }
        Ok((
            unsigned(&self.block[329..337], "major device number")?,
            unsigned(&self.block[337..345], "minor device number")?,
        ))
    }

    /// The part of an old GNU sparse map that the header has room for: the pairs, whether more follow, and the real size.
    pub fn gnu_sparse(&self) -> Result<(Runs, bool, u64), EntryFault> {
        let pairs = sparse_pairs(&self.block[386..482])?;
        let real = unsigned(&self.block[483..495], "real size")?;
        Ok((pairs, self.block[482] != 0, real))
    }
}

/// Pairs of offset and length.
type Runs = Vec<(u64, u64)>;

/// Reads a continuation block of an old GNU sparse map: the pairs, and whether another block follows.
pub(crate) fn gnu_sparse_more(block: &[u8; BLOCK]) -> Result<(Runs, bool), EntryFault> {
    Ok((sparse_pairs(&block[..504])?, block[504] != 0))
}

/// Reads pairs of offset and length until the first unused slot.
fn sparse_pairs(slots: &[u8]) -> Result<Runs, EntryFault> {
    let mut pairs = Vec::new();
    for slot in slots.chunks_exact(24) {
        if slot[0] == 0 || slot[12] == 0 {
            break;
        }
        pairs.push((
            unsigned(&slot[..12], "sparse offset")?,
            unsigned(&slot[12..], "sparse length")?,
        ));
    }
    Ok(pairs)
}

/// A text field up to its first NUL byte.
fn text(field: &[u8]) -> &[u8] {
    let end = field.iter().position(|&b| b == 0).unwrap_or(field.len());
    &field[..end]
}

/// A number that must not be negative and must fit 64 bits.
fn unsigned(field: &[u8], what: &'static str) -> Result<u64, EntryFault> {
    let value = number(field, what)?;
    if value < 0 {
        return Err(EntryFault::NegativeNumber { field: what });
    }
    // A size is added to offsets, so keep it clear of the edge of 64 bits.
    if value > i128::from(i64::MAX) {
        return Err(EntryFault::NumberTooLarge {
            field: what,
            value: value.to_string(),
        });
    }
    Ok(value as u64)
}

/// A numeric field: octal digits, or big-endian two's complement behind a set top bit. A blank field is zero.
fn number(field: &[u8], what: &'static str) -> Result<i128, EntryFault> {
    let bad = || EntryFault::BadNumber {
        field: what,
        text: show(field),
    };
    if field[0] & 0x80 != 0 {
        // GNU base 256. The second highest bit is the sign.
        let negative = field[0] & 0x40 != 0;
        let mut value: i128 = if negative { -1 } else { 0 };
        let first = if negative { field[0] } else { field[0] & 0x3f };
        for (i, &byte) in std::iter::once(&first).chain(&field[1..]).enumerate() {
            let byte = if i == 0 && negative {
                byte | 0xc0
            } else {
                byte
            };
            value = (value << 8) | i128::from(byte);
        }
        return Ok(value);
    }
    let digits = field
        .iter()
        .skip_while(|&&b| b == b' ')
        .take_while(|&&b| b != 0 && b != b' ');
    let mut value: i128 = 0;
    let mut count = 0usize;
    for &digit in digits {
        if !(b'0'..=b'7').contains(&digit) {
            return Err(bad());
        }
        value = value * 8 + i128::from(digit - b'0');
        count += 1;
    }
    // What follows the digits must be padding alone: tools differ in what they make of anything else.
    let lead = field.iter().take_while(|&&b| b == b' ').count();
    if field[lead + count..].iter().any(|&b| b != 0 && b != b' ') {
        return Err(bad());
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn octal_numbers_with_every_padding() {
        assert_eq!(number(b"0000644\0", "mode"), Ok(0o644));
        assert_eq!(number(b"   644 \0", "mode"), Ok(0o644));
        assert_eq!(number(b"77777777", "mode"), Ok(0o77777777));
        assert_eq!(number(b"\0\0\0\0\0\0\0\0", "mode"), Ok(0));
        assert_eq!(number(b"        ", "mode"), Ok(0));
        assert!(number(b"0000648\0", "mode").is_err());
        assert!(number(b"644\x007\0\0\0", "mode").is_err());
        assert!(number(b"-000644\0", "mode").is_err());
    }

    #[test]
    fn base_256_numbers_of_both_signs() {
        let mut field = [0u8; 12];
        field[0] = 0x80;
        field[4..].copy_from_slice(&(1u64 << 40).to_be_bytes());
        assert_eq!(unsigned(&field, "size"), Ok(1 << 40));
        let mut field = [0xffu8; 12];
        assert_eq!(number(&field, "mtime"), Ok(-1));
        field[11] = 0xfe;
        assert_eq!(number(&field, "mtime"), Ok(-2));
        assert_eq!(
            unsigned(&field, "size"),
            Err(EntryFault::NegativeNumber { field: "size" })
        );
        let mut field = [0xffu8; 12];
        field[0] = 0xbf;
        assert!(matches!(
            unsigned(&field, "size"),
            Err(EntryFault::NumberTooLarge { .. })
        ));
    }
}
