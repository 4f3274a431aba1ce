//! Every case of the conformance corpus means the same to the naive evaluator.

mod common;
mod naive;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use common::Memory;
use mstore_lang::{Definition, DiskFiles};

fn files(dir: &Path, found: &mut BTreeMap<String, Vec<u8>>) {
    for entry in std::fs::read_dir(dir).expect("readable") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            files(&path, found);
        } else if let (Some(name), Ok(bytes)) = (path.to_str(), std::fs::read(&path)) {
            found.insert(name.to_owned(), bytes);
        }
    }
}

/// Specifications that the two evaluators once took for different things.
#[test]
fn old_disagreements_are_settled() {
    let collected_for_want_of_t = [
        ("main.conf", "[section t]\n[collect ./f-$[?].conf]\n"),
        ("f-no.conf", "[section t]\n: \n: \n"),
    ];
    let memory = Memory::new(&collected_for_want_of_t);
    let disk = memory.0.iter();
    let disk = disk.map(|(path, text)| (path.display().to_string(), text.clone()));
    let compared = naive::compare::compare(&memory, disk.collect(), "/spec/main.conf", &[]);
    assert_eq!(compared, Ok(()));
}

#[test]
fn the_conformance_corpus_means_the_same() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
    let corpus = corpus.canonicalize().expect("the corpus is there");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(corpus)
        .expect("the corpus can be read")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 184);
    let mut wrong = Vec::new();
    for case in cases {
        let mut disk = BTreeMap::new();
        files(&case, &mut disk);
        let definitions: Vec<Definition> = match std::fs::read(case.join("args.json")) {
            Err(_) => Vec::new(),
            Ok(bytes) => {
                let args: BTreeMap<String, String> = serde_json::from_slice(&bytes).expect("JSON");
                let fill = |text: &str| text.replace("@CASE@", case.to_str().expect("UTF-8"));
                args.iter()
                    .map(|(name, value)| Definition::new(name, fill(value)))
                    .collect()
            }
        };
        let entry = case.join("main.conf");
        let entry = entry.to_str().expect("UTF-8");
        if let Err(why) = naive::compare::compare(&DiskFiles, disk, entry, &definitions) {
            wrong.push(format!("{}: {why}", case.display()));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
