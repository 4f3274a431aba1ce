//! A new database from a damaged one, and a fault while it is made.

use std::os::unix::fs::FileExt;

use super::repairs::three;
use super::scenes::{Mode, Scene, sweep};
use super::*;

const ROOT: &str = "store";

/// A store whose database has a page that cannot be read, in a table without rows.
#[derive(Default)]
struct Rescue {
    model: Model,
}

fn open(bench: &Bench) -> Result<Store, StoreError> {
    Store::open(&bench.top.path().join(ROOT), &OpenOptions::default())
}

impl Scene for Rescue {
    /// Whether it came to its end.
    type Known = bool;

    const FOLDERS: &'static [&'static str] = &[ROOT];

    fn prepare(&mut self, bench: &mut Bench, top: &Path) {
        (_, self.model) = three(bench, &top.join(ROOT));
        let path = top.join(ROOT).join("db/mstore.sqlite");
        let c = rusqlite::Connection::open(&path).unwrap();
        let sql = "SELECT rootpage FROM sqlite_master WHERE type = 'table' AND name = 'part'";
        let page: u32 = c.query_row(sql, [], |row| row.get(0)).unwrap();
        drop(c);
        let file = fs::File::options().write(true).open(&path).unwrap();
        file.write_all_at(&[0x5a; 4096], (u64::from(page) - 1) * 4096)
            .unwrap();
    }

    fn play(
        &self,
        bench: &Bench,
        disk: &Arc<FaultyDisk>,
        known: &mut bool,
    ) -> Result<(), StoreError> {
        let root = bench.top.path().join(ROOT);
        // As the command does: what was finished meanwhile is not done again.
        let store = Store::open_on(&root, &OpenOptions::default(), disk.clone())?;
        let damaged = !store.check_database(false).is_empty();
        drop(store);
        if damaged {
            Store::rescue_database_on(&root, disk.as_ref())?;
        }
        *known = true;
        let store = Store::open_on(&root, &OpenOptions::default(), disk.clone())?;
        let report = store.verify(&VerifyOptions::default(), &mut |_| ())?;
        // An error of reading, which the check of the database tells, is over when it is told.
        if !report.faults.is_empty() {
            clean(&store);
        }
        Ok(())
    }

    fn check(&self, bench: &Bench, known: &bool) {
        let root = bench.top.path().join(ROOT);
        // Opening finishes what has come far enough.
        let damaged = !open(bench).unwrap().check_database(false).is_empty();
        assert!(!(damaged && *known));
        if damaged {
            Store::rescue_database(&root).unwrap();
        }
        let store = open(bench).unwrap();
        clean(&store);
        check(bench, &store, &self.model);
        assert!(root.join("db/mstore.sqlite.damaged").exists());
    }

    fn check_end(&self, bench: &Bench, known: &bool) {
        assert!(known);
        let store = open(bench).unwrap();
        let left = RealDisk::ANYWHERE.list(&store.path().join("db")).unwrap();
        let unfinished = |name: &std::ffi::OsString| {
            let name = name.to_string_lossy();
            name.contains(".new") || name.contains(".whole")
        };
        assert!(!left.iter().any(unfinished), "{left:?}");
        tidy(&store);
        check(bench, &store, &self.model);
    }
}

#[test]
fn a_fault_at_any_call_of_a_rescue_loses_nothing() {
    sweep(Rescue::default(), Mode::Stop, 14);
    sweep(Rescue::default(), Mode::PowerCut, 6);
    sweep(Rescue::default(), Mode::Full, 8);
    sweep(Rescue::default(), Mode::Error, 14);
}
