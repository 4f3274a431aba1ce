//! Rows of realisations: read and written in one place.

use rusqlite::{Row, Transaction, params};

use super::records;
use super::rows::{hash_at, kind_at};
use crate::{Realisation, RealisationKind, TreeHash};

/// The columns that [`realisation_at`] reads, in its order.
pub(crate) const COLUMNS: &str = "key, kind, drv, name, tree, started, seconds, host, log";

/// Reads a realisation from a row of [`COLUMNS`].
pub(crate) fn realisation_at(row: &Row<'_>) -> rusqlite::Result<Realisation> {
    Ok(Realisation {
        key: hash_at(row, 0)?,
        kind: kind_at(row, 1)?,
        drv: hash_at(row, 2)?,
        name: row.get(3)?,
        tree: TreeHash(hash_at(row, 4)?),
        started: row.get(5)?,
        seconds: row.get(6)?,
        host: row.get(7)?,
        log: row.get(8)?,
    })
}

/// What becomes of a realisation that is known already under the key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IfKnown {
    /// The new one takes its place.
    Replace,
    /// It stays, and the new one is dropped.
    Keep,
}

/// Writes a realisation within a transaction. Parts of trees go to the table of parts, which has
/// nothing of them but key and tree, and are always replaced.
pub(crate) fn put_realisation(
    t: &Transaction<'_>,
    r: &Realisation,
    known: IfKnown,
) -> rusqlite::Result<()> {
    if r.kind == RealisationKind::Part {
        return records::put_part(t, &r.key, r.tree);
    }
    let or = match known {
        IfKnown::Replace => "REPLACE",
        IfKnown::Keep => "IGNORE",
    };
    t.prepare_cached(&format!(
        "INSERT OR {or} INTO realisation ({COLUMNS}) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)"
    ))?
    .execute(params![
        r.key.to_string(),
        r.kind.word(),
        r.drv.to_string(),
        r.name,
        r.tree.to_string(),
        r.started,
        r.seconds,
        r.host,
        r.log,
    ])?;
    Ok(())
}
