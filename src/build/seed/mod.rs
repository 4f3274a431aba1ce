//! Captures a toolchain from the machine this runs on: the seed that needs nothing else.
//!
//! [`survey`] looks for a shell, the usual small programs, make and gcc with everything they load,
//! and lists what has to be taken along; [`HostSeed::import`] puts that into a store as a tree,
//! [`HostSeed::stage`] into a directory. The list depends on nothing but the machine's files: not on
//! the user, the environment, or the order of directories.
//!
//! - [`tools`](self): which programs, and what packages bring them;
//! - `compiler`: what gcc says about itself; `headers`: which of the machine's headers;
//! - `elf`, `libraries`: shared libraries as the dynamic linker finds them;
//! - `collect`: paths with all symbolic links on the way; `skeleton`: what is made and not taken.

mod collect;
mod compiler;
mod elf;
mod error;
mod headers;
mod libraries;
mod skeleton;
mod tools;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

pub use collect::Item;
pub use error::{MissingLibrary, MissingTool, SeedError};

use collect::Collector;
use libraries::Loader;

/// What [`survey`] tells while it works.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SeedEvent {
    /// A program was found.
    Tool {
        /// Its name.
        name: String,
        /// Where it is.
        path: PathBuf,
    },
    /// The compiler was asked.
    Compiler {
        /// Its version, as `gcc -dumpfullversion` has it.
        version: String,
        /// The machine it compiles for.
        target: String,
    },
    /// Something that a seed may lack is not there.
    Without {
        /// What.
        what: String,
        /// What that means.
        why: String,
    },
    /// The list is complete.
    Listed {
        /// Files, links and directories.
        entries: usize,
        /// Bytes in the files.
        bytes: u64,
    },
}

/// Where to look.
#[derive(Clone, Debug)]
pub struct SurveyOptions {
    /// Directories with programs, the first one wins. Not the environment's `PATH`, which differs
    /// between root and other users and would make seeds differ with it.
    pub programs: Vec<PathBuf>,
    /// More programs to take along; each must exist.
    pub extra: Vec<String>,
}

impl Default for SurveyOptions {
    fn default() -> Self {
        SurveyOptions {
            programs: ["/usr/bin", "/bin", "/usr/sbin", "/sbin", "/usr/local/bin"]
                .iter()
                .map(PathBuf::from)
                .collect(),
            extra: Vec::new(),
        }
    }
}

/// What a seed made from this machine consists of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HostSeed {
    /// Every entry but the root, by its path without the leading `/`.
    items: BTreeMap<PathBuf, Item>,
}

impl HostSeed {
    /// Every entry but the root, sorted; paths have no leading `/`.
    pub fn items(&self) -> impl Iterator<Item = (&Path, &Item)> {
        self.items.iter().map(|(p, i)| (p.as_path(), i))
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// Bytes in all files.
    pub fn bytes(&self) -> u64 {
        self.items.values().map(Item::size).sum()
    }
}

/// Lists what a seed of this machine consists of.
///
/// Everything that is missing is reported at once, in one error.
pub fn survey(
    options: &SurveyOptions,
    events: &mut dyn FnMut(SeedEvent),
) -> Result<HostSeed, SeedError> {
    let found = tools::find(options, events)?;
    let gcc = compiler::Compiler::ask(&found.gcc, &options.programs)?;
    events(SeedEvent::Compiler {
        version: gcc.version.clone(),
        target: gcc.target.clone(),
    });

    let mut collector = Collector::new(Path::new("/"));
    collector.top_level_links()?;
    for tool in &found.paths {
        collector.add(tool)?;
    }
    let parts = gcc.parts(&mut collector, events)?;
    for header in headers::find(&gcc)? {
        match header {
            headers::Header::All(dir) => collector.add_tree(&dir)?,
            headers::Header::One(file) => {
                collector.add(&file)?;
            }
        }
    }
    for locale in ["/usr/lib/locale/C.utf8", "/usr/lib/locale/C.UTF-8"] {
        if Path::new(locale).is_dir() {
            collector.add_tree(Path::new(locale))?;
        }
    }

    let loader = Loader::of_machine(Path::new("/"), &parts.library_dirs);
    close(&mut collector, &loader, &options.programs)?;

    // A script names its shell by this path, wherever the shell was found.
    collector.link_if_absent(Path::new("/bin/sh"), &found.sh);
    collector.link_if_absent(Path::new("/usr/bin/cc"), &found.gcc);
    collector.link_if_absent(Path::new("/usr/bin/env"), &found.env);

    let unreadable = collector.unreadable();
    if !unreadable.is_empty() {
        return Err(SeedError::Unreadable { paths: unreadable });
    }
    let mut items = skeleton::items();
    items.extend(collector.into_items());
    let seed = HostSeed { items };
    events(SeedEvent::Listed {
        entries: seed.len(),
        bytes: seed.bytes(),
    });
    Ok(seed)
}

/// Adds what the collected programs need to run: the dynamic linker, shared libraries and the
/// interpreters of scripts, until nothing new comes.
fn close(
    collector: &mut Collector,
    loader: &Loader,
    programs: &[PathBuf],
) -> Result<(), SeedError> {
    let mut missing = BTreeSet::new();
    while let Some(path) = collector.next_unscanned() {
        match elf::needs(&collector.on_disk(&path)) {
            Ok(elf::Needs::Nothing) => {}
            Ok(elf::Needs::Interpreter(words)) => {
                for interpreter in tools::interpreters(&words, programs) {
                    if collector.add(&interpreter).is_err() {
                        missing.insert(MissingLibrary {
                            name: interpreter.display().to_string(),
                            needed_by: path.clone(),
                        });
                    }
                }
            }
            Ok(elf::Needs::Libraries(object)) => {
                if let Some(linker) = &object.interpreter {
                    collector.add(linker)?;
                }
                for name in &object.needed {
                    match loader.find(collector.root(), name, &path, &object) {
                        Some(found) => {
                            let real = collector.add(&found.path)?;
                            // The seed has no cache of libraries: what only the machine's
                            // configuration leads to gets a link where the linker looks anyway.
                            if found.by_configuration {
                                collector.link_if_absent(&loader.link_path(name), &real);
                            }
                        }
                        None => {
                            missing.insert(MissingLibrary {
                                name: name.clone(),
                                needed_by: path.clone(),
                            });
                        }
                    }
                }
            }
            Err(source) => return Err(SeedError::Elf { path, source }),
        }
    }
    if missing.is_empty() {
        Ok(())
    } else {
        Err(SeedError::MissingLibraries {
            libraries: missing.into_iter().collect(),
        })
    }
}

#[cfg(test)]
mod tests;
