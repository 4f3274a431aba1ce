//! The database: realisations, history, roots, pins, leases, layers. SQLite in WAL mode.
//!
//! Every write is one `BEGIN IMMEDIATE` transaction, so that a lock is waited for where waiting
//! helps, and the wait has no short end: transactions here last milliseconds.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard};
use std::time::Duration;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, ErrorCode, OpenFlags, Transaction, TransactionBehavior};

use crate::StoreError;

pub(crate) mod history;
mod migrate;
mod operations;
pub(crate) mod packs;
pub(crate) mod pins;
pub(crate) mod realisations;
pub(crate) mod records;
pub(crate) mod rescue;
pub(crate) mod rows;
pub(crate) mod signatures;
pub(crate) mod state;
pub(crate) mod used;
pub(crate) mod work;

/// Seconds.
pub(crate) const DAY: i64 = 86_400;

/// The open database.
#[derive(Debug)]
pub(crate) struct Database {
    path: PathBuf,
    connection: Mutex<Link>,
}

/// The connection, and what was said to it.
#[derive(Debug)]
struct Link {
    connection: Connection,
    /// How much a commit survives as things are.
    durable: Option<Durable>,
    /// How many want to read from one state.
    holders: usize,
    /// How often they were disappointed because somebody wrote.
    broken: u64,
}

impl Link {
    fn new(connection: Connection) -> Mutex<Link> {
        connection.set_prepared_statement_cache_capacity(STATEMENTS);
        Mutex::new(Link {
            connection,
            durable: None,
            holders: 0,
            broken: 0,
        })
    }

    /// Ends the transaction in which others read, if there is one.
    fn let_go(&mut self) -> rusqlite::Result<()> {
        if self.connection.is_autocommit() {
            return Ok(());
        }
        self.broken += 1;
        self.connection.execute_batch("COMMIT")
    }
}

/// How many statements are kept ready: more than there are.
const STATEMENTS: usize = 200;

/// While it is there, all that is read is of one state of the database, unless somebody writes through the
/// same handle.
#[derive(Debug)]
pub(crate) struct Hold<'a> {
    database: &'a Database,
    broken: u64,
}

impl Hold<'_> {
    /// Tells whether all that was read so far is of one state.
    pub fn is_whole(&self) -> bool {
        self.database.lock().broken == self.broken
    }
}

impl Drop for Hold<'_> {
    fn drop(&mut self) {
        let mut link = self.database.lock();
        link.holders -= 1;
        if link.holders == 0 && !link.connection.is_autocommit() {
            // It only read.
            let _ = link.connection.execute_batch("COMMIT");
        }
    }
}

/// How much a commit must survive.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Durable {
    /// A power cut.
    Yes,
    /// The end of this process: the rest of the facts about it end with the machine.
    No,
}

/// Waits for other processes, in growing steps, about ten minutes before giving up.
fn wait(tries: i32) -> bool {
    let step = Duration::from_millis(u64::from(tries.clamp(1, 50).unsigned_abs()));
    std::thread::sleep(step);
    tries < 12_000
}

impl Database {
    /// Opens the database, and makes or checks its tables.
    pub fn open(path: &Path, read_only: bool, vfs: Option<&str>) -> Result<Database, StoreError> {
        let fail = |action| move |error| database_error(action, path, error);
        if !path.exists() && has_packs(path) {
            return Err(lost(path));
        }
        let connection = if read_only {
            open_read_only(path, vfs).map_err(fail("open it read-only"))?
        } else {
            let flags = OpenFlags::SQLITE_OPEN_READ_WRITE
                | OpenFlags::SQLITE_OPEN_CREATE
                | OpenFlags::SQLITE_OPEN_NO_MUTEX;
            let mut connection = connect(path, flags, vfs).map_err(fail("open it"))?;
            // SQLite contents itself with reading where writing is not allowed.
            if connection.is_readonly("main").map_err(fail("open it"))? {
                let error = std::io::Error::from(std::io::ErrorKind::ReadOnlyFilesystem);
                return Err(StoreError::io("write to the database", path, error));
            }
            connection
                .busy_handler(Some(wait))
                .map_err(fail("open it"))?;
            set_wal(&connection).map_err(fail("switch to write-ahead logging"))?;
            connection
        };
        let database = Database {
            path: path.to_path_buf(),
            connection: Link::new(connection),
        };
        let version = database.read("read the schema version", migrate::version)?;
        match u32::try_from(version) {
            Ok(found) if found == migrate::newest() => {}
            // To go on would make everything garbage.
            Ok(0) if has_packs(path) => return Err(lost(path)),
            // A file without tables is of a store whose making was interrupted.
            Ok(0) if read_only => {
                return Err(StoreError::NotAStore {
                    path: path.to_path_buf(),
                    detail: "it has no tables; open it once for writing".into(),
                });
            }
            Ok(found) if found < migrate::newest() => {
                if read_only {
                    database.read("read its older tables", |c| {
                        migrate::stand_in(c, found as usize)
                    })?;
                } else {
                    database.write(Durable::Yes, "bring its tables up to date", |t| {
                        migrate::migrate(t)
                    })?;
                }
            }
            found => {
                return Err(StoreError::NewerFormat {
                    path: path.to_path_buf(),
                    found: found.unwrap_or(u32::MAX),
                    known: migrate::newest(),
                });
            }
        }
        Ok(database)
    }

    /// A database without rows, in memory.
    pub fn nothing() -> Result<Database, StoreError> {
        let path = Path::new(":memory:");
        let make = || {
            let mut connection = Connection::open_in_memory()?;
            let transaction = connection.transaction()?;
            migrate::migrate(&transaction)?;
            transaction.commit()?;
            Ok(connection)
        };
        Ok(Database {
            path: path.to_path_buf(),
            connection: Link::new(make().map_err(|e| database_error("make it", path, e))?),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Link> {
        // A panic inside a transaction rolled it back when it was dropped.
        self.connection.lock().unwrap_or_else(|e| e.into_inner())
    }

    /// Reads.
    pub fn read<R>(
        &self,
        action: &'static str,
        f: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, StoreError> {
        #[cfg(test)]
        crate::disk::turns::point();
        f(&self.lock().connection).map_err(|error| database_error(action, &self.path, error))
    }

    /// Reads several times from one state of the database.
    pub fn read_together<R>(
        &self,
        action: &'static str,
        f: impl FnOnce(&Connection) -> rusqlite::Result<R>,
    ) -> Result<R, StoreError> {
        #[cfg(test)]
        crate::disk::turns::point();
        let mut link = self.lock();
        let run = || {
            if !link.connection.is_autocommit() {
                return f(&link.connection);
            }
            let transaction = link.connection.transaction()?;
            f(&transaction)
        };
        run().map_err(|error| database_error(action, &self.path, error))
    }

    /// Reads from one state of the database until the guard is dropped, or somebody writes. Others write
    /// meanwhile, through handles of their own.
    pub fn hold(&self) -> Result<Hold<'_>, StoreError> {
        let mut link = self.lock();
        let begin = || {
            if link.holders == 0 && link.connection.is_autocommit() {
                link.connection.execute_batch("BEGIN")?;
            }
            // The state is that of the first reading.
            migrate::version(&link.connection)
        };
        let begun = begin();
        begun.map_err(|error| database_error("begin to read", &self.path, error))?;
        link.holders += 1;
        let broken = link.broken;
        drop(link);
        Ok(Hold {
            database: self,
            broken,
        })
    }

    /// Writes, all or nothing.
    pub fn write<R>(
        &self,
        durable: Durable,
        action: &'static str,
        f: impl FnOnce(&Transaction<'_>) -> rusqlite::Result<R>,
    ) -> Result<R, StoreError> {
        #[cfg(test)]
        crate::disk::turns::point();
        let mut link = self.lock();
        let run = || {
            link.let_go()?;
            if link.durable != Some(durable) {
                link.connection.execute_batch(match durable {
                    Durable::Yes => "PRAGMA synchronous = FULL",
                    Durable::No => "PRAGMA synchronous = NORMAL",
                })?;
                link.durable = Some(durable);
            }
            let behaviour = TransactionBehavior::Immediate;
            let transaction = link.connection.transaction_with_behavior(behaviour)?;
            let result = f(&transaction)?;
            transaction.commit()?;
            Ok(result)
        };
        run().map_err(|error| database_error(action, &self.path, error))
    }
}

/// Changing the journal mode does not always ask the busy handler.
fn set_wal(connection: &Connection) -> rusqlite::Result<()> {
    let mut tries = 0;
    loop {
        match connection
            .pragma_update_and_check(None, "journal_mode", "wal", |row| row.get::<_, String>(0))
        {
            Err(error) if is_busy(&error) && wait(tries) => tries += 1,
            other => return other.map(|_| ()),
        }
    }
}

fn is_busy(error: &rusqlite::Error) -> bool {
    matches!(
        error.sqlite_error_code(),
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked)
    )
}

fn connect(
    path: impl AsRef<Path>,
    flags: OpenFlags,
    vfs: Option<&str>,
) -> rusqlite::Result<Connection> {
    let connection = match vfs {
        Some(vfs) => Connection::open_with_flags_and_vfs(path, flags, vfs),
        None => Connection::open_with_flags(path, flags),
    }?;
    // A plan does not depend on the values looked for: otherwise SQLite compiles some statements again
    // for each of them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
    Ok(connection)
}

/// Opens the database without writing anything, whatever the folder allows.
fn open_read_only(path: &Path, vfs: Option<&str>) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let works = |mut connection: Connection| {
        connection.busy_handler(Some(wait))?;
        migrate::version(&connection)?;
        Ok(connection)
    };
    let failed = match connect(path, flags, vfs).and_then(works) {
        Ok(connection) => return Ok(connection),
        Err(failed) => failed,
    };
    // Where the helper files of WAL mode are missing they cannot be made here, so that no process
    // has the database open, and who could open it waits for none of our locks.
    let mut log = path.as_os_str().to_owned();
    log.push("-wal");
    if std::fs::metadata(&log).is_ok_and(|meta| meta.len() > 0) {
        // The writer died: its log has to be read, which alone needs no helper but our memory.
        let alone = |connection: Connection| {
            connection.pragma_update(None, "locking_mode", "exclusive")?;
            works(connection)
        };
        return connect(path, flags, vfs.or(Some("unix-none")))
            .and_then(alone)
            .map_err(|_| failed);
    }
    let mut uri = String::from("file:");
    for byte in std::os::unix::ffi::OsStrExt::as_bytes(path.as_os_str()) {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'/' | b'-' | b'_' | b'.' => {
                uri.push(char::from(*byte));
            }
            other => uri.push_str(&format!("%{other:02x}")),
        }
    }
    uri.push_str("?immutable=1");
    connect(uri, flags | OpenFlags::SQLITE_OPEN_URI, vfs)
}

/// Whether there are packs beside the database: then it had tables once, that name them.
fn has_packs(path: &Path) -> bool {
    let packs = path.ancestors().nth(2).map(|root| root.join("packs"));
    let list = packs.and_then(|packs| std::fs::read_dir(packs).ok());
    list.is_some_and(|list| {
        let mut names = list.flatten().map(|entry| entry.path());
        names.any(|name| name.extension().is_some_and(|end| end == "pack"))
    })
}

fn lost(path: &Path) -> StoreError {
    StoreError::Database {
        action: "open it",
        path: path.to_path_buf(),
        source: "it is missing or has lost its tables, though the store has packs".into(),
    }
}

fn database_error(action: &'static str, path: &Path, error: rusqlite::Error) -> StoreError {
    let full = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => true,
        // Where SQLite cannot make its helper files it does not say why.
        Some(ErrorCode::CannotOpen | ErrorCode::SystemIoFailure) => path
            .parent()
            .and_then(crate::reserve::free)
            .is_some_and(|free| free < 64 << 10),
        _ => false,
    };
    if full {
        return StoreError::io(
            "write to the database",
            path,
            std::io::Error::from(std::io::ErrorKind::StorageFull),
        );
    }
    StoreError::Database {
        action,
        path: path.to_path_buf(),
        source: Box::new(error),
    }
}

#[cfg(test)]
mod tests {
    use rusqlite::{OptionalExtension, StatementStatus};

    use super::*;

    #[test]
    fn a_statement_is_compiled_once_whatever_is_looked_for() {
        let dir = tempfile::tempdir().unwrap();
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let connection = connect(dir.path().join("db"), flags, None).unwrap();
        let tables = "CREATE TABLE a (name TEXT, key TEXT, at INTEGER); CREATE TABLE b (key TEXT)";
        connection.execute_batch(tables).unwrap();
        let text = "SELECT key FROM a WHERE name = ?1 AND EXISTS (SELECT 1 FROM b WHERE b.key = a.key) \
                    ORDER BY at DESC LIMIT 1";
        for name in ["x", "y", "z"] {
            let mut statement = connection.prepare_cached(text).unwrap();
            let found = statement.query_row([name], |row| row.get::<_, String>(0));
            assert_eq!(found.optional().unwrap(), None);
            assert_eq!(statement.get_status(StatementStatus::RePrepare), 0);
        }
    }
}
