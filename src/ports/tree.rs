//! A ports tree: the folder, what its `ports.conf` says for all ports, and which ports there are.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use mstore_lang::{Definition, DiskFiles, Session};
use mstore_store::Store;

use super::pkgpath::{PkgPathError, PortPath};
use crate::plan::embedded::VIRTUAL_SPECS;
use crate::plan::{Elements, PlanError, SpecFiles};

/// The file that describes a port.
pub const SPEC: &str = "port.spec";
/// The file with what holds for all ports of a tree.
pub const CONF: &str = "ports.conf";
/// The standard file that both are collected by, below [`VIRTUAL_SPECS`].
const ENTRY: &str = "port/port.conf";
/// Most ports of a tree.
const MOST_PORTS: usize = 100_000;
/// The prefix that ports are installed below unless something else is said.
const PREFIX: &str = "/usr/local";
/// What the seed of a tree is called that does not say.
const BASE: &str = "ports-base";

/// What holds for all ports of a tree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// `ports/base`: the seed that ports are built in.
    pub base: String,
    /// Whether it may be captured from this machine.
    pub from_host: bool,
    /// `ports/base/provides`: the ports whose work the base does, as far as builds need them.
    pub provides: BTreeSet<PortPath>,
    /// `ports/prefix`.
    pub prefix: String,
    /// `ports/platform`: the machine that builds.
    pub platform: String,
}

/// A ports tree.
pub struct PortsTree {
    folder: PathBuf,
    files: SpecFiles,
    settings: Settings,
    /// Where folders of ports go that builds see.
    pub(super) store: OnceLock<Store>,
}

impl std::fmt::Debug for PortsTree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PortsTree")
            .field("folder", &self.folder)
            .finish_non_exhaustive()
    }
}

/// A folder that has a `port.spec` and is not a port.
#[derive(Debug)]
pub struct NoPort {
    /// The folder, below the tree.
    pub folder: String,
    /// Why not.
    pub reason: String,
}

/// The ports of a tree, and what is in the place of one.
#[derive(Debug, Default)]
pub struct Listed {
    /// The ports, sorted.
    pub ports: Vec<PortPath>,
    /// What is in the place of a port and is none, sorted.
    pub others: Vec<NoPort>,
}

impl PortsTree {
    /// Opens the tree in a folder. `machine` is the platform of a tree that does not say its own.
    pub fn open(folder: &Path, machine: &str) -> Result<PortsTree, PlanError> {
        let found = fs::metadata(folder).and_then(|meta| match meta.is_dir() {
            true => Ok(()),
            false => Err(io::ErrorKind::NotADirectory.into()),
        });
        found.map_err(|source| PlanError::Io {
            path: folder.to_owned(),
            source,
        })?;
        let files = SpecFiles::new(Box::new(DiskFiles), None);
        let mut tree = PortsTree {
            folder: folder.to_owned(),
            files,
            settings: Settings {
                base: BASE.to_owned(),
                from_host: false,
                provides: BTreeSet::new(),
                prefix: PREFIX.to_owned(),
                platform: machine.to_owned(),
            },
            store: OnceLock::new(),
        };
        let elements = tree.elements(&Session::new(&tree.files), Vec::new())?;
        tree.settings = tree.read_settings(&elements)?;
        Ok(tree)
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What holds for all ports.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    pub(super) fn files(&self) -> &SpecFiles {
        &self.files
    }

    /// The file that describes a port, be it there or not.
    pub fn spec_of(&self, path: &PortPath) -> PathBuf {
        self.folder.join(path.as_str()).join(SPEC)
    }

    /// Whether a port is there: a folder with a `port.spec`, neither of them a link.
    pub fn has(&self, path: &PortPath) -> bool {
        let category = self.folder.join(path.category());
        let folder = self.folder.join(path.as_str());
        let is = |path: &Path, dir: bool| {
            let meta = fs::symlink_metadata(path);
            meta.is_ok_and(|meta| if dir { meta.is_dir() } else { meta.is_file() })
        };
        is(&category, true) && is(&folder, true) && is(&folder.join(SPEC), false)
    }

    /// Lists the ports. Links are not followed.
    pub fn list(&self) -> Result<Listed, PlanError> {
        let mut listed = Listed::default();
        for category in folders(&self.folder)? {
            for name in folders(&self.folder.join(&category))? {
                let folder = format!("{category}/{name}");
                let spec = self.folder.join(&folder).join(SPEC);
                let Ok(meta) = fs::symlink_metadata(&spec) else {
                    continue;
                };
                let path: Result<PortPath, PkgPathError> = folder.parse();
                let reason = match path {
                    Ok(path) if meta.is_file() => {
                        listed.ports.push(path);
                        continue;
                    }
                    Ok(_) => format!("{SPEC} is not a file"),
                    Err(error) => error.to_string(),
                };
                listed.others.push(NoPort { folder, reason });
            }
            if listed.ports.len() + listed.others.len() > MOST_PORTS {
                return Err(PlanError::Value {
                    element: "ports/tree".to_owned(),
                    target: self.folder.display().to_string(),
                    location: None,
                    message: format!("it has more than {MOST_PORTS} ports"),
                    help: None,
                });
            }
        }
        listed.ports.sort();
        Ok(listed)
    }

    /// Loads what holds for all ports, and what `definitions` add: of one port its own.
    pub(super) fn elements(
        &self,
        session: &Session<'_>,
        mut definitions: Vec<Definition>,
    ) -> Result<Elements, PlanError> {
        let conf = self.folder.join(CONF);
        if fs::symlink_metadata(&conf).is_ok()
            && let Some(conf) = conf.to_str()
        {
            definitions.push(Definition::new("port/conf", conf));
        }
        let entry = Path::new(VIRTUAL_SPECS).join(ENTRY);
        Ok(Elements::load_in(session, &entry, &definitions)?)
    }

    fn read_settings(&self, elements: &Elements) -> Result<Settings, PlanError> {
        let Settings {
            base,
            prefix,
            platform,
            ..
        } = self.settings.clone();
        let bad = |element: &str, message: String, help: &str| PlanError::Value {
            element: element.to_owned(),
            target: self.folder.display().to_string(),
            location: elements.location(element).map(Box::new),
            message,
            help: (!help.is_empty()).then(|| help.to_owned()),
        };
        let text = |element: &str| -> Result<Option<String>, PlanError> {
            let line = elements.line(element)?.map(|line| line.trim().to_owned());
            Ok(line.filter(|line| !line.is_empty()))
        };
        let base = text("ports/base")?.unwrap_or(base);
        crate::plan::lock::check_name(&base).map_err(|e| bad("ports/base", e.to_string(), ""))?;
        let from_host = match text("ports/base/kind")?.as_deref() {
            None => false,
            Some("host") => true,
            Some(other) => {
                let message = format!("`{other}` is not a kind of seed");
                let help = "`host` is the only one; leave it out for a seed that is imported";
                return Err(bad("ports/base/kind", message, help));
            }
        };
        let mut provides = BTreeSet::new();
        for word in elements.words("ports/base/provides")? {
            let path = word.parse::<PortPath>();
            provides.insert(path.map_err(|e| bad("ports/base/provides", e.to_string(), ""))?);
        }
        let prefix = text("ports/prefix")?.unwrap_or(prefix);
        if !is_prefix(&prefix) {
            let message = format!("`{prefix}` is not a folder such as {PREFIX}");
            return Err(bad("ports/prefix", message, ""));
        }
        let platform = text("ports/platform")?.unwrap_or(platform);
        if !platform
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"_-".contains(&b))
        {
            let message = format!("`{platform}` is not a machine name");
            let help = "use what `uname -m` prints, for example x86_64";
            return Err(bad("ports/platform", message, help));
        }
        Ok(Settings {
            base,
            from_host,
            provides,
            prefix,
            platform,
        })
    }
}

/// Whether something can be installed below a folder: an absolute path of plain names.
pub(super) fn is_prefix(path: &str) -> bool {
    let plain = |name: &str| {
        !name.is_empty()
            && name != "."
            && name != ".."
            && name
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"._+-".contains(&b))
    };
    path.len() < 256
        && path
            .strip_prefix('/')
            .is_some_and(|rest| rest.split('/').all(plain))
}

/// The folders in a folder that are not hidden, sorted. Links are none.
fn folders(folder: &Path) -> Result<Vec<String>, PlanError> {
    let failed = |source| PlanError::Io {
        path: folder.to_owned(),
        source,
    };
    let mut names = Vec::new();
    for entry in fs::read_dir(folder).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        if let Some(name) = entry
            .file_name()
            .to_str()
            .filter(|name| is_dir && !name.starts_with('.'))
        {
            names.push(name.to_owned());
        }
        if names.len() > MOST_PORTS {
            break;
        }
    }
    names.sort();
    Ok(names)
}
