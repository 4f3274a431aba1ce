//! Columns that are more than text: how they are read, and what rows must look like. SQLite notices a
//! page that is broken, not a letter that is wrong.

use rusqlite::types::{Type, ValueRef};
use rusqlite::{Connection, Error, Row};

use crate::{Hash, RealisationKind};

/// Columns that hold hashes, in every table that has them.
const HASHES: [&str; 6] = ["key", "drv", "tree", "base", "index_hash", "records_hash"];
/// Tables whose column `kind` is that of a realisation.
const KINDS: [&str; 2] = ["realisation", "history"];

/// Reads a hash; text that is not a hash becomes an error of the column.
pub(crate) fn hash_at(row: &Row<'_>, at: usize) -> rusqlite::Result<Hash> {
    let text: String = row.get(at)?;
    text.parse()
        .map_err(|error| Error::FromSqlConversionFailure(at, Type::Text, Box::new(error)))
}

/// Reads the kind of a realisation; a word that is not a kind becomes an error of the column.
pub(crate) fn kind_at(row: &Row<'_>, at: usize) -> rusqlite::Result<RealisationKind> {
    let word: String = row.get(at)?;
    RealisationKind::from_word(&word).ok_or_else(|| {
        let error = format!("not a kind of realisation: {word:?}");
        Error::FromSqlConversionFailure(at, Type::Text, error.into())
    })
}

/// Tells whether a column of a table may hold a value. Whether it may be absent, SQLite checks.
pub(super) fn fits(table: &str, column: &str, declared: &str, value: ValueRef<'_>) -> bool {
    match (declared, value) {
        (_, ValueRef::Null) => true,
        ("INTEGER", value) => matches!(value, ValueRef::Integer(_)),
        ("REAL", value) => matches!(value, ValueRef::Real(_) | ValueRef::Integer(_)),
        ("BLOB", value) => matches!(value, ValueRef::Blob(_)),
        ("TEXT", ValueRef::Text(text)) => std::str::from_utf8(text).is_ok_and(|text| {
            if HASHES.contains(&column) {
                text.parse::<Hash>().is_ok()
            } else if column == "kind" && KINDS.contains(&table) {
                RealisationKind::from_word(text).is_some()
            } else {
                true
            }
        }),
        _ => false,
    }
}

/// Names and declared types of a table's columns.
pub(super) fn columns(c: &Connection, table: &str) -> rusqlite::Result<Vec<(String, String)>> {
    c.prepare(&format!("PRAGMA main.table_info({table})"))?
        .query_map([], |row| Ok((row.get(1)?, row.get(2)?)))?
        .collect()
}

/// Tells of every table with rows that cannot be.
pub(crate) fn misfits(c: &Connection) -> rusqlite::Result<Vec<String>> {
    let tables: Vec<String> = c
        .prepare("SELECT name FROM main.sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite_%' ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut said = Vec::new();
    for table in tables {
        let mut columns = columns(c, &table)?;
        // What is in them has its own check, and may be long.
        columns.retain(|(_, declared)| declared != "BLOB");
        let names: Vec<&str> = columns.iter().map(|(name, _)| name.as_str()).collect();
        let mut select = c.prepare(&format!("SELECT {} FROM main.{table}", names.join(", ")))?;
        let mut found = select.query([])?;
        let mut bad = 0u64;
        let mut first = None;
        while let Some(row) = found.next()? {
            for (at, (name, declared)) in columns.iter().enumerate() {
                if !fits(&table, name, declared, row.get_ref(at)?) {
                    bad += 1;
                    first.get_or_insert(name.clone());
                    break;
                }
            }
        }
        if let Some(column) = first {
            said.push(format!(
                "{bad} damaged in table {table}: a value of column {column} cannot be"
            ));
        }
    }
    Ok(said)
}
