//! Last use of trees, to the minute: when the store is too large, the least recent go first.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension, params};

use super::Durable;
use super::rows::hash_at;
use crate::{Store, StoreError, TreeHash};

/// How exactly uses are noted, in seconds: who uses a tree all the time writes no more often.
const EXACT: i64 = 60;

/// Notes within a transaction that a tree is used now. Nothing is written when that is known of
/// the same minute.
pub(crate) fn touch(
    t: &rusqlite::Transaction<'_>,
    tree: TreeHash,
    now: i64,
) -> rusqlite::Result<()> {
    t.prepare_cached(
        "INSERT INTO used (tree, at) VALUES (?1, ?2) \
         ON CONFLICT (tree) DO UPDATE SET at = excluded.at WHERE at < excluded.at - ?3",
    )?
    .execute(params![tree.to_string(), now, EXACT])?;
    Ok(())
}

/// Seconds since 1970.
pub(crate) fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs().cast_signed())
}

impl Store {
    /// Notes that trees are used now, exact to a minute: in one transaction, and in none when that is
    /// known. Tells whether all of them are here; of one that is not, nothing is noted.
    pub fn note_use(&self, trees: &[TreeHash]) -> Result<bool, StoreError> {
        if self.is_read_only() {
            return Ok(true);
        }
        let now = now();
        let known = self
            .database()
            .read_together("look for uses of trees", |c| {
                let mut select = c.prepare_cached("SELECT at FROM used WHERE tree = ?1")?;
                let at = |tree: &TreeHash| select.query_row([tree.to_string()], |row| row.get(0));
                let known = trees.iter().map(at).map(OptionalExtension::optional);
                known.collect::<rusqlite::Result<Vec<Option<i64>>>>()
            })?;
        let due = |at: &Option<i64>| at.is_none_or(|at| at < now - EXACT);
        if !known.iter().any(due) {
            return Ok(true);
        }
        // A note of a tree that was collected would tell that it was lost.
        let _lock = self.lock_shared()?;
        self.refresh()?;
        let mut here = Vec::with_capacity(trees.len());
        for tree in trees {
            if self.has_tree(*tree)? {
                here.push(*tree);
            }
        }
        self.database()
            .write(Durable::No, "note uses of trees", |t| {
                here.iter().try_for_each(|tree| touch(t, *tree, now))
            })?;
        Ok(here.len() == trees.len())
    }

    /// When each tree was last used: taken for a build, checked out, copied, built. In seconds since
    /// 1970, exact to a minute.
    pub fn last_used(&self) -> Result<BTreeMap<TreeHash, i64>, StoreError> {
        self.database().read("list uses of trees", last_used)
    }
}

/// The same, on a connection.
pub(crate) fn last_used(c: &rusqlite::Connection) -> rusqlite::Result<BTreeMap<TreeHash, i64>> {
    c.prepare(
        "SELECT tree, max(at) FROM (SELECT tree, at FROM used \
         UNION ALL SELECT tree, started + CAST(seconds AS INTEGER) FROM realisation) GROUP BY tree",
    )?
    .query_map([], |row| Ok((TreeHash(hash_at(row, 0)?), row.get(1)?)))?
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Hash, OpenOptions};

    #[test]
    fn uses_are_noted_once_a_minute() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let tree = TreeHash(Hash::of(b"t"));
        let touch_at = |at| {
            store
                .database()
                .write(Durable::No, "test", |t| touch(t, tree, at))
                .unwrap();
            store.last_used().unwrap()[&tree]
        };
        assert_eq!(touch_at(1_000_000), 1_000_000);
        assert_eq!(touch_at(1_000_060), 1_000_000);
        assert_eq!(touch_at(999), 1_000_000);
        assert_eq!(touch_at(1_000_061), 1_000_061);
    }
}
