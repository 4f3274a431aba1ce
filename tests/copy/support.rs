//! Shared parts of the tests of copies: a small distribution, servers, counters.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use mstore_store::{ImportOptions, OpenOptions, Store, TreeHash};

/// A folder with files of several kinds; `seed` makes its contents its own.
pub fn sample(folder: &Path, seed: u64) {
    for at in 0..30u64 {
        let dir = folder.join(format!("d{}/e{}", at % 5, at % 3));
        fs::create_dir_all(&dir).unwrap();
        fs::write(dir.join(format!("f{at}")), noise(seed + at, 20_000)).unwrap();
        fs::write(dir.join("text"), "the same words\n".repeat(100)).unwrap();
    }
    fs::write(folder.join("large"), noise(seed + 1000, 6 << 20)).unwrap();
}

/// Bytes that do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// Imports a sample into the store in `path`.
pub fn import(path: &Path, seed: u64) -> TreeHash {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path(), seed);
    let store = Store::open(path, &OpenOptions::create()).unwrap();
    let tree = store
        .import_dir(dir.path(), &ImportOptions::snapshot())
        .unwrap()
        .tree;
    store.add_root("sample", tree).unwrap();
    tree
}

/// Whether a store has a tree.
pub fn has(path: &Path, tree: TreeHash) -> bool {
    let store = Store::open(path, &OpenOptions::read_only()).unwrap();
    store.has_tree(tree).unwrap()
}

/// Finds a program, also where only administrators look.
pub fn program(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.map(|f| f.join(name)).find(|p| p.is_file())
}

/// Says why a test does nothing.
pub fn skip(test: &str, lacking: &str) {
    println!("skipped: {test}: {lacking} is not installed");
}

/// Runs a program that must succeed.
pub fn must(command: &mut Command) -> String {
    let output = command.output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// One number of a line of JSON.
pub fn number(json: &str, field: &str) -> u64 {
    let value: serde_json::Value = serde_json::from_str(json).unwrap();
    value[field]
        .as_u64()
        .unwrap_or_else(|| panic!("{field} in {json}"))
}
