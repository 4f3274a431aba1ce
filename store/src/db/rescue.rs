//! A new database from what can still be read of a damaged one, and from the packs.

use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::{add_pack, migrate};
use crate::disk::{Disk, RealDisk};
use crate::lock::StoreLock;
use crate::pack::{Content, EXTENSION, Pack};
use crate::{Store, StoreError, session};

/// What ends with the processes that hold it, or is a cache: not saved.
const PASSING: [&str; 4] = ["lease", "lease_tree", "lease_pack", "layer"];

/// What was saved of a damaged database.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rescued {
    /// Rows that were saved, by table.
    pub rows: Vec<(String, u64)>,
    /// Tables of which some rows could not be read.
    pub damaged: Vec<String>,
    /// Packs that are counted because they are there.
    pub packs: u64,
    /// Where the damaged file lies now, within the store.
    pub kept: String,
}

impl Store {
    /// Makes a new database for the store in `root` from what can be read of its damaged one. The
    /// damaged one stays beside it. Nobody may have the store open; what other processes do with it
    /// is waited for, and sessions that live are an error.
    pub fn rescue_database(root: &Path) -> Result<Rescued, StoreError> {
        let disk = RealDisk;
        let _gc = StoreLock::take_file(&disk, &root.join("gc.lock"), true)?;
        let _lock = StoreLock::take(&disk, root, true)?;
        let old = root.join("db/mstore.sqlite");
        if !session::living(&disk, root)?.is_empty() {
            return Err(StoreError::DamagedFile {
                path: old,
                detail: "other processes have the store open; it can be saved when they ended"
                    .into(),
            });
        }
        let new = root.join("db/mstore.sqlite.new");
        let io = |action| move |e| StoreError::io(action, root.join("db"), e);
        disk.remove_tree(&new).map_err(io("remove"))?;
        let rescued = fill(&disk, root, &old, &new).map_err(|error| StoreError::Database {
            action: "write a new one",
            path: new.clone(),
            source: Box::new(error),
        })?;
        for end in ["", "-wal", "-shm"] {
            let from = root.join(format!("db/mstore.sqlite{end}"));
            let to = root.join(format!("db/mstore.sqlite.damaged{end}"));
            disk.remove_tree(&to).map_err(io("remove"))?;
            if from.exists() {
                disk.rename(&from, &to).map_err(io("put aside"))?;
            }
        }
        disk.rename(&new, &old).map_err(io("replace"))?;
        disk.sync_dir(&root.join("db")).map_err(io("sync"))?;
        Ok(rescued)
    }
}

fn fill(disk: &dyn Disk, root: &Path, old: &Path, new: &Path) -> rusqlite::Result<Rescued> {
    let mut target = Connection::open(new)?;
    target.execute_batch("PRAGMA synchronous = FULL")?;
    let t = target.transaction_with_behavior(TransactionBehavior::Immediate)?;
    migrate::migrate(&t)?;
    let tables: Vec<String> = t
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    let mut rescued = Rescued {
        kept: "db/mstore.sqlite.damaged".into(),
        ..Rescued::default()
    };
    let source = Connection::open_with_flags(old, OpenFlags::SQLITE_OPEN_READ_WRITE);
    for table in tables {
        if PASSING.contains(&&*table) || table.starts_with("sqlite_") {
            continue;
        }
        let (rows, whole) = match &source {
            Ok(source) => copy(source, &t, &table)?,
            Err(_) => (0, false),
        };
        if !whole {
            rescued.damaged.push(table.clone());
        }
        rescued.rows.push((table, rows));
    }
    // Packs that are there count: verification throws out what is not complete.
    for name in disk.list(&root.join("packs")).unwrap_or_default() {
        let text = name.to_string_lossy();
        let Some(name) = text.strip_suffix(EXTENSION) else {
            continue;
        };
        let known: bool =
            t.query_row("SELECT count(*) FROM pack WHERE name = ?1", [name], |row| {
                row.get::<_, i64>(0).map(|n| n > 0)
            })?;
        if known {
            continue;
        }
        let path = root.join("packs").join(&*text);
        let (content, bytes, objects) = match Pack::open(disk, name, &path) {
            Ok(pack) if pack.is_meta() => (Content::Meta, pack.len(), pack.count() as u64),
            Ok(pack) => (Content::Data, pack.len(), pack.count() as u64),
            // It may still be saved record by record.
            Err(_) => (Content::Data, 0, 0),
        };
        add_pack(&t, name, content, bytes, objects)?;
        rescued.packs += 1;
    }
    t.commit()?;
    drop(source);
    target.close().map_err(|(_, error)| error)?;
    Ok(rescued)
}

/// Copies the rows of a table that can be read, from both of its ends. Tells how many, and whether
/// those are all.
fn copy(source: &Connection, t: &Transaction<'_>, table: &str) -> rusqlite::Result<(u64, bool)> {
    let columns = |c: &Connection| -> rusqlite::Result<Vec<(String, i64)>> {
        c.prepare(&format!("PRAGMA table_info({table})"))?
            .query_map([], |row| Ok((row.get(1)?, row.get(5)?)))?
            .collect()
    };
    let mine = columns(t)?;
    let Ok(theirs) = columns(source) else {
        return Ok((0, false));
    };
    let shared: Vec<&str> = mine
        .iter()
        .filter(|(name, _)| theirs.iter().any(|(n, _)| n == name))
        .map(|(name, _)| name.as_str())
        .collect();
    if shared.is_empty() {
        // An older database does not have it.
        return Ok((0, true));
    }
    let names = shared.join(", ");
    let marks = vec!["?"; shared.len()].join(", ");
    let mut insert = t.prepare(&format!(
        "INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"
    ))?;
    let key: Vec<String> = mine
        .iter()
        .filter(|(_, key)| *key > 0)
        .map(|(name, _)| format!("{name} DESC"))
        .collect();
    let mut rows = 0;
    for order in [String::new(), format!("ORDER BY {}", key.join(", "))] {
        let read = (|| -> rusqlite::Result<()> {
            let mut select = source.prepare(&format!("SELECT {names} FROM {table} {order}"))?;
            let mut found = select.query([])?;
            while let Some(row) = found.next()? {
                let values: Vec<Value> = (0..shared.len())
                    .map(|at| row.get(at))
                    .collect::<rusqlite::Result<_>>()?;
                // A row that does not fit its table is damage too.
                let added = insert.execute(rusqlite::params_from_iter(values));
                rows += added.unwrap_or(0) as u64;
            }
            Ok(())
        })();
        if read.is_ok() {
            return Ok((rows, order.is_empty()));
        }
    }
    Ok((rows, false))
}
