//! Formatting a specification leaves every value, every error and every collected file as it was.

use std::io;
use std::path::{Path, PathBuf};

use mstore_lang::fmt::format;
use mstore_lang::{Definition, DiskFiles, Files, Spec};

/// The files of the machine, formatted where they can be.
struct Formatted;

impl Files for Formatted {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let bytes = DiskFiles.read(path)?;
        // What is read with `<<` is not a specification, though it may look like one.
        let Ok(text) = std::str::from_utf8(&bytes) else {
            return Ok(bytes);
        };
        match format(text) {
            Ok(formatted) if path.extension().is_some_and(|e| e == "conf") => {
                let again = format(&formatted.text).expect("a formatted text parses");
                assert!(again.is_clean(), "{}", path.display());
                Ok(formatted.text.into_bytes())
            }
            _ => Ok(bytes),
        }
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        DiskFiles.is_file(path)
    }
}

/// All that a specification comes to, as text.
fn outcome(files: &dyn Files, entry: &Path, definitions: &[Definition]) -> Vec<String> {
    match Spec::load(files, entry, definitions) {
        Err(errors) => errors
            .all()
            .iter()
            .map(|error| format!("{} {}", error.class, error.message))
            .collect(),
        Ok(spec) => {
            let values = spec.evaluate_all().into_iter();
            let values = values.map(|(name, value)| match value {
                Ok(value) => format!("{name} {value:?}"),
                Err(error) => format!("{name} {} {error}", error.class()),
            });
            let collected = spec.collected().iter();
            values
                .chain(collected.map(|path| path.display().to_string()))
                .collect()
        }
    }
}

#[test]
fn the_conformance_corpus_keeps_its_values() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/conformance");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(corpus)
        .expect("the corpus can be read")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 183);
    for case in cases {
        let definitions: Vec<Definition> = match std::fs::read(case.join("args.json")) {
            Err(_) => Vec::new(),
            Ok(bytes) => {
                let args: std::collections::BTreeMap<String, String> =
                    serde_json::from_slice(&bytes).expect("JSON");
                args.into_iter()
                    .map(|(name, value)| Definition::new(name, value))
                    .collect()
            }
        };
        let entry = case.join("main.conf");
        let before = outcome(&DiskFiles, &entry, &definitions);
        let after = outcome(&Formatted, &entry, &definitions);
        assert_eq!(before, after, "{}", case.display());
    }
}
