//! Shared parts of the fuzz targets: damage, and things to be damaged.

use std::path::{Path, PathBuf};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use mstore_store::manifest::{Entry, Kind};
use mstore_store::transfer::{Fact, Vouch};
use mstore_store::{BlobHash, DirHash, Hash, Manifest, Meta, Mtime, Realisation, RealisationKind, Tree, TreeHash};

/// One thing that happens to bytes. Places are taken modulo their number.
#[derive(Arbitrary, Clone, Debug)]
pub enum Damage {
    /// Bits are turned.
    Flip { at: u32, bits: u8 },
    /// A number is written, eight bytes long.
    Number { at: u32, to: u64 },
    /// Bytes of one place are written over another.
    Copy { from: u32, to: u32, len: u8 },
    /// Bytes go, and those behind move up.
    Drop { at: u32, len: u8 },
    /// Bytes come between.
    Insert { at: u32, bytes: Vec<u8> },
    /// The end is missing.
    Cut { to: u32 },
    /// A disk gave zeros.
    Zero { at: u32, len: u16 },
}

impl Damage {
    /// Whether a disk may do this. The others take somebody who means it.
    pub fn is_accident(&self) -> bool {
        matches!(
            self,
            Damage::Flip { .. } | Damage::Cut { .. } | Damage::Zero { .. }
        )
    }

    /// Does it.
    pub fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len();
        let place = |at: u32| at as usize % len.max(1);
        if len == 0 && !matches!(self, Damage::Insert { .. }) {
            return;
        }
        match self {
            Damage::Flip { at, bits } => bytes[place(*at)] ^= bits,
            Damage::Number { at, to } => {
                let at = place(*at);
                let end = len.min(at + 8);
                bytes[at..end].copy_from_slice(&to.to_le_bytes()[..end - at]);
            }
            Damage::Copy { from, to, len: n } => {
                let (from, to) = (place(*from), place(*to));
                let n = usize::from(*n).min(len - from).min(len - to);
                bytes.copy_within(from..from + n, to);
            }
            Damage::Drop { at, len: n } => {
                let at = place(*at);
                bytes.drain(at..len.min(at + usize::from(*n)));
            }
            Damage::Insert { at, bytes: new } => {
                let at = place(*at);
                bytes.splice(at..at, new.iter().copied());
            }
            Damage::Cut { to } => bytes.truncate(place(*to)),
            Damage::Zero { at, len: n } => {
                let at = place(*at);
                bytes[at..len.min(at + usize::from(*n))].fill(0);
            }
        }
    }
}

/// Does all of it, one after the other.
pub fn damage(bytes: &mut Vec<u8>, all: &[Damage]) {
    for one in all.iter().take(16) {
        one.apply(bytes);
    }
}

/// Bytes without any order, which nothing compresses.
pub fn noise(seed: u8, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&[seed]);
    hasher.finalize_xof().fill(&mut out);
    out
}

/// A folder of this process, in memory where `TMPDIR` says so.
pub fn folder(name: &str) -> PathBuf {
    let path = std::env::temp_dir().join(format!("mstore-fuzz-{name}-{}", std::process::id()));
    std::fs::create_dir_all(&path).expect("the temporary folder can be written to");
    path
}

/// Writes a file anew: an old one may still be mapped.
pub fn write(path: &Path, bytes: &[u8]) {
    let _ = std::fs::remove_file(path);
    std::fs::write(path, bytes).expect("the temporary folder can be written to");
}

fn meta(n: u8) -> Meta {
    Meta {
        mode: 0o644 | u16::from(n) << 4 & 0o7000,
        uid: u32::from(n) << 24,
        gid: u32::from(n),
        mtime: Mtime {
            secs: i64::from(n) - 100,
            nanos: u32::from(n) * 1_000_003,
        },
        xattrs: match n % 3 {
            0 => Vec::new(),
            _ => vec![(b"user.x".to_vec(), vec![n; usize::from(n % 9)])],
        },
    }
}

/// A directory of up to `count` entries of all kinds.
pub fn manifest(n: u8, count: u8) -> Manifest {
    let entries = (0..count).map(|at| {
        let n = n.wrapping_add(at);
        let hash = Hash::of(&[n]);
        Entry {
            name: [&[at / 26 + b'a', at % 26 + b'a'], &[n | 1; 3][..]]
                .concat()
                .into_iter()
                .filter(|b| *b != b'/')
                .collect(),
            meta: meta(n),
            kind: match n % 7 {
                0 => Kind::Dir {
                    manifest: DirHash(hash),
                },
                1 => Kind::Symlink {
                    target: vec![n; usize::from(n % 40) + 1],
                },
                2 => Kind::Char {
                    major: u32::from(n),
                    minor: u32::MAX,
                },
                3 => Kind::Block { major: 8, minor: 0 },
                4 => Kind::Fifo,
                5 => Kind::Socket,
                _ => Kind::File {
                    blob: BlobHash(hash),
                    size: u64::from(n) << 20,
                },
            },
        }
    });
    Manifest::new(entries.collect()).expect("names are unique, targets have no NUL")
}

/// A tree with some hard links.
pub fn tree(n: u8) -> Tree {
    let links = (0..n % 4)
        .map(|group| vec![vec![b'a' + group], vec![b'a' + group, b'/', b'x']])
        .collect();
    Tree {
        root: meta(n),
        dir: DirHash(Hash::of(&[n])),
        links: Tree::normal_links(links),
    }
}

/// A fact, with record and signatures or without.
pub fn fact(n: u8) -> Fact {
    Fact {
        realisation: Realisation {
            kind: [
                RealisationKind::Step,
                RealisationKind::Part,
                RealisationKind::Target,
            ][usize::from(n % 3)],
            key: Hash::of(&[n]),
            drv: Hash::of(&[n, 1]),
            name: "name:step".into(),
            tree: TreeHash(Hash::of(&[n, 2])),
            started: i64::from(n) << 24,
            seconds: f64::from(n) / 8.0,
            host: "host".into(),
            log: None,
        },
        signatures: (0..n % 4)
            .map(|at| Vouch {
                signer: format!("signer{at}"),
                bytes: [n; 64],
            })
            .collect(),
        record: (n % 2 == 0).then(|| vec![n; usize::from(n)]),
    }
}
