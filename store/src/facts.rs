//! Realisations, named roots, leases and scratch folders: what the database knows.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use rusqlite::{OptionalExtension, params};

use crate::db::realisations::{COLUMNS, IfKnown, put_realisation, realisation_at};
use crate::db::rows::hash_at;
use crate::db::{Durable, Hold, history, signatures, state, used};
use crate::session::{self, random_name};
use crate::{Attempt, Hash, Outcome, Realisation, Root, Signature, Store, StoreError, TreeHash};

/// A result whose tree was lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostResult {
    /// What it is of.
    pub name: String,
    /// The tree.
    pub tree: TreeHash,
}

impl Store {
    /// Looks up what a key produced. Its tree may be collected meanwhile: see [`Store::has_tree`].
    pub fn realisation(&self, key: &Hash) -> Result<Option<Realisation>, StoreError> {
        self.database().read("look up a realisation", |c| {
            c.prepare_cached(&format!("SELECT {COLUMNS} FROM realisation WHERE key = ?1"))?
                .query_row([key.to_string()], realisation_at)
                .optional()
        })
    }

    /// What was produced under a key, or by a derivation, or is a tree: whichever `hash` is. Newest
    /// first, steps before targets.
    pub fn realisations_of(&self, hash: &Hash) -> Result<Vec<Realisation>, StoreError> {
        self.database().read("look up realisations", |c| {
            // One index each.
            c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM ( \
                 SELECT {COLUMNS} FROM realisation WHERE key = ?1 \
                 UNION SELECT {COLUMNS} FROM realisation WHERE drv = ?1 \
                 UNION SELECT {COLUMNS} FROM realisation WHERE tree = ?1) \
                 ORDER BY kind = 'step' DESC, started DESC, key"
            ))?
            .query_map([hash.to_string()], realisation_at)?
            .collect()
        })
    }

    /// All realisations, newest first; with `name`, only those of that name.
    pub fn realisations(&self, name: Option<&str>) -> Result<Vec<Realisation>, StoreError> {
        let wanted = if name.is_some() {
            "WHERE name = ?1"
        } else {
            ""
        };
        self.database().read("list realisations", |c| {
            c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM realisation {wanted} ORDER BY started DESC, key"
            ))?
            .query_map(rusqlite::params_from_iter(name), realisation_at)?
            .collect()
        })
    }

    /// The newest realisation of a name.
    pub fn newest_realisation(&self, name: &str) -> Result<Option<Realisation>, StoreError> {
        self.database().read("look up a realisation", |c| {
            c.prepare_cached(&format!(
                "SELECT {COLUMNS} FROM realisation WHERE name = ?1 \
                 ORDER BY started DESC, key LIMIT 1"
            ))?
            .query_row([name], realisation_at)
            .optional()
        })
    }

    /// The realisations of a name whose derivations are remembered, newest first: when each was begun, its key, and
    /// the derivation. At most `most`.
    pub fn derivations_of(
        &self,
        name: &str,
        most: u32,
    ) -> Result<Vec<(i64, Hash, Vec<u8>)>, StoreError> {
        let keys: Vec<(i64, Hash)> = self.database().read("look up a derivation", |c| {
            c.prepare_cached(
                "SELECT started, key FROM realisation WHERE name = ?1 \
                 AND EXISTS (SELECT 1 FROM derivation WHERE derivation.key = realisation.key) \
                 ORDER BY started DESC, key LIMIT ?2",
            )?
            .query_map(params![name, most], |row| {
                Ok((row.get(0)?, hash_at(row, 1)?))
            })?
            .collect()
        })?;
        let mut found = Vec::with_capacity(keys.len());
        for (started, key) in keys {
            found.extend(self.derivation(&key)?.map(|bytes| (started, key, bytes)));
        }
        Ok(found)
    }

    /// Records what a key produced. The tree must be in the store; all that it needs is durable
    /// before this begins, and the record is durable when this returns.
    pub fn record(&self, r: &Realisation) -> Result<(), StoreError> {
        self.record_signed(r, &[])
    }

    /// Like [`Store::record`], with signatures for it, which are kept in the same step.
    pub fn record_signed(
        &self,
        r: &Realisation,
        signatures: &[Signature],
    ) -> Result<(), StoreError> {
        self.writable("record a realisation")?;
        let _lock = self.lock_shared()?;
        self.need_tree(r.tree)?;
        self.database()
            .write(Durable::Yes, "record a realisation", |t| {
                put_realisation(t, r, IfKnown::Replace)?;
                history::add(
                    t,
                    &Attempt {
                        kind: r.kind,
                        key: r.key,
                        drv: r.drv,
                        name: r.name.clone(),
                        tree: Some(r.tree),
                        started: r.started,
                        seconds: r.seconds,
                        host: r.host.clone(),
                        outcome: Outcome::Ok,
                        phase: None,
                        detail: None,
                        log: r.log.clone(),
                    },
                )?;
                for signature in signatures {
                    signatures::add(t, signature)?;
                }
                // A note that stays while the tree does: see `lost_results`.
                used::touch(t, r.tree, r.started.saturating_add(r.seconds as i64))
            })
    }

    /// Results of targets whose trees are not here though no collection removed them: they were lost, with a
    /// pack or otherwise. By name, the newest of each first.
    pub(crate) fn all_lost(&self) -> Result<Vec<LostResult>, StoreError> {
        // A collection that removes a tree removes the note of its last use, and a copy of a result without
        // its tree makes none.
        let noted = self.database().read("look for lost results", |c| {
            c.prepare(
                "SELECT name, tree FROM realisation WHERE kind = 'target' \
                 AND tree IN (SELECT tree FROM used) ORDER BY name, started DESC, key",
            )?
            .query_map([], |row| {
                Ok(LostResult {
                    name: row.get(0)?,
                    tree: TreeHash(hash_at(row, 1)?),
                })
            })?
            .collect::<rusqlite::Result<Vec<_>>>()
        })?;
        let mut lost = Vec::new();
        for result in noted {
            // What is damaged, or cannot be read, is told of in its own words.
            if let Ok(None) = self.find(&result.tree.0) {
                lost.push(result);
            }
        }
        Ok(lost)
    }

    /// The newest result of each target, if its tree is lost: no collection removed it. By name.
    pub fn lost_results(&self) -> Result<Vec<LostResult>, StoreError> {
        let mut lost = self.all_lost()?;
        if lost.is_empty() {
            return Ok(lost);
        }
        let newest = self.database().read("look for the newest results", |c| {
            c.prepare(
                "SELECT name, tree, max(started) FROM realisation WHERE kind = 'target' GROUP BY name",
            )?
            .query_map([], |row| Ok((row.get::<_, String>(0)?, TreeHash(hash_at(row, 1)?))))?
            .collect::<rusqlite::Result<BTreeMap<_, _>>>()
        })?;
        lost.retain(|result| newest.get(&result.name) == Some(&result.tree));
        lost.dedup();
        Ok(lost)
    }

    /// Forgets what a key produced. Tells whether there was anything.
    pub fn forget(&self, key: &Hash) -> Result<bool, StoreError> {
        self.writable("forget a realisation")?;
        self.database()
            .write(Durable::Yes, "forget a realisation", |t| {
                t.prepare_cached("DELETE FROM realisation WHERE key = ?1")?
                    .execute([key.to_string()])
            })
            .map(|n| n > 0)
    }

    /// Forgets results, with the signatures for them, in one step. Others stay, also of the same keys.
    pub fn forget_results(&self, results: &[Realisation]) -> Result<(), StoreError> {
        self.writable("forget results")?;
        self.database().write(Durable::Yes, "forget results", |t| {
            for table in ["realisation", "signature"] {
                let delete = format!("DELETE FROM {table} WHERE key = ?1 AND tree = ?2");
                let mut delete = t.prepare(&delete)?;
                for r in results {
                    delete.execute([r.key.to_string(), r.tree.to_string()])?;
                }
            }
            Ok(())
        })
    }

    /// All named roots, sorted by name.
    pub fn roots(&self) -> Result<Vec<Root>, StoreError> {
        self.database().read("list roots", |c| {
            c.prepare("SELECT name, tree FROM root ORDER BY name")?
                .query_map([], |row| {
                    Ok(Root {
                        name: row.get(0)?,
                        tree: TreeHash(hash_at(row, 1)?),
                    })
                })?
                .collect()
        })
    }

    /// Names a tree so that it lives; a root of that name is replaced.
    pub fn add_root(&self, name: &str, tree: TreeHash) -> Result<(), StoreError> {
        self.writable("add a root")?;
        let refuse = |reason| StoreError::BadName {
            name: name.chars().take(200).collect(),
            reason,
        };
        if name.is_empty() || name.chars().count() > 200 {
            return Err(refuse("it must have 1 to 200 characters"));
        }
        if name.chars().any(char::is_control) {
            return Err(refuse("it has control characters"));
        }
        let _lock = self.lock_shared()?;
        self.need_tree(tree)?;
        let text = tree.to_string();
        let known = self.database().read("look up a root", |c| {
            c.prepare_cached("SELECT 1 FROM root WHERE name = ?1 AND tree = ?2")?
                .exists([name, &text])
        })?;
        if known {
            return Ok(());
        }
        self.database().write(Durable::Yes, "add a root", |t| {
            t.execute(
                "INSERT OR REPLACE INTO root (name, tree) VALUES (?1, ?2)",
                params![name, text],
            )?;
            Ok(())
        })
    }

    /// Removes a named root. Tells whether there was one.
    pub fn remove_root(&self, name: &str) -> Result<bool, StoreError> {
        self.writable("remove a root")?;
        self.database()
            .write(Durable::Yes, "remove a root", |t| {
                t.execute("DELETE FROM root WHERE name = ?1", [name])
            })
            .map(|n| n > 0)
    }

    /// Fails unless a tree is here. The caller holds the lock, so that it stays here.
    pub(crate) fn need_tree(&self, tree: TreeHash) -> Result<(), StoreError> {
        self.need_trees(&[tree])
    }

    /// Fails unless all trees are here. The caller holds the lock, so that they stay here.
    fn need_trees(&self, trees: &[TreeHash]) -> Result<(), StoreError> {
        // The packs known may be gone already.
        self.refresh()?;
        for tree in trees {
            if !self.has_tree(*tree)? {
                return Err(StoreError::Missing {
                    what: "tree",
                    hash: tree.0,
                });
            }
        }
        Ok(())
    }

    /// Begins a lease, which protects trees while this process lives. On a store opened read-only
    /// it protects nothing, since nothing there can be collected by this handle.
    pub fn lease(&self, purpose: &str) -> Result<Lease, StoreError> {
        self.begin_lease(purpose, &[])
    }

    /// Begins a lease that protects trees. Fails with [`StoreError::Missing`] when one is not there.
    pub fn lease_trees(&self, purpose: &str, trees: &[TreeHash]) -> Result<Lease, StoreError> {
        let _lock = self.lock_shared()?;
        self.need_trees(trees)?;
        self.begin_lease(purpose, trees)
    }

    /// Begins a lease of trees that are here, in one transaction.
    fn begin_lease(&self, purpose: &str, trees: &[TreeHash]) -> Result<Lease, StoreError> {
        let mut lease = Lease {
            store: self.clone(),
            id: None,
        };
        if !self.is_read_only() {
            let (session, boot) = (self.session()?, self.disk().boot());
            let begun = self.database().write(Durable::No, "add lease", |t| {
                let id = session::add_lease(t, &boot, &session, purpose)?;
                lease_and_touch(t, id, trees)?;
                Ok(id)
            });
            lease.id = Some(begun?);
        }
        Ok(lease)
    }

    /// Makes an empty folder (mode 0700) on the store's file system for work in progress.
    pub fn scratch(&self, purpose: &str) -> Result<ScratchDir, StoreError> {
        let session = self.session()?;
        let plain = !purpose.is_empty()
            && purpose.len() <= 100
            && purpose
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_+".contains(&b));
        if !plain {
            return Err(StoreError::BadName {
                name: purpose.chars().take(100).collect(),
                reason: "a purpose has letters, digits, -, _ and + only",
            });
        }
        let path = session.tmp.join(format!("{purpose}-{}", random_name()?));
        self.disk()
            .create_dir(&path, 0o700)
            .map_err(|e| StoreError::io("create scratch folder", &path, e))?;
        Ok(ScratchDir {
            path,
            store: self.clone(),
        })
    }
}

/// While it is there, all that a store is asked is answered from one state of its database, unless this
/// handle writes.
#[derive(Debug)]
pub struct Steady<'a> {
    hold: Hold<'a>,
    answers: Option<i64>,
}

impl Steady<'_> {
    /// The state of all that planning asks a store: a random number that is another one whenever an answer
    /// may be another. None in a store of an older version, and when this handle has written meanwhile.
    pub fn answers(&self) -> Option<i64> {
        self.answers.filter(|_| self.hold.is_whole())
    }
}

impl Store {
    /// Lets what follows be answered from one state of the database, and faster.
    pub fn steady(&self) -> Result<Steady<'_>, StoreError> {
        let hold = self.database().hold()?;
        let answers = self
            .database()
            .read("look for changes", state::of_answers)?;
        Ok(Steady { hold, answers })
    }

    /// Protects a tree while it is read out, and notes that it is used. Where there is no room to note
    /// anything, it can be read all the same.
    pub(crate) fn reading(&self, tree: TreeHash) -> Result<Option<Lease>, StoreError> {
        match self.lease_trees("export", &[tree]) {
            Ok(lease) => Ok(Some(lease)),
            Err(StoreError::NoSpace { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }
}

/// Protects trees from the collector while it is held and its process lives.
#[derive(Debug)]
pub struct Lease {
    store: Store,
    id: Option<i64>,
}

impl Lease {
    /// Its number; none on a store opened read-only.
    pub(crate) fn id(&self) -> Option<i64> {
        self.id
    }

    /// Protects a tree with all in it. Fails with [`StoreError::Missing`] when it is not there.
    pub fn protect(&self, tree: TreeHash) -> Result<(), StoreError> {
        self.protect_all(&[tree])
    }

    /// Protects trees in one transaction: all, or none when one is not there.
    pub fn protect_all(&self, trees: &[TreeHash]) -> Result<(), StoreError> {
        let _lock = self.store.lock_shared()?;
        self.store.need_trees(trees)?;
        let Some(id) = self.id else {
            return Ok(());
        };
        self.store
            .database()
            .write(Durable::No, "protect a tree", |t| {
                lease_and_touch(t, id, trees)
            })
    }
}

/// Protects trees, and notes that they are used.
fn lease_and_touch(
    t: &rusqlite::Transaction<'_>,
    lease: i64,
    trees: &[TreeHash],
) -> rusqlite::Result<()> {
    let now = used::now();
    for tree in trees {
        session::lease_tree(t, lease, *tree)?;
        used::touch(t, *tree, now)?;
    }
    Ok(())
}

impl Drop for Lease {
    fn drop(&mut self) {
        if let Some(id) = self.id {
            // What cannot be removed now is void when the session ends.
            let _ = session::remove_lease(self.store.database(), id);
        }
    }
}

/// A folder under the store that goes when this is dropped, or at the next opening of the store when
/// the process died.
#[derive(Debug)]
pub struct ScratchDir {
    path: PathBuf,
    /// The session, and with it the folder, ends with the last handle of the store.
    store: Store,
}

impl ScratchDir {
    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Removes the folder now, and tells what stood in the way.
    pub fn remove(self) -> Result<(), StoreError> {
        let disk = self.store.disk();
        disk.remove_tree(&self.path)
            .map_err(|e| StoreError::io("remove scratch folder", &self.path, e))
    }
}

impl Drop for ScratchDir {
    fn drop(&mut self) {
        // What cannot be removed now is garbage of this session, removed when it ends.
        let _ = self.store.disk().remove_tree(&self.path);
    }
}
