//! Operations that run at engines elsewhere, so that whoever is started anew waits for them in the place of beginning
//! others. All of it may be lost: then they are begun again.

use rusqlite::{OptionalExtension, params};

use super::Durable;
use super::used::now;
use crate::{Store, StoreError};

/// Most operations that are remembered of one engine.
const MOST: u32 = 100_000;

impl Store {
    /// Notes what an engine calls the operation that executes an action.
    pub fn note_operation(&self, engine: &str, action: &str, name: &str) -> Result<(), StoreError> {
        let what = "note an operation";
        self.writable(what)?;
        self.database().write(Durable::No, what, |t| {
            t.prepare_cached(
                "INSERT INTO operation (engine, action, name, at) VALUES (?1, ?2, ?3, ?4) \
                 ON CONFLICT (engine, action) DO UPDATE SET name = excluded.name, at = excluded.at",
            )?
            .execute(params![engine, action, name, now()])?;
            t.prepare_cached(
                "DELETE FROM operation WHERE engine = ?1 AND (SELECT count(*) FROM operation WHERE engine = ?1) > ?2 \
                 AND action IN (SELECT action FROM operation WHERE engine = ?1 ORDER BY at, action LIMIT 1)",
            )?
            .execute(params![engine, MOST])
            .map(drop)
        })
    }

    /// What an engine calls the operation that executes an action, if one is known.
    pub fn operation(&self, engine: &str, action: &str) -> Result<Option<String>, StoreError> {
        self.database().read("look for an operation", |c| {
            c.prepare_cached("SELECT name FROM operation WHERE engine = ?1 AND action = ?2")?
                .query_row(params![engine, action], |row| row.get(0))
                .optional()
        })
    }

    /// Forgets the operation that executes an action.
    pub fn forget_operation(&self, engine: &str, action: &str) -> Result<(), StoreError> {
        let what = "forget an operation";
        // Most of the time there is none, and nobody has to wait for that.
        if self.is_read_only() || self.operation(engine, action)?.is_none() {
            return Ok(());
        }
        self.database().write(Durable::No, what, |t| {
            t.prepare_cached("DELETE FROM operation WHERE engine = ?1 AND action = ?2")?
                .execute(params![engine, action])
                .map(drop)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::OpenOptions;

    #[test]
    fn operations_are_remembered_by_engine_and_action() {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
        let known = |engine, action| store.operation(engine, action).unwrap();
        assert_eq!(known("e", "a"), None);
        store.note_operation("e", "a", "one").unwrap();
        store.note_operation("e", "a", "two").unwrap();
        store.note_operation("f", "a", "three").unwrap();
        assert_eq!(known("e", "a").as_deref(), Some("two"));
        store.forget_operation("e", "a").unwrap();
        store.forget_operation("e", "a").unwrap();
        assert_eq!(known("e", "a"), None);
        assert_eq!(known("f", "a").as_deref(), Some("three"));
    }
}
