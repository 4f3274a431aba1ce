//! The table of packs.

use rusqlite::{Row, Transaction};

use crate::Hash;
use crate::pack::{PackKind, PackRow};

/// Reads a row of `name, content, bytes, objects, index_hash, records_hash`.
pub(crate) fn pack_at(row: &Row<'_>) -> rusqlite::Result<PackRow> {
    let kind: String = row.get(1)?;
    // What is not a hash is told of by a verification, and compared with nothing.
    let hash = |at| -> rusqlite::Result<Option<Hash>> {
        let text: Option<String> = row.get(at)?;
        Ok(text.and_then(|text| text.parse().ok()))
    };
    Ok(PackRow {
        name: row.get(0)?,
        kind: PackKind::of_word(&kind).unwrap_or(PackKind::Data),
        bytes: row.get::<_, i64>(2)?.unsigned_abs(),
        objects: row.get::<_, i64>(3)?.unsigned_abs(),
        index_hash: hash(4)?,
        records_hash: hash(5)?,
    })
}

/// Makes a sealed pack part of the store.
pub(crate) fn add_pack(t: &Transaction<'_>, row: &PackRow) -> rusqlite::Result<()> {
    t.prepare_cached(
        "INSERT INTO pack (name, content, bytes, objects, index_hash, records_hash) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(rusqlite::params![
        row.name,
        row.kind.word(),
        row.bytes.cast_signed(),
        row.objects.cast_signed(),
        row.index_hash.map(|hash| hash.to_string()),
        row.records_hash.map(|hash| hash.to_string()),
    ])?;
    Ok(())
}
