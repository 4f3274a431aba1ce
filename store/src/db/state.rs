//! Random numbers that are other ones whenever something changed: see the table `state`.
//!
//! Nothing of it is there in a database of an older version that may not be written.

use rusqlite::{Connection, OptionalExtension};

fn value(c: &Connection, name: &str) -> rusqlite::Result<Option<i64>> {
    c.prepare_cached("SELECT value FROM state WHERE name = ?1")?
        .query_row([name], |row| row.get(0))
        .optional()
}

/// The state of packs, which renews whenever one was added or removed.
pub(crate) fn of_packs(c: &Connection) -> rusqlite::Result<Option<i64>> {
    value(c, "packs")
}

/// The state of all that planning asks a store.
pub(crate) fn of_answers(c: &Connection) -> rusqlite::Result<Option<i64>> {
    value(c, "answers")
}
