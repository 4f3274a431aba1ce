//! Claims: of all processes that want to build the same thing, one does.
//!
//! A claim is a locked file in `building/`, named by the key. The lock goes with its process, however that
//! ends; the file says who it is, for people. Whoever gets the lock looks whether the file still has its
//! name: its owner removes the file before the lock goes.

use std::io;
use std::path::PathBuf;

use crate::disk::{Disk, Held, Lock};
use crate::{Hash, Store, StoreError};

/// The folder of claims.
pub(crate) const FOLDER: &str = "building";
/// Longest text in a claim that is read.
const MOST: u64 = 4096;

/// The right to build something, until it is dropped or its process ends.
#[derive(Debug)]
pub struct Claim {
    store: Store,
    path: PathBuf,
    /// Goes after the file.
    _held: Held,
}

impl Drop for Claim {
    fn drop(&mut self) {
        // A file that stays is no claim once its lock is gone.
        let _ = self.store.disk().remove(&self.path);
    }
}

/// Who builds something.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Claimant {
    /// Id of the process, if that is known.
    pub pid: Option<u32>,
    /// What it calls the thing.
    pub name: String,
}

/// What came of asking for a claim.
#[derive(Debug)]
pub enum Claimed {
    /// It is the caller's.
    Ours(Claim),
    /// Somebody else has it: another process, or a thread of this one.
    Theirs(Claimant),
}

impl Store {
    /// Claims what `key` names, called `name`, or tells who has.
    pub fn claim(&self, key: &Hash, name: &str) -> Result<Claimed, StoreError> {
        self.writable("claim a build")?;
        let path = self.path().join(FOLDER).join(key.to_string());
        let fail = |error| StoreError::io("claim", &path, error);
        loop {
            match self.disk().create(&path) {
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(fail(error)),
            }
            let held = match self.disk().lock(&path, Lock::Try) {
                Ok(Some(held)) => held,
                Ok(None) => return Ok(Claimed::Theirs(self.claimant(&path))),
                // Its owner is done with it.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(fail(error)),
            };
            if !held.is_at(&path) {
                continue;
            }
            // For people alone: a claim without it counts too.
            let _ = {
                let note = format!("{} {name}\n", std::process::id());
                crate::doors::write(self.inside(), &path, &note)
            };
            return Ok(Claimed::Ours(Claim {
                store: self.clone(),
                path,
                _held: held,
            }));
        }
    }

    /// What is being built at this moment, by any process: keys are not told, names are.
    pub fn being_built(&self) -> Vec<Claimant> {
        let folder = self.path().join(FOLDER);
        let names = self.disk().list(&folder).unwrap_or_default();
        let claims = names.into_iter().map(|name| folder.join(name));
        let claims = claims.filter(|path| match self.disk().lock(path, Lock::Try) {
            // Who claims it in this moment tries again.
            Ok(held) => held.is_none(),
            Err(error) => error.kind() != io::ErrorKind::NotFound,
        });
        claims.map(|path| self.claimant(&path)).collect()
    }

    fn claimant(&self, path: &std::path::Path) -> Claimant {
        let text = self.disk().read(path, MOST).unwrap_or_default();
        let text = String::from_utf8_lossy(&text);
        match text.trim_end().split_once(' ') {
            Some((pid, name)) => Claimant {
                pid: pid.parse().ok(),
                name: name.chars().filter(|c| !c.is_control()).collect(),
            },
            None => Claimant::default(),
        }
    }
}

/// Removes claims of processes that died.
pub(crate) fn clean(disk: &dyn Disk, root: &std::path::Path) {
    let folder = root.join(FOLDER);
    for name in disk.list(&folder).unwrap_or_default() {
        let path = folder.join(name);
        // One that is just being made is locked in a moment by its owner, who then looks for it again.
        if let Ok(Some(held)) = disk.lock(&path, Lock::Try)
            && held.is_at(&path)
        {
            let _ = disk.remove(&path);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::OpenOptions;
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[test]
    fn one_has_it_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let key = Hash::of(b"k");
        let (inside, all) = (AtomicUsize::new(0), AtomicUsize::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    // As a process that opens the store beside others.
                    let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
                    while all.load(Ordering::SeqCst) < 300 {
                        clean(store.disk(), store.path());
                        if let Claimed::Ours(claim) = store.claim(&key, "x").unwrap() {
                            assert_eq!(inside.fetch_add(1, Ordering::SeqCst), 0);
                            all.fetch_add(1, Ordering::SeqCst);
                            inside.fetch_sub(1, Ordering::SeqCst);
                            drop(claim);
                        }
                    }
                });
            }
        });
        let Claimed::Ours(claim) = store.claim(&key, "a b").unwrap() else {
            panic!("nobody has it");
        };
        let Claimed::Theirs(other) = store.claim(&key, "c").unwrap() else {
            panic!("it is taken");
        };
        assert_eq!(other.pid, Some(std::process::id()));
        assert_eq!(other.name, "a b");
        assert_eq!(store.being_built(), [other]);
        assert!(matches!(
            store.claim(&Hash::of(b"other"), "c").unwrap(),
            Claimed::Ours(_)
        ));
        drop(claim);
        assert_eq!(fs::read_dir(store.path().join(FOLDER)).unwrap().count(), 0);
        // What a process left that was killed is no claim.
        fs::write(store.path().join(FOLDER).join(key.to_string()), "1 x\n").unwrap();
        assert_eq!(store.being_built(), []);
        assert!(matches!(store.claim(&key, "c").unwrap(), Claimed::Ours(_)));
    }
}
