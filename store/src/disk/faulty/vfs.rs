//! A virtual file system of SQLite that passes everything on to the usual one and tells a [`World`].
//!
//! Only the shared memory of WAL mode is left out: it is memory, and gone after a power cut.
#![allow(unsafe_code)]

use std::ffi::{CStr, CString, OsStr, c_char, c_int, c_void};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use rusqlite::ffi;

use super::{Call, Change, Go, World};

/// An open file. SQLite allocates `szOsFile` bytes for it: this, and then that of the usual VFS.
#[repr(C)]
struct Open {
    /// What SQLite sees. Has to come first.
    base: ffi::sqlite3_file,
    real: *mut ffi::sqlite3_file,
    /// A `Box<Facts>`.
    facts: *mut Facts,
}

struct Facts {
    world: Arc<World>,
    path: PathBuf,
    /// Missing for files without a name.
    inode: Option<u64>,
}

/// What `pAppData` points to.
struct App {
    real: *mut ffi::sqlite3_vfs,
    world: Arc<World>,
}

/// Registers a VFS for a world and returns its name.
pub(super) fn register(world: &Arc<World>) -> String {
    static COUNT: AtomicU64 = AtomicU64::new(0);
    let name = format!("mstore-faulty-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    // SAFETY: SQLite is initialised by the call itself; a null name asks for the default VFS, which
    // is static.
    let real = unsafe {
        ffi::sqlite3_initialize();
        ffi::sqlite3_vfs_find(ptr::null())
    };
    assert!(!real.is_null(), "SQLite has a default VFS");
    // SAFETY: a registered VFS is valid and constant.
    let (size, longest) = unsafe { ((*real).szOsFile, (*real).mxPathname) };
    let app = Box::new(App {
        real,
        world: world.clone(),
    });
    let own = size_of::<Open>().next_multiple_of(16) as c_int;
    let vfs = Box::new(ffi::sqlite3_vfs {
        iVersion: 2,
        szOsFile: own + size,
        mxPathname: longest,
        pNext: ptr::null_mut(),
        zName: CString::new(name.as_str())
            .expect("the name has no NUL")
            .into_raw(),
        pAppData: Box::into_raw(app).cast(),
        xOpen: Some(open),
        xDelete: Some(delete),
        xAccess: Some(access),
        xFullPathname: Some(full_path),
        xDlOpen: None,
        xDlError: None,
        xDlSym: None,
        xDlClose: None,
        xRandomness: Some(randomness),
        xSleep: Some(sleep),
        xCurrentTime: None,
        xGetLastError: Some(last_error),
        xCurrentTimeInt64: Some(current_time),
        xSetSystemCall: None,
        xGetSystemCall: None,
        xNextSystemCall: None,
    });
    // SAFETY: the VFS, its name and its data are leaked, so they outlive every connection.
    let result = unsafe { ffi::sqlite3_vfs_register(Box::into_raw(vfs), 0) };
    assert_eq!(result, ffi::SQLITE_OK);
    name
}

/// Takes a VFS off SQLite's list. Its memory stays, since connections may still use it.
pub(super) fn unregister(name: &str) {
    let name = CString::new(name).expect("the name has no NUL");
    // SAFETY: the name is a C string; what is found was registered by us and is not freed.
    unsafe {
        let vfs = ffi::sqlite3_vfs_find(name.as_ptr());
        if !vfs.is_null() {
            ffi::sqlite3_vfs_unregister(vfs);
        }
    }
}

/// # Safety
/// `vfs` must be one of ours.
unsafe fn app<'a>(vfs: *mut ffi::sqlite3_vfs) -> &'a App {
    // SAFETY: by the contract; the data is leaked, and never changed.
    unsafe { &*(*vfs).pAppData.cast::<App>() }
}

/// # Safety
/// `file` must have been opened by `open` with success and not be closed.
unsafe fn parts<'a>(file: *mut ffi::sqlite3_file) -> (&'a Facts, *mut ffi::sqlite3_file) {
    // SAFETY: by the contract this is an `Open`, whose facts live until it is closed.
    unsafe {
        let open = file.cast::<Open>();
        (&*(*open).facts, (*open).real)
    }
}

/// Calls a method of the usual VFS's file.
macro_rules! real {
    ($file:expr, $method:ident $(, $arg:expr)*) => {{
        let file = $file;
        // SAFETY: the usual VFS filled in the methods when it opened this file, among them all of
        // version 2, and each gets the arguments that SQLite gave for it.
        unsafe {
            match (*(*file).pMethods).$method {
                Some(method) => method(file $(, $arg)*),
                None => ffi::SQLITE_IOERR,
            }
        }
    }};
}

fn path_of(name: *const c_char) -> Option<PathBuf> {
    if name.is_null() {
        return None;
    }
    // SAFETY: SQLite gives file names as C strings.
    let name = unsafe { CStr::from_ptr(name) };
    Some(Path::new(OsStr::from_bytes(name.to_bytes())).to_path_buf())
}

static METHODS: ffi::sqlite3_io_methods = ffi::sqlite3_io_methods {
    iVersion: 2,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: Some(shm_map),
    xShmLock: Some(shm_lock),
    xShmBarrier: Some(shm_barrier),
    xShmUnmap: Some(shm_unmap),
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open(
    vfs: *mut ffi::sqlite3_vfs,
    name: ffi::sqlite3_filename,
    file: *mut ffi::sqlite3_file,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    // SAFETY: SQLite calls this with our VFS and `szOsFile` bytes at `file`.
    let app = unsafe { app(vfs) };
    let this = file.cast::<Open>();
    // SAFETY: as above. Without methods, SQLite does not close a file that could not be opened.
    let real = unsafe {
        (*this).base.pMethods = ptr::null();
        file.cast::<u8>()
            .add(size_of::<Open>().next_multiple_of(16))
            .cast::<ffi::sqlite3_file>()
    };
    let path = path_of(name);
    let mut state = app.world.lock();
    let new = path.as_ref().is_some_and(|path| !path.exists());
    let what = format!("open {path:?}");
    let call = if new && flags & ffi::SQLITE_OPEN_CREATE != 0 {
        Call::Change
    } else {
        Call::Look
    };
    if state.whole(call, &what).is_err() {
        return ffi::SQLITE_CANTOPEN;
    }
    // SAFETY: the usual VFS gets itself, the name as SQLite gave it, and room of the size it asked for.
    let result = unsafe {
        match (*app.real).xOpen {
            Some(open) => open(app.real, name, real, flags, out),
            None => ffi::SQLITE_ERROR,
        }
    };
    if result != ffi::SQLITE_OK {
        return result;
    }
    let mut inode = None;
    // A handle opened for writing: those that only read change nothing.
    if let Some(path) = &path
        && flags & ffi::SQLITE_OPEN_READWRITE != 0
    {
        let journal = flags & (ffi::SQLITE_OPEN_WAL | ffi::SQLITE_OPEN_MAIN_JOURNAL) != 0;
        inode = state.watch(path, new && path.exists(), journal).ok();
    }
    let facts = Box::new(Facts {
        world: app.world.clone(),
        path: path.unwrap_or_default(),
        inode,
    });
    // SAFETY: `this` is ours to fill; the rest of SQLite sees it only after we return.
    unsafe {
        (*this).real = real;
        (*this).facts = Box::into_raw(facts);
        (*this).base.pMethods = &METHODS;
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn delete(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    sync_folder: c_int,
) -> c_int {
    // SAFETY: SQLite calls this with our VFS.
    let app = unsafe { app(vfs) };
    let Some(path) = path_of(name) else {
        return ffi::SQLITE_IOERR_DELETE;
    };
    let mut state = app.world.lock();
    if !path.exists() {
        return ffi::SQLITE_IOERR_DELETE_NOENT;
    }
    let what = format!("delete {}", path.display());
    if state.whole(Call::Change, &what).is_err() || state.remove(&path).is_err() {
        return ffi::SQLITE_IOERR_DELETE;
    }
    if sync_folder != 0
        && let Some(folder) = path.parent()
    {
        state.folder_synced(folder);
    }
    ffi::SQLITE_OK
}

/// Calls a method of the usual VFS.
macro_rules! usual {
    ($vfs:expr, $method:ident $(, $arg:expr)*) => {{
        // SAFETY: SQLite calls this with our VFS; the usual one gets itself and SQLite's arguments.
        unsafe {
            let real = app($vfs).real;
            match (*real).$method {
                Some(method) => method(real $(, $arg)*),
                None => ffi::SQLITE_ERROR,
            }
        }
    }};
}

unsafe extern "C" fn access(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    flags: c_int,
    out: *mut c_int,
) -> c_int {
    usual!(vfs, xAccess, name, flags, out)
}

unsafe extern "C" fn full_path(
    vfs: *mut ffi::sqlite3_vfs,
    name: *const c_char,
    len: c_int,
    out: *mut c_char,
) -> c_int {
    usual!(vfs, xFullPathname, name, len, out)
}

unsafe extern "C" fn randomness(vfs: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    usual!(vfs, xRandomness, len, out)
}

unsafe extern "C" fn sleep(vfs: *mut ffi::sqlite3_vfs, microseconds: c_int) -> c_int {
    usual!(vfs, xSleep, microseconds)
}

unsafe extern "C" fn last_error(vfs: *mut ffi::sqlite3_vfs, len: c_int, out: *mut c_char) -> c_int {
    usual!(vfs, xGetLastError, len, out)
}

unsafe extern "C" fn current_time(
    vfs: *mut ffi::sqlite3_vfs,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    usual!(vfs, xCurrentTimeInt64, out)
}

unsafe extern "C" fn close(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite closes an open file once, and does not use it afterwards.
    let facts = unsafe { Box::from_raw((*file.cast::<Open>()).facts) };
    // SAFETY: as above.
    let real = unsafe { (*file.cast::<Open>()).real };
    let result = real!(real, xClose);
    drop(facts);
    result
}

unsafe extern "C" fn read(
    file: *mut ffi::sqlite3_file,
    out: *mut c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (facts, real) = unsafe { parts(file) };
    let what = format!("read {} at {at}", facts.path.display());
    if facts.world.lock().whole(Call::Look, &what).is_err() {
        return ffi::SQLITE_IOERR_READ;
    }
    real!(real, xRead, out, len, at)
}

unsafe extern "C" fn write(
    file: *mut ffi::sqlite3_file,
    data: *const c_void,
    len: c_int,
    at: ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (facts, real) = unsafe { parts(file) };
    let mut state = facts.world.lock();
    let what = format!("write {} at {at}", facts.path.display());
    let (go, len) = match state.step(Call::Grow, &what) {
        Ok(Go::All) => (Go::All, len),
        Ok(Go::Half) => (Go::Half, len / 2),
        Err(error) if error.raw_os_error() == Some(28) => return ffi::SQLITE_FULL,
        Err(_) => return ffi::SQLITE_IOERR_WRITE,
    };
    if let Some(inode) = facts.inode {
        // SAFETY: SQLite gives at least that number of bytes, which nobody changes meanwhile.
        let bytes = unsafe { std::slice::from_raw_parts(data.cast::<u8>(), len as usize) };
        state.changed(inode, Change::Write(at.unsigned_abs(), bytes.to_vec()));
    }
    let result = real!(real, xWrite, data, len, at);
    match go {
        Go::All => result,
        Go::Half => ffi::SQLITE_IOERR_WRITE,
    }
}

unsafe extern "C" fn truncate(file: *mut ffi::sqlite3_file, len: ffi::sqlite3_int64) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (facts, real) = unsafe { parts(file) };
    let mut state = facts.world.lock();
    let what = format!("truncate {}", facts.path.display());
    if state.whole(Call::Change, &what).is_err() {
        return ffi::SQLITE_IOERR_TRUNCATE;
    }
    if let Some(inode) = facts.inode {
        state.changed(inode, Change::Truncate(len.unsigned_abs()));
    }
    real!(real, xTruncate, len)
}

unsafe extern "C" fn sync(file: *mut ffi::sqlite3_file, _flags: c_int) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (facts, _) = unsafe { parts(file) };
    let mut state = facts.world.lock();
    let what = format!("sync {}", facts.path.display());
    if state.whole(Call::Change, &what).is_err() {
        return ffi::SQLITE_IOERR_FSYNC;
    }
    if let Some(inode) = facts.inode {
        state.synced(inode);
    }
    ffi::SQLITE_OK
}

unsafe extern "C" fn file_size(
    file: *mut ffi::sqlite3_file,
    out: *mut ffi::sqlite3_int64,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (_, real) = unsafe { parts(file) };
    real!(real, xFileSize, out)
}

unsafe extern "C" fn lock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (facts, real) = unsafe { parts(file) };
    if facts.world.lock().dead {
        return ffi::SQLITE_IOERR_LOCK;
    }
    real!(real, xLock, level)
}

/// The kernel releases the locks of the dead: this never fails.
unsafe extern "C" fn unlock(file: *mut ffi::sqlite3_file, level: c_int) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (_, real) = unsafe { parts(file) };
    real!(real, xUnlock, level)
}

unsafe extern "C" fn check_reserved_lock(file: *mut ffi::sqlite3_file, out: *mut c_int) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (_, real) = unsafe { parts(file) };
    real!(real, xCheckReservedLock, out)
}

unsafe extern "C" fn file_control(
    file: *mut ffi::sqlite3_file,
    operation: c_int,
    argument: *mut c_void,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (_, real) = unsafe { parts(file) };
    real!(real, xFileControl, operation, argument)
}

unsafe extern "C" fn sector_size(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (_, real) = unsafe { parts(file) };
    real!(real, xSectorSize)
}

unsafe extern "C" fn device_characteristics(file: *mut ffi::sqlite3_file) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (_, real) = unsafe { parts(file) };
    real!(real, xDeviceCharacteristics)
}

unsafe extern "C" fn shm_map(
    file: *mut ffi::sqlite3_file,
    page: c_int,
    size: c_int,
    extend: c_int,
    out: *mut *mut c_void,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (facts, real) = unsafe { parts(file) };
    if facts.world.lock().dead {
        return ffi::SQLITE_IOERR_SHMMAP;
    }
    real!(real, xShmMap, page, size, extend, out)
}

unsafe extern "C" fn shm_lock(
    file: *mut ffi::sqlite3_file,
    offset: c_int,
    n: c_int,
    flags: c_int,
) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (facts, real) = unsafe { parts(file) };
    if flags & ffi::SQLITE_SHM_UNLOCK == 0 && facts.world.lock().dead {
        return ffi::SQLITE_IOERR_SHMLOCK;
    }
    real!(real, xShmLock, offset, n, flags)
}

unsafe extern "C" fn shm_barrier(file: *mut ffi::sqlite3_file) {
    // SAFETY: SQLite gives an open file of ours, whose usual file has all methods of version 2.
    unsafe {
        let (_, real) = parts(file);
        if let Some(barrier) = (*(*real).pMethods).xShmBarrier {
            barrier(real);
        }
    }
}

unsafe extern "C" fn shm_unmap(file: *mut ffi::sqlite3_file, remove: c_int) -> c_int {
    // SAFETY: SQLite gives an open file of ours.
    let (facts, real) = unsafe { parts(file) };
    // The dead remove nothing.
    let remove = if facts.world.lock().dead { 0 } else { remove };
    real!(real, xShmUnmap, remove)
}
