//! The caches of the configuration file, for `realise` and others that take what they have.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use mstore_store::transfer::TransferError;
use mstore_store::{Store, TreeHash};

use super::Failure;
use super::transfer::{self, Bar, ReachArgs};
use crate::config::Config;
use crate::project::open::Folder;
use crate::project::{Access, ProjectError, open_store};
use crate::share::ssh::{self, Started};
use crate::share::substitute::Opener;
use crate::share::{LocalPeer, Peer, Remote, Substitute};

/// Connections to one cache at a time.
const JOBS: u8 = 8;

/// The caches, in the order in which they are asked.
#[derive(Default)]
pub struct Caches {
    list: Vec<Cache>,
}

struct Cache {
    name: String,
    remote: Remote,
    timeout: Duration,
    ca_file: Option<PathBuf>,
    /// An ssh that runs already; it has to be started by the user that the keys belong to.
    ssh: Mutex<Option<Result<Started, TransferError>>>,
}

impl Caches {
    /// Reads what caches there are. Has to come before this process enters a user namespace.
    pub fn start(config: &Config) -> Result<Caches, Failure> {
        let mut list = Vec::new();
        for cache in &config.caches {
            let remote: Remote = cache
                .url
                .parse()
                .map_err(|e| Failure::usage(format!("cache/{}/url: {e}", cache.name)))?;
            let seconds = u32::try_from(cache.timeout.as_secs()).unwrap_or(u32::MAX);
            let ssh = match &remote {
                Remote::Ssh(place) => {
                    let reach = ReachArgs {
                        remote_program: "mstore".into(),
                        ..ReachArgs::default()
                    };
                    let options = transfer::ssh_options(&reach, Some(seconds.max(1)));
                    Some(ssh::start(place, &options))
                }
                _ => None,
            };
            list.push(Cache {
                name: cache.name.clone(),
                remote,
                timeout: cache.timeout,
                ca_file: cache.ca_file.clone(),
                ssh: Mutex::new(ssh),
            });
        }
        Ok(Caches { list })
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Opens each when it is needed.
    pub fn openers<'a>(&'a self, store: &'a Store) -> Vec<(String, Opener<'a>)> {
        let all = self.list.iter();
        all.map(|cache| {
            let opener: Opener<'a> = Box::new(move || cache.open(store));
            (cache.name.clone(), opener)
        })
        .collect()
    }
}

impl Cache {
    fn open(&self, store: &Store) -> Result<Arc<dyn Peer>, TransferError> {
        let wrong = |e: ProjectError| TransferError::peer(&self.name, e.to_string());
        match &self.remote {
            Remote::Folder(path) => match Folder::of(path).map_err(wrong)? {
                Folder::Store => {
                    let store = open_store(path, Access::Read).map_err(wrong)?;
                    Ok(Arc::new(LocalPeer::new(&store)?))
                }
                Folder::Cache => Ok(Arc::new(transfer::folder_cache(path, JOBS.into(), store)?)),
                Folder::Empty | Folder::BegunStore | Folder::BegunCache => {
                    Err(TransferError::peer(
                        path.display().to_string(),
                        "there is no store and no cache",
                    ))
                }
            },
            Remote::Ssh(_) => {
                let started = self
                    .ssh
                    .lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .take();
                match started {
                    Some(started) => Ok(Arc::new(started?.connect()?)),
                    None => Err(TransferError::peer(&self.name, "the connection is closed")),
                }
            }
            Remote::Http(address) => Ok(Arc::new(transfer::web(
                address,
                self.timeout,
                self.ca_file.as_deref(),
                JOBS.into(),
                store,
            )?)),
        }
    }
}

/// Fetches trees, and tells which could not be had.
pub fn fetch(
    facts: &Substitute<'_>,
    trees: &BTreeSet<TreeHash>,
    bar: &Bar,
    stop: &std::sync::atomic::AtomicBool,
) -> Result<usize, Failure> {
    let mut fetched = 0;
    for tree in trees {
        let got = transfer::with_progress(bar, "fetching", stop, false, |options| {
            facts.fetch(*tree, options)
        });
        if stop.load(std::sync::atomic::Ordering::Relaxed) {
            return Err(TransferError::Cancelled.into());
        }
        fetched += usize::from(got?.is_some());
    }
    Ok(fetched)
}
