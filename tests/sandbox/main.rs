//! Sandboxes that really isolate, as root and as ordinary users.
//!
//! This is not the usual harness: the program is its own sandbox helper, and user namespaces can
//! only be entered while a process has one thread. All tests run in the mode the program was
//! started in. Started by real root, it then runs them again as an ordinary user, with ranges of
//! subordinate ids and with a single id, and compares what builds produced.

mod base;
mod cases;
mod library;
mod processes;
mod processors;
mod schedule;
mod support;
mod user;

use std::process::{Command, ExitCode};

use mstore::build::userns::{self, Choice};
use rustix::mount::MountPropagationFlags;
use support::{Env, Skip};

fn main() -> ExitCode {
    mstore::build::hidden_main();
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--as-user") => return user::become_user(&args[1], &args[2..]),
        Some("--victim") => {
            return processes::victim(args[1].as_ref(), args[2].as_ref(), &args[3]);
        }
        Some("--shell") => return processes::shell(args[1].as_ref(), args[2].as_ref()),
        Some("--enter") => {
            match userns::enter(Choice::Auto) {
                Ok(entered) => println!("{entered}"),
                Err(error) => println!("{error}"),
            }
            return ExitCode::SUCCESS;
        }
        // What test runners ask for; they get one test.
        Some("--list") => {
            println!("sandbox: test");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let filter: Vec<&String> = args.iter().filter(|a| !a.starts_with('-')).collect();
    let entered = match userns::enter(Choice::Auto) {
        Ok(entered) => entered,
        Err(error) => {
            println!("skipped: {error}");
            return ExitCode::SUCCESS;
        }
    };
    let mode = match entered {
        userns::Entered::Root => "root",
        userns::Entered::Ranges { .. } => "ranges",
        userns::Entered::Single { .. } => "single",
    };
    println!("# {entered}");
    if mode == "root" {
        // As the others have: what tests mount disappears with this process.
        #[allow(deprecated)] // the variant that is `unsafe` matters for file descriptors only
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS).expect("root may");
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )
        .expect("root may");
    }
    let env = Env::new(mode);
    let (mut failed, mut ran) = (Vec::new(), 0);
    for (name, test) in cases::ALL {
        if !filter.is_empty() && !filter.iter().any(|f| name.contains(f.as_str())) {
            continue;
        }
        let result = std::panic::catch_unwind(|| test(&env));
        ran += 1;
        match result {
            Ok(Ok(())) => println!("{mode}: {name} ... ok"),
            Ok(Err(Skip(why))) => println!("{mode}: {name} ... skipped: {why}"),
            Err(_) => {
                println!("{mode}: {name} ... FAILED");
                failed.push(*name);
            }
        }
    }
    println!("# {mode}: {ran} run, {} failed {failed:?}", failed.len());
    let mut ok = failed.is_empty();
    if mode == "root" && std::env::var_os("MSTORE_TEST_ROOT_ONLY").is_none() {
        for kind in ["ranges", "single"] {
            let status = Command::new("/proc/self/exe")
                .args(["--as-user", kind])
                .args(&filter)
                .status();
            ok &= status.is_ok_and(|s| s.success());
        }
    }
    if ok {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
