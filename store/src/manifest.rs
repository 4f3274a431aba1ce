//! Parts of a tree: metadata, entries, manifests (one directory each) and tree objects.

use serde::{Deserialize, Serialize};

use crate::codec::{self, Bytes, CodecError};
use crate::{BlobHash, DirHash, Hash, TreeHash};

/// Domain of manifest hashes.
pub const MANIFEST_CONTEXT: &str = "mstore 2026-11-20 manifest";
/// Domain of tree hashes.
pub const TREE_CONTEXT: &str = "mstore 2026-11-20 tree";
/// Directories may nest this deep.
pub const MAX_DEPTH: usize = 512;
/// Longest name of an entry, in bytes.
pub const MAX_NAME: usize = 255;
/// Longest target of a symbolic link, in bytes.
pub const MAX_TARGET: usize = 4095;
/// Most bytes that one entry's extended attributes may have together.
pub const MAX_XATTRS: usize = 1 << 20;
/// Largest encoded manifest or tree that is read.
pub const MAX_RECORD: usize = 1 << 30;

/// A modification time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Mtime {
    /// Whole seconds since 1970, rounded down.
    pub secs: i64,
    /// Nanoseconds after that, below 1,000,000,000.
    pub nanos: u32,
}

/// Metadata that every kind of entry has.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Meta {
    /// The 12 permission bits, setuid, setgid and sticky included.
    pub mode: u16,
    /// Owner.
    pub uid: u32,
    /// Group.
    pub gid: u32,
    /// Modification time.
    pub mtime: Mtime,
    /// Extended attributes (ACLs are among them), sorted by name.
    pub xattrs: Vec<(Vec<u8>, Vec<u8>)>,
}

impl Meta {
    /// Metadata of a directory that nobody described: root:root, 0755, 1970.
    pub fn plain_dir() -> Self {
        Meta {
            mode: 0o755,
            ..Meta::default()
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        if self.mode > 0o7777 {
            return Err(format!("mode has more than 12 bits: {:o}", self.mode));
        }
        if self.mtime.nanos > 999_999_999 {
            return Err(format!(
                "mtime has too many nanoseconds: {}",
                self.mtime.nanos
            ));
        }
        let mut size = 0;
        for (at, (name, value)) in self.xattrs.iter().enumerate() {
            size += name.len() + value.len();
            if name.is_empty() || name.len() > 255 || name.contains(&0) {
                return Err("extended attribute has no usable name".into());
            }
            if at > 0 && self.xattrs[at - 1].0 >= *name {
                return Err("extended attributes are not sorted".into());
            }
        }
        if size > MAX_XATTRS {
            return Err(format!("extended attributes have {size} bytes"));
        }
        Ok(())
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A regular file.
    File {
        /// Its content.
        blob: BlobHash,
        /// Length of the content in bytes.
        size: u64,
    },
    /// A directory.
    Dir {
        /// Its entries.
        manifest: DirHash,
    },
    /// A symbolic link.
    Symlink {
        /// Where it points, as written.
        target: Vec<u8>,
    },
    /// A character device.
    Char {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A block device.
    Block {
        /// Major number.
        major: u32,
        /// Minor number.
        minor: u32,
    },
    /// A named pipe.
    Fifo,
    /// A socket.
    Socket,
}

impl Kind {
    /// The word for messages and listings.
    pub fn word(&self) -> &'static str {
        match self {
            Kind::File { .. } => "file",
            Kind::Dir { .. } => "directory",
            Kind::Symlink { .. } => "symlink",
            Kind::Char { .. } => "character device",
            Kind::Block { .. } => "block device",
            Kind::Fifo => "fifo",
            Kind::Socket => "socket",
        }
    }

    pub(crate) fn check(&self) -> Result<(), String> {
        match self {
            Kind::Symlink { target }
                if target.is_empty() || target.len() > MAX_TARGET || target.contains(&0) =>
            {
                Err(format!(
                    "symlink target is empty, has a NUL or more than {MAX_TARGET} bytes"
                ))
            }
            _ => Ok(()),
        }
    }

    /// Tells whether this is a directory.
    pub fn is_dir(&self) -> bool {
        matches!(self, Kind::Dir { .. })
    }
}

/// One name in a directory.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Entry {
    /// The name: 1 to 255 bytes, no `/`, no NUL, not `.` or `..`.
    pub name: Vec<u8>,
    /// Its metadata.
    pub meta: Meta,
    /// What it is.
    pub kind: Kind,
}

/// Checks the name of an entry.
pub fn check_name(name: &[u8]) -> Result<(), String> {
    match name {
        b"" => Err("name is empty".into()),
        b"." | b".." => Err("name is a directory itself or its parent".into()),
        _ if name.len() > MAX_NAME => Err(format!("name is longer than {MAX_NAME} bytes")),
        _ if name.contains(&b'/') || name.contains(&0) => Err("name has a / or NUL in it".into()),
        _ => Ok(()),
    }
}

impl Entry {
    fn check(&self) -> Result<(), String> {
        check_name(&self.name)?;
        self.meta.check()?;
        self.kind.check()
    }
}

/// The entries of one directory, sorted by the bytes of their names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    entries: Vec<Entry>,
}

/// Entries that make no manifest, or metadata that makes no tree.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}: {reason}", String::from_utf8_lossy(name))]
pub struct ShapeError {
    /// Name of the entry at fault; empty for the root.
    pub name: Vec<u8>,
    /// What is wrong with it.
    pub reason: String,
}

impl Manifest {
    /// Sorts and checks entries. Two of one name are refused.
    pub fn new(mut entries: Vec<Entry>) -> Result<Self, ShapeError> {
        entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let manifest = Manifest { entries };
        manifest.check()?;
        Ok(manifest)
    }

    fn check(&self) -> Result<(), ShapeError> {
        for (at, entry) in self.entries.iter().enumerate() {
            let refuse = |reason| ShapeError {
                name: entry.name.clone(),
                reason,
            };
            entry.check().map_err(refuse)?;
            if at > 0 && self.entries[at - 1].name >= entry.name {
                return Err(refuse("names are not sorted and unique".into()));
            }
        }
        Ok(())
    }

    /// The entries, sorted by name.
    pub fn entries(&self) -> &[Entry] {
        &self.entries
    }

    /// Gives the entries away.
    pub fn into_entries(self) -> Vec<Entry> {
        self.entries
    }

    /// Finds an entry by name.
    pub fn get(&self, name: &[u8]) -> Option<&Entry> {
        let at = self
            .entries
            .binary_search_by(|e| e.name.as_slice().cmp(name));
        at.ok().map(|at| &self.entries[at])
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&(
            FORMAT,
            self.entries.iter().map(WireEntry::from).collect::<Vec<_>>(),
        ))
    }

    /// Reads the canonical encoding, and checks all that a manifest promises.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        let (format, wire): (u32, Vec<WireEntry>) = codec::decode(bytes, MAX_RECORD)?;
        check_format(format)?;
        let entries = wire
            .into_iter()
            .map(Entry::try_from)
            .collect::<Result<_, _>>();
        let manifest = Manifest {
            entries: entries.map_err(|detail| CodecError::Malformed { detail })?,
        };
        manifest.check().map_err(|error| CodecError::Malformed {
            detail: error.to_string(),
        })?;
        Ok(manifest)
    }

    /// The name of an encoded manifest.
    pub fn hash_encoded(bytes: &[u8]) -> DirHash {
        DirHash(Hash::derive(MANIFEST_CONTEXT, bytes))
    }
}

/// A whole tree: the root directory's own metadata, its entries, and which paths are one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tree {
    /// Metadata of the root directory itself.
    pub root: Meta,
    /// Entries of the root directory.
    pub dir: DirHash,
    /// Hard links: sorted groups of two or more sorted paths (`a/b`, no leading `/`) that are one
    /// file. Every member of a group also has the full entry in its manifest.
    pub links: Vec<Vec<Vec<u8>>>,
}

impl Tree {
    /// Brings groups of hard links into their one order; groups of one are dropped.
    pub fn normal_links(mut links: Vec<Vec<Vec<u8>>>) -> Vec<Vec<Vec<u8>>> {
        for group in &mut links {
            group.sort_unstable();
            group.dedup();
        }
        links.retain(|group| group.len() > 1);
        links.sort_unstable();
        links
    }

    fn check(&self) -> Result<(), String> {
        self.root.check()?;
        let mut seen = std::collections::BTreeSet::new();
        for (at, group) in self.links.iter().enumerate() {
            if group.len() < 2 || !group.is_sorted_by(|a, b| a < b) {
                return Err("hard-link group is not sorted or has fewer than two paths".into());
            }
            if at > 0 && self.links[at - 1] >= *group {
                return Err("hard-link groups are not sorted".into());
            }
            for path in group {
                for name in path.split(|b| *b == b'/') {
                    check_name(name)?;
                }
                if !seen.insert(path) {
                    return Err("path is in two hard-link groups".into());
                }
            }
        }
        Ok(())
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let links: Vec<Vec<Bytes>> = self
            .links
            .iter()
            .map(|group| group.iter().map(|path| Bytes(path.clone())).collect())
            .collect();
        codec::encode(&(FORMAT, WireMeta::from(&self.root), self.dir, links))
    }

    /// Reads the canonical encoding, and checks all that a tree object promises by itself.
    pub fn decode(bytes: &[u8]) -> Result<Self, CodecError> {
        type Wire = (u32, WireMeta, DirHash, Vec<Vec<Bytes>>);
        let (format, root, dir, links): Wire = codec::decode(bytes, MAX_RECORD)?;
        check_format(format)?;
        let tree = Tree {
            root: root.into(),
            dir,
            links: links
                .into_iter()
                .map(|group| group.into_iter().map(|path| path.0).collect())
                .collect(),
        };
        tree.check()
            .map_err(|detail| CodecError::Malformed { detail })?;
        Ok(tree)
    }

    /// The name of an encoded tree.
    pub fn hash_encoded(bytes: &[u8]) -> TreeHash {
        TreeHash(Hash::derive(TREE_CONTEXT, bytes))
    }
}

/// Format number at the head of both records.
const FORMAT: u32 = 1;

fn check_format(format: u32) -> Result<(), CodecError> {
    if format == FORMAT {
        return Ok(());
    }
    Err(CodecError::Malformed {
        detail: format!("record has format {format}, this release knows {FORMAT}"),
    })
}

/// mode, uid, gid, seconds, nanoseconds, attributes.
#[derive(Serialize, Deserialize)]
struct WireMeta(u16, u32, u32, i64, u32, Vec<(Bytes, Bytes)>);

impl From<&Meta> for WireMeta {
    fn from(m: &Meta) -> Self {
        let xattrs = m
            .xattrs
            .iter()
            .map(|(name, value)| (Bytes(name.clone()), Bytes(value.clone())))
            .collect();
        WireMeta(m.mode, m.uid, m.gid, m.mtime.secs, m.mtime.nanos, xattrs)
    }
}

impl From<WireMeta> for Meta {
    fn from(w: WireMeta) -> Self {
        Meta {
            mode: w.0,
            uid: w.1,
            gid: w.2,
            mtime: Mtime {
                secs: w.3,
                nanos: w.4,
            },
            xattrs: w.5.into_iter().map(|(n, v)| (n.0, v.0)).collect(),
        }
    }
}

/// name, kind number, bytes of the kind, number of the kind, metadata.
#[derive(Serialize, Deserialize)]
struct WireEntry(Bytes, u8, Bytes, u64, WireMeta);

const FILE: u8 = 1;
const DIR: u8 = 2;
const SYMLINK: u8 = 3;
const CHAR: u8 = 4;
const BLOCK: u8 = 5;
const FIFO: u8 = 6;
const SOCKET: u8 = 7;

impl From<&Entry> for WireEntry {
    fn from(e: &Entry) -> Self {
        let device = |major: u32, minor: u32| u64::from(major) << 32 | u64::from(minor);
        let (kind, bytes, number) = match &e.kind {
            Kind::File { blob, size } => (FILE, blob.0.as_bytes().to_vec(), *size),
            Kind::Dir { manifest } => (DIR, manifest.0.as_bytes().to_vec(), 0),
            Kind::Symlink { target } => (SYMLINK, target.clone(), 0),
            Kind::Char { major, minor } => (CHAR, Vec::new(), device(*major, *minor)),
            Kind::Block { major, minor } => (BLOCK, Vec::new(), device(*major, *minor)),
            Kind::Fifo => (FIFO, Vec::new(), 0),
            Kind::Socket => (SOCKET, Vec::new(), 0),
        };
        WireEntry(
            Bytes(e.name.clone()),
            kind,
            Bytes(bytes),
            number,
            WireMeta::from(&e.meta),
        )
    }
}

impl TryFrom<WireEntry> for Entry {
    type Error = String;

    fn try_from(w: WireEntry) -> Result<Self, String> {
        let WireEntry(name, kind, Bytes(bytes), number, meta) = w;
        let hash = || Hash::from_slice(&bytes).ok_or("hash has not 32 bytes".to_string());
        let (major, minor) = ((number >> 32) as u32, number as u32);
        let (uses_bytes, uses_number) = match kind {
            FILE => (true, true),
            DIR | SYMLINK => (true, false),
            CHAR | BLOCK => (false, true),
            _ => (false, false),
        };
        if (!uses_bytes && !bytes.is_empty()) || (!uses_number && number != 0) {
            return Err("entry has fields that its kind does not use".into());
        }
        let kind = match kind {
            FILE => Kind::File {
                blob: BlobHash(hash()?),
                size: number,
            },
            DIR => Kind::Dir {
                manifest: DirHash(hash()?),
            },
            SYMLINK => Kind::Symlink { target: bytes },
            CHAR => Kind::Char { major, minor },
            BLOCK => Kind::Block { major, minor },
            FIFO => Kind::Fifo,
            SOCKET => Kind::Socket,
            other => return Err(format!("entry is of unknown kind {other}")),
        };
        Ok(Entry {
            name: name.0,
            meta: meta.into(),
            kind,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Manifest {
        let meta = Meta {
            mode: 0o4755,
            uid: 7,
            gid: 1_000_000,
            mtime: Mtime {
                secs: -5,
                nanos: 999_999_999,
            },
            xattrs: vec![
                (b"user.a".to_vec(), vec![0, 1]),
                (b"user.b".to_vec(), vec![]),
            ],
        };
        let entry = |name: &str, kind| Entry {
            name: name.into(),
            meta: meta.clone(),
            kind,
        };
        Manifest::new(vec![
            entry("z", Kind::Fifo),
            entry(
                "f",
                Kind::File {
                    blob: BlobHash(Hash::of(b"x")),
                    size: 1,
                },
            ),
            entry(
                "d",
                Kind::Dir {
                    manifest: DirHash(Hash::of(b"d")),
                },
            ),
            entry(
                "l",
                Kind::Symlink {
                    target: b"../x".to_vec(),
                },
            ),
            entry("c", Kind::Char { major: 1, minor: 3 }),
            entry(
                "b",
                Kind::Block {
                    major: u32::MAX,
                    minor: u32::MAX,
                },
            ),
            entry("s", Kind::Socket),
        ])
        .unwrap()
    }

    #[test]
    fn manifest_round_trips() {
        let bytes = sample().encode();
        assert_eq!(Manifest::decode(&bytes).unwrap(), sample());
        for end in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..end]).is_err());
        }
    }

    #[test]
    fn every_changed_byte_changes_the_hash_or_is_refused() {
        let bytes = sample().encode();
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x41;
            if let Ok(other) = Manifest::decode(&bad) {
                assert_eq!(other.encode(), bad);
                assert_ne!(Manifest::hash_encoded(&bad), Manifest::hash_encoded(&bytes));
            }
        }
    }

    #[test]
    fn bad_shapes_are_refused() {
        let entry = |name: &[u8]| Entry {
            name: name.into(),
            meta: Meta::default(),
            kind: Kind::Fifo,
        };
        for name in [&b""[..], b".", b"..", b"a/b", b"a\0b", &[b'x'; 256]] {
            assert!(Manifest::new(vec![entry(name)]).is_err());
        }
        assert!(Manifest::new(vec![entry(b"a"), entry(b"a")]).is_err());
        let mut many = entry(b"a");
        many.meta.mode = 0o10000;
        assert!(Manifest::new(vec![many]).is_err());
    }

    #[test]
    fn tree_round_trips_and_refuses_disorder() {
        let tree = Tree {
            root: Meta::plain_dir(),
            dir: DirHash(Hash::of(b"d")),
            links: Tree::normal_links(vec![
                vec![b"z".to_vec(), b"a/b".to_vec()],
                vec![b"c".to_vec()],
            ]),
        };
        assert_eq!(tree.links, vec![vec![b"a/b".to_vec(), b"z".to_vec()]]);
        assert_eq!(Tree::decode(&tree.encode()).unwrap(), tree);
        let mut bad = tree.clone();
        bad.links[0].reverse();
        assert!(Tree::decode(&bad.encode()).is_err());
        let mut bad = tree.clone();
        bad.links[0][0] = b"../b".to_vec();
        assert!(Tree::decode(&bad.encode()).is_err());
        let mut bad = tree;
        bad.links.push(vec![b"q".to_vec(), b"z".to_vec()]);
        assert!(Tree::decode(&bad.encode()).is_err());
    }
}
