//! A new database from what can still be read of a damaged one, and from the packs.

use std::io;
use std::path::Path;

use rusqlite::types::Value;
use rusqlite::{Connection, OpenFlags, Transaction, TransactionBehavior};

use super::packs::add_pack;
use super::{connect, migrate, rows};
use crate::disk::{Disk, RealDisk};
use crate::lock::StoreLock;
use crate::pack::{EXTENSION, Pack, PackRow};
use crate::{Store, StoreError, session};

/// What ends with the processes that hold it, or is a cache: not saved.
const PASSING: [&str; 5] = ["lease", "lease_tree", "lease_pack", "layer", "state"];

/// The damaged database, and where it stays.
const OLD: &str = crate::layout::DATABASE;
const KEPT: &str = "db/mstore.sqlite.damaged";
/// What SQLite puts beside a database.
const SIDES: [&str; 3] = ["-wal", "-shm", "-journal"];
/// A new database that is being written.
const NEW: &str = "db/mstore.sqlite.new";
/// A new database that is complete, and has yet to be put in the place of the damaged one.
const WHOLE: &str = "db/mstore.sqlite.whole";

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
    ///
    /// When one that was interrupted had come so far that only names were to be changed, that is done and
    /// nothing is read again.
    pub fn rescue_database(root: &Path) -> Result<Rescued, StoreError> {
        Self::rescue_database_on(root, &RealDisk::ANYWHERE)
    }

    pub(crate) fn rescue_database_on(root: &Path, disk: &dyn Disk) -> Result<Rescued, StoreError> {
        let _gc = StoreLock::take_file(disk, &root.join("gc.lock"), true)?;
        let _lock = StoreLock::take(disk, root, true)?;
        let io = |action| move |e| StoreError::io(action, root.join("db"), e);
        let mut rescued = Rescued {
            kept: KEPT.into(),
            ..Rescued::default()
        };
        if put_in_place(disk, root).map_err(io("replace"))? {
            return Ok(rescued);
        }
        let old = root.join(OLD);
        if !session::living(disk, root)?.is_empty() {
            return Err(StoreError::DamagedFile {
                path: old,
                detail: "other processes have the store open; it can be saved when they ended"
                    .into(),
            });
        }
        let new = root.join(NEW);
        for name in [NEW, KEPT] {
            for end in SIDES.iter().chain([&""]) {
                let path = root.join(format!("{name}{end}"));
                disk.remove_tree(&path).map_err(io("remove"))?;
            }
        }
        let filled = fill(disk, root, &old, &new, &mut rescued);
        filled.map_err(|error| super::database_error("write a new one", &new, error))?;
        disk.rename(&new, &root.join(WHOLE))
            .map_err(io("replace"))?;
        disk.sync_dir(&root.join("db")).map_err(io("sync"))?;
        put_in_place(disk, root).map_err(io("replace"))?;
        Ok(rescued)
    }
}

/// Tells whether an interrupted rescue left something to be done.
pub(crate) fn is_pending(root: &Path) -> bool {
    root.join(WHOLE).exists()
}

/// Finishes what an interrupted rescue left to be done.
pub(crate) fn finish(disk: &dyn Disk, root: &Path) -> Result<(), StoreError> {
    if !is_pending(root) {
        return Ok(());
    }
    // Perhaps nobody interrupted it.
    let _gc = StoreLock::take_file(disk, &root.join("gc.lock"), true)?;
    let _lock = StoreLock::take(disk, root, true)?;
    put_in_place(disk, root)
        .map(drop)
        .map_err(|e| StoreError::io("replace", root.join(OLD), e))
}

/// Puts a new database in the place of the damaged one, if there is one. May be interrupted and repeated.
fn put_in_place(disk: &dyn Disk, root: &Path) -> io::Result<bool> {
    let whole = root.join(WHOLE);
    if !whole.exists() {
        return Ok(false);
    }
    // A log of the damaged one must not be taken for one of the new one.
    for end in SIDES.iter().chain([&""]) {
        let from = root.join(format!("{OLD}{end}"));
        if from.exists() {
            disk.rename(&from, &root.join(format!("{KEPT}{end}")))?;
        }
    }
    let folder = root.join("db");
    disk.sync_dir(&folder)?;
    disk.rename(&whole, &root.join(OLD))?;
    disk.sync_dir(&folder)?;
    Ok(true)
}

fn fill(
    disk: &dyn Disk,
    root: &Path,
    old: &Path,
    new: &Path,
    rescued: &mut Rescued,
) -> rusqlite::Result<()> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE;
    let mut target = connect(new, flags | OpenFlags::SQLITE_OPEN_CREATE, disk.vfs())?;
    target.execute_batch("PRAGMA synchronous = FULL")?;
    let t = target.transaction_with_behavior(TransactionBehavior::Immediate)?;
    migrate::migrate(&t)?;
    let tables: Vec<String> = t
        .prepare("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name")?
        .query_map([], |row| row.get(0))?
        .collect::<rusqlite::Result<_>>()?;
    // A disk that fails once is no damage yet.
    let open = || connect(old, flags, disk.vfs());
    let source = open().or_else(|_| open());
    for table in tables {
        if PASSING.contains(&&*table) || table.starts_with("sqlite_") {
            continue;
        }
        let (count, whole) = match &source {
            Ok(source) => copy(source, &t, &table)?,
            Err(_) => (0, false),
        };
        if !whole {
            rescued.damaged.push(table.clone());
        }
        rescued.rows.push((table, count));
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
        let row = match Pack::open(disk, name, &path) {
            Ok(pack) => PackRow::of(&pack),
            // It may still be saved record by record.
            Err(_) => PackRow::unknown(name.to_owned()),
        };
        add_pack(&t, &row)?;
        rescued.packs += 1;
    }
    t.commit()?;
    drop(source);
    target.close().map_err(|(_, error)| error)
}

/// Copies the rows of a table that can be read: all, or those from both of its ends. Tells how many, and
/// whether those are all.
fn copy(source: &Connection, t: &Transaction<'_>, table: &str) -> rusqlite::Result<(u64, bool)> {
    let columns = |c: &Connection| -> rusqlite::Result<Vec<(String, i64)>> {
        c.prepare(&format!("PRAGMA table_info({table})"))?
            .query_map([], |row| Ok((row.get(1)?, row.get(5)?)))?
            .collect()
    };
    let mine = columns(t)?;
    let Ok(theirs) = columns(source).or_else(|_| columns(source)) else {
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
    let declared = rows::columns(t, table)?;
    let type_of = |name: &str| {
        declared
            .iter()
            .find(|(n, _)| n == name)
            .map(|(_, d)| d.clone())
    };
    let types: Vec<String> = shared.iter().filter_map(|name| type_of(name)).collect();
    let marks = vec!["?"; shared.len()].join(", ");
    let mut insert = t.prepare(&format!(
        "INSERT OR IGNORE INTO {table} ({names}) VALUES ({marks})"
    ))?;
    let key: Vec<String> = mine
        .iter()
        .filter(|(_, key)| *key > 0)
        .map(|(name, _)| format!("{name} DESC"))
        .collect();
    let mut count = 0;
    let mut fit = true;
    let forwards = String::new();
    for order in [
        &forwards,
        &forwards,
        &format!("ORDER BY {}", key.join(", ")),
    ] {
        let read = (|| -> rusqlite::Result<()> {
            let mut select = source.prepare(&format!("SELECT {names} FROM {table} {order}"))?;
            let mut found = select.query([])?;
            while let Some(row) = found.next()? {
                let values: Vec<Value> = (0..shared.len())
                    .map(|at| row.get(at))
                    .collect::<rusqlite::Result<_>>()?;
                let mut all = shared.iter().zip(&types).zip(&values);
                if !all.all(|((name, declared), value)| {
                    rows::fits(table, name, declared, value.into())
                }) {
                    fit = false;
                    continue;
                }
                // A row that does not fit its table is damage too.
                let added = insert.execute(rusqlite::params_from_iter(values));
                count += added.unwrap_or(0) as u64;
            }
            Ok(())
        })();
        if read.is_ok() {
            return Ok((count, order.is_empty() && fit));
        }
    }
    Ok((count, false))
}
