//! Every order in which sessions begin and end, beside those who judge whether they live.
//!
//! The whole stores of the other tests meet such an order once in a hundred runs; here the few calls
//! that matter go through all of them.

use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::db::{Database, Durable};
use crate::disk::turns::{TurnsDisk, explore};
use crate::session::{self, Session};

/// More switches than there are calls: every schedule there is.
const ALL: usize = usize::MAX;

/// The folders of a store in which only sessions happen.
struct Stage {
    top: tempfile::TempDir,
    database: Database,
    /// The session is about to end.
    ends: AtomicBool,
}

impl Stage {
    fn new() -> Stage {
        let memory = Path::new("/dev/shm");
        let top = match memory.is_dir() {
            true => tempfile::tempdir_in(memory),
            false => tempfile::tempdir(),
        };
        let top = top.unwrap();
        for folder in ["sessions", "tmp", "packs"] {
            fs::create_dir(top.path().join(folder)).unwrap();
        }
        Stage {
            top,
            database: Database::nothing().unwrap(),
            ends: AtomicBool::new(false),
        }
    }

    fn root(&self) -> &Path {
        self.top.path()
    }

    fn count(&self, folder: &str) -> usize {
        fs::read_dir(self.root().join(folder)).unwrap().count()
    }

    fn leases(&self) -> Vec<String> {
        let read = self.database.read("list leases", |c| {
            c.prepare("SELECT session FROM lease")?
                .query_map([], |row| row.get(0))?
                .collect()
        });
        read.unwrap()
    }

    /// Writes a pack in the folder of a session of its own and puts it among the packs.
    fn add_a_pack(&self) {
        let session = Session::begin(&TurnsDisk, self.root()).unwrap();
        let file = session.tmp.join("pack");
        TurnsDisk.create(&file).unwrap();
        let to = self.root().join("packs/pack");
        TurnsDisk.rename(&file, &to).unwrap();
        session.end(&TurnsDisk, &self.database);
    }

    /// Leases something, and goes.
    fn lease(&self) {
        let session = Session::begin(&TurnsDisk, self.root()).unwrap();
        self.database
            .write(Durable::No, "lease", |t| {
                session::add_lease(t, "boot", &session, "test")
            })
            .unwrap();
        // Works.
        TurnsDisk.list(&session.tmp).unwrap();
        self.ends.store(true, Ordering::SeqCst);
        session.end(&TurnsDisk, &self.database);
    }

    /// What a collector does about folders.
    fn collect_folders(&self) {
        for name in session::abandoned(&TurnsDisk, self.root()).unwrap() {
            let path = self.root().join("tmp").join(name);
            TurnsDisk.remove_tree(&path).unwrap();
        }
    }

    /// What a collector does about leases.
    fn collect_leases(&self) {
        let mut living = session::living(&TurnsDisk, self.root()).unwrap();
        let leases = self.leases();
        let named = leases.iter().map(String::as_str);
        session::add_newer(&TurnsDisk, self.root(), &mut living, named).unwrap();
        let lives = |lease: &String| living.contains(lease);
        if !self.ends.load(Ordering::SeqCst) {
            assert!(leases.iter().all(lives), "{leases:?} of {living:?}");
        }
    }

    fn clean(&self) {
        session::clean(&TurnsDisk, self.root(), &self.database);
    }

    /// Makes what just began look as if its process stood still for long.
    fn age(&self) {
        for name in TurnsDisk.list(&self.root().join("sessions")).unwrap() {
            let path = self.root().join("sessions").join(name);
            if let Ok(file) = fs::File::open(path) {
                file.set_modified(std::time::UNIX_EPOCH).unwrap();
            }
        }
    }

    fn nothing_is_left(&self) {
        assert_eq!((self.count("sessions"), self.count("tmp")), (0, 0));
        assert_eq!(self.leases(), Vec::<String>::new());
    }
}

/// Plays all schedules of some works, with at most N switches.
fn all<const N: usize>(switches: usize, works: [fn(&Stage); N], check: fn(&Stage)) {
    let count = explore(switches, Stage::new, &works, check);
    println!("{count} schedules");
    assert!(count > 100);
}

#[test]
fn a_folder_is_not_taken_from_a_session_that_begins() {
    all(ALL, [Stage::add_a_pack, Stage::collect_folders], |stage| {
        assert!(stage.root().join("packs/pack").exists());
        stage.nothing_is_left();
    });
}

#[test]
fn a_lease_counts_from_the_first_moment() {
    all(
        ALL,
        [Stage::lease, Stage::collect_leases],
        Stage::nothing_is_left,
    );
}

#[test]
fn opening_a_store_ends_no_session_of_others() {
    all(ALL, [Stage::add_a_pack, Stage::clean], |stage| {
        assert!(stage.root().join("packs/pack").exists());
        stage.nothing_is_left();
    });
}

#[test]
fn several_judges_at_once() {
    let works = [
        Stage::add_a_pack,
        Stage::collect_folders,
        Stage::clean,
        Stage::collect_leases,
    ];
    all(2, works, Stage::nothing_is_left);
}

#[test]
fn a_session_that_stood_still_begins_all_the_same() {
    all(3, [Stage::lease, Stage::age, Stage::clean], |stage| {
        // What another took away while it began is not there, what it began last has ended.
        stage.nothing_is_left();
    });
}
