//! Any text may be the lock file or the configuration: it is read or refused. A lock file that was read
//! is the same when it was written and read again.
#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;
use mstore::config::Config;
use mstore::plan::lock::{Lock, Pin, PinKind};
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

const WORDS: [&str; 40] = [
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
