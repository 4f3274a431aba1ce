//! Packages of real Portage: each built by itself in a root of what it declares, and composed into stages, which are
//! compared with what Portage merges.
//!
//! This is not the usual harness: the program is its own sandbox helper. It needs a seed with Portage, which
//! `tests/packages/run.sh` makes; without one nothing is tried. Trees are printed, so that two runs can be compared.

mod cases;
mod real;
mod table;
mod world;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use mstore::build::userns::{self, Choice};

fn main() -> ExitCode {
    mstore::build::hidden_main();
    let args: Vec<String> = std::env::args().skip(1).collect();
    // What test runners ask for; they get one test.
    if args.first().map(String::as_str) == Some("--list") {
        println!("packages: test");
        return ExitCode::SUCCESS;
    }
    let given = |name: &str| std::env::var_os(name).map(PathBuf::from);
    let (Some(work), Some(store)) = (given("MSTORE_TEST_PACKAGES"), given("MSTORE_TEST_STORE"))
    else {
        println!("skipped: tests/packages/run.sh makes a seed with Portage");
        return ExitCode::SUCCESS;
    };
    match userns::enter(Choice::Auto) {
        Ok(entered) => println!("# {entered}"),
        Err(error) => {
            println!("{error}");
            return ExitCode::FAILURE;
        }
    }
    let world = world::World::open(&work, &store);
    if let Some(real) = given("MSTORE_TEST_REAL") {
        return match real::narrowed(&world, &real) {
            0 => ExitCode::SUCCESS,
            _ => ExitCode::FAILURE,
        };
    }
    let filter: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let mut failed = Vec::new();
    for (name, case) in cases::ALL {
        if !filter.is_empty() && !filter.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let began = Instant::now();
        match std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| case(&world))) {
            Ok(()) => println!("{name} ... ok ({:.1?})", began.elapsed()),
            Err(_) => {
                println!("{name} ... FAILED");
                failed.push(*name);
            }
        }
    }
    println!("# {} failed {failed:?}", failed.len());
    match failed.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}
