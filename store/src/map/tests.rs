//! Maps over files that are cut short beneath them.

use std::fs::{self, File};

use super::*;

const PAGES: usize = 16;

fn page() -> usize {
    rustix::param::page_size()
}

fn file(dir: &Path, name: &str) -> PathBuf {
    let path = dir.join(name);
    let bytes: Vec<u8> = (0..PAGES * page())
        .map(|at| (at / page() + 1) as u8)
        .collect();
    fs::write(&path, bytes).unwrap();
    path
}

fn cut(path: &Path, pages: usize) {
    let file = File::options().write(true).open(path).unwrap();
    file.set_len((pages * page()) as u64).unwrap();
}

#[test]
fn what_the_file_lacks_is_zeros_and_told() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f");
    let map = sealed(&path).unwrap();
    assert_eq!(map[10 * page()], 11);
    cut(&path, 8);
    assert!(map.confirm(0..map.len()).is_ok(), "nothing was touched yet");
    assert_eq!(map[12 * page() + 5], 0);
    assert_eq!(map[10 * page()], 0);
    assert_eq!(map[3 * page()], 4);
    // From the first page that was lost to the last.
    let at = |page_no: usize| page_no * page()..(page_no + 1) * page();
    for (number, lost) in [(3, false), (9, false), (10, true), (12, true), (13, false)] {
        assert_eq!(map.lost_in(at(number)).is_some(), lost, "{number}");
    }
    let error = map.confirm(at(12)).unwrap_err();
    assert_eq!(error.to_string(), "the file is cut short");
    assert!(map.confirm(at(3)).is_ok());
    // Giving pages back does not make the lost ones come to life as something else.
    map.release();
    assert_eq!((map[12 * page()], map[3 * page()]), (0, 4));
    // Another map of the file that never touched them knows nothing of it.
    let second = sealed(&path).unwrap();
    assert_eq!(second.len(), 8 * page());
    assert!(second.confirm(0..second.len()).is_ok());
}

#[test]
fn what_lies_between_lost_pages_and_was_read_is_believed() {
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "f");
    let whole = fs::read(&path).unwrap();
    let map = sealed(&path).unwrap();
    cut(&path, 4);
    assert_eq!((map[5 * page()], map[9 * page()]), (0, 0));
    fs::write(&path, &whole).unwrap();
    assert_eq!(map[7 * page()], 8);
    let at = |page_no: usize| page_no * page()..(page_no + 1) * page();
    assert!(map.lost_in(at(7)).is_some());
    assert!(map.confirm(at(7)).is_ok());
    // The file has them again, the map has not.
    assert!(map.confirm(at(5)).is_err());
}

#[test]
fn many_threads_and_many_maps() {
    let dir = tempfile::tempdir().unwrap();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let dir = &dir;
            scope.spawn(move || {
                for round in 0..50 {
                    let path = file(dir.path(), &format!("{thread}-{round}"));
                    let map = sealed(&path).unwrap();
                    let good = sealed(&file(dir.path(), &format!("{thread}"))).unwrap();
                    let keep = (thread + round) % PAGES;
                    cut(&path, keep);
                    std::thread::scope(|inner| {
                        for _ in 0..2 {
                            inner.spawn(|| {
                                for at in 0..PAGES {
                                    let expected = if at < keep { at as u8 + 1 } else { 0 };
                                    assert_eq!(map[at * page()], expected);
                                }
                            });
                        }
                    });
                    let lost = map.watch.lost().unwrap();
                    assert_eq!(lost, keep * page()..PAGES * page());
                    assert!(good.confirm(0..good.len()).is_ok());
                    assert_eq!(good[0], 1);
                }
            });
        }
    });
}

const CHILD: &str = "MSTORE_TEST_FOREIGN_FAULT";

/// The fault of somebody else ends the process as ever, and so does a signal that somebody sent.
#[test]
fn other_faults_are_left_to_who_had_them() {
    for how in ["touch", "send"] {
        let out = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "map::tests::inside_foreign_fault", "--ignored"])
            .env(CHILD, how)
            .output()
            .unwrap();
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(out.status.signal(), Some(libc::SIGBUS), "{how}: {out:?}");
    }
}

#[test]
#[ignore = "ends its process, started by the other"]
fn inside_foreign_fault() {
    let Some(how) = std::env::var_os(CHILD) else {
        return;
    };
    let dir = tempfile::tempdir().unwrap();
    let path = file(dir.path(), "ours");
    let ours = sealed(&path).unwrap();
    cut(&path, 2);
    assert_eq!(ours[5 * page()], 0);
    if how == "send" {
        // SAFETY: no precondition.
        unsafe { libc::raise(libc::SIGBUS) };
    }
    let path = file(dir.path(), "theirs");
    let file = File::open(&path).unwrap();
    // SAFETY: that the file is cut is what is tested here.
    let theirs = unsafe { memmap2::Mmap::map(&file).unwrap() };
    cut(&path, 2);
    println!("{}", theirs[5 * page()]);
}

fn sealed(path: &std::path::Path) -> io::Result<Map> {
    Map::sealed(&File::open(path)?, path)
}
