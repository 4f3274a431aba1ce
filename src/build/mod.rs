//! Runs one step in a root of its own: namespaces, layers, log, limits.
//!
//! - [`userns`]: an ordinary user's mstore becomes root of its own user namespace at start;
//! - [`sandbox`]: runs a script or a shell over layers, everything it changes lands in one;
//! - [`host`]: what this machine can run, and what to do about what it cannot;
//! - [`clean`]: removes what builds leave; [`space`]: tells a full disk from a failing script;
//! - [`seed`]: captures a toolchain from this machine;
//! - [`log`]: keeps endless output bounded; [`cancel`]: stops running builds.
//!
//! doc/sandbox.md tells recipe authors what they may rely on.

pub mod cancel;
pub mod clean;
pub mod host;
pub mod log;
pub mod sandbox;
pub mod seed;
pub mod space;
mod sys;
pub mod userns;

pub use sys::Usage;

/// The word that makes this program a sandbox helper.
pub const HELPER_WORD: &str = "__sandbox";

/// Becomes the sandbox helper when this process was started as one, and then never returns.
///
/// To be called first thing in `main`, before any thread exists and before [`userns::enter`].
pub fn hidden_main() {
    if std::env::args_os().nth(1).is_some_and(|a| a == HELPER_WORD) {
        sandbox::helper_main()
    }
}
