//! Specifications of a user's own, and scripts out of them.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use mstore_lang::{Definition, DiskFiles, Spec};

/// A target of real Portage, as a user's metro.conf says it.
pub struct Asked<'a> {
    pub build: &'a str,
    pub arch: &'a str,
    pub subarch: &'a str,
    pub target: &'a str,
    /// What follows the line that collects the standard specifications.
    pub own: &'a str,
}

impl Default for Asked<'_> {
    fn default() -> Self {
        Asked {
            build: "gentoo",
            arch: "x86-64bit",
            subarch: "corei7",
            target: "stage3",
            own: "",
        }
    }
}

impl Asked<'_> {
    pub fn load(&self) -> Spec {
        load(
            self.own,
            &[
                ("target", self.target),
                ("target/build", self.build),
                ("target/arch_desc", self.arch),
                ("target/subarch", self.subarch),
                ("target/version", "2026-01-01"),
            ],
        )
    }
}

/// The standard specifications with a metro.conf of a user's own.
pub fn load(own: &str, definitions: &[(&str, &str)]) -> Spec {
    let dir = tempfile::tempdir().unwrap();
    let standard = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib-specs/metro.conf");
    let entry = dir.path().join("metro.conf");
    fs::write(&entry, format!("[collect {}]\n{own}", standard.display())).unwrap();
    let definitions: Vec<Definition> = definitions
        .iter()
        .map(|(name, value)| Definition::new(*name, *value))
        .collect();
    match Spec::load(&DiskFiles, &entry, &definitions) {
        Ok(spec) => spec,
        Err(errors) => panic!("{}", errors.render(false)),
    }
}

#[track_caller]
pub fn text(spec: &Spec, name: &str) -> String {
    match spec.value(name) {
        Ok(value) => value.to_text(),
        Err(error) => panic!("{}", error.diagnostic.render(false)),
    }
}

/// The value of an element, or nothing where it is undefined, removed or blank.
pub fn optional(spec: &Spec, name: &str) -> Option<String> {
    let text = spec.value(name).ok()?.to_text();
    (!text.is_empty()).then_some(text)
}

pub struct Ran {
    pub ok: bool,
    pub stderr: String,
}

/// Runs functions of the specifications by bash, then `call`, with `tree` in place of where builds see the
/// snapshot.
pub fn functions(spec: &Spec, names: &[&str], call: &str, tree: &Path) -> Ran {
    functions_below(spec, names, call, &text(spec, "snapshot/path"), tree)
}

/// The same, with `tree` for all that lies below `place`.
pub fn functions_below(spec: &Spec, names: &[&str], call: &str, place: &str, tree: &Path) -> Ran {
    let mut script = String::from("set -e\numask 022\n");
    for name in names {
        script += &text(spec, name);
        script += "\n";
    }
    script += call;
    let ran = Command::new("bash")
        .arg("-c")
        .arg(script.replace(place, tree.to_str().unwrap()))
        .env("SOURCE_DATE_EPOCH", "1000000000")
        .output()
        .unwrap();
    Ran {
        ok: ran.status.success(),
        stderr: String::from_utf8_lossy(&ran.stderr).into_owned(),
    }
}

/// Files in a folder that goes away with it.
pub struct Root(tempfile::TempDir);

impl Root {
    pub fn new() -> Self {
        Root(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, inside: &str) -> PathBuf {
        match inside {
            // Joining nothing would leave a slash at the end.
            "" => self.0.path().to_owned(),
            _ => self.0.path().join(inside),
        }
    }

    pub fn write(&self, inside: &str, content: impl AsRef<[u8]>) {
        let path = self.path(inside);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    pub fn read(&self, inside: &str) -> String {
        fs::read_to_string(self.path(inside)).unwrap_or_else(|e| panic!("{inside}: {e}"))
    }

    /// Whether files made here are root's.
    pub fn is_roots(&self) -> bool {
        fs::metadata(self.0.path()).unwrap().uid() == 0
    }
}
