//! The log of one step: a bounded file, and lines for whoever watches.

use std::collections::VecDeque;
use std::fs::{self, File};
use std::io::BufWriter;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use mstore_store::Store;
use rustix::fs::OFlags;

use super::log::BoundedLog;

/// How many last lines are kept for the message about a failure.
const TAIL_LINES: usize = 20;
/// Longest line that is passed on, in bytes; the rest of it only goes to the file.
const LINE_LIMIT: usize = 4096;

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
    file: BoundedLog<BufWriter<File>>,
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
    let mut best: Option<(i64, PathBuf)> = None;
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
            .and_then(|n| n.parse::<i64>().ok());
        if let Some(began) = began
            && best.as_ref().is_none_or(|(b, _)| *b < began)
        {
            best = Some((began, entry.path()));
        }
    }
    Ok(best.map(|(_, path)| path))
}

/// The file name of the log of the step `name` that began at the second `began`.
fn file_name(name: &str, began: i64) -> String {
    format!("{}.{began}.log", flat(name))
}

/// Makes the file of a log: nobody but its owner writes to it whatever the umask, and a link in its
/// place is not followed.
fn make(path: &Path) -> std::io::Result<File> {
    File::options()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o640)
        .custom_flags(OFlags::NOFOLLOW.bits().cast_signed())
        .open(path)
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
    /// Starts the log of the step `name` that began at the second `began`.
    pub fn create(store: &Store, name: &str, began: i64) -> Result<StepLog, StepLogError> {
        let name = file_name(name, began);
        let path = store.logs_dir().join(&name);
        let made = fs::create_dir_all(store.logs_dir()).and_then(|()| make(&path));
        match made {
            Ok(file) => Ok(StepLog {
                name,
                path,
                file: BoundedLog::new(BufWriter::new(file)),
                line: Vec::new(),
                tail: VecDeque::new(),
            }),
            Err(source) => Err(StepLogError { path, source }),
        }
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
        let path = dir.path().join("step.7.log");
        drop(make(&path).unwrap());
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o137, 0);
        let (elsewhere, link) = (dir.path().join("elsewhere"), dir.path().join("link"));
        fs::write(&elsewhere, "kept").unwrap();
        symlink(&elsewhere, &link).unwrap();
        assert!(make(&link).is_err());
        assert_eq!(fs::read(&elsewhere).unwrap(), b"kept");
    }

    #[test]
    fn names_stay_within_the_folder() {
        assert_eq!(
            file_name("funtoo/x86-64bit/corei7/stage3:run", 7),
            "funtoo.x86-64bit.corei7.stage3.run.7.log"
        );
        assert_eq!(file_name("../../etc/passwd", 7), "......etc.passwd.7.log");
        assert!(file_name(&"x".repeat(1000), 7).len() < 255);
    }
}
