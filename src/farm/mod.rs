//! The cluster: hosts that build for this one, over the system's OpenSSH.
//!
//! The scheduler's end (`remote`) holds one connection to a worker on each host, which takes jobs and gives back how
//! they ended, and others over which trees travel, as `mstore copy` has them: only objects that are missing do. The
//! other end (`worker`) builds in a store of its own. doc/cluster.md tells how to set a host up.

#[cfg(feature = "reapi")]
pub mod bots;
mod executor;
mod frames;
mod holdings;
mod hosts;
mod link;
mod remote;
mod worker;

pub use executor::Farm;
#[cfg(feature = "fuzzing")]
pub use frames::frames;
pub use frames::{FrameError, PROTOCOL};
pub use hosts::{Host, HostsError, HostsFile, Place};
pub use remote::{RemoteHost, RemoteNews, Traffic};
pub use worker::{Worker, WorkerError};
