//! Lock files that use this store, and what they pinned when they were last seen.

use rusqlite::{OptionalExtension, params};

use super::Durable;
use super::rows::hash_at;
use crate::{Store, StoreError, TreeHash};

/// A name pinned by a lock file.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct RegisteredPin {
    /// The lock file.
    pub path: String,
    /// `seed` or `snapshot`.
    pub kind: String,
    /// The name.
    pub name: String,
    /// The tree.
    pub tree: TreeHash,
}

/// A lock file known to the store.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LockFile {
    /// Its absolute path.
    pub path: String,
    /// When it was last seen, in seconds since 1970.
    pub seen: i64,
    /// Since when it is known to be missing.
    pub missing: Option<i64>,
}

impl Store {
    /// Notes what a lock file pins now; what it pinned before is forgotten. Cheap when nothing
    /// changed.
    pub fn register_pins(
        &self,
        path: &str,
        now: i64,
        pins: &[(String, String, TreeHash)],
    ) -> Result<(), StoreError> {
        self.writable("register a lock file")?;
        let mut wanted: Vec<RegisteredPin> = pins
            .iter()
            .map(|(kind, name, tree)| RegisteredPin {
                path: path.to_owned(),
                kind: kind.clone(),
                name: name.clone(),
                tree: *tree,
            })
            .collect();
        wanted.sort_unstable();
        let known = self.database().read_together("look up pins", |c| {
            let seen: Option<(i64, Option<i64>)> = c
                .prepare_cached("SELECT seen, missing FROM lock_file WHERE path = ?1")?
                .query_row([path], |row| Ok((row.get(0)?, row.get(1)?)))
                .optional()?;
            Ok((seen, pins_of(c, Some(path))?))
        })?;
        let fresh = |(seen, missing): (i64, Option<i64>)| {
            missing.is_none() && (seen..seen + super::DAY).contains(&now)
        };
        let same = known.1 == wanted;
        if known.0.is_some_and(fresh) && same {
            return Ok(());
        }
        self.database()
            .write(Durable::Yes, "register a lock file", |t| {
                t.execute(
                    "INSERT OR REPLACE INTO lock_file (path, seen, missing) VALUES (?1, ?2, NULL)",
                    params![path, now],
                )?;
                if same {
                    return Ok(());
                }
                t.execute("DELETE FROM pin WHERE path = ?1", [path])?;
                let mut insert =
                    t.prepare("INSERT INTO pin (path, kind, name, tree) VALUES (?1, ?2, ?3, ?4)")?;
                for pin in &wanted {
                    insert.execute(params![path, pin.kind, pin.name, pin.tree.to_string()])?;
                }
                Ok(())
            })
    }

    /// Notes that a lock file is missing since `now`, unless that is known already.
    pub fn lock_file_missing(&self, path: &str, now: i64) -> Result<(), StoreError> {
        self.writable("note that a lock file is missing")?;
        self.database()
            .write(Durable::Yes, "note that a lock file is missing", |t| {
                t.execute(
                    "UPDATE lock_file SET missing = ?2 WHERE path = ?1 AND missing IS NULL",
                    params![path, now],
                )?;
                Ok(())
            })
    }

    /// Forgets a lock file with its pins.
    pub fn forget_lock_file(&self, path: &str) -> Result<(), StoreError> {
        self.writable("forget a lock file")?;
        self.database()
            .write(Durable::Yes, "forget a lock file", |t| {
                t.execute("DELETE FROM pin WHERE path = ?1", [path])?;
                t.execute("DELETE FROM lock_file WHERE path = ?1", [path])?;
                Ok(())
            })
    }

    /// The lock files that use this store, sorted.
    pub fn lock_files(&self) -> Result<Vec<LockFile>, StoreError> {
        self.database().read("list lock files", |c| {
            c.prepare("SELECT path, seen, missing FROM lock_file ORDER BY path")?
                .query_map([], |row| {
                    Ok(LockFile {
                        path: row.get(0)?,
                        seen: row.get(1)?,
                        missing: row.get(2)?,
                    })
                })?
                .collect()
        })
    }

    /// All pins of all of them, sorted.
    pub fn pins(&self) -> Result<Vec<RegisteredPin>, StoreError> {
        self.database().read("list pins", |c| pins_of(c, None))
    }
}

/// Pins, sorted; with `path`, those of one lock file.
pub(crate) fn pins_of(
    c: &rusqlite::Connection,
    path: Option<&str>,
) -> rusqlite::Result<Vec<RegisteredPin>> {
    c.prepare_cached(
        "SELECT path, kind, name, tree FROM pin WHERE ?1 IS NULL OR path = ?1 \
         ORDER BY path, kind, name",
    )?
    .query_map([path], |row| {
        Ok(RegisteredPin {
            path: row.get(0)?,
            kind: row.get(1)?,
            name: row.get(2)?,
            tree: TreeHash(hash_at(row, 3)?),
        })
    })?
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hash, OpenOptions};

    #[test]
    fn pins_follow_their_lock_file() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let pin = |name: &str| {
            let tree = TreeHash(Hash::of(name.as_bytes()));
            ("seed".to_owned(), name.to_owned(), tree)
        };
        let names = || -> Vec<String> {
            let all = store.pins().unwrap();
            all.into_iter().map(|p| p.path + " " + &p.name).collect()
        };
        store.register_pins("/b", 5, &[pin("y"), pin("x")]).unwrap();
        store.register_pins("/a", 5, &[pin("z")]).unwrap();
        assert_eq!(names(), ["/a z", "/b x", "/b y"]);
        store.register_pins("/b", 6, &[pin("x")]).unwrap();
        assert_eq!(names(), ["/a z", "/b x"]);
        store.lock_file_missing("/a", 100).unwrap();
        store.lock_file_missing("/a", 200).unwrap();
        let files = store.lock_files().unwrap();
        assert_eq!((files[0].seen, files[0].missing), (5, Some(100)));
        // Nothing new within a day is not written.
        store.register_pins("/b", 500, &[pin("x")]).unwrap();
        assert_eq!(store.lock_files().unwrap()[1].seen, 6);
        store.register_pins("/a", 300, &[pin("z")]).unwrap();
        assert_eq!(store.lock_files().unwrap()[0].missing, None);
        store.forget_lock_file("/a").unwrap();
        assert_eq!(names(), ["/b x"]);
    }
}
