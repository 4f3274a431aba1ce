//! A session: one open store of one process, what it protects, and where it works.
//!
//! A session is a locked file in `sessions/`. Whoever can lock it knows that the owner is dead, on
//! this boot or an earlier one, in whatever pid namespace; its leases are void and its scratch
//! folder `tmp/<session>` may go. The file gets its final name only after it was locked.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::params;

use crate::db::{Database, Durable};
use crate::disk::{Disk, Held, Lock};
use crate::{StoreError, TreeHash};

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
        let id = random_name()?;
        let file_path = root.join("sessions").join(&id);
        let new = root.join("sessions").join(format!("{id}.new"));
        let io = |action| {
            let path = &file_path;
            move |e: io::Error| StoreError::io(action, path, e)
        };
        disk.create(&new).map_err(io("begin session"))?;
        let held = disk.lock(&new, Lock::Alone).map_err(io("lock session"))?;
        disk.rename(&new, &file_path).map_err(io("begin session"))?;
        let tmp = root.join("tmp").join(&id);
        disk.create_dir(&tmp, 0o777)
            .map_err(|e| StoreError::io("create scratch folder", &tmp, e))?;
        Ok(Session {
            id,
            _held: held,
            file_path,
            tmp,
        })
    }

    /// Ends the session. Failures leave garbage that a later open removes.
    pub fn end(&self, disk: &dyn Disk, database: &Database) {
        let gone = database.write(Durable::No, "end session", |t| forget_leases(t, &self.id));
        let _ = disk.remove_tree(&self.tmp);
        if gone.is_ok() {
            let _ = disk.remove(&self.file_path);
        }
    }
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

/// The sessions that are alive now.
pub(crate) fn living(disk: &dyn Disk, root: &Path) -> Result<Vec<String>, StoreError> {
    let dir = root.join("sessions");
    let mut alive = Vec::new();
    let list = disk
        .list(&dir)
        .map_err(|e| StoreError::io("list sessions", &dir, e))?;
    for name in list {
        let Ok(id) = name.into_string() else { continue };
        let path = dir.join(&id);
        match disk.lock(&path, Lock::Try) {
            Ok(None) => alive.push(id),
            Ok(Some(_)) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(StoreError::io("look at session", &path, error)),
        }
    }
    alive.sort_unstable();
    Ok(alive)
}

/// Adds a lease and returns its number.
pub(crate) fn add_lease(
    database: &Database,
    boot: &str,
    session: &Session,
    purpose: &str,
) -> Result<i64, StoreError> {
    let (pid, start) = (std::process::id(), process_start());
    database.write(Durable::No, "add lease", |t| {
        t.execute(
            "INSERT INTO lease (session, pid, process_start, boot, purpose) VALUES (?1, ?2, ?3, ?4, ?5)",
            params![session.id, pid, start, boot, purpose],
        )?;
        Ok(t.last_insert_rowid())
    })
}

pub(crate) fn remove_lease(database: &Database, id: i64) -> Result<(), StoreError> {
    database.write(Durable::No, "end lease", |t| {
        t.execute("DELETE FROM lease_tree WHERE lease = ?1", [id])?;
        t.execute("DELETE FROM lease_pack WHERE lease = ?1", [id])?;
        t.execute("DELETE FROM lease WHERE id = ?1", [id])?;
        Ok(())
    })
}

/// Protects all that is in a pack, whether anything names it or not.
pub(crate) fn lease_pack(
    t: &rusqlite::Transaction<'_>,
    lease: i64,
    pack: &str,
) -> rusqlite::Result<()> {
    t.execute(
        "INSERT OR IGNORE INTO lease_pack (lease, pack) VALUES (?1, ?2)",
        params![lease, pack],
    )?;
    Ok(())
}

pub(crate) fn lease_tree(
    t: &rusqlite::Transaction<'_>,
    lease: i64,
    tree: TreeHash,
) -> rusqlite::Result<()> {
    t.execute(
        "INSERT OR IGNORE INTO lease_tree (lease, tree) VALUES (?1, ?2)",
        params![lease, tree.to_string()],
    )?;
    Ok(())
}

/// When this process began, in the kernel's ticks since boot; 0 where that cannot be read.
fn process_start() -> i64 {
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
