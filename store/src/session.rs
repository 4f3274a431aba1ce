//! A session: one open store of one process, what it protects, and where it works.
//!
//! A session is a locked file in `sessions/`. Whoever can lock it knows that the owner is dead, on
//! this boot or an earlier one, in whatever pid namespace; its leases are void and its scratch
//! folder `tmp/<session>` may go. The file gets its final name only after it was locked, and whatever
//! names the session (its folder, its leases) comes after that and goes before the file does.
//!
//! So a name that was *found* is judged after it was found, never by a list of the living that was made
//! before: a session may have begun in between. Nobody waits for a session to begin, not even a
//! collector that holds the store's lock alone.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rusqlite::params;

use crate::db::{Database, Durable};
use crate::disk::{Disk, Held, Lock};
use crate::{StoreError, TreeHash, doors};

/// How often a session is begun anew when the file that begins it goes.
const TRIES: usize = 5;

/// The session of this handle.
#[derive(Debug)]
pub(crate) struct Session {
    pub id: String,
    /// Holds the lock.
    _held: Option<Held>,
    file_path: PathBuf,
    /// Where this session works.
    pub tmp: PathBuf,
}

impl Session {
    pub fn begin(disk: &dyn Disk, root: &Path) -> Result<Session, StoreError> {
        let mut tries = 0;
        let (id, held) = loop {
            tries += 1;
            let id = random_name()?;
            match take(disk, root, &id) {
                Ok(held) => break (id, held),
                // This process stood still for so long that somebody took the new file for left over.
                Err(error) if error.kind() == io::ErrorKind::NotFound && tries < TRIES => {}
                Err(error) => {
                    let path = root.join("sessions").join(&id);
                    return Err(StoreError::io("begin session", path, error));
                }
            }
        };
        let file_path = root.join("sessions").join(&id);
        let tmp = root.join("tmp").join(&id);
        disk.create_dir(&tmp, 0o700)
            .map_err(|e| StoreError::io("create scratch folder", &tmp, e))?;
        Ok(Session {
            id,
            _held: held,
            file_path,
            tmp,
        })
    }

    /// Ends the session. Failures leave garbage that a later open removes: it finds it by the session's file.
    pub fn end(&self, disk: &dyn Disk, database: &Database) {
        let gone = database.write(Durable::No, "end session", |t| forget_leases(t, &self.id));
        let removed = disk.remove_tree(&self.tmp);
        if gone.is_ok() && removed.is_ok() {
            let _ = disk.remove(&self.file_path);
        }
    }
}

/// Makes the locked file of a session.
fn take(disk: &dyn Disk, root: &Path, id: &str) -> io::Result<Option<Held>> {
    let sessions = root.join("sessions");
    let new = sessions.join(format!("{id}.new"));
    disk.create(&new)?;
    let held = disk.lock(&new, Lock::Alone)?;
    disk.rename(&new, &sessions.join(id))?;
    Ok(held)
}

fn forget_leases(t: &rusqlite::Transaction<'_>, session: &str) -> rusqlite::Result<()> {
    t.execute(
        "DELETE FROM lease_tree WHERE lease IN (SELECT id FROM lease WHERE session = ?1)",
        [session],
    )?;
    t.execute(
        "DELETE FROM lease_pack WHERE lease IN (SELECT id FROM lease WHERE session = ?1)",
        [session],
    )?;
    t.execute("DELETE FROM lease WHERE session = ?1", [session])?;
    Ok(())
}

/// Removes what dead sessions left. Errors are no reason not to open the store: what cannot be
/// removed now stays garbage.
pub(crate) fn clean(disk: &dyn Disk, root: &Path, database: &Database) {
    let sessions = root.join("sessions");
    let Ok(list) = disk.list(&sessions) else {
        return;
    };
    for name in list {
        let Some(id) = name.to_str() else { continue };
        let path = sessions.join(id);
        // Who can lock it knows that its owner is dead.
        let Ok(Some(_lock)) = disk.lock(&path, Lock::Try) else {
            continue;
        };
        if id.ends_with(".new") {
            // Locked by us before its owner could lock it, or left over: an owner that comes late
            // renames a file that is gone, and reports that.
            if is_old(&path) {
                let _ = disk.remove(&path);
            }
            continue;
        }
        let tmp = root.join("tmp").join(id);
        let removed = disk.remove_tree(&tmp);
        let forgotten = database.write(Durable::No, "end session", |t| forget_leases(t, id));
        if removed.is_ok() && forgotten.is_ok() {
            let _ = disk.remove(&path);
        }
    }
}

/// Whether nobody can be at work on a file that is renamed as soon as it is complete.
pub(crate) fn is_old(path: &Path) -> bool {
    let age = fs::metadata(path)
        .and_then(|m| m.modified())
        .map(|m| m.elapsed().unwrap_or_default());
    age.is_ok_and(|age| age.as_secs() > 60)
}

/// The sessions that are alive now, those that are just beginning included; sorted.
pub(crate) fn living(disk: &dyn Disk, root: &Path) -> Result<Vec<String>, StoreError> {
    let dir = root.join("sessions");
    let mut alive = Vec::new();
    let list = disk
        .list(&dir)
        .map_err(|e| StoreError::io("list sessions", &dir, e))?;
    for name in list {
        let Ok(id) = name.into_string() else { continue };
        if is_alive(disk, root, &id)? {
            alive.push(id);
        }
    }
    alive.sort_unstable();
    Ok(alive)
}

/// Tells whether a session lives whose name was found somewhere.
fn is_alive(disk: &dyn Disk, root: &Path, id: &str) -> Result<bool, StoreError> {
    let path = root.join("sessions").join(id);
    match disk.lock(&path, Lock::Try) {
        Ok(held) => Ok(held.is_none()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(StoreError::io("look at session", &path, error)),
    }
}

/// Adds to the `living` those sessions of leases that were read after the living were listed, and live:
/// they began in between.
pub(crate) fn add_newer<'a>(
    disk: &dyn Disk,
    root: &Path,
    living: &mut Vec<String>,
    leased: impl Iterator<Item = &'a str>,
) -> Result<(), StoreError> {
    let mut judged = BTreeSet::new();
    for id in leased {
        let is_new = living.binary_search_by(|l| l.as_str().cmp(id)).is_err();
        if is_new && judged.insert(id) && is_alive(disk, root, id)? {
            living.push(id.to_string());
            living.sort_unstable();
        }
    }
    Ok(())
}

/// Names in the folder of scratch folders whose owner is dead.
pub(crate) fn abandoned(disk: &dyn Disk, root: &Path) -> Result<Vec<OsString>, StoreError> {
    let list = doors::list(disk, &root.join("tmp"))?;
    let mut gone = Vec::new();
    for name in list {
        let alive = match name.to_str() {
            Some(id) => is_alive(disk, root, id)?,
            None => false,
        };
        if !alive {
            gone.push(name);
        }
    }
    Ok(gone)
}

/// Adds a lease and returns its number.
pub(crate) fn add_lease(
    t: &rusqlite::Transaction<'_>,
    boot: &str,
    session: &Session,
    purpose: &str,
) -> rusqlite::Result<i64> {
    let (pid, start) = (std::process::id(), process_start());
    t.prepare_cached(
        "INSERT INTO lease (session, pid, process_start, boot, purpose) VALUES (?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![session.id, pid, start, boot, purpose])?;
    Ok(t.last_insert_rowid())
}

pub(crate) fn remove_lease(database: &Database, id: i64) -> Result<(), StoreError> {
    database.write(Durable::No, "end lease", |t| {
        for table in [
            "DELETE FROM lease_tree WHERE lease = ?1",
            "DELETE FROM lease_pack WHERE lease = ?1",
            "DELETE FROM lease WHERE id = ?1",
        ] {
            t.prepare_cached(table)?.execute([id])?;
        }
        Ok(())
    })
}

/// Protects all that is in a pack, whether anything names it or not.
pub(crate) fn lease_pack(
    t: &rusqlite::Transaction<'_>,
    lease: i64,
    pack: &str,
) -> rusqlite::Result<()> {
    t.prepare_cached("INSERT OR IGNORE INTO lease_pack (lease, pack) VALUES (?1, ?2)")?
        .execute(params![lease, pack])?;
    Ok(())
}

pub(crate) fn lease_tree(
    t: &rusqlite::Transaction<'_>,
    lease: i64,
    tree: TreeHash,
) -> rusqlite::Result<()> {
    t.prepare_cached("INSERT OR IGNORE INTO lease_tree (lease, tree) VALUES (?1, ?2)")?
        .execute(params![lease, tree.to_string()])?;
    Ok(())
}

/// When this process began, in the kernel's ticks since boot; 0 where that cannot be read.
fn process_start() -> i64 {
    static START: OnceLock<(u32, i64)> = OnceLock::new();
    let (pid, start) = *START.get_or_init(|| (std::process::id(), read_process_start()));
    // A process that was forked off this one began at another time.
    if pid == std::process::id() {
        start
    } else {
        read_process_start()
    }
}

fn read_process_start() -> i64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The command name may hold blanks and parentheses: fields are counted after the last one.
    let after = stat.rsplit(')').next().unwrap_or_default();
    let field = after.split_ascii_whitespace().nth(19);
    field.and_then(|f| f.parse().ok()).unwrap_or(0)
}

/// A name that nobody else uses.
pub(crate) fn random_name() -> Result<String, StoreError> {
    let mut bytes = [0u8; 12];
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .map_err(|e| StoreError::io("get random bytes", "", e))?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}
