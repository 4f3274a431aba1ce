//! The skeleton of a seed, made and not taken: directories and the smallest possible `/etc`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use super::Item;

const DIRS: &[(&str, u16)] = &[
    ("dev", 0o755),
    ("etc", 0o755),
    ("home", 0o755),
    ("mnt", 0o755),
    ("proc", 0o755),
    ("root", 0o700),
    ("run", 0o755),
    ("sys", 0o755),
    ("tmp", 0o1777),
    ("usr", 0o755),
    ("usr/bin", 0o755),
    ("usr/lib", 0o755),
    ("var", 0o755),
    ("var/cache", 0o755),
    ("var/db", 0o755),
    ("var/lib", 0o755),
    ("var/log", 0o755),
    ("var/tmp", 0o1777),
];

const FILES: &[(&str, &str)] = &[
    (
        "etc/passwd",
        "root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534:nobody:/:/bin/false\n",
    ),
    ("etc/group", "root:x:0:\ntty:x:5:\nnogroup:x:65534:\n"),
    ("etc/hosts", "127.0.0.1 localhost\n::1 localhost\n"),
    (
        "etc/nsswitch.conf",
        "passwd: files\ngroup: files\nhosts: files\n",
    ),
];

/// The entries, by path without a leading `/`.
pub fn items() -> BTreeMap<PathBuf, Item> {
    let dirs = DIRS
        .iter()
        .map(|(path, mode)| (PathBuf::from(path), Item::Dir { mode: *mode }));
    let files = FILES.iter().map(|(path, content)| {
        (
            PathBuf::from(path),
            Item::Text {
                content: (*content).to_owned(),
            },
        )
    });
    dirs.chain(files).collect()
}
