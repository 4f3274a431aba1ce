//! `mstore dpb` through the real binary: its options, locks, logs, stop files and display.
//!
//! This is not the usual harness: all tests share one seed, and run side by side, each with a store of its own.

#[path = "../sandbox/base.rs"]
mod base;
mod display;
mod files;
mod hosts;
mod locks;
#[path = "../steps/place.rs"]
mod place;
mod ports;
mod run;
#[path = "../copy/sshd.rs"]
mod sshd;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::Mutex;
use std::time::Instant;

use place::{Place, Top};

/// A test, by name; it panics when it fails.
type Test = (&'static str, fn(&Place));

/// Tests at a time: most of them wait for a process.
const THREADS: usize = 4;

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "--list") {
        println!("dpb: test");
        return ExitCode::SUCCESS;
    }
    let filter: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let top = Top::new("dpb");
    if let Err(why) = top.can_build() {
        println!("skipped: {why}");
        return ExitCode::SUCCESS;
    }
    let wanted = |name: &str| filter.is_empty() || filter.iter().any(|f| name.contains(f.as_str()));
    let mut left: Vec<Test> =
        [files::ALL, locks::ALL, display::ALL, hosts::ALL, ports::ALL].concat();
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
                    let result = catch_unwind(AssertUnwindSafe(|| test(&place)));
                    let word = if result.is_ok() { "ok" } else { "FAILED" };
                    println!("dpb: {name} ... {word} ({:.1?})", began.elapsed());
                    if result.is_err() {
                        failed.lock().unwrap().push(name);
                    }
                }
            });
        }
    });
    let failed = failed.into_inner().unwrap();
    println!("# dpb: {} failed {failed:?}", failed.len());
    drop(top);
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
