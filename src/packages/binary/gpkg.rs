//! One binary package: an archive that has in it the marker of its form, the entry for the package database, the files,
//! and the hashes of these.

use std::collections::HashMap;
use std::io::{self, Read, Seek, SeekFrom, Write};

use blake2::{Blake2b512, Digest as _};
use mstore_store::compress::{Compression, Encoder};
use mstore_store::{ExportOptions, Kind, Manifest, Store, TreeHash, Within};
use sha1::Sha1;
use sha2::Sha512;

use super::{BinaryError, Built, Record, folder};

/// The form and all that decides bytes besides a package.
pub const FORM: &str = "gpkg 1, zstd 9, build 1";
const COMPRESSION: Compression = Compression::Zstd(9);
/// Bytes of a block of an archive.
const BLOCK: usize = 512;
/// Most bytes that the head of a member can tell.
const MOST: u64 = 0o77777777777;

/// What was written, as the index tells of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Written {
    /// Bytes.
    pub size: u64,
    /// SHA-1, in hex: clients check what they got by it.
    pub sha1: String,
}

/// Writes a package to an empty file.
pub fn write(
    store: &Store,
    package: &Built,
    record: &Record,
    out: &mut (impl Write + Seek),
) -> Result<(), BinaryError> {
    let mut writer = Writer {
        package,
        out,
        at: 0,
        sums: String::new(),
    };
    writer.member("gpkg-1", b"")?;
    writer.member("metadata.tar.zst", &metadata(package, record)?)?;
    writer.image(store)?;
    let sums = std::mem::take(&mut writer.sums);
    writer.member("Manifest", sums.as_bytes())?;
    writer.out.write_all(&[0; 2 * BLOCK])?;
    Ok(writer.out.flush()?)
}

/// Length and hash of a binary package that is there.
pub fn digest(from: &mut impl Read) -> io::Result<Written> {
    let (mut sha1, mut size) = (Sha1::new(), 0);
    let mut block = vec![0; 1 << 18];
    loop {
        match from.read(&mut block)? {
            0 => break,
            n => {
                sha1.update(&block[..n]);
                size += n as u64;
            }
        }
    }
    Ok(Written {
        size,
        sha1: hex(&sha1.finalize()),
    })
}

/// The entry for the package database, as an archive.
fn metadata(package: &Built, record: &Record) -> Result<Vec<u8>, BinaryError> {
    let mut out = Encoder::new(Vec::new(), COMPRESSION, 1)?;
    for (name, content) in &record.0 {
        let size = content.len() as u64;
        out.write_all(&head("metadata", name, size, package.epoch)?)?;
        out.write_all(content)?;
        out.write_all(padding(size))?;
    }
    out.write_all(&[0; 2 * BLOCK])?;
    Ok(out.finish()?)
}

struct Writer<'a, W> {
    package: &'a Built,
    out: &'a mut W,
    /// Where the next member begins.
    at: u64,
    /// The lines of the list of hashes.
    sums: String,
}

impl<W: Write + Seek> Writer<'_, W> {
    fn member(&mut self, name: &str, content: &[u8]) -> Result<(), BinaryError> {
        let mut sums = Sums::new(&mut *self.out);
        sums.out.write_all(&head(
            &self.package.base_name(),
            name,
            content.len() as u64,
            self.package.epoch,
        )?)?;
        sums.write_all(content)?;
        let line = sums.line(name);
        self.end(content.len() as u64, &line)
    }

    /// The files of the package, as they come out of the store. Their size is known when they were written.
    fn image(&mut self, store: &Store) -> Result<(), BinaryError> {
        const NAME: &str = "image.tar.zst";
        let owners = owners(store, self.package)?;
        let root = || ("root".to_owned(), "root".to_owned());
        let within = Within {
            folder: "image",
            owner: &|path| owners.get(path).cloned().unwrap_or_else(root),
        };
        self.out.seek(SeekFrom::Start(self.at + BLOCK as u64))?;
        let mut sums = Sums::new(&mut *self.out);
        let image = image(store, self.package)?;
        let options = ExportOptions::new(COMPRESSION);
        store.export_tar_within(image, &mut sums, &options, &within)?;
        let (size, line) = (sums.size, sums.line(NAME));
        self.out.seek(SeekFrom::Start(self.at))?;
        self.out.write_all(&head(
            &self.package.base_name(),
            NAME,
            size,
            self.package.epoch,
        )?)?;
        self.out
            .seek(SeekFrom::Start(self.at + BLOCK as u64 + size))?;
        self.end(size, &line)
    }

    fn end(&mut self, size: u64, line: &str) -> Result<(), BinaryError> {
        if size > MOST {
            return Err(self
                .package
                .malformed("it is larger than a binary package can be"));
        }
        let padding = padding(size);
        self.out.write_all(padding)?;
        self.at += BLOCK as u64 + size + padding.len() as u64;
        self.sums.push_str(line);
        Ok(())
    }
}

/// The tree of the files of a package.
fn image(store: &Store, package: &Built) -> Result<TreeHash, BinaryError> {
    let image = store.subtree(package.tree, "image")?;
    let top = store.tree(image)?.dir;
    // Clients refuse the whole package, with less to say about it.
    no_devices(store, package, &store.manifest(top)?)?;
    Ok(image)
}

fn no_devices(store: &Store, package: &Built, top: &Manifest) -> Result<(), BinaryError> {
    let mut left: Vec<(String, Manifest)> = vec![(String::new(), top.clone())];
    while let Some((above, manifest)) = left.pop() {
        for entry in manifest.entries() {
            let path = format!("{above}/{}", String::from_utf8_lossy(&entry.name));
            match &entry.kind {
                Kind::Dir { manifest } => left.push((path, store.manifest(*manifest)?)),
                Kind::Char { .. } | Kind::Block { .. } => {
                    let what = format!("{path} is a device, which a binary package cannot have");
                    return Err(package.malformed(what));
                }
                _ => {}
            }
        }
    }
    Ok(())
}

/// Who owns files that are not root's, by name, as the build noted it.
fn owners(
    store: &Store,
    package: &Built,
) -> Result<HashMap<Vec<u8>, (String, String)>, BinaryError> {
    let hooks = folder(store, package, "hooks")?;
    let Some(Kind::File { blob, size }) = hooks.get(b"owners").map(|entry| &entry.kind) else {
        return Ok(HashMap::new());
    };
    if *size > super::MOST_BYTES {
        return Err(package.malformed("hooks/owners is more than is read"));
    }
    let noted: Vec<(String, String, String)> = serde_json::from_slice(&store.blob(*blob)?)
        .map_err(|error| package.malformed(format!("hooks/owners: {error}")))?;
    // A number stands for an owner who had no name.
    let name = |name: String| match name.bytes().all(|b| b.is_ascii_digit()) {
        true => String::new(),
        false => name,
    };
    let owners = noted.into_iter().map(|(path, user, group)| {
        let path = path.trim_start_matches('/').as_bytes().to_vec();
        (path, (name(user), name(group)))
    });
    Ok(owners.collect())
}

/// Counts and hashes what goes by.
struct Sums<W> {
    out: W,
    size: u64,
    blake2b: Blake2b512,
    sha512: Sha512,
}

impl<W: Write> Sums<W> {
    fn new(out: W) -> Sums<W> {
        Sums {
            out,
            size: 0,
            blake2b: Blake2b512::new(),
            sha512: Sha512::new(),
        }
    }

    fn line(self, name: &str) -> String {
        format!(
            "DATA {name} {} BLAKE2B {} SHA512 {}\n",
            self.size,
            hex(&self.blake2b.finalize()),
            hex(&self.sha512.finalize())
        )
    }
}

impl<W: Write> Write for Sums<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let n = self.out.write(bytes)?;
        self.blake2b.update(&bytes[..n]);
        self.sha512.update(&bytes[..n]);
        self.size += n as u64;
        Ok(n)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.out.flush()
    }
}

fn padding(size: u64) -> &'static [u8] {
    &[0; BLOCK][..(BLOCK - (size % BLOCK as u64) as usize) % BLOCK]
}

/// The head of a member of an archive: `folder/name`, a file of root's that all may read.
fn head(folder: &str, name: &str, size: u64, epoch: u64) -> io::Result<[u8; BLOCK]> {
    let mut head = [0; BLOCK];
    let put = |head: &mut [u8; BLOCK], at: usize, text: &str| {
        head[at..at + text.len()].copy_from_slice(text.as_bytes());
    };
    let path = format!("{folder}/{name}");
    match path.len() <= 100 {
        true => put(&mut head, 0, &path),
        false if name.len() <= 100 && folder.len() <= 155 => {
            put(&mut head, 0, name);
            put(&mut head, 345, folder);
        }
        false => return Err(io::Error::other(format!("{path}: the name is too long"))),
    }
    put(&mut head, 100, "0000644\0");
    put(&mut head, 108, "0000000\0");
    put(&mut head, 116, "0000000\0");
    put(&mut head, 124, &format!("{:011o}\0", size.min(MOST)));
    put(&mut head, 136, &format!("{:011o}\0", epoch.min(MOST)));
    put(&mut head, 148, "        ");
    put(&mut head, 156, "0");
    put(&mut head, 257, "ustar\x0000");
    put(&mut head, 265, "root");
    put(&mut head, 297, "root");
    let sum: u32 = head.iter().map(|byte| u32::from(*byte)).sum();
    put(&mut head, 148, &format!("{sum:06o}\0 "));
    Ok(head)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mstore_store::{Draft, OpenOptions};
    use std::io::Cursor;

    fn package(store: &Store, device: bool) -> Built {
        let mut draft = Draft::new();
        for (path, text) in [
            ("image/usr/share/a", "one"),
            ("image/var/spool/b", "two"),
            ("record/SLOT", "0/1\n"),
            ("record/BUILD_ID", "7\n"),
            ("record/COUNTER", "9"),
            ("record/CONTENTS", "obj /usr/share/a 00 7\n"),
            ("view/SLOT", "0/1\n"),
            ("hooks/owners", "[[\"/var/spool/b\",\"mail\",\"208\"]]\n"),
        ] {
            draft.text(path, text).unwrap();
        }
        if device {
            let mut entry = {
                let mut other = Draft::new();
                other.text("a", "").unwrap();
                let tree = store.weave(&[other]).unwrap()[0];
                store.entry(tree, "a").unwrap().unwrap()
            };
            entry.kind = Kind::Char { major: 1, minor: 3 };
            draft.entry("image/dev/null", entry).unwrap();
        }
        let tree = store.weave(&[draft]).unwrap()[0];
        Built::new("sys-libs", "zlib-1.3-r1", tree, 1_700_000_000).unwrap()
    }

    /// The members of an archive: name and content.
    fn members(mut bytes: &[u8]) -> Vec<(String, Vec<u8>)> {
        let text = |field: &[u8]| {
            let end = field.iter().position(|b| *b == 0).unwrap_or(field.len());
            String::from_utf8(field[..end].to_vec()).unwrap()
        };
        let mut found = Vec::new();
        while bytes.len() >= BLOCK && bytes[0] != 0 {
            let (head, rest) = bytes.split_at(BLOCK);
            let size = usize::from_str_radix(&text(&head[124..136]), 8).unwrap();
            let name = format!("{} {}", text(&head[..100]), text(&head[265..297]));
            found.push((name, rest[..size].to_vec()));
            bytes = &rest[size.next_multiple_of(BLOCK)..];
        }
        assert_eq!(bytes, [0; 2 * BLOCK], "the end");
        found
    }

    fn unpacked(member: &(String, Vec<u8>)) -> Vec<(String, Vec<u8>)> {
        members(&zstd::decode_all(&*member.1).unwrap())
    }

    #[test]
    fn a_package_has_what_portage_looks_for_and_is_always_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
        let zlib = package(&store, false);
        let record = Record::read(&store, &zlib).unwrap();
        assert_eq!(
            (record.value("SLOT"), record.value("BUILD_ID")),
            ("0/1".into(), "1".into())
        );
        let once = || {
            let mut out = Cursor::new(Vec::new());
            write(&store, &zlib, &record, &mut out).unwrap();
            out.into_inner()
        };
        let bytes = once();
        assert_eq!(bytes, once());
        let all = members(&bytes);
        let names: Vec<&str> = all.iter().map(|(name, _)| name.as_str()).collect();
        assert_eq!(
            names,
            [
                "zlib-1.3-r1-1/gpkg-1 root",
                "zlib-1.3-r1-1/metadata.tar.zst root",
                "zlib-1.3-r1-1/image.tar.zst root",
                "zlib-1.3-r1-1/Manifest root",
            ]
        );
        let sums: String = ["gpkg-1", "metadata.tar.zst", "image.tar.zst"]
            .iter()
            .zip(&all)
            .map(|(name, (_, content))| {
                let mut sums = Sums::new(io::sink());
                sums.write_all(content).unwrap();
                sums.line(name)
            })
            .collect();
        assert_eq!(String::from_utf8_lossy(&all[3].1), sums);
        let names = |member| -> Vec<String> {
            unpacked(member).into_iter().map(|(name, _)| name).collect()
        };
        assert_eq!(
            names(&all[1]),
            ["metadata/BUILD_ID root", "metadata/SLOT root"],
            "what is of a root stays out"
        );
        assert_eq!(
            names(&all[2]),
            [
                "image/ root",
                "image/usr/ root",
                "image/usr/share/ root",
                "image/usr/share/a root",
                "image/var/ root",
                "image/var/spool/ root",
                "image/var/spool/b mail",
            ]
        );
        assert_eq!(digest(&mut &*bytes).unwrap().size, bytes.len() as u64);
    }

    #[test]
    fn a_device_is_told_of() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
        let odd = package(&store, true);
        let record = Record::read(&store, &odd).unwrap();
        let error = write(&store, &odd, &record, &mut Cursor::new(Vec::new())).unwrap_err();
        insta::assert_snapshot!(
            error,
            @"sys-libs/zlib-1.3-r1: /dev/null is a device, which a binary package cannot have"
        );
    }

    #[test]
    fn long_names_fit_and_longer_ones_are_refused() {
        let long = "a".repeat(140);
        let fits = head(&long, "image.tar.zst", 7, 9).unwrap();
        assert_eq!(&fits[..13], b"image.tar.zst");
        assert_eq!(&fits[345..485], long.as_bytes());
        assert!(head(&"a".repeat(156), "image.tar.zst", 7, 9).is_err());
    }
}
