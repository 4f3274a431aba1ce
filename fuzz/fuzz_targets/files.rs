//! Any text may be the lock file, the configuration, a Manifest of Portage or an address: it is read or
//! refused. A lock file that was read is the same when it was written and read again.
#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore::config::Config;
use mstore::drv::fetch::{Address, is_file_name};
use mstore::plan::lock::Lock;
use mstore::plan::manifest;
use mstore::plan::{Pin, PinKind};
use mstore_lang::Files;
use mstore_store::{Hash, TreeHash};

#[derive(Arbitrary, Debug)]
enum Part {
    Bytes(Vec<u8>),
    Word(u8),
    Number(u64),
    Tree(u8),
}

#[derive(Arbitrary, Debug)]
enum Input {
    Lock(Vec<Part>),
    Config(Vec<Part>),
    Manifest(Vec<Part>),
    Address(Vec<Part>, Vec<Part>),
    Pins(
        Vec<(
            bool,
            String,
            u8,
            Option<String>,
            Option<i64>,
            Option<String>,
        )>,
    ),
}

const WORDS: [&str; 55] = [
    "\n",
    ": ",
    "[section ",
    "]\n",
    "seed/",
    "snapshot/",
    "a",
    "a/b",
    "/tree",
    "/date",
    "/epoch",
    "/origin",
    "tree: ",
    "date: ",
    "epoch: ",
    "origin: ",
    "2026-11-20",
    "$[",
    "]",
    "#",
    "[collect ",
    "<<",
    "gc/keep: ",
    "gc/max-size: ",
    "gc/roots: ",
    "caches: ",
    "cache/a/url: ",
    "cache/a/timeout: ",
    "cache/a/ca-file: ",
    "trust/keys: ",
    "trust/need: ",
    "sign/key: ",
    "gc/keep-days: ",
    "KiB",
    "G",
    "5",
    "ssh://host",
    "key:AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=",
    "[\n",
    "\n]\n",
    "url: ",
    "hash: ",
    "branch: ",
    "commit: ",
    "https://",
    "git+https://h/a",
    "file:///",
    "..",
    "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "0123456789abcdef0123456789abcdef01234567",
    "DIST a.tar 5 ",
    "BLAKE2B ",
    "SHA256 e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855 ",
    "-----BEGIN PGP SIGNED MESSAGE-----\n",
    "-----END PGP SIGNATURE-----\n",
];

fn text(parts: &[Part]) -> Vec<u8> {
    let mut out = Vec::new();
    for part in parts.iter().take(200) {
        match part {
            Part::Bytes(bytes) => out.extend(bytes),
            Part::Word(n) => out.extend(WORDS[usize::from(*n) % WORDS.len()].as_bytes()),
            Part::Number(n) => out.extend(n.to_string().into_bytes()),
            Part::Tree(n) => out.extend(TreeHash(Hash::of(&[*n])).to_string().into_bytes()),
        }
    }
    out
}

struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0
            .get(path)
            .cloned()
            .ok_or(io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.contains_key(path))
    }
}

fn memory(bytes: Vec<u8>) -> (Memory, &'static Path) {
    let path = Path::new("/folder/file");
    (Memory(BTreeMap::from([(path.to_owned(), bytes)])), path)
}

fn again(lock: &Lock) {
    let (files, path) = memory(lock.text().into_bytes());
    let read = Lock::read(&files, path).expect("what was written can be read");
    assert!(read.pins().eq(lock.pins()), "{:?}", lock.text());
}

fuzz_target!(|input: Input| {
    match input {
        Input::Lock(parts) => {
            let (files, path) = memory(text(&parts));
            match Lock::read(&files, path) {
                Ok(lock) => {
                    again(&lock);
                    assert_eq!(lock.roots().len(), lock.pins().count());
                }
                Err(error) => drop(error.to_string()),
            }
        }
        Input::Config(parts) => {
            let (files, path) = memory(text(&parts));
            match Config::read(&files, path) {
                Ok(config) => assert!(config.trust.need >= 1),
                Err(error) => drop(error.to_string()),
            }
        }
        Input::Manifest(parts) => match manifest::read(&text(&parts)) {
            Ok(dists) => {
                for (name, dist) in dists {
                    assert!(is_file_name(&name) && !dist.digests.is_empty());
                }
            }
            Err(error) => drop(error.to_string()),
        },
        Input::Address(parts, to) => {
            let text = |parts: &[Part]| String::from_utf8_lossy(&text(parts)).into_owned();
            if let Ok(Address::Http(from)) = text(&parts).parse()
                && let Ok(next) = from.redirect(&text(&to))
            {
                assert!(next.secure || !from.secure);
                assert_eq!(next.to_string().parse(), Ok(Address::Http(next)));
            }
        }
        Input::Pins(pins) => {
            let mut lock = Lock::in_memory();
            for (seed, name, tree, date, epoch, origin) in pins.into_iter().take(20) {
                let kind = if seed {
                    PinKind::Seed
                } else {
                    PinKind::Snapshot
                };
                let pin = Pin {
                    epoch: epoch.filter(|epoch| *epoch >= 0),
                    origin,
                    ..Pin::new(TreeHash(Hash::of(&[tree])), date)
                };
                // Names and dates that the file could not express are refused.
                let _ = lock.set(kind, &name, pin);
            }
            again(&lock);
        }
    }
});
