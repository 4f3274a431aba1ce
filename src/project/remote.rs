//! Seeds and snapshots from outside: archives by address and hash, revisions of git repositories. The lock file
//! says where they came from, so that they can be had again, and anew.

use std::fs::File;
use std::time::Duration;

use mstore_store::tar::StripTop;
use mstore_store::{Cancel, Claimed, GitOptions, Hash, ImportOptions, Mtime, TarOptions, TreeHash};

use super::events::{Event, Events};
use super::{Project, ProjectError, clock};
use crate::drv::fetch::{Address, Algorithm, Digest, FetchError, Tried};
use crate::drv::{TreeChanges, tree_changes};
use crate::plan::PinFrom;
use crate::plan::{Pin, PinKind};
use crate::share::fetch::{
    self, FetchOptions, Outside, Partial, Wanted, digests_of, import_commit,
};

/// Paths that are listed of what changed.
const PATHS: usize = 20;
/// Time between two looks at who else fetches the same.
const LOOK: Duration = Duration::from_millis(50);
/// Keeps the claims on addresses apart from hashes of anything else.
const CONTEXT: &str = "mstore 2026 address";

/// What a run works with.
pub struct Bring<'a> {
    /// How to fetch.
    pub options: &'a FetchOptions,
    /// Ends the run.
    pub cancel: &'a Cancel,
    /// Is told what happens.
    pub events: &'a dyn Events,
}

/// Where a seed or snapshot is to be had.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// An archive.
    Archive {
        /// Its address.
        url: String,
        /// Its digest; without one whatever comes is taken.
        hash: Option<Digest>,
    },
    /// A git repository.
    Git {
        /// Its address.
        url: String,
        /// The branch, if it is not the one that the repository names first.
        branch: Option<String>,
        /// The commit; without one the newest of the branch is taken.
        commit: Option<String>,
    },
}

/// What became of a pin that was to be made anew.
#[derive(Debug, Clone)]
pub struct Renewal {
    /// Seed or snapshot.
    pub kind: PinKind,
    /// Its name.
    pub name: String,
    /// What it was.
    pub before: Option<Pin>,
    /// What it is, or would be.
    pub after: Pin,
    /// The paths that differ, where the tree of before is here.
    pub changes: Option<TreeChanges>,
}

impl Source {
    /// Where a pin came from, exactly as it is.
    fn again(from: &PinFrom) -> Source {
        match from.clone() {
            PinFrom::Archive { url, hash } => Source::Archive {
                url,
                hash: Some(hash),
            },
            PinFrom::Git {
                url,
                branch,
                commit,
            } => Source::Git {
                url,
                branch,
                commit: Some(commit),
            },
        }
    }

    /// Where a pin came from, as it is there today.
    fn anew(from: &PinFrom) -> Source {
        match from.clone() {
            PinFrom::Archive { url, .. } => Source::Archive { url, hash: None },
            PinFrom::Git { url, branch, .. } => Source::Git {
                url,
                branch,
                commit: None,
            },
        }
    }
}

impl Project {
    /// Imports a seed or snapshot from outside. The pin is not in the lock file yet. `epoch` is the time stamp of
    /// everything in a snapshot, if it is not the usual one.
    pub fn import_outside(
        &self,
        kind: PinKind,
        source: &Source,
        epoch: Option<i64>,
        bring: &Bring<'_>,
    ) -> Result<Pin, ProjectError> {
        let mut pin = match source {
            Source::Archive { url, hash } => self.import_archive(kind, url, hash, epoch, bring)?,
            Source::Git {
                url,
                branch,
                commit,
            } => self.import_repository(url, branch, commit, epoch, bring)?,
        };
        pin.epoch = epoch;
        Ok(pin)
    }

    fn import_archive(
        &self,
        kind: PinKind,
        url: &str,
        hash: &Option<Digest>,
        epoch: Option<i64>,
        bring: &Bring<'_>,
    ) -> Result<Pin, ProjectError> {
        let _claim = self.claim_address(url, bring.cancel)?;
        let partial = Partial::of_address(&self.store, url)?;
        let name = url.split(['?', '#']).next().unwrap_or(url);
        let urls = [url.to_owned()];
        let wanted = Wanted {
            name: name.rsplit('/').next().unwrap_or(name),
            digests: hash.as_slice(),
            size: None,
            urls: &urls,
        };
        let mut say = |line: &str, passing| bring.events.event(Event::Fetching { line, passing });
        let outside = Outside::new(&self.store, bring.options);
        outside.file(&wanted, &partial, &mut say, bring.cancel)?;
        let hash = match hash {
            Some(hash) => hash.clone(),
            None => digests_of(partial.path(), &[Algorithm::Sha256], bring.cancel)?.remove(0),
        };
        let options = match kind {
            PinKind::Seed => TarOptions::default(),
            PinKind::Snapshot => TarOptions {
                normalise: Some(mtime(epoch)),
                strip_top: StripTop::IfSingle,
                ..TarOptions::snapshot()
            },
        };
        let path = partial.path();
        let input = File::open(path).map_err(|e| ProjectError::io("open", path, e))?;
        let imported = self.store.import_tar(input, &options);
        partial.clear()?;
        let mut pin = Pin::new(imported?.tree, Some(clock::today()));
        pin.origin = Some("archive".to_owned());
        pin.from = Some(PinFrom::Archive {
            url: url.to_owned(),
            hash,
        });
        Ok(pin)
    }

    fn import_repository(
        &self,
        url: &str,
        branch: &Option<String>,
        commit: &Option<String>,
        epoch: Option<i64>,
        bring: &Bring<'_>,
    ) -> Result<Pin, ProjectError> {
        let nowhere = |why: String| FetchError::Nowhere {
            name: commit
                .clone()
                .unwrap_or_else(|| "the newest commit".to_owned()),
            tried: vec![Tried {
                url: url.to_owned(),
                why,
            }],
        };
        let address = match url.parse::<Address>() {
            Ok(Address::Git(address)) => address,
            Ok(_) => return Err(nowhere("it is not a git repository".to_owned()).into()),
            Err(error) => return Err(nowhere(error.to_string()).into()),
        };
        if bring.options.offline && !address.starts_with("file://") {
            return Err(nowhere("the network is not to be used".to_owned()).into());
        }
        let commit = match commit {
            Some(commit) => commit.clone(),
            None => fetch::head(&self.store, &address, branch.as_deref(), bring.cancel)?,
        };
        let line = &format!("fetching commit {commit} from {address}");
        bring.events.event(Event::Fetching {
            line,
            passing: false,
        });
        let options = GitOptions {
            normalise: Some(mtime(epoch)),
            ..GitOptions::default()
        };
        let git = import_commit(&self.store, &address, &commit, &options, bring.cancel)?;
        let mut pin = Pin::new(git.imported.tree, Some(clock::date(git.date)));
        pin.origin = Some(format!("git {commit}"));
        pin.from = Some(PinFrom::Git {
            url: url.to_owned(),
            branch: branch.clone(),
            commit,
        });
        Ok(pin)
    }

    /// Keeps others from fetching from the same address into the same file.
    fn claim_address(
        &self,
        url: &str,
        cancel: &Cancel,
    ) -> Result<mstore_store::Claim, ProjectError> {
        let key = Hash::derive(CONTEXT, url.as_bytes());
        loop {
            if let Claimed::Ours(claim) = self.store.claim(&key, url)? {
                return Ok(claim);
            }
            if cancel.is_cancelled() {
                return Err(ProjectError::Interrupted);
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Whether the lock file says where a seed or snapshot is to be had.
    pub fn can_bring_back(&self, kind: PinKind, name: &str) -> bool {
        self.lock
            .get(kind, name)
            .is_some_and(|pin| pin.from.is_some())
    }

    /// Gets a pinned tree, which the store lacks, from where it came from.
    pub fn bring_back(
        &self,
        kind: PinKind,
        name: &str,
        bring: &Bring<'_>,
    ) -> Result<TreeHash, ProjectError> {
        let pin = self.lock.get(kind, name);
        let Some((pin, from)) = pin.and_then(|pin| Some((pin, pin.from.as_ref()?))) else {
            return Err(ProjectError::NoPin {
                name: name.to_owned(),
            });
        };
        let got = self.import_outside(kind, &Source::again(from), pin.epoch, bring)?;
        if got.tree != pin.tree {
            return Err(ProjectError::OtherTree {
                kind,
                name: name.to_owned(),
                url: from.url().to_owned(),
                expected: pin.tree,
                got: got.tree,
            });
        }
        bring.events.event(Event::Provided {
            kind,
            name,
            tree: got.tree,
        });
        Ok(got.tree)
    }

    /// Gets a seed or snapshot anew: from where the lock file says that it came from, or, without anybody's help,
    /// from this machine or this program. With `dry_run` the lock file stays as it is.
    pub fn renew_pin(
        &mut self,
        name: &str,
        dry_run: bool,
        bring: &Bring<'_>,
    ) -> Result<Vec<Renewal>, ProjectError> {
        let pins = self
            .lock
            .pins()
            .filter(|(_, n, pin)| *n == name && pin.from.is_some());
        let pins: Vec<(PinKind, Pin)> = pins.map(|(kind, _, pin)| (kind, pin.clone())).collect();
        let mut renewals = Vec::new();
        for (kind, before) in &pins {
            let Some(from) = &before.from else { continue };
            let after = self.import_outside(*kind, &Source::anew(from), before.epoch, bring)?;
            renewals.push((*kind, after));
        }
        if pins.is_empty() {
            renewals = self.obtain_anew(name, bring.events)?;
        }
        let mut all = Vec::new();
        for (kind, after) in renewals {
            let before = self.lock.get(kind, name).cloned();
            let changes = match &before {
                Some(before) if self.store.has_tree(before.tree)? => {
                    Some(tree_changes(&self.store, before.tree, after.tree, PATHS)?)
                }
                _ => None,
            };
            // The day alone is no news.
            let same = before.as_ref().is_some_and(|b| {
                b.tree == after.tree && b.from == after.from && b.origin == after.origin
            });
            if !dry_run && !same {
                self.set_pin(kind, name, after.clone())?;
            }
            all.push(Renewal {
                kind,
                name: name.to_owned(),
                before,
                after,
                changes,
            });
        }
        Ok(all)
    }
}

/// The time stamp of everything in a snapshot.
fn mtime(epoch: Option<i64>) -> Mtime {
    epoch.map_or(ImportOptions::SNAPSHOT_MTIME, |secs| Mtime {
        secs,
        nanos: 0,
    })
}
