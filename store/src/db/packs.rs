//! The table of packs.

use rusqlite::{Row, Transaction};

use crate::pack::{PackKind, PackRow};

/// Reads a row of `name, content, bytes, objects`.
pub(crate) fn pack_at(row: &Row<'_>) -> rusqlite::Result<PackRow> {
    let kind: String = row.get(1)?;
    Ok(PackRow {
        name: row.get(0)?,
        kind: PackKind::of_word(&kind).unwrap_or(PackKind::Data),
        bytes: row.get::<_, i64>(2)?.unsigned_abs(),
        objects: row.get::<_, i64>(3)?.unsigned_abs(),
    })
}

/// Makes a sealed pack part of the store.
pub(crate) fn add_pack(t: &Transaction<'_>, row: &PackRow) -> rusqlite::Result<()> {
    t.prepare_cached("INSERT INTO pack (name, content, bytes, objects) VALUES (?1, ?2, ?3, ?4)")?
        .execute(rusqlite::params![
            row.name,
            row.kind.word(),
            row.bytes.cast_signed(),
            row.objects.cast_signed()
        ])?;
    Ok(())
}
