//! Shared parts of the targets: specifications cut out of one input.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

use mstore_lang::{Definition, Files, Limits, LoadErrors, Spec};

/// Where the files lie.
pub const ROOT: &str = "/spec";

/// A specification in memory.
#[derive(Debug, Default)]
pub struct Memory {
    /// The files by absolute path.
    pub files: BTreeMap<PathBuf, Vec<u8>>,
    /// Definitions from the command line.
    pub definitions: Vec<Definition>,
}

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let file = self.files.get(path);
        file.cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        Ok(self.files.contains_key(path))
    }
}

impl Memory {
    /// Cuts an input at NUL bytes: the main file, then other files, of which the first line is the name. A
    /// file named `=` has definitions of the command line, `NAME=VALUE`.
    pub fn new(input: &[u8]) -> Memory {
        let mut memory = Memory::default();
        for (index, part) in input.split(|byte| *byte == 0).enumerate() {
            let (name, text) = match index {
                0 => ("main.conf", part),
                _ => {
                    let end = part.iter().position(|byte| *byte == b'\n').unwrap_or(part.len());
                    let Ok(name) = std::str::from_utf8(&part[..end]) else {
                        continue;
                    };
                    (name, part.get(end + 1..).unwrap_or_default())
                }
            };
            if name == "=" {
                let text = String::from_utf8_lossy(text);
                let given = text.lines().filter_map(|line| line.split_once('='));
                memory.definitions = given.map(|(name, value)| Definition::new(name, value)).collect();
            } else {
                let path = Path::new(ROOT).join(name);
                // Only as a disk would name it: paths are compared by their parts.
                let parts: PathBuf = path.components().collect();
                if parts.as_os_str() == path.as_os_str() && path != Path::new(ROOT) && !name.contains("..") {
                    memory.files.insert(path, text.to_vec());
                }
            }
        }
        memory
    }

    /// The main file.
    pub fn entry(&self) -> PathBuf {
        Path::new(ROOT).join("main.conf")
    }

    /// Loads the specification; values may not get large.
    pub fn load(&self) -> Result<Spec, LoadErrors> {
        self.load_from(self)
    }

    /// Loads the specification from other files than these.
    pub fn load_from(&self, files: &dyn Files) -> Result<Spec, LoadErrors> {
        let limits = Limits { value: 1 << 14, ..Limits::default() };
        Spec::load_limited(files, &self.entry(), &self.definitions, &limits)
    }
}
