//! A place of its own for each test: home, store, specifications.

use std::fs;
use std::path::PathBuf;
use std::process::{Command, Output};

/// A temporary folder with a home and a store, in which commands are run.
pub struct Environment {
    dir: tempfile::TempDir,
}

/// What a command printed, with this test's paths replaced, and its exit status.
#[must_use = "a test must look at what a command printed"]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub status: Option<i32>,
}

impl Ran {
    /// Everything in one text, for snapshots.
    pub fn all(&self) -> String {
        format!(
            "status: {}\n--- stdout\n{}--- stderr\n{}",
            self.status.map_or("none".into(), |s| s.to_string()),
            self.stdout,
            self.stderr
        )
    }

    /// The standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, Some(0), "{}", self.all());
        self.stdout
    }

    /// Checks the exit status and gives what went to stderr.
    #[track_caller]
    pub fn fails(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{}", self.all());
        self.stderr
    }
}

impl Environment {
    /// An empty place.
    pub fn new() -> Self {
        let dir = tempfile::Builder::new()
            .prefix("mstore-test.")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::create_dir(dir.path().join("home")).unwrap();
        fs::create_dir(dir.path().join("work")).unwrap();
        Environment { dir }
    }

    /// The folder that commands run in.
    pub fn work(&self) -> PathBuf {
        self.dir.path().join("work")
    }

    /// The store's folder.
    pub fn store(&self) -> PathBuf {
        self.dir.path().join("store")
    }

    /// The folder above all of it, which [`Ran`] shows as `$TEST`.
    #[allow(dead_code, reason = "not every suite with this file needs it")]
    pub fn top(&self) -> String {
        self.dir.path().to_string_lossy().into_owned()
    }

    /// Writes a file below the working folder.
    pub fn write(&self, path: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.work().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, content).unwrap();
        path
    }

    /// The command, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mstore"));
        command
            .args(arguments)
            .current_dir(self.work())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap_or_default())
            .env("HOME", self.dir.path().join("home"))
            .env("MSTORE_STORE", self.store())
            .env("COLUMNS", "100");
        command
    }

    /// Runs mstore with the given arguments.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.finish(self.command(arguments).output().unwrap())
    }

    /// Turns the output of a command into something to compare.
    pub fn finish(&self, output: Output) -> Ran {
        let clean = |bytes: Vec<u8>| {
            String::from_utf8(bytes)
                .unwrap()
                .replace(&*self.dir.path().to_string_lossy(), "$TEST")
        };
        Ran {
            stdout: clean(output.stdout),
            stderr: clean(output.stderr),
            status: output.status.code(),
        }
    }
}
