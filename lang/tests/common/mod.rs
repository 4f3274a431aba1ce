//! Specifications that live in memory.

#![allow(dead_code)] // Each test binary uses a part of it.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use mstore_lang::{Definition, Files, LoadErrors, Spec};

/// Files by absolute path.
#[derive(Clone, Debug, Default)]
pub struct Memory(pub BTreeMap<PathBuf, Vec<u8>>);

impl Memory {
    /// Files in `/spec`, unless their names are absolute.
    pub fn new<T: AsRef<[u8]>>(files: &[(&str, T)]) -> Memory {
        let path = |name: &str| Path::new("/spec").join(name);
        Memory(
            files
                .iter()
                .map(|(name, text)| (path(name), text.as_ref().to_vec()))
                .collect(),
        )
    }

    pub fn load(&self, definitions: &[(&str, &str)]) -> Result<Spec, LoadErrors> {
        let definitions: Vec<Definition> = definitions
            .iter()
            .map(|(name, value)| Definition::new(*name, *value))
            .collect();
        Spec::load(self, Path::new("/spec/main.conf"), &definitions)
    }
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0
            .get(path)
            .cloned()
            .ok_or_else(|| io::Error::from(io::ErrorKind::NotFound))
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.contains_key(path))
    }
}

/// Loads one file.
pub fn one(text: &str) -> Result<Spec, LoadErrors> {
    Memory::new(&[("main.conf", text)]).load(&[])
}
