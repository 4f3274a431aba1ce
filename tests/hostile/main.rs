//! Attacks through the real binary: who may reach what, on this machine and over the network. doc/security.md
//! names these files beside its promises.
//!
//! This is not the usual harness: started by real root, the program runs its tests again as an ordinary
//! user with subordinate ids. Every single thing that was tried is counted, and a table is printed.

#[path = "../sandbox/base.rs"]
mod base;
mod crowd;
mod git;
mod means;
mod owners;
mod peers;
#[path = "../steps/place.rs"]
mod place;
mod tally;
mod terminal;
#[path = "../sandbox/user.rs"]
mod user;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Instant;

use place::{Place, Top};
use tally::Tally;

/// An attack, by name; it panics when it succeeds, and gives a reason when it was skipped.
type Test = (&'static str, fn(&Place, &Tally) -> Option<&'static str>);

/// The parts of the table.
const PARTS: &[(&str, &[Test])] = &[
    ("git", git::ALL),
    ("caches and peers", peers::ALL),
    ("serve under load", crowd::ALL),
    ("owners of a store", owners::ALL),
    ("terminals", terminal::ALL),
    ("means of a step", means::ALL),
];

/// Tests at a time: most of them wait for a process.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--as-user") => return user::become_user(&args[1], &args[2..]),
        // What test runners ask for; they get one test.
        Some("--list") => {
            println!("hostile: test");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let filter: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let is_root = rustix::process::geteuid().is_root();
    let mode = if is_root { "root" } else { "user" };
    let top = Top::new(mode);
    if let Err(why) = top.can_build() {
        println!("skipped {mode}: {why}");
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let tallies: Vec<Tally> = PARTS.iter().map(|(part, _)| Tally::new(part)).collect();
    let mut left: Vec<(&Tally, Test)> = Vec::new();
    for ((_, tests), tally) in PARTS.iter().zip(&tallies) {
        left.extend(tests.iter().map(|test| (tally, *test)));
    }
    left.retain(|(_, (name, _))| wanted(name));
    left.reverse();
    let (left, failed) = (Mutex::new(left), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some((tally, (name, test))) = next else {
                        return;
                    };
                    let place = top.place(name);
                    let began = Instant::now();
                    match catch_unwind(AssertUnwindSafe(|| test(&place, tally))) {
                        Ok(None) => println!("{mode}: {name} ... ok ({:.1?})", began.elapsed()),
                        Ok(Some(why)) => println!("{mode}: {name} ... skipped: {why}"),
                        Err(_) => {
                            println!("{mode}: {name} ... FAILED");
                            failed.lock().unwrap().push(name);
                        }
                    }
                }
            });
        }
    });
    for tally in &tallies {
        println!("{mode}: {tally}");
    }
    let failed = failed.into_inner().unwrap();
    println!("# {mode}: {} failed {failed:?}", failed.len());
    drop(top);
    let mut ok = failed.is_empty();
    if is_root && std::env::var_os("MSTORE_TEST_ROOT_ONLY").is_none() {
        let status = Command::new("/proc/self/exe")
            .args(["--as-user", "ranges"])
            .args(&filter)
            .status();
        ok &= status.is_ok_and(|s| s.success());
    }
    match ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
