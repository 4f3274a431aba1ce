//! The caches of the configuration, for runs that take what these have in place of building it.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use mstore_store::transfer::{Progress, ReceiveOptions, TransferError};
use mstore_store::{Cancel, TreeHash};

use super::ProjectError;
use super::events::{Event, Events, Transfer};
use super::peers::Reach;
use crate::config::Config;
use crate::share::ssh::{self, Started};
use crate::share::substitute::Opener;
use crate::share::{Peer, Remote, Substitute};

/// Connections to one cache at a time.
const JOBS: usize = 8;

/// The caches, in the order in which they are asked.
#[derive(Default)]
pub struct Caches {
    list: Vec<Cache>,
}

struct Cache {
    name: String,
    remote: Remote,
    reach: Reach,
    /// An ssh that runs already; it has to be started by the user that the keys belong to.
    ssh: Mutex<Option<Result<Started, TransferError>>>,
}

impl Caches {
    /// Reads what caches there are, and starts the ssh of those that need one. Has to come before this
    /// process enters a user namespace. `reach` gives what the configuration does not say.
    pub fn start(config: &Config, reach: &Reach) -> Result<Caches, ProjectError> {
        let mut list = Vec::new();
        for cache in &config.caches {
            let remote: Remote = cache.url.parse().map_err(|error| ProjectError::CacheUrl {
                cache: cache.name.clone(),
                error,
            })?;
            let reach = Reach {
                jobs: JOBS,
                timeout: cache.timeout,
                ca_file: cache.ca_file.clone(),
                ..reach.clone()
            };
            if reach.offline && !matches!(remote, Remote::Folder(_)) {
                continue;
            }
            let seconds = u32::try_from(cache.timeout.as_secs()).unwrap_or(u32::MAX);
            let ssh = match &remote {
                Remote::Ssh(address) => Some(ssh::start(
                    address,
                    &reach.ssh_options(Some(seconds.max(1))),
                )),
                _ => None,
            };
            list.push(Cache {
                name: cache.name.clone(),
                remote,
                reach,
                ssh: Mutex::new(ssh),
            });
        }
        Ok(Caches { list })
    }

    /// Tells whether there is none.
    pub fn is_empty(&self) -> bool {
        self.list.is_empty()
    }

    /// Opens each when it is needed.
    pub fn openers<'a>(&'a self) -> Vec<(String, Opener<'a>)> {
        let all = self.list.iter();
        all.map(|cache| {
            let opener: Opener<'a> = Box::new(move || cache.open());
            (cache.name.clone(), opener)
        })
        .collect()
    }
}

impl Cache {
    fn open(&self) -> Result<Arc<dyn Peer>, TransferError> {
        if let Remote::Ssh(_) = &self.remote {
            let mut ssh = self.ssh.lock().unwrap_or_else(PoisonError::into_inner);
            return match ssh.take() {
                Some(started) => Ok(Arc::new(started?.connect()?)),
                None => Err(TransferError::peer(&self.name, "the connection is closed")),
            };
        }
        let opened = self.reach.open(&self.remote);
        opened.map_err(|error| match error {
            ProjectError::Transfer(error) => error,
            error => TransferError::peer(&self.name, error.to_string()),
        })
    }
}

/// Fetches trees. Returns how many there were to be had.
pub fn fetch(
    facts: &Substitute<'_>,
    trees: &BTreeSet<TreeHash>,
    cancel: &Cancel,
    events: &dyn Events,
) -> Result<usize, ProjectError> {
    let fetch_all = || {
        let progress = |p: &Progress| events.event(Event::Progress(Transfer::Fetch, p));
        let options = ReceiveOptions {
            cancel,
            progress: &progress,
            dry_run: false,
        };
        let mut fetched = 0;
        for tree in trees {
            let got = facts.fetch(*tree, &options);
            if cancel.is_cancelled() {
                return Err(TransferError::Cancelled);
            }
            fetched += usize::from(got?.is_some());
        }
        Ok(fetched)
    };
    let fetched = fetch_all();
    events.event(Event::TransferEnded);
    Ok(fetched?)
}
