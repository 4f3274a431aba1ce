//! Steps through the real binary: what a script may rely on, whoever runs it and wherever its input lies.
//!
//! This is not the usual harness: started by real root, the program runs its tests again as an ordinary
//! user with subordinate ids. They run side by side, each with a store of its own.

mod asks;
#[path = "../sandbox/base.rs"]
mod base;
mod bounds;
mod caller;
mod chains;
mod faults;
mod fetched;
mod forget;
mod hosts;
mod inputs;
mod jobs;
mod links;
mod logs;
mod operating;
mod pause;
mod people;
mod place;
mod rogues;
mod shown;
mod silence;
#[path = "../copy/sshd.rs"]
mod sshd;
#[path = "../sandbox/user.rs"]
mod user;
mod values;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, ExitCode};
use std::sync::Mutex;
use std::time::Instant;

use place::{Place, Top};

/// A test, by name; it panics when it fails, and gives a reason when it was skipped.
type Test = (&'static str, fn(&Place) -> Option<&'static str>);

/// Tests at a time: most of them wait for a process.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--as-user") => return user::become_user(&args[1], &args[2..]),
        // What test runners ask for; they get one test.
        Some("--list") => {
            println!("steps: test");
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
    let all = [
        bounds::ALL,
        links::ALL,
        asks::ALL,
        logs::ALL,
        values::ALL,
        caller::ALL,
        faults::ALL,
        fetched::ALL,
        forget::ALL,
        hosts::ALL,
        inputs::ALL,
        jobs::ALL,
        pause::ALL,
        operating::ALL,
        people::ALL,
        rogues::ALL,
        chains::ALL,
        shown::ALL,
        silence::ALL,
    ];
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let mut left: Vec<Test> = all.concat();
    left.retain(|(name, _)| wanted(name));
    left.reverse();
    let (left, failed) = (Mutex::new(left), Mutex::new(Vec::new()));
    std::thread::scope(|scope| {
        for _ in 0..THREADS {
            scope.spawn(|| {
                loop {
                    let next = left.lock().unwrap().pop();
                    let Some((name, test)) = next else { return };
                    let place = top.place(name);
                    let began = Instant::now();
                    match catch_unwind(AssertUnwindSafe(|| test(&place))) {
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
