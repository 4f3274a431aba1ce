//! What the file system of the store can do.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use mstore_store::{ImportOptions, OpenOptions, Store, StoreError};
use rustix::fs::{CWD, Mode, OFlags, XattrFlags};

use super::check::{Check, State};
use crate::build::space;
use crate::build::userns::Entered;
use crate::build::userns::UsernsError;

/// Free space under which nothing of use can be built.
const LEAST_ROOM: u64 = 256 << 20;
/// Free space that stages of a distribution want.
const GOOD_ROOM: u64 = 10 << 30;
/// Open files that a build wants, and that are opened to see whether that works.
const OPEN_FILES: usize = 1024;

/// A folder on the file system of the store that goes with this value.
#[derive(Debug)]
pub struct Scratch {
    path: PathBuf,
}

impl Scratch {
    /// Makes one in the store's folder, or in the nearest one above that exists.
    pub fn near(store: &Path) -> io::Result<Scratch> {
        let folder = store.ancestors().find(|folder| folder.is_dir());
        let folder = folder.ok_or(io::ErrorKind::NotFound)?;
        let mut random = [0; 8];
        rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        let name = format!(".mstore-doctor-{:016x}", u64::from_le_bytes(random));
        let path = folder.join(name);
        rustix::fs::mkdir(&path, Mode::RWXU)?;
        Ok(Scratch { path })
    }

    /// The folder.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = crate::build::clean::remove_tree(&self.path);
    }
}

/// Makes a file of another owner.
pub fn owners(scratch: &Path, entered: &Result<Entered, UsernsError>) -> Check {
    let path = scratch.join("owner");
    let made = File::create(&path)
        .and_then(|_| std::os::unix::fs::chown(&path, Some(1), Some(1)))
        .and_then(|()| fs::remove_file(&path));
    match made {
        Ok(()) => Check::good("owners", "a file of another owner was made"),
        Err(error) => {
            let why = match entered {
                Ok(Entered::Single { reason }) => format!(" ({reason})"),
                _ => String::new(),
            };
            Check::bad(
                "owners",
                State::Lacking,
                format!("files of other owners cannot be made: {error}{why}"),
            )
            .remedy(
                "as root, run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` and install newuidmap (package uidmap); targets that leave all files to root need neither",
            )
        }
    }
}

/// Tries attributes, links, nameless files, locks and clones.
pub fn file_system(scratch: &Path) -> Vec<Check> {
    let path = scratch.join("file");
    let attribute = File::create(&path).and_then(|file| {
        let empty = XattrFlags::empty();
        Ok(rustix::fs::fsetxattr(&file, "user.mstore", b"x", empty)?)
    });
    let mut checks = vec![match attribute {
        Ok(()) => Check::good("attributes", "a user.* extended attribute was written"),
        Err(error) => Check::bad(
            "attributes",
            State::Missing,
            format!("user.* extended attributes cannot be written: {error}"),
        )
        .remedy("put the store on ext4, xfs or btrfs, or tmpfs since Linux 6.6: --store DIR"),
    }];
    let link = fs::hard_link(&path, scratch.join("link"));
    let lock = File::open(&path).and_then(|file| {
        let exclusive = rustix::fs::FlockOperation::NonBlockingLockExclusive;
        Ok(rustix::fs::flock(&file, exclusive)?)
    });
    let failed = [("hard links", link), ("locks", lock)];
    let failed = failed.into_iter().filter_map(|(what, done)| {
        let error = done.err()?;
        Some(format!("{what}: {error}"))
    });
    let failed: Vec<String> = failed.collect();
    checks.push(match failed.is_empty() {
        true => Check::good("links", "hard links and locks work"),
        false => Check::bad("links", State::Missing, failed.join("; "))
            .remedy("put the store on a local file system: --store DIR"),
    });
    let clone = File::open(&path).and_then(|old| {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let new = rustix::fs::openat(CWD, scratch.join("clone"), flags, Mode::RUSR | Mode::WUSR)?;
        Ok(rustix::fs::ioctl_ficlone(&new, &old)?)
    });
    checks.push(Check::good(
        "clones",
        match clone {
            Ok(()) => "a file was cloned: copies share their blocks".to_owned(),
            Err(_) => "files cannot be cloned: copies take space, links are used in their place"
                .to_owned(),
        },
    ));
    checks
}

/// Makes a store, writes to it, reads it, and compares.
pub fn store(scratch: &Path) -> Check {
    let what = b"what was written is read again\n".repeat(40_000);
    let tried = || -> Result<bool, StoreError> {
        let folder = scratch.join("content");
        let written = fs::create_dir(&folder).and_then(|()| fs::write(folder.join("file"), &what));
        written.map_err(|error| StoreError::io("write", &folder, error))?;
        let place = scratch.join("store");
        let store = Store::open(&place, &OpenOptions::create())?;
        let tree = store.import_dir(&folder, &ImportOptions::default())?.tree;
        drop(store);
        let store = Store::open(&place, &OpenOptions::create())?;
        let found = store.look_up(tree, b"file", false)?;
        let mstore_store::Kind::File { blob, .. } = found.kind else {
            return Ok(false);
        };
        let mut read = Vec::new();
        let mut content = store.open_blob(blob)?;
        let all = io::Read::read_to_end(&mut content, &mut read);
        all.map_err(|error| StoreError::io("read", &place, error))?;
        Ok(read == what)
    };
    match tried() {
        Ok(true) => Check::good("store", "one was made, written, read and compared"),
        Ok(false) => Check::bad(
            "store",
            State::Missing,
            "what was written is not what was read",
        )
        .remedy("the disk or the memory may be failing: test both"),
        Err(error) => Check::bad("store", State::Missing, error)
            .remedy("put the store on a local file system with room: --store DIR"),
    }
}

/// Writes a few megabytes, and asks how many more there is room for.
pub fn room(scratch: &Path) -> Check {
    let path = scratch.join("room");
    let written = File::create(&path).and_then(|mut file| {
        file.write_all(&vec![1; 4 << 20])?;
        file.sync_all()
    });
    let remedy =
        "`mstore gc` frees what nobody needs any more; --store DIR uses another file system";
    let free = match written.and_then(|()| space::free(scratch)) {
        Ok(free) => free,
        Err(error) => {
            let found = format!("4 MiB cannot be written: {error}");
            return Check::bad("room", State::Missing, found).remedy(remedy);
        }
    };
    let gib = free.bytes as f64 / f64::from(1 << 30);
    let files = free.files.map(|n| format!(", {n} files"));
    let found = format!("{gib:.1} GiB{} free", files.unwrap_or_default());
    match free.bytes {
        _ if free.is_exhausted() => Check::bad("room", State::Missing, found).remedy(remedy),
        ..LEAST_ROOM => Check::bad("room", State::Missing, found).remedy(remedy),
        LEAST_ROOM..GOOD_ROOM => Check::bad("room", State::Lacking, found).remedy(format!(
            "the standard targets fit in 1 GiB, stages of a distribution want 10 or more; {remedy}"
        )),
        GOOD_ROOM.. => Check::good("room", found),
    }
}

/// Opens as many files as a build wants to.
pub fn open_files() -> Check {
    let mut open = Vec::with_capacity(OPEN_FILES);
    let error = loop {
        if open.len() == OPEN_FILES {
            return Check::good("open files", format!("{OPEN_FILES} were opened at once"));
        }
        match File::open("/dev/null") {
            Ok(file) => open.push(file),
            Err(error) => break error,
        }
    };
    let found = format!("only {} can be opened at once: {error}", open.len());
    drop(open);
    Check::bad("open files", State::Lacking, found).remedy(format!(
        "raise the limit: `ulimit -Hn {OPEN_FILES}`, or LimitNOFILE={OPEN_FILES} in the unit"
    ))
}
