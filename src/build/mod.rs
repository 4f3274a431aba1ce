//! Runs one step in a root of its own: namespaces, layers, log, limits.
//!
//! - [`userns`]: an ordinary user's mstore becomes root of its own user namespace at start;
//! - [`sandbox`]: runs a script or a shell over layers, everything it changes lands in one;
//! - [`host`]: platforms that this machine runs, and remedies for what it lacks;
//! - [`step`]: one derivation to one tree; [`error`]: why there is none; [`failed`]: roots of failed steps; [`step_log`]: their logs;
//! - [`clean`]: removes what builds leave; [`memory`]: work folders in memory; [`space`]: tells a full disk from a failing script;
//! - [`processors`]: shares processors out among running steps;
//! - [`seed`]: captures a toolchain from this machine;
//! - [`log`]: keeps endless output bounded; [`cancel`]: stops running builds for good, [`pause`] for a
//!   while.
//!
//! doc/sandbox.md tells recipe authors what they may rely on.

pub mod bounds;
pub mod cancel;
pub mod clean;
mod deadline;
pub mod error;
pub mod failed;
pub mod host;
pub mod log;
pub mod memory;
mod over;
pub mod pause;
pub mod processors;
pub mod sandbox;
pub mod seed;
pub mod space;
pub mod step;
pub mod step_log;
mod sys;
pub mod userns;

use std::collections::BTreeMap;

pub use sys::Usage;

/// The word that makes this program a sandbox helper.
pub const HELPER_WORD: &str = "__sandbox";

/// The word that makes this program run another one as the user who started it: a user's id, a group's, the program
/// and its arguments follow.
pub const USER_WORD: &str = "__user";

/// Becomes the sandbox helper, or what [`USER_WORD`] says, when this process was started as that, and then never returns. Else
/// undoes what this process may have inherited and cannot work with: an ignored SIGCHLD, a strange
/// personality, a low soft limit of open files.
///
/// To be called first thing in `main`, before any thread exists and before [`userns::enter`].
pub fn hidden_main() {
    if std::env::args_os().nth(1).is_some_and(|a| a == HELPER_WORD) {
        sandbox::helper_main()
    }
    if std::env::args_os().nth(1).is_some_and(|a| a == USER_WORD) {
        userns::user_main()
    }
    sys::wait_for_children();
    // A 32-bit program may have been told on purpose that its machine is one.
    if cfg!(target_pointer_width = "64") {
        let _ = sys::set_personality(sys::Personality::Linux);
    }
    raise_open_files();
}

/// Most open files that are asked for.
const OPEN_FILES: u64 = 65_536;

fn raise_open_files() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let now = getrlimit(Resource::Nofile);
    let wanted = now.maximum.unwrap_or(OPEN_FILES).min(OPEN_FILES);
    if now.current.is_some_and(|current| current < wanted) {
        // Whatever the limit is, work is cut to fit into it.
        let _ = setrlimit(
            Resource::Nofile,
            Rlimit {
                current: Some(wanted),
                maximum: now.maximum,
            },
        );
    }
}

/// The environment of a build: its `own` variables, what every build has where it has none of that name, and
/// what is the machine's affair and never part of a key (`MAKEOPTS`) or the snapshot's (`SOURCE_DATE_EPOCH`).
pub fn environment(
    own: &BTreeMap<String, String>,
    epoch: i64,
    make_jobs: usize,
) -> BTreeMap<String, String> {
    let usual = [
        (
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        ),
        ("HOME", "/root"),
        ("TZ", "UTC"),
        ("LC_ALL", "C.UTF-8"),
    ];
    let mut env: BTreeMap<String, String> = usual
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .into();
    env.extend(own.clone());
    env.insert("SOURCE_DATE_EPOCH".to_owned(), epoch.to_string());
    env.insert("MAKEOPTS".to_owned(), format!("-j{make_jobs}"));
    env
}
