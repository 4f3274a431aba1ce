//! Fixed values for what a process inherits from whoever started mstore: priorities, personality,
//! limits, and a few more.
//!
//! The helper sets them before it makes its namespaces: the machine's root may take back a niceness
//! and raise a hard limit there, which nobody may inside. An ordinary user's process comes as near as
//! the system lets it (doc/sandbox.md tells what stays).

use std::num::NonZeroU64;

use rustix::io::Errno;
use rustix::process::{Resource, Rlimit};

use super::stages::{During, SetupStage, Trouble};
use crate::build::sys;

/// Open files that a process may have, at first and at most: what systems start services with.
pub(crate) const FILES: (u64, u64) = (1024, 65_536);

const MIB: u64 = 1 << 20;

/// Limits, as soft and hard values; `None` is no limit.
///
/// No core files: one byte rather than none, since the kernel still calls a core dump program of the
/// machine (`core_pattern` with a pipe) at zero, but not at one. The helper itself opens a file for
/// each layer, so open files get their soft limit later, with [`lower_open_files`].
const LIMITS: [(Resource, Option<u64>, Option<u64>); 16] = [
    (Resource::Core, Some(1), Some(1)),
    (Resource::Nofile, Some(FILES.1), Some(FILES.1)),
    (Resource::Stack, Some(8 * MIB), None),
    (Resource::Memlock, Some(8 * MIB), Some(8 * MIB)),
    (Resource::Nproc, Some(16_384), Some(16_384)),
    (Resource::Sigpending, Some(4096), Some(4096)),
    (Resource::Msgqueue, Some(819_200), Some(819_200)),
    (Resource::Nice, Some(0), Some(0)),
    (Resource::Rtprio, Some(0), Some(0)),
    (Resource::Rttime, None, None),
    (Resource::Cpu, None, None),
    (Resource::Fsize, None, None),
    (Resource::Data, None, None),
    (Resource::Rss, None, None),
    (Resource::As, None, None),
    (Resource::Locks, None, None),
];

/// The kernel's defaults.
const TIMER_SLACK: u64 = 50_000;
const COREDUMP_FILTER: &str = "0x33";

/// Brings this process to the fixed values.
pub(crate) fn settle() -> Result<(), Trouble> {
    sys::set_personality(sys::Personality::Linux).during(SetupStage::Limits)?;
    for (resource, soft, hard) in LIMITS {
        limit(resource, soft, hard).during(SetupStage::Limits)?;
    }
    // What follows may be refused where the caller was kept from it, too.
    let _ = sys::schedule_normally();
    let _ = rustix::process::setpriority_process(None, 0);
    let _ = sys::reset_io_priority();
    let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(TIMER_SLACK));
    let _ = rustix::thread::disable_transparent_huge_pages(false);
    let _ = std::fs::write("/proc/self/oom_score_adj", "0");
    let _ = std::fs::write("/proc/self/coredump_filter", COREDUMP_FILTER);
    Ok(())
}

/// Gives a limit its values, or those nearest to them that the hard limit allows.
fn limit(resource: Resource, soft: Option<u64>, hard: Option<u64>) -> Result<(), Errno> {
    let set = |current, maximum| rustix::process::setrlimit(resource, Rlimit { current, maximum });
    match set(soft, hard) {
        Err(Errno::PERM) => {
            let now = rustix::process::getrlimit(resource).maximum;
            set(lower(soft, now), lower(hard, now))
        }
        other => other,
    }
}

fn lower(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// Keeps this process from one of the processors that it may use, if there are several.
pub(crate) fn leave_a_processor() -> Result<(), Errno> {
    let mut processors = rustix::thread::sched_getaffinity(None)?;
    if processors.count() > 1 {
        let last = (0..rustix::thread::CpuSet::MAX_CPU).rfind(|n| processors.is_set(*n));
        last.into_iter().for_each(|n| processors.unset(n));
        rustix::thread::sched_setaffinity(None, &processors)?;
    }
    Ok(())
}

/// Gives the soft limit of open files the value that a build starts with.
pub(crate) fn lower_open_files() -> Result<(), Trouble> {
    limit(Resource::Nofile, Some(FILES.0), Some(FILES.1)).during(SetupStage::Limits)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_limit_is_the_highest() {
        assert_eq!(lower(None, Some(3)), Some(3));
        assert_eq!(lower(Some(2), None), Some(2));
        assert_eq!(lower(Some(2), Some(3)), Some(2));
        assert_eq!(lower(None, None), None);
    }
}
