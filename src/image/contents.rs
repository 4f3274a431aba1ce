//! The list of what is in a tree, as `tar -tv` prints one of an archive, for people who want to look before they
//! download. Owners are numbers: the names of this machine are not the tree's.

use std::collections::HashMap;
use std::io::{self, Write};

use mstore_store::{DirHash, Entry, Kind, Meta, Store, StoreError, TreeHash};

/// Why there is no list.
#[derive(Debug, thiserror::Error)]
pub enum ContentsError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// It cannot be written.
    #[error(transparent)]
    Write(#[from] io::Error),
}

/// Writes the list, a line an entry, each folder before what is in it, in the order of the names.
pub fn contents(store: &Store, tree: TreeHash, out: &mut impl Write) -> Result<(), ContentsError> {
    let top = store.tree(tree)?;
    let mut first = HashMap::new();
    for group in &top.links {
        for path in group.iter().skip(1) {
            first.insert(path.as_slice(), group[0].as_slice());
        }
    }
    line(out, 'd', &top.root, "0", b"./", None)?;
    let mut listing = Listing {
        store,
        first: &first,
        out,
    };
    listing.folder(top.dir, &mut b"./".to_vec())
}

struct Listing<'a, W> {
    store: &'a Store,
    /// Of further names of a file: the first.
    first: &'a HashMap<&'a [u8], &'a [u8]>,
    out: &'a mut W,
}

impl<W: Write> Listing<'_, W> {
    /// `path` ends with a slash. Trees are bounded in their depth.
    fn folder(&mut self, dir: DirHash, path: &mut Vec<u8>) -> Result<(), ContentsError> {
        for entry in self.store.manifest(dir)?.entries() {
            let length = path.len();
            path.extend_from_slice(&entry.name);
            self.entry(entry, path)?;
            path.truncate(length);
        }
        Ok(())
    }

    fn entry(&mut self, entry: &Entry, path: &mut Vec<u8>) -> Result<(), ContentsError> {
        let meta = &entry.meta;
        if let Some(first) = self.first.get(&path[2..]) {
            let to = [b" link to ./", *first].concat();
            return Ok(line(self.out, 'h', meta, "0", path, Some(&to))?);
        }
        let (letter, size, more) = match &entry.kind {
            Kind::Dir { manifest } => {
                path.push(b'/');
                line(self.out, 'd', meta, "0", path, None)?;
                return self.folder(*manifest, path);
            }
            Kind::File { size, .. } => ('-', size.to_string(), None),
            Kind::Symlink { target } => {
                ('l', "0".to_owned(), Some([b" -> ", &target[..]].concat()))
            }
            Kind::Char { major, minor } => ('c', format!("{major},{minor}"), None),
            Kind::Block { major, minor } => ('b', format!("{major},{minor}"), None),
            Kind::Fifo => ('p', "0".to_owned(), None),
            Kind::Socket => ('s', "0".to_owned(), None),
        };
        Ok(line(self.out, letter, meta, &size, path, more.as_deref())?)
    }
}

fn line(
    out: &mut impl Write,
    letter: char,
    meta: &Meta,
    size: &str,
    path: &[u8],
    more: Option<&[u8]>,
) -> io::Result<()> {
    write!(
        out,
        "{letter}{} {}/{} {size:>9} {} ",
        permissions(meta.mode),
        meta.uid,
        meta.gid,
        minute(meta.mtime.secs)
    )?;
    for part in [path, more.unwrap_or_default()] {
        for byte in part {
            match byte {
                b'\\' => out.write_all(b"\\\\")?,
                b'\n' => out.write_all(b"\\n")?,
                0..=0x1f | 0x7f => write!(out, "\\{byte:03o}")?,
                _ => out.write_all(&[*byte])?,
            }
        }
    }
    out.write_all(b"\n")
}

fn permissions(mode: u16) -> String {
    let mut text = String::with_capacity(9);
    for (shift, special, letter) in [(6, 0o4000, 's'), (3, 0o2000, 's'), (0, 0o1000, 't')] {
        let bits = mode >> shift;
        text.push(if bits & 4 != 0 { 'r' } else { '-' });
        text.push(if bits & 2 != 0 { 'w' } else { '-' });
        text.push(match (mode & special != 0, bits & 1 != 0) {
            (false, false) => '-',
            (false, true) => 'x',
            (true, true) => letter,
            (true, false) => letter.to_ascii_uppercase(),
        });
    }
    text
}

/// A time in UTC, to the minute.
fn minute(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Years begin in March here, so that a leap day is the last one: eras of 400 years are alike.
    let shifted = days.saturating_add(719_468);
    let (era, day) = (shifted.div_euclid(146_097), shifted.rem_euclid(146_097));
    let year = (day - day / 1460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let march = (5 * day + 2) / 153;
    let month = if march < 10 { march + 3 } else { march - 9 };
    let year = year + era * 400 + i64::from(month <= 2);
    let day = day - (153 * march + 2) / 5 + 1;
    let (hour, minute) = (rest / 3600, rest / 60 % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_permissions() {
        assert_eq!(minute(0), "1970-01-01 00:00");
        assert_eq!(minute(-1), "1969-12-31 23:59");
        assert_eq!(minute(951_782_400), "2000-02-29 00:00");
        assert_eq!(minute(4_107_542_399), "2100-02-28 23:59");
        assert_eq!(permissions(0o4755), "rwsr-xr-x");
        assert_eq!(permissions(0o3640), "rw-r-S--T");
    }
}
