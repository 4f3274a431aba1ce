//! What is known of the work itself: how much room a step needed, and which trees other machines hold. All of it is
//! for decisions that change no result, and may be lost.

use rusqlite::{OptionalExtension, params};

use super::Durable;
use super::rows::hash_at;
use super::used::now;
use crate::{Hash, Store, StoreError, TreeHash};

/// Most trees that are remembered of one machine.
pub const MOST_HELD: u32 = 4096;

/// Most lists of bundles that are remembered.
const MOST_BUNDLES: u32 = 16_384;
/// Longest list of bundles that is remembered or read, in bytes.
const LONGEST_LIST: usize = 64 << 20;

/// A tree that another machine holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Held {
    /// The tree.
    pub tree: TreeHash,
    /// Bytes that had to travel so that both machines had it.
    pub bytes: u64,
}

impl Store {
    /// Notes how many bytes the last build under a name had in its work folder.
    pub fn note_work_size(&self, name: &str, bytes: u64) -> Result<(), StoreError> {
        self.writable("note a size")?;
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        self.database().write(Durable::No, "note a size", |t| {
            t.prepare_cached(
                "INSERT INTO size (name, bytes) VALUES (?1, ?2) \
                 ON CONFLICT (name) DO UPDATE SET bytes = excluded.bytes WHERE bytes <> excluded.bytes",
            )?
            .execute(params![name, bytes])
            .map(drop)
        })
    }

    /// How many bytes the last build under a name had in its work folder, if that is known.
    pub fn work_size(&self, name: &str) -> Result<Option<u64>, StoreError> {
        let bytes = self.database().read("look for a size", |c| {
            c.prepare_cached("SELECT bytes FROM size WHERE name = ?1")?
                .query_row([name], |row| row.get::<_, i64>(0))
                .optional()
        })?;
        Ok(bytes.and_then(|bytes| u64::try_from(bytes).ok()))
    }

    /// Remembers which bundles a tree is cut into, as bytes that mean nothing to the store; the caller's key names what
    /// was cut, and how. The newest lists are remembered, some ten thousand.
    pub fn note_bundles(&self, key: &Hash, list: &[u8]) -> Result<(), StoreError> {
        self.writable("note bundles")?;
        if list.len() > LONGEST_LIST {
            return Ok(());
        }
        self.database().write(Durable::No, "note bundles", |t| {
            t.prepare_cached("INSERT OR REPLACE INTO bundles (key, list, at) VALUES (?1, ?2, ?3)")?
                .execute(params![key.to_string(), list, now()])?;
            let count: u32 = t
                .prepare_cached("SELECT count(*) FROM bundles")?
                .query_row([], |row| row.get(0))?;
            if count > MOST_BUNDLES {
                // A quarter at once: looking for the oldest takes a walk over all.
                t.prepare_cached(
                    "DELETE FROM bundles WHERE key IN \
                     (SELECT key FROM bundles ORDER BY at DESC, key LIMIT -1 OFFSET ?1)",
                )?
                .execute([MOST_BUNDLES / 4 * 3])?;
            }
            Ok(())
        })
    }

    /// The bundles that were remembered under a key.
    pub fn bundles(&self, key: &Hash) -> Result<Option<Vec<u8>>, StoreError> {
        let list: Option<Vec<u8>> = self.database().read("look for bundles", |c| {
            c.prepare_cached("SELECT list FROM bundles WHERE key = ?1")?
                .query_row([key.to_string()], |row| row.get(0))
                .optional()
        })?;
        Ok(list.filter(|list| list.len() <= LONGEST_LIST))
    }

    /// Notes which trees another machine holds; of each machine the newest [`MOST_HELD`] are remembered.
    pub fn note_held(&self, host: &str, trees: &[Held]) -> Result<(), StoreError> {
        self.writable("note what a machine holds")?;
        let at = now();
        let action = "note what a machine holds";
        self.database().write(Durable::No, action, |t| {
            let mut add = t.prepare_cached(
                "INSERT INTO held (host, tree, bytes, at) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (host, tree) DO UPDATE SET at = excluded.at, bytes = max(bytes, excluded.bytes)",
            )?;
            for held in trees {
                let bytes = i64::try_from(held.bytes).unwrap_or(i64::MAX);
                add.execute(params![host, held.tree.to_string(), bytes, at])?;
            }
            t.prepare_cached(
                "DELETE FROM held WHERE host = ?1 AND tree IN (SELECT tree FROM held WHERE host = ?1 \
                 ORDER BY at DESC, tree LIMIT -1 OFFSET ?2)",
            )?
            .execute(params![host, MOST_HELD])
            .map(drop)
        })
    }

    /// The trees that another machine was last known to hold.
    pub fn held(&self, host: &str) -> Result<Vec<Held>, StoreError> {
        self.database().read("look what a machine holds", |c| {
            let mut select = c.prepare_cached(
                "SELECT tree, bytes FROM held WHERE host = ?1 ORDER BY at DESC, tree LIMIT ?2",
            )?;
            let rows = select.query_map(params![host, MOST_HELD], |row| {
                Ok(Held {
                    tree: TreeHash(hash_at(row, 0)?),
                    bytes: u64::try_from(row.get::<_, i64>(1)?).unwrap_or(0),
                })
            })?;
            rows.collect()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenOptions;

    #[test]
    fn the_last_size_counts() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        assert_eq!(store.work_size("a/b:run").unwrap(), None);
        store.note_work_size("a/b:run", 5).unwrap();
        store.note_work_size("a/b:run", u64::MAX).unwrap();
        assert_eq!(store.work_size("a/b:run").unwrap(), Some(i64::MAX as u64));
        store.note_work_size("a/b:run", 7).unwrap();
        assert_eq!(store.work_size("a/b:run").unwrap(), Some(7));
    }

    #[test]
    fn the_newest_lists_of_bundles_are_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let key = |n: u32| Hash::of(&n.to_le_bytes());
        assert_eq!(store.bundles(&key(0)).unwrap(), None);
        store.note_bundles(&key(0), b"old").unwrap();
        store.note_bundles(&key(0), b"new").unwrap();
        assert_eq!(
            store.bundles(&key(0)).unwrap().as_deref(),
            Some(&b"new"[..])
        );
        let fill = store.database().write(Durable::No, "test", |t| {
            for n in 1..=MOST_BUNDLES {
                t.prepare_cached("INSERT INTO bundles (key, list, at) VALUES (?1, ?2, ?3)")?
                    .execute(params![key(n).to_string(), b"", i64::from(n)])?;
            }
            Ok(())
        });
        fill.unwrap();
        store.note_bundles(&key(MOST_BUNDLES + 1), b"last").unwrap();
        assert_eq!(store.bundles(&key(1)).unwrap(), None);
        let last = store.bundles(&key(MOST_BUNDLES + 1)).unwrap();
        assert_eq!(last.as_deref(), Some(&b"last"[..]));
    }

    #[test]
    fn of_each_machine_a_bounded_number_of_trees_is_remembered() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let tree = |n: u32| TreeHash(Hash::of(&n.to_le_bytes()));
        let all: Vec<Held> = (0..MOST_HELD + 10)
            .map(|n| Held {
                tree: tree(n),
                bytes: n.into(),
            })
            .collect();
        store.note_held("far", &all).unwrap();
        store.note_held("other", &all[..1]).unwrap();
        assert_eq!(store.held("far").unwrap().len(), MOST_HELD as usize);
        assert_eq!(store.held("other").unwrap(), all[..1]);
        assert_eq!(store.held("nobody").unwrap(), []);
    }
}
