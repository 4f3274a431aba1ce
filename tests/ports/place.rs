//! A store and a copy of the small tree for one test.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// What a command printed, and its exit status.
#[must_use = "a test must look at what a command printed"]
pub struct Ran {
    pub stdout: String,
    pub stderr: String,
    pub status: Option<i32>,
}

impl Ran {
    /// The standard output of a command that must have succeeded.
    #[track_caller]
    pub fn ok(self) -> String {
        assert_eq!(self.status, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    /// Checks the exit status and gives what went to stderr.
    #[track_caller]
    pub fn fails(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

/// Where one test works.
pub struct Place {
    dir: tempfile::TempDir,
}

impl Drop for Place {
    fn drop(&mut self) {
        // A store has folders that only its own way of removing gets through.
        let _ = mstore_store::remove_tree(&self.path("store"));
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &target),
            false => drop(fs::copy(&path, &target).unwrap()),
        }
    }
}

impl Place {
    /// A place with the small tree; nothing where this machine builds nothing.
    pub fn new() -> Option<Place> {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: it wants root");
            return None;
        }
        let place = Place::empty();
        copy(
            &Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/ports/tree"),
            &place.path("tree"),
        );
        Some(place)
    }

    /// A place without ports.
    pub fn empty() -> Place {
        let dir = tempfile::Builder::new()
            .prefix("mstore-ports-")
            .tempdir_in("/var/tmp")
            .unwrap();
        fs::create_dir(dir.path().join("tree")).unwrap();
        fs::write(dir.path().join("mstore.conf"), "").unwrap();
        Place { dir }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Writes a file of the tree.
    pub fn write(&self, name: &str, text: &str) {
        let path = self.path("tree").join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// Puts something in the place of something else in a file of the tree.
    #[track_caller]
    pub fn replace(&self, name: &str, old: &str, new: &str) {
        let path = self.path("tree").join(name);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{name} has no {old}");
        fs::write(path, text.replace(old, new)).unwrap();
    }

    pub fn run(&self, args: &[&str]) -> Ran {
        let out = Command::new(env!("CARGO_BIN_EXE_mstore"))
            .args(["--ports-tree", "tree"])
            .args(args)
            .current_dir(self.dir.path())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.dir.path())
            .env("MSTORE_STORE", self.path("store"))
            .env("MSTORE_CONFIG", self.path("mstore.conf"))
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let text = |bytes: &[u8]| {
            String::from_utf8_lossy(bytes).replace(self.dir.path().to_str().unwrap(), "HERE")
        };
        Ran {
            stdout: text(&out.stdout),
            stderr: text(&out.stderr),
            status: out.status.code(),
        }
    }

    /// The steps that would be built, as a dry run says.
    pub fn stale(&self, targets: &[&str]) -> Vec<String> {
        let told = self
            .run(&[&["realise", "-n", "--json"], targets].concat())
            .ok();
        let told: serde_json::Value = serde_json::from_str(&told).unwrap();
        let names = told["build"]
            .as_array()
            .unwrap_or_else(|| panic!("{told}"))
            .iter();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect()
    }
}
