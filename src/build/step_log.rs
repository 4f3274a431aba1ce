//! The log of one step: a bounded file, and lines for whoever watches.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use mstore_store::{Store, Write};

use super::log::BoundedLog;

/// How many last lines are kept for the message about a failure.
const TAIL_LINES: usize = 20;
/// Longest line that is passed on, in bytes; the rest of it only goes to the file.
const LINE_LIMIT: usize = 4096;
/// Attempts at one step that began in one second; more than that is a folder that cannot be written to.
const MOST_AT_ONCE: u32 = 100_000;

/// The log could not be written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write the log {}: {source}", path.display())]
pub struct StepLogError {
    /// The file.
    pub path: PathBuf,
    /// What the system says.
    #[source]
    pub source: std::io::Error,
}

/// A log that is being written.
pub struct StepLog {
    name: String,
    path: PathBuf,
    file: BoundedLog<File>,
    line: Vec<u8>,
    tail: VecDeque<String>,
}

/// The newest log of the step `name`.
pub fn newest(store: &Store, name: &str) -> Result<Option<PathBuf>, StepLogError> {
    let folder = store.logs_dir();
    let failed = |source| StepLogError {
        path: folder.clone(),
        source,
    };
    let entries = match fs::read_dir(&folder) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(failed)?,
    };
    let stem = flat(name);
    let mut best: Option<((i64, u32), PathBuf)> = None;
    for entry in entries {
        let entry = entry.map_err(failed)?;
        let file = entry.file_name();
        let began = file
            .to_str()
            .and_then(|f| {
                f.strip_prefix(&stem)?
                    .strip_prefix('.')?
                    .strip_suffix(".log")
            })
            .and_then(began_at);
        if let Some(began) = began
            && best.as_ref().is_none_or(|(b, _)| *b < began)
        {
            best = Some((began, entry.path()));
        }
    }
    Ok(best.map(|(_, path)| path))
}

/// The file name of the log of the step `name` that began at the second `began`, after `before` others
/// that did.
fn file_name(name: &str, began: i64, before: u32) -> String {
    match before {
        0 => format!("{}.{began}.log", flat(name)),
        n => format!("{}.{began}-{n}.log", flat(name)),
    }
}

/// The second and the number of that part of a file name which tells attempts apart.
fn began_at(part: &str) -> Option<(i64, u32)> {
    match part.split_once('-') {
        Some((began, before)) => Some((began.parse().ok()?, before.parse().ok()?)),
        None => Some((part.parse().ok()?, 0)),
    }
}

/// Makes the file of a log, which must not be there yet, as a link neither: nobody but its owner writes to it
/// whatever the umask, and a link in the place of its folder is not followed.
fn make(store: &Store, path: &Path) -> std::io::Result<File> {
    store.inside().make_folder(&store.logs_dir(), 0o750)?;
    store.inside().write(path, Write::New, 0o640)
}

fn flat(name: &str) -> String {
    name.chars()
        .map(|c| {
            if c.is_ascii_alphanumeric() || "-_.+".contains(c) {
                c
            } else {
                '.'
            }
        })
        .take(180)
        .collect()
}

impl StepLog {
    /// Starts the log of the step `name` that began at the second `began`, in a file of its own.
    pub fn create(store: &Store, name: &str, began: i64) -> Result<StepLog, StepLogError> {
        let folder = store.logs_dir();
        let mut before = 0;
        loop {
            let file_name = file_name(name, began, before);
            let path = folder.join(&file_name);
            match make(store, &path) {
                Ok(file) => {
                    return Ok(StepLog {
                        name: file_name,
                        path,
                        file: BoundedLog::new(file),
                        line: Vec::new(),
                        tail: VecDeque::new(),
                    });
                }
                Err(e) if e.kind() == ErrorKind::AlreadyExists && before < MOST_AT_ONCE => {
                    before += 1
                }
                Err(source) => return Err(StepLogError { path, source }),
            }
        }
    }

    /// Its file name in the store's folder of logs.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes what the step wrote and passes whole lines on.
    pub fn write(&mut self, bytes: &[u8], output: &mut dyn FnMut(&str)) {
        self.file.push(bytes);
        for &byte in bytes {
            if byte == b'\n' {
                self.end_line(output);
            } else if self.line.len() < LINE_LIMIT {
                self.line.push(byte);
            }
        }
    }

    /// Adds a line of our own, behind what the step wrote. Gives the bytes that were added.
    pub fn say(&mut self, text: &str, output: &mut dyn FnMut(&str)) -> Vec<u8> {
        let begun = match self.line.is_empty() {
            true => "",
            false => "\n",
        };
        let added = format!("{begun}{text}\n").into_bytes();
        self.write(&added, output);
        added
    }

    fn end_line(&mut self, output: &mut dyn FnMut(&str)) {
        let line = String::from_utf8_lossy(&self.line).into_owned();
        self.line.clear();
        output(&line);
        if self.tail.len() == TAIL_LINES {
            self.tail.pop_front();
        }
        self.tail.push_back(line);
    }

    /// Ends the log: its file name, its path and its last lines.
    pub fn finish(
        mut self,
        output: &mut dyn FnMut(&str),
    ) -> Result<(String, PathBuf, Vec<String>), StepLogError> {
        if !self.line.is_empty() {
            self.end_line(output);
        }
        match self.file.finish() {
            Ok(_) => Ok((self.name, self.path, self.tail.into())),
            Err(source) => Err(StepLogError {
                path: self.path,
                source,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_for_its_owner_to_write_and_no_link_is_followed() {
        use std::os::unix::fs::{PermissionsExt, symlink};
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &mstore_store::OpenOptions::create()).unwrap();
        let path = store.logs_dir().join("step.7.log");
        drop(make(&store, &path).unwrap());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0);
        let elsewhere = dir.path().join("elsewhere");
        let link = store.logs_dir().join("link");
        fs::create_dir(&elsewhere).unwrap();
        fs::write(elsewhere.join("step.7.log"), "kept").unwrap();
        symlink(elsewhere.join("step.7.log"), &link).unwrap();
        assert!(make(&store, &link).is_err() && make(&store, &path).is_err());
        // Nor when the folder is swapped for a link after the store was opened, and looked at.
        fs::rename(store.logs_dir(), dir.path().join("aside")).unwrap();
        symlink(&elsewhere, store.logs_dir()).unwrap();
        for name in ["step.7.log", "new"] {
            let error = make(&store, &store.logs_dir().join(name)).unwrap_err();
            assert!(error.to_string().contains("symbolic link"), "{error}");
        }
        assert_eq!(fs::read(elsewhere.join("step.7.log")).unwrap(), b"kept");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    }

    #[test]
    fn names_stay_within_the_folder() {
        assert_eq!(
            file_name("funtoo/x86-64bit/corei7/stage3:run", 7, 0),
            "funtoo.x86-64bit.corei7.stage3.run.7.log"
        );
        assert_eq!(
            file_name("../../etc/passwd", 7, 2),
            "......etc.passwd.7-2.log"
        );
        assert!(file_name(&"x".repeat(1000), 7, MOST_AT_ONCE).len() < 255);
    }

    #[test]
    fn attempts_of_one_second_have_a_log_each_and_are_read_while_they_are_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &mstore_store::OpenOptions::create()).unwrap();
        let mut last = None;
        for n in 0..12 {
            let mut log = StepLog::create(&store, "a:run", 7).unwrap();
            log.write(format!("attempt {n}").as_bytes(), &mut |_| ());
            let newest = newest(&store, "a:run").unwrap().unwrap();
            assert_eq!(fs::read_to_string(newest).unwrap(), format!("attempt {n}"));
            // As if this process had been killed.
            std::mem::forget(last.replace(log));
        }
        assert_eq!(fs::read_dir(store.logs_dir()).unwrap().count(), 12);
    }
}
