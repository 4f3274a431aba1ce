//! A place of its own for each test: store, specifications, a seed of this machine's programs.
#![allow(dead_code, reason = "not every suite with this file needs all of it")]

use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use crate::base::make_base;

/// What all tests of one run share.
pub struct Top {
    dir: PathBuf,
    mode: &'static str,
}

/// Where one test works.
pub struct Place {
    dir: PathBuf,
    top: PathBuf,
    mode: &'static str,
}

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

fn remove(dir: &Path) {
    mstore_store::remove_tree(dir).unwrap();
}

impl Top {
    pub fn new(mode: &'static str) -> Top {
        let dir = PathBuf::from(format!(
            "/var/tmp/mstore-steps-{mode}-{}",
            std::process::id()
        ));
        remove(&dir);
        fs::DirBuilder::new().mode(0o755).create(&dir).unwrap();
        make_base(&dir.join("base"));
        // The folder that it was built in need not be open to every user.
        fs::copy(env!("CARGO_BIN_EXE_mstore"), dir.join("mstore")).unwrap();
        Top { dir, mode }
    }

    pub fn place(&self, name: &str) -> Place {
        let dir = self.dir.join(name);
        fs::create_dir(&dir).unwrap();
        let place = Place {
            dir,
            top: self.dir.clone(),
            mode: self.mode,
        };
        fs::write(place.path("mstore.conf"), "").unwrap();
        place.targets(&[("none", "base", &[("one", "exit 0")])]);
        let base = self.dir.join("base");
        place
            .run(&["seed", "import", base.to_str().unwrap(), "--name", "base"])
            .ok();
        place
    }

    /// Whether this machine can build anything.
    pub fn can_build(&self) -> Result<(), String> {
        let place = self.place("first");
        let ran = place.run(&["realise", "none-s"]);
        match ran.status {
            Some(0) => Ok(()),
            Some(3) => Err(ran.stderr),
            other => panic!("status {other:?}: {}", ran.stderr),
        }
    }
}

impl Drop for Top {
    fn drop(&mut self) {
        remove(&self.dir);
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            remove(&self.dir);
        }
    }
}

/// A target: its name, what it starts from (a target or the seed), its steps.
pub type Target<'a> = (&'a str, &'a str, &'a [(&'a str, &'a str)]);

impl Place {
    /// Whether tests run as the machine's root.
    pub fn is_root(&self) -> bool {
        self.mode == "root"
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn store(&self) -> PathBuf {
        self.path("store")
    }

    /// The program under test.
    pub fn program(&self) -> PathBuf {
        self.top.join("mstore")
    }

    /// Writes specifications in place of those that were there.
    pub fn targets(&self, targets: &[Target<'_>]) {
        self.targets_with(targets, "");
    }

    /// Writes specifications, each target with further sections.
    pub fn targets_with(&self, targets: &[Target<'_>], more: &str) {
        let names: Vec<&str> = targets.iter().map(|t| t.0).collect();
        let machine = rustix::system::uname();
        fs::write(
            self.path("metro.conf"),
            format!(
                "[section list]\nbuilds: b\narches: a\nsubarches/a: s\ntargets: {}\n\
                 [section target]\nplatform: {}\n[collect ./$[target:zap].conf]\n",
                names.join(" "),
                machine.machine().to_string_lossy(),
            ),
        )
        .unwrap();
        for (name, source, steps) in targets {
            let seed = if *source == "base" { "seed" } else { "" };
            let order: Vec<&str> = steps.iter().map(|s| s.0).collect();
            let mut text = format!(
                "[section source]\n{seed}: {source}\n[section steps]\nchroot: {}\n{more}\
                 [section steps/chroot]\n",
                order.join(" ")
            );
            for (step, script) in *steps {
                writeln!(text, "{step}: [\n{script}\n]").unwrap();
            }
            fs::write(self.path(&format!("{name}.conf")), text).unwrap();
        }
    }

    /// The command, ready to run.
    pub fn command(&self, arguments: &[&str]) -> Command {
        self.command_under(&[], arguments)
    }

    /// The command, started by another one.
    pub fn command_under(&self, before: &[&str], arguments: &[&str]) -> Command {
        let program = self.top.join("mstore");
        let mut words = before.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>();
        words.push(program.to_str().unwrap().to_owned());
        words.extend(arguments.iter().map(|w| (*w).to_owned()));
        let mut command = Command::new(&words[0]);
        command
            .args(&words[1..])
            .current_dir(&self.dir)
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", &self.dir)
            .env("MSTORE_CONFIG", self.path("mstore.conf"))
            .env("MSTORE_STORE", self.store());
        command
    }

    /// Runs mstore with the given arguments.
    pub fn run(&self, arguments: &[&str]) -> Ran {
        self.run_under(&[], arguments)
    }

    pub fn run_under(&self, before: &[&str], arguments: &[&str]) -> Ran {
        let output = self.command_under(before, arguments).output().unwrap();
        Ran {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code(),
        }
    }

    /// Realises a target and gives its tree.
    #[track_caller]
    pub fn tree(&self, target: &str) -> String {
        self.tree_with(target, &[])
    }

    /// The same, with further arguments.
    #[track_caller]
    pub fn tree_with(&self, target: &str, more: &[&str]) -> String {
        let name = format!("{target}-s");
        let arguments = [&["realise", &name, "--json"], more].concat();
        let line = self.run(&arguments).ok();
        let line: serde_json::Value = serde_json::from_str(line.lines().next().unwrap()).unwrap();
        line["tree"].as_str().unwrap().to_owned()
    }

    /// A file of a target's tree.
    #[track_caller]
    pub fn cat(&self, target: &str, file: &str) -> String {
        self.run(&["store", "cat", &format!("{target}-s:{file}")])
            .ok()
    }

    /// Removes all that lies written out, as the collector may at any time.
    pub fn forget_checkouts(&self) {
        for folder in ["checkouts", "layers"] {
            for entry in fs::read_dir(self.store().join(folder)).unwrap() {
                remove(&entry.unwrap().path());
            }
        }
    }

    /// The folders of one kind that lie in the store.
    pub fn folders(&self, kind: &str) -> Vec<PathBuf> {
        let list = fs::read_dir(self.store().join(kind)).into_iter().flatten();
        list.map(|entry| entry.unwrap().path()).collect()
    }

    /// The last attempt at a target.
    pub fn attempt(&self, target: &str) -> serde_json::Value {
        let name = format!("{target}-s");
        let told = self.run(&["log", "--attempts", "--json", &name]).ok();
        let all: serde_json::Value = serde_json::from_str(&told).unwrap();
        all[0].clone()
    }

    /// How the last attempt at a target ended.
    pub fn outcome(&self, target: &str) -> String {
        let first = self.attempt(target);
        first["outcome"].as_str().unwrap().to_owned()
    }
}
