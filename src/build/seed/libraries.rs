//! Finds shared libraries as the dynamic linker of this machine does.

use std::fs;
use std::path::{Path, PathBuf};

use super::collect::on_disk;
use super::elf::{self, Needs, Object};

/// Where the dynamic linker looks.
#[derive(Clone, Debug)]
pub struct Loader {
    /// Where it looks without being told, in every root.
    standard: Vec<PathBuf>,
    /// Where this machine's configuration makes it look.
    configured: Vec<PathBuf>,
}

/// A library that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Where.
    pub path: PathBuf,
    /// Whether only the machine's configuration leads to it.
    pub by_configuration: bool,
}

/// Files that `ld.so.conf` may include, one within the other.
const MAX_INCLUDES: u32 = 8;

impl Loader {
    /// The dynamic linker of the machine at `root`; `known` are directories where the compiler found
    /// the C library, whose dynamic linker has them built in.
    pub fn of_machine(root: &Path, known: &[PathBuf]) -> Self {
        let mut standard = known.to_vec();
        for dir in ["/lib64", "/usr/lib64", "/lib", "/usr/lib"] {
            if !standard.iter().any(|d| d == Path::new(dir)) {
                standard.push(PathBuf::from(dir));
            }
        }
        let mut configured = Vec::new();
        read_configuration(
            root,
            Path::new("/etc/ld.so.conf"),
            &mut configured,
            MAX_INCLUDES,
        );
        // musl has a file of its own, with the machine in its name.
        for name in sorted_names(&on_disk(root, Path::new("/etc"))) {
            if name.starts_with("ld-musl-") && name.ends_with(".path") {
                let path = on_disk(root, &Path::new("/etc").join(&name));
                if let Ok(text) = fs::read_to_string(path) {
                    configured.extend(
                        text.split([':', '\n'])
                            .filter(|d| d.starts_with('/'))
                            .map(PathBuf::from),
                    );
                }
            }
        }
        Loader {
            standard,
            configured,
        }
    }

    /// Finds the library `name` for `object`, which is the file `user`.
    pub fn find(&self, root: &Path, name: &str, user: &Path, object: &Object) -> Option<Found> {
        let fits = |path: &Path| match elf::needs(&on_disk(root, path)) {
            Ok(Needs::Libraries(other)) => {
                other.wide == object.wide && other.machine == object.machine
            }
            _ => false,
        };
        if name.contains('/') {
            let path = PathBuf::from(name);
            return fits(&path).then_some(Found {
                path,
                by_configuration: false,
            });
        }
        let own = if object.runpath.is_empty() {
            &object.rpath
        } else {
            &object.runpath
        };
        let own = own.iter().filter_map(|dir| expand(dir, user));
        let try_in = |dir: PathBuf, by_configuration| {
            let path = dir.join(name);
            fits(&path).then_some(Found {
                path,
                by_configuration,
            })
        };
        own.filter_map(|dir| try_in(dir, false))
            .next()
            .or_else(|| {
                self.standard
                    .iter()
                    .find_map(|dir| try_in(dir.clone(), false))
            })
            .or_else(|| {
                self.configured
                    .iter()
                    .find_map(|dir| try_in(dir.clone(), true))
            })
    }

    /// Where a link makes the library `name` be found without configuration.
    pub fn link_path(&self, name: &str) -> PathBuf {
        self.standard
            .first()
            .map_or(Path::new("/usr/lib"), PathBuf::as_path)
            .join(name)
    }
}

/// Replaces `$ORIGIN`; directories with other variables are left out.
fn expand(dir: &str, user: &Path) -> Option<PathBuf> {
    let origin = user.parent()?.to_str()?;
    let dir = dir.replace("${ORIGIN}", origin).replace("$ORIGIN", origin);
    (dir.starts_with('/') && !dir.contains('$')).then(|| PathBuf::from(dir))
}

fn read_configuration(root: &Path, file: &Path, dirs: &mut Vec<PathBuf>, includes: u32) {
    let Ok(text) = fs::read_to_string(on_disk(root, file)) else {
        return;
    };
    for line in text.lines() {
        let line = line.split('#').next().unwrap_or_default().trim();
        if let Some(patterns) = line.strip_prefix("include ") {
            if includes == 0 {
                continue;
            }
            for pattern in patterns.split_whitespace() {
                for found in glob(root, file, pattern) {
                    read_configuration(root, &found, dirs, includes - 1);
                }
            }
        } else {
            // Old files put `=TYPE` behind a directory.
            let dir = line.split('=').next().unwrap_or_default().trim_end();
            if dir.starts_with('/') {
                dirs.push(PathBuf::from(dir));
            }
        }
    }
}

/// Files that match a pattern with one `*` in its last part, sorted.
fn glob(root: &Path, from: &Path, pattern: &str) -> Vec<PathBuf> {
    let pattern = match from.parent() {
        Some(dir) => dir.join(pattern),
        None => PathBuf::from(pattern),
    };
    let (Some(dir), Some(name)) = (pattern.parent(), pattern.file_name()) else {
        return Vec::new();
    };
    let name = name.to_string_lossy();
    let Some((before, after)) = name.split_once('*') else {
        return vec![pattern.clone()];
    };
    sorted_names(&on_disk(root, dir))
        .into_iter()
        .filter(|n| {
            n.len() >= before.len() + after.len() && n.starts_with(before) && n.ends_with(after)
        })
        .map(|n| dir.join(n))
        .collect()
}

fn sorted_names(dir: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(dir)
        .into_iter()
        .flatten()
        .filter_map(|e| e.ok()?.file_name().into_string().ok())
        .collect();
    names.sort();
    names
}
