//! Every case of the conformance corpus means the same to the naive evaluator.

mod naive;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

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
    assert!(cases.len() >= 183);
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
