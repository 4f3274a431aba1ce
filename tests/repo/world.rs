//! A mirror in a place of its own, and the binary run on it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::{Duration, SystemTime};

/// 2015-01-01, the time stamp of files.
pub const OLD: u64 = 1_420_070_400;

/// A home with a configuration, a mirror, and an empty folder to run in.
pub struct World {
    dir: tempfile::TempDir,
}

/// What is at a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entry {
    Folder,
    Link(PathBuf),
    File {
        size: u64,
        modified: SystemTime,
        /// Of small files.
        content: Vec<u8>,
    },
}

impl World {
    /// An empty mirror with this configuration.
    pub fn new(buildbot: &[u8]) -> World {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["mirror", "home", "work"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        fs::write(dir.path().join("home/buildbot"), buildbot).unwrap();
        World { dir }
    }

    pub fn mirror(&self) -> PathBuf {
        self.dir.path().join("mirror")
    }

    pub fn home(&self) -> PathBuf {
        self.dir.path().join("home")
    }

    /// Makes a folder and its parents.
    pub fn folder(&self, path: &str) -> PathBuf {
        let path = self.mirror().join(path);
        fs::create_dir_all(&path).unwrap();
        path
    }

    /// Writes a file, of 2015.
    pub fn file(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.mirror().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        touch(&path, OLD);
        path
    }

    /// Writes a file of a size: the size in decimal, then nothing.
    pub fn sized(&self, path: &str, size: u64) -> PathBuf {
        let text = size.to_string();
        let length = text.len().min(usize::try_from(size).unwrap());
        let path = self.file(path, &text[..length]);
        File::options()
            .write(true)
            .open(&path)
            .unwrap()
            .set_len(size)
            .unwrap();
        touch(&path, OLD);
        path
    }

    /// Makes a link.
    pub fn link(&self, path: &str, target: &str) {
        let path = self.mirror().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        symlink(target, path).unwrap();
    }

    /// The command `mstore repo`, in a closed environment.
    pub fn command(&self, today: &str, arguments: &[&str]) -> Command {
        let mut command = self.bare(env!("CARGO_BIN_EXE_mstore"));
        command
            .arg("repo")
            .arg("--config")
            .arg(self.home().join("buildbot"))
            .arg("--mirror")
            .arg(self.mirror())
            .args(["--today", today])
            .args(arguments);
        command
    }

    /// A program in a closed environment, without arguments.
    pub fn bare(&self, program: impl AsRef<Path>) -> Command {
        let mut command = Command::new(program.as_ref());
        command
            .env_clear()
            .env("HOME", self.home())
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("TZ", "UTC")
            .env("LC_ALL", "C.UTF-8")
            .env("MSTORE_STORE", self.dir.path().join("store"))
            .current_dir(self.dir.path().join("work"));
        command
    }

    pub fn run(&self, today: &str, arguments: &[&str]) -> Output {
        self.command(today, arguments).output().unwrap()
    }

    /// Runs a script with `sh`, in an empty folder.
    pub fn sh(&self, script: &[u8]) -> Output {
        use std::io::Write;
        use std::process::Stdio;
        let mut child = self
            .bare("sh")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(script).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Everything in the mirror, and outside of it.
    pub fn entries(&self) -> BTreeMap<String, Entry> {
        let mut all = BTreeMap::new();
        walk(self.dir.path(), "", &mut all);
        all
    }
}

pub fn touch(path: &Path, seconds: u64) {
    let file = File::options().write(true).open(path).unwrap();
    let time = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    file.set_modified(time).unwrap();
}

fn walk(folder: &Path, prefix: &str, all: &mut BTreeMap<String, Entry>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let name = String::from_utf8_lossy(entry.file_name().as_bytes()).into_owned();
        let path = format!("{prefix}{name}");
        let meta = entry.metadata().unwrap();
        let found = if meta.is_dir() {
            walk(&entry.path(), &format!("{path}/"), all);
            Entry::Folder
        } else if meta.is_symlink() {
            Entry::Link(fs::read_link(entry.path()).unwrap())
        } else {
            Entry::File {
                size: meta.len(),
                modified: meta.modified().unwrap(),
                content: match meta.is_file() && meta.len() < 100_000 {
                    true => fs::read(entry.path()).unwrap(),
                    false => Vec::new(),
                },
            }
        };
        all.insert(path, found);
    }
}

/// What an output said, for messages.
pub fn told(output: &Output) -> String {
    format!(
        "{}\n--- stdout\n{}--- stderr\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    )
}
