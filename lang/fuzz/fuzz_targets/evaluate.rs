//! Any files load or fail, evaluate or fail; asking in another order changes nothing.
//!
//! The input is cut at NUL bytes: the main file, then files `1`, `2` and so on, which a collect can name.

#![no_main]

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use libfuzzer_sys::fuzz_target;
use mstore_lang::{Files, Limits, Spec};

struct Memory(BTreeMap<PathBuf, Vec<u8>>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.contains_key(path))
    }
}

fuzz_target!(|bytes: &[u8]| {
    let files = bytes.split(|byte| *byte == 0).enumerate();
    let memory = Memory(files.map(|(index, text)| (PathBuf::from(format!("/{index}")), text.to_vec())).collect());
    let limits = Limits { value: 1 << 12, ..Limits::default() };
    let load = || Spec::load_limited(&memory, Path::new("/0"), &[], &limits);
    let spec = match load() {
        Ok(spec) => spec,
        Err(errors) => {
            let _ = errors.render(false);
            return;
        }
    };
    let again = load().expect("it loaded before");
    for (name, found) in spec.evaluate_all().into_iter().rev() {
        match (found, again.evaluate(name)) {
            (Ok(one), Ok(other)) => assert_eq!(one, other),
            (Err(one), Err(other)) => {
                assert_eq!(one.class(), other.class());
                let _ = one.diagnostic.render(false);
            }
            (one, other) => panic!("{one:?} and {other:?}"),
        }
        let _ = spec.provenance(name).expect("it has a definition").render();
    }
});
