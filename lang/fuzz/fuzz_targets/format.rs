//! Formatting keeps every value and every error, and is done after one time.

#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use libfuzzer_sys::fuzz_target;
use mstore_lang::fmt::{format, unified};
use mstore_lang::{Files, LoadErrors, Spec};
use mstore_lang_fuzz::Memory;

/// Files, and how often each was read.
struct Counted<'a> {
    files: &'a BTreeMap<PathBuf, Vec<u8>>,
    reads: Mutex<BTreeMap<PathBuf, usize>>,
}

impl<'a> Counted<'a> {
    fn new(files: &'a BTreeMap<PathBuf, Vec<u8>>) -> Self {
        Counted { files, reads: Mutex::default() }
    }
}

impl Files for Counted<'_> {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        *self.reads.lock().expect("no panic").entry(path.to_owned()).or_default() += 1;
        let file = self.files.get(path);
        file.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files.contains_key(path))
    }
}

fn formatted(source: &[u8]) -> Option<String> {
    let text = std::str::from_utf8(source).ok()?;
    let once = format(text).ok()?;
    let again = format(&once.text).expect("a formatted text parses");
    assert_eq!(again.text, once.text, "from {text:?}");
    assert!(again.is_clean());
    assert_eq!(once.is_clean(), once.text == text);
    let _ = unified(text, &once.changes, "old", "new");
    Some(once.text)
}

/// A message without the numbers of lines, which formatting may change.
fn numberless(message: &str) -> String {
    let mut out = message.replace(|c: char| c.is_ascii_digit(), "#");
    while out.contains("##") {
        out = out.replace("##", "#");
    }
    out
}

fn outcome(loaded: Result<Spec, LoadErrors>) -> Vec<String> {
    match loaded {
        Err(errors) => {
            let errors = errors.all().iter();
            errors.map(|error| format!("{} {}", error.class, numberless(&error.message))).collect()
        }
        Ok(spec) => {
            let values = spec.evaluate_all().into_iter();
            let values = values.map(|(name, value)| match value {
                Ok(value) => format!("{name} {value:?}"),
                Err(error) => format!("{name} {} {}", error.class(), numberless(&error.to_string())),
            });
            values.collect()
        }
    }
}

fuzz_target!(|bytes: &[u8]| {
    let memory = Memory::new(bytes);
    let counted = Counted::new(&memory.files);
    let before = memory.load_from(&counted);
    // What is read as a value is not a specification, unless it is both.
    let specs = match &before {
        Ok(spec) => spec.collected().to_vec(),
        Err(_) => vec![memory.entry()],
    };
    let reads = counted.reads.lock().expect("no panic");
    let both = specs.iter().any(|path| reads.get(path).is_some_and(|count| *count > 1));
    let files = memory.files.iter().map(|(path, source)| {
        let text = formatted(source).filter(|_| specs.contains(path));
        (path.clone(), text.map_or_else(|| source.clone(), String::into_bytes))
    });
    let files = files.collect();
    if both {
        return;
    }
    let after = memory.load_from(&Counted::new(&files));
    assert_eq!(outcome(before), outcome(after));
});
