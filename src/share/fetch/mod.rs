//! Content from outside: files over http, https and from folders, commits of git repositories, each checked
//! against what it is known by before anything of it is kept.
//!
//! What has come of a file lies in the folder `partial` of the store until it is whole, so that a fetch that was
//! killed goes on where it was.

mod digest;
#[cfg(feature = "http")]
mod download;
mod git;
mod partial;

use std::fs::{self, File};
use std::io::{self, Read};
use std::num::NonZeroU16;
use std::path::{Path, PathBuf};
use std::time::Duration;

use mstore_store::{Cancel, GitOptions, ImportOptions, Store, TreeHash};

use crate::drv::Derivation;
use crate::drv::fetch::{Address, Content, Digest, FetchError, Fixed, Origin, Tried};
use crate::drv::fetcher::Fetcher;

pub use digest::digests_of;
pub use git::{head, import_commit};
pub use partial::{Partial, prune};

/// Most bytes of a file whose size nobody said.
const MOST: u64 = 32 << 30;
/// Bytes that are read at a time.
const CHUNK: usize = 256 << 10;

/// How to fetch.
#[derive(Clone, Debug)]
pub struct FetchOptions {
    /// Whether the network must not be used.
    pub offline: bool,
    /// Folders in which files are looked for before anywhere else, by name.
    pub folders: Vec<PathBuf>,
    /// Time to connect, and to wait for anything to come.
    pub timeout: Duration,
    /// Certificates to believe besides those of the system.
    pub ca_file: Option<PathBuf>,
    /// How many things steps fetch from one site at a time.
    pub a_site: NonZeroU16,
}

impl Default for FetchOptions {
    fn default() -> Self {
        FetchOptions {
            offline: false,
            folders: Vec::new(),
            timeout: Duration::from_secs(30),
            ca_file: None,
            a_site: NonZeroU16::MIN,
        }
    }
}

/// Why an address gave nothing.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// It is to blame: the next one may do.
    There(String),
    /// This machine is to blame, or somebody cancelled.
    Here(FetchError),
}

impl From<FetchError> for Trouble {
    fn from(error: FetchError) -> Self {
        Trouble::Here(error)
    }
}

/// Makes an error of the system a [`FetchError::Io`].
pub(crate) fn failed_to(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FetchError {
    let path = path.to_owned();
    move |source| FetchError::Io {
        action,
        path,
        source,
    }
}

/// Is told, in lines, how it goes; those with `true` are of the moment.
pub(crate) type Say<'a> = dyn FnMut(&str, bool) + 'a;

/// A file that is wanted.
#[derive(Clone, Debug)]
pub struct Wanted<'a> {
    /// What it is called.
    pub name: &'a str,
    /// Its digests; with none anything is taken that comes.
    pub digests: &'a [Digest],
    /// Its bytes, if they are known.
    pub size: Option<u64>,
    /// Addresses, in the order in which they are tried.
    pub urls: &'a [String],
}

/// Fetches into a store.
pub struct Outside<'a> {
    store: &'a Store,
    options: &'a FetchOptions,
    #[cfg(feature = "http")]
    web: download::Web,
}

impl<'a> Outside<'a> {
    /// Nothing is connected yet.
    pub fn new(store: &'a Store, options: &'a FetchOptions) -> Self {
        Outside {
            store,
            options,
            #[cfg(feature = "http")]
            web: download::Web::new(options),
        }
    }

    /// Brings a file into `partial`, and checks it. Gives the address it came from. On an error nothing is left
    /// but what a later run can go on with.
    pub fn file(
        &self,
        wanted: &Wanted<'_>,
        partial: &Partial,
        say: &mut Say<'_>,
        cancel: &Cancel,
    ) -> Result<String, FetchError> {
        let mut tried = Vec::new();
        let folders = self.options.folders.iter();
        for path in folders.map(|folder| folder.join(wanted.name)) {
            if path.is_file() {
                let shown = path.display().to_string();
                say(&format!("taking {shown}"), false);
                let got = copy(&path, wanted, partial, cancel)
                    .and_then(|()| check(wanted, partial, cancel));
                match settled(got, &shown, partial, &mut tried)? {
                    true => return Ok(shown),
                    false => continue,
                }
            }
        }
        for url in wanted.urls {
            let got = self.from(url, wanted, partial, say, cancel);
            if settled(got, url, partial, &mut tried)? {
                return Ok(url.clone());
            }
            if let Some(Tried { url, why }) = tried.last() {
                say(&format!("{url}: {why}"), false);
            }
        }
        Err(FetchError::Nowhere {
            name: wanted.name.to_owned(),
            tried,
        })
    }

    /// Tries one address.
    fn from(
        &self,
        url: &str,
        wanted: &Wanted<'_>,
        partial: &Partial,
        say: &mut Say<'_>,
        cancel: &Cancel,
    ) -> Result<(), Trouble> {
        match url.parse::<Address>() {
            Err(error) => Err(Trouble::There(error.to_string())),
            Ok(Address::Git(_)) => Err(Trouble::There("it is a git repository".to_owned())),
            Ok(Address::File(path)) => {
                say(&format!("taking {}", path.display()), false);
                copy(&path, wanted, partial, cancel)?;
                check(wanted, partial, cancel)
            }
            Ok(Address::Http(_)) if self.options.offline => {
                Err(Trouble::There("the network is not to be used".to_owned()))
            }
            #[cfg(not(feature = "http"))]
            Ok(Address::Http(_)) => Err(Trouble::There(
                "this mstore was built without the feature `http`".to_owned(),
            )),
            #[cfg(feature = "http")]
            Ok(Address::Http(address)) => {
                let resumed = self.web.get(&address, wanted, partial, say, cancel)?;
                match check(wanted, partial, cancel) {
                    // What had come before may have been of another file.
                    Err(Trouble::There(why)) if resumed => {
                        say(
                            &format!("{url}: {why}; once more from the beginning"),
                            false,
                        );
                        partial.clear()?;
                        self.web.get(&address, wanted, partial, say, cancel)?;
                        check(wanted, partial, cancel)
                    }
                    other => other,
                }
            }
        }
    }

    /// Makes a tree of a file that is whole.
    fn import(&self, name: &str, partial: &Partial) -> Result<TreeHash, FetchError> {
        let scratch = self.store.scratch("fetch")?;
        let folder = scratch.path().join("content");
        let made = self.store.inside().make_folder(&folder, 0o755);
        made.map_err(failed_to("make the folder", &folder))?;
        let place = folder.join(name);
        partial.take(&place)?;
        let options = ImportOptions {
            no_cache: true,
            ..ImportOptions::snapshot()
        };
        Ok(self.store.import_dir(&folder, &options)?.tree)
    }

    fn commit(
        &self,
        fixed: &Fixed,
        commit: &str,
        tree: Option<TreeHash>,
        from: &Origin,
        say: &mut Say<'_>,
        cancel: &Cancel,
    ) -> Result<TreeHash, FetchError> {
        let mut tried = Vec::new();
        for url in &from.urls {
            let address = match url.parse::<Address>() {
                Ok(Address::Git(address)) => address,
                Ok(_) => {
                    let why = "it is not a git repository".to_owned();
                    tried.push(Tried {
                        url: url.clone(),
                        why,
                    });
                    continue;
                }
                Err(error) => {
                    tried.push(Tried {
                        url: url.clone(),
                        why: error.to_string(),
                    });
                    continue;
                }
            };
            if self.options.offline && !address.starts_with("file://") {
                tried.push(Tried {
                    url: url.clone(),
                    why: "the network is not to be used".to_owned(),
                });
                continue;
            }
            say(&format!("fetching commit {commit} from {address}"), false);
            let got = git::import(self.store, &address, commit, &GitOptions::default(), cancel);
            let why = match got {
                Ok(imported) => match tree {
                    Some(tree) if tree != imported.imported.tree => format!(
                        "commit {commit} is the tree {}, and {tree} was expected",
                        imported.imported.tree
                    ),
                    _ => return Ok(imported.imported.tree),
                },
                Err(Trouble::There(why)) => why,
                Err(Trouble::Here(error)) => return Err(error),
            };
            say(&format!("{url}: {why}"), false);
            tried.push(Tried {
                url: url.clone(),
                why,
            });
        }
        Err(FetchError::Nowhere {
            name: fixed.name.clone(),
            tried,
        })
    }
}

impl Fetcher for Outside<'_> {
    fn fetch(
        &self,
        step: &Derivation,
        say: &mut dyn FnMut(&str, bool),
        cancel: &Cancel,
    ) -> Result<TreeHash, FetchError> {
        let Some((fixed, from)) = step.fetched() else {
            return Err(FetchError::Nowhere {
                name: step.name.to_string(),
                tried: Vec::new(),
            });
        };
        let digests = match &fixed.content {
            Content::File(digests) => digests,
            Content::Commit { commit, tree } => {
                return self.commit(fixed, commit, *tree, from, say, cancel);
            }
        };
        let partial = Partial::of(self.store, fixed)?;
        let wanted = Wanted {
            name: &fixed.name,
            digests,
            size: from.size,
            urls: &from.urls,
        };
        self.file(&wanted, &partial, say, cancel)?;
        self.import(&fixed.name, &partial)
    }
}

/// Whether an address gave the file. What it gave and is not the file goes.
fn settled(
    got: Result<(), Trouble>,
    url: &str,
    partial: &Partial,
    tried: &mut Vec<Tried>,
) -> Result<bool, FetchError> {
    match got {
        Ok(()) => Ok(true),
        Err(Trouble::Here(error)) => Err(error),
        Err(Trouble::There(why)) => {
            if !partial.can_go_on(url) {
                partial.clear()?;
            }
            tried.push(Tried {
                url: url.to_owned(),
                why,
            });
            Ok(false)
        }
    }
}

/// Copies a file of this machine, as long as it is no longer than it may be.
fn copy(
    path: &Path,
    wanted: &Wanted<'_>,
    partial: &Partial,
    cancel: &Cancel,
) -> Result<(), Trouble> {
    let there = |e: io::Error| Trouble::There(e.to_string());
    // A pipe would be waited for.
    let meta = fs::metadata(path).map_err(there)?;
    if !meta.is_file() {
        return Err(Trouble::There("it is not a file".to_owned()));
    }
    let mut input = File::open(path).map_err(there)?;
    let mut output = partial.restart(&path.display().to_string())?;
    let limit = wanted.size.unwrap_or(MOST);
    if meta.len() > limit {
        return Err(Trouble::There(wrong_size(meta.len(), limit)));
    }
    let mut buffer = vec![0; CHUNK];
    let mut copied = 0;
    loop {
        if cancel.is_cancelled() {
            return Err(FetchError::Cancelled.into());
        }
        let n = input.read(&mut buffer).map_err(there)?;
        if n == 0 {
            return Ok(());
        }
        copied += n as u64;
        if copied > limit {
            return Err(Trouble::There(wrong_size(copied, limit)));
        }
        io::Write::write_all(&mut output, &buffer[..n])
            .map_err(failed_to("write to", partial.path()))?;
    }
}

pub(crate) fn wrong_size(got: u64, expected: u64) -> String {
    format!("it has {got} bytes, and {expected} were expected")
}

/// Compares what has come with what it should be, reading it once.
fn check(wanted: &Wanted<'_>, partial: &Partial, cancel: &Cancel) -> Result<(), Trouble> {
    let length = partial.length()?;
    if let Some(size) = wanted.size
        && length != size
    {
        partial.clear()?;
        return Err(Trouble::There(wrong_size(length, size)));
    }
    let algorithms: Vec<_> = wanted.digests.iter().map(Digest::algorithm).collect();
    let found = digests_of(partial.path(), &algorithms, cancel)?;
    for (expected, got) in wanted.digests.iter().zip(found) {
        if *expected != got {
            partial.clear()?;
            return Err(Trouble::There(format!(
                "wrong hash: {expected} was expected, it has {got}"
            )));
        }
    }
    Ok(())
}
