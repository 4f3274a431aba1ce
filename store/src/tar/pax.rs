//! The records of PAX extended headers: `LENGTH KEY=VALUE\n`, read and written, without any I/O.

use std::collections::{BTreeMap, BTreeSet};

use base64::alphabet;
use base64::engine::general_purpose::{GeneralPurpose, NO_PAD};
use base64::prelude::Engine as _;

use super::acl;
use super::error::{EntryFault, show};
use super::number::{bad, decimal, digits};
use super::sparse::SparseKeys;

/// How many bytes of attributes Linux takes at most in one value.
const XATTR_VALUE: usize = 65536;
/// How long an attribute's name may be on Linux.
const XATTR_NAME: usize = 255;

/// What extended headers say about the entry after them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Pax {
    pub path: Option<Vec<u8>>,
    pub link: Option<Vec<u8>>,
    pub size: Option<u64>,
    pub uid: Option<u64>,
    pub gid: Option<u64>,
    pub mtime: Option<(i64, u32)>,
    pub major: Option<u64>,
    pub minor: Option<u64>,
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    pub sparse: SparseKeys,
    /// The entry is a folder of a GNU incremental dump.
    pub incremental: bool,
}

impl Pax {
    /// Reads all records of one extended header.
    pub fn parse(mut data: &[u8], max_segments: usize) -> Result<Pax, EntryFault> {
        let mut pax = Pax::default();
        let mut seen = BTreeSet::new();
        // Two notations of attributes are usual side by side; they must agree.
        let mut encoded = BTreeMap::new();
        let mut lists = Vec::new();
        while !data.is_empty() {
            let (key, value, rest) = record(data)?;
            data = rest;
            if !pax.sparse.takes(key, value, max_segments)? && !seen.insert(key) {
                return Err(syntax(format!("it has {} twice", show(key))));
            }
            match key {
                b"path" => pax.path = Some(name(value, "name")?),
                b"linkpath" => pax.link = Some(name(value, "link target")?),
                b"size" => pax.size = Some(decimal(key, value)?),
                b"uid" => pax.uid = Some(decimal(key, value)?),
                b"gid" => pax.gid = Some(decimal(key, value)?),
                b"mtime" => pax.mtime = Some(time(key, value)?),
                b"SCHILY.devmajor" => pax.major = Some(decimal(key, value)?),
                b"SCHILY.devminor" => pax.minor = Some(decimal(key, value)?),
                b"SCHILY.acl.access" => lists.push((acl::ACCESS, acl::from_text(value, false)?)),
                b"SCHILY.acl.default" => lists.push((acl::DEFAULT, acl::from_text(value, true)?)),
                b"GNU.dumpdir" => pax.incremental = true,
                b"SCHILY.realsize" => {
                    return Err(EntryFault::Unsupported {
                        flag: "SCHILY.realsize".into(),
                        name: "a sparse file of star",
                    });
                }
                b"RHT.security.selinux" => {
                    pax.attribute(b"security.selinux".to_vec(), value.to_vec())?;
                }
                _ => {
                    if let Some(name) = key.strip_prefix(b"SCHILY.xattr.") {
                        pax.attribute(percent(name, false), value.to_vec())?;
                    } else if let Some(name) = key.strip_prefix(b"LIBARCHIVE.xattr.") {
                        let value = base64(value).ok_or_else(|| bad(key, value))?;
                        encoded.insert(percent(name, true), value);
                    }
                    // Comments, access times, names of owners and unknown vendors' records carry nothing that a tree has.
                }
            }
        }
        for (name, value) in encoded {
            pax.attribute(name, value)?;
        }
        for (name, value) in lists {
            if let Some(value) = value {
                pax.attribute(name.to_vec(), value)?;
            }
        }
        Ok(pax)
    }

    /// The first key of these records that makes no sense for more than one entry.
    pub fn not_global(&self) -> Option<&'static str> {
        if self.path.is_some() {
            Some("path")
        } else if self.link.is_some() {
            Some("linkpath")
        } else if self.size.is_some() {
            Some("size")
        } else if !self.xattrs.is_empty() {
            Some("extended attributes")
        } else if self.major.or(self.minor).is_some() {
            Some("device numbers")
        } else if !self.sparse.is_empty() {
            Some("GNU.sparse")
        } else {
            None
        }
    }

    fn attribute(&mut self, name: Vec<u8>, value: Vec<u8>) -> Result<(), EntryFault> {
        let fault = |why| {
            Err(EntryFault::Xattr {
                name: show(&name),
                why,
            })
        };
        if name.contains(&0) {
            return fault("has a NUL byte in its name");
        }
        if name.len() > XATTR_NAME {
            return fault("has a name longer than 255 bytes");
        }
        match name.iter().position(|&b| b == b'.') {
            None | Some(0) => return fault("lies in no namespace such as \"user.\""),
            Some(dot) if dot + 1 == name.len() => return fault("has no name behind its namespace"),
            Some(_) => {}
        }
        if value.len() > XATTR_VALUE {
            return fault("has a value of more than 65536 bytes");
        }
        match self.xattrs.get(&name) {
            Some(other) if *other != value => fault("is given twice with different values"),
            _ => {
                self.xattrs.insert(name, value);
                Ok(())
            }
        }
    }
}

/// The name in records of which another is at fault, for the message about that.
pub(crate) fn path_of(mut data: &[u8]) -> Option<Vec<u8>> {
    let mut path = None;
    while let Ok((key, value, rest)) = record(data) {
        let usable = !value.is_empty() && !value.contains(&0);
        match key {
            b"GNU.sparse.name" if usable => return Some(value.to_vec()),
            b"path" if usable => path = Some(value.to_vec()),
            _ => {}
        }
        data = rest;
        if data.is_empty() {
            break;
        }
    }
    path
}

/// A key, its value, and what follows the record.
type Record<'a> = (&'a [u8], &'a [u8], &'a [u8]);

/// Splits the first record off.
fn record(data: &[u8]) -> Result<Record<'_>, EntryFault> {
    let space = data
        .iter()
        .take(12)
        .position(|&b| b == b' ')
        .ok_or_else(|| syntax("a record does not begin with its length".into()))?;
    let length = data[..space]
        .iter()
        .try_fold(0usize, |n, &b| {
            b.is_ascii_digit().then(|| n * 10 + usize::from(b - b'0'))
        })
        .filter(|_| space > 0)
        .ok_or_else(|| {
            syntax(format!(
                "\"{}\" is not the length of a record",
                show(&data[..space])
            ))
        })?;
    if length > data.len() || length < space + 4 {
        return Err(syntax(format!("a record claims {length} bytes")));
    }
    let (record, rest) = data.split_at(length);
    let Some((b'\n', body)) = record[space + 1..].split_last() else {
        return Err(syntax("a record does not end with a newline".into()));
    };
    match body.iter().position(|&b| b == b'=') {
        Some(0) | None => Err(syntax("a record has no key".into())),
        Some(at) if body[..at].contains(&0) => Err(syntax("a key holds a NUL byte".into())),
        Some(at) => Ok((&body[..at], &body[at + 1..], rest)),
    }
}

/// Appends one record, whose length counts its own digits.
pub(crate) fn write_record(out: &mut Vec<u8>, key: &[u8], value: &[u8]) {
    let rest = key.len() + value.len() + 3;
    let mut digits = 1;
    while (rest + digits).to_string().len() != digits {
        digits += 1;
    }
    out.extend((rest + digits).to_string().into_bytes());
    out.push(b' ');
    out.extend(key);
    out.push(b'=');
    out.extend(value);
    out.push(b'\n');
}

/// The attribute's name as a key can hold it: GNU tar's quoting of the two bytes that would break the record.
pub(crate) fn quote_attribute(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    for &byte in name {
        match byte {
            b'=' => out.extend(b"%3D"),
            b'%' => out.extend(b"%25"),
            other => out.push(other),
        }
    }
    out
}

/// Undoes percent quoting: all of it (`full`), or the two bytes that GNU tar quotes.
fn percent(name: &[u8], full: bool) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&byte, tail)) = rest.split_first() {
        if let (b'%', Some((digits, after))) = (byte, tail.split_at_checked(2)) {
            let hex = std::str::from_utf8(digits)
                .ok()
                .filter(|d| d.bytes().all(|b| b.is_ascii_hexdigit()))
                .and_then(|d| u8::from_str_radix(d, 16).ok());
            if let Some(value) = hex.filter(|v| full || matches!(v, b'=' | b'%')) {
                out.push(value);
                rest = after;
                continue;
            }
        }
        out.push(byte);
        rest = tail;
    }
    out
}

/// Base 64 as other programs write it into archives: bits that belong to no byte may be anything.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    NO_PAD.with_decode_allow_trailing_bits(true),
);

/// Reads base 64 with or without its padding.
fn base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"=").unwrap_or(text);
    let text = text.strip_suffix(b"=").unwrap_or(text);
    BASE64.decode(text).ok()
}

fn name(value: &[u8], what: &'static str) -> Result<Vec<u8>, EntryFault> {
    if value.contains(&0) {
        return Err(EntryFault::NulByte { what });
    }
    if value.is_empty() {
        return Err(match what {
            "name" => EntryFault::EmptyName,
            _ => EntryFault::LinkEmpty,
        });
    }
    Ok(value.to_vec())
}

/// Seconds with an optional fraction, kept to the nanosecond towards the past, as file systems do.
fn time(key: &[u8], value: &[u8]) -> Result<(i64, u32), EntryFault> {
    let parsed = || {
        let (negative, body) = match value.strip_prefix(b"-") {
            Some(body) => (true, body),
            None => (false, value),
        };
        let (whole, fraction) = match body.iter().position(|&b| b == b'.') {
            Some(dot) => (&body[..dot], &body[dot + 1..]),
            None => (body, &b""[..]),
        };
        if !fraction.iter().all(u8::is_ascii_digit) {
            return None;
        }
        let seconds = i64::try_from(digits(whole)?).ok()?;
        let mut nanos = 0u32;
        for place in 0..9 {
            nanos = nanos * 10 + u32::from(fraction.get(place).unwrap_or(&b'0') - b'0');
        }
        let beyond = fraction.iter().skip(9).any(|&b| b != b'0');
        if !negative {
            return Some((seconds, nanos));
        }
        // -1.5 is half a second after -2.
        let nanos = nanos + u32::from(beyond);
        Some(match nanos {
            0 => (-seconds, 0),
            n => ((-seconds).checked_sub(1)?, 1_000_000_000 - n),
        })
    };
    parsed().ok_or_else(|| bad(key, value))
}

/// Writes a time as the shortest decimal text that [`time`] reads back.
pub(crate) fn time_text(seconds: i64, nanos: u32) -> String {
    if nanos == 0 {
        return seconds.to_string();
    }
    let (sign, whole, nanos) = if seconds < 0 {
        ("-", (seconds + 1).unsigned_abs(), 1_000_000_000 - nanos)
    } else {
        ("", seconds.unsigned_abs(), nanos)
    };
    let fraction = format!("{nanos:09}");
    format!("{sign}{whole}.{}", fraction.trim_end_matches('0'))
}

fn syntax(why: String) -> EntryFault {
    EntryFault::PaxSyntax { why }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(records: &[(&[u8], &[u8])]) -> Result<Pax, EntryFault> {
        let mut data = Vec::new();
        for (key, value) in records {
            write_record(&mut data, key, value);
        }
        Pax::parse(&data, 100)
    }

    #[test]
    fn lengths_count_their_own_digits() {
        for size in [
            1usize, 2, 3, 85, 86, 87, 90, 91, 980, 985, 986, 987, 988, 989, 990, 99_980, 99_990,
        ] {
            let value = vec![b'x'; size];
            let mut data = Vec::new();
            write_record(&mut data, b"path", &value);
            let (key, back, rest) = record(&data).unwrap();
            assert_eq!(
                (key, back, rest),
                (&b"path"[..], &value[..], &b""[..]),
                "{size}"
            );
        }
    }

    #[test]
    fn times_survive_writing_and_reading() {
        for (s, n) in [
            (0, 0),
            (1, 5),
            (-1, 500_000_000),
            (-2, 0),
            (-2, 999_999_999),
            (i64::MAX, 1),
            (1 << 40, 10),
        ] {
            let text = time_text(s, n);
            assert_eq!(time(b"mtime", text.as_bytes()), Ok((s, n)), "{text}");
        }
        assert_eq!(time(b"mtime", b"1.0000000019"), Ok((1, 1)));
        assert_eq!(time(b"mtime", b"-1.5"), Ok((-2, 500_000_000)));
        for bad in [
            "",
            "-",
            ".",
            "1e5",
            "1.-5",
            "99999999999999999999",
            " 1",
            "0x5",
        ] {
            assert!(time(b"mtime", bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn both_notations_of_attributes() {
        let pax = parse(&[
            (b"LIBARCHIVE.xattr.user.a%20b", b"AAH/"),
            (b"SCHILY.xattr.user.a b", b"\x00\x01\xff"),
            (b"SCHILY.xattr.user.x%3Dy%41", b""),
        ])
        .unwrap();
        assert_eq!(pax.xattrs[&b"user.a b"[..]], b"\x00\x01\xff");
        assert_eq!(pax.xattrs[&b"user.x=y%41"[..]], b"");
        let differ = parse(&[
            (b"LIBARCHIVE.xattr.user.a", b"AAH"),
            (b"SCHILY.xattr.user.a", b"other"),
        ]);
        assert!(matches!(differ, Err(EntryFault::Xattr { .. })));
    }

    #[test]
    fn base_64_of_every_length() {
        assert_eq!(base64(b""), Some(vec![]));
        assert_eq!(base64(b"TQ=="), Some(b"M".to_vec()));
        assert_eq!(base64(b"TWE="), Some(b"Ma".to_vec()));
        assert_eq!(base64(b"TWFu"), Some(b"Man".to_vec()));
        assert_eq!(base64(b"TWE"), Some(b"Ma".to_vec()));
        assert_eq!(base64(b"TWE=="), Some(b"Ma".to_vec()));
        assert_eq!(base64(b"TWF="), Some(b"Ma".to_vec()), "spare bits");
        assert_eq!(base64(b"TQ==="), None);
        assert_eq!(base64(b"T Q="), None);
        assert_eq!(base64(b"T"), None);
        assert_eq!(base64(b"T*=="), None);
    }

    #[test]
    fn malformed_records_are_refused() {
        for bad in [
            &b"path=x\n"[..],
            b"99 path=x\n",
            b"0 path=x\n",
            b"10 path=xy",
            b" path=x\n",
            b"9 path=xx",
            b"6 =xy\n",
            b"99999999999999999999999 path=x\n",
            b"7 abcd\n",
        ] {
            assert!(
                matches!(Pax::parse(bad, 100), Err(EntryFault::PaxSyntax { .. })),
                "{}",
                show(bad)
            );
        }
        assert!(
            parse(&[(b"size", b"-1")])
                .unwrap_err()
                .to_string()
                .contains("negative")
        );
        assert!(parse(&[(b"size", b"1x")]).is_err());
        assert!(parse(&[(b"path", b"a\0b")]).is_err());
        assert!(parse(&[(b"path", b"")]).is_err());
        assert!(parse(&[(b"path", b"a"), (b"path", b"b")]).is_err());
        assert!(parse(&[(b"SCHILY.xattr.nonsense", b"b")]).is_err());
    }
}
