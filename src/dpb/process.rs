//! Processes of this machine: whether the one that a file names is the one that wrote it.

use std::path::Path;
use std::time::{Duration, SystemTime};

use rustix::process::{Pid, test_kill_process};

use super::files;

/// How much later than a file a process may seem to have begun that wrote it: clocks of file systems are coarse.
const SLACK: Duration = Duration::from_secs(2);

/// The name of this machine.
pub fn host() -> String {
    rustix::system::uname()
        .nodename()
        .to_string_lossy()
        .into_owned()
}

/// The number of this process.
pub fn pid() -> u32 {
    std::process::id()
}

/// Whether the process of that number lives on this machine and is older than a file that it wrote at `written`. One
/// that began later has the number of another that is gone.
pub fn wrote(pid: u32, written: SystemTime) -> bool {
    let Some(id) = i32::try_from(pid).ok().and_then(Pid::from_raw) else {
        return false;
    };
    let lives = matches!(test_kill_process(id), Ok(()) | Err(rustix::io::Errno::PERM));
    lives && began(pid).is_none_or(|began| began <= written + SLACK)
}

/// When a process began.
fn began(pid: u32) -> Option<SystemTime> {
    let stat = files::content(
        &std::fs::File::open(format!("/proc/{pid}/stat")).ok()?,
        4096,
    )
    .ok()?;
    let stat = String::from_utf8_lossy(&stat).into_owned();
    // The name before it may have anything in it, also blanks and brackets.
    let (_, rest) = stat.rsplit_once(')')?;
    let ticks: u64 = rest.split_whitespace().nth(19)?.parse().ok()?;
    let hertz = rustix::param::clock_ticks_per_second();
    Some(boot()? + Duration::from_millis(ticks.checked_mul(1000)? / hertz.max(1)))
}

/// When this machine was started.
fn boot() -> Option<SystemTime> {
    let stat = files::content(
        &std::fs::File::open(Path::new("/proc/stat")).ok()?,
        16 << 20,
    )
    .ok()?;
    let text = String::from_utf8_lossy(&stat).into_owned();
    let line = text.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(line.trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_wrote_nothing_before_it_began_or_after_it_ended() {
        assert!(wrote(pid(), SystemTime::now()));
        assert!(!wrote(
            pid(),
            SystemTime::now() - Duration::from_secs(30 * 86400)
        ));
        assert!(!wrote(0, SystemTime::now()) && !wrote(u32::MAX, SystemTime::now()));
        let mut child = std::process::Command::new("true").spawn().unwrap();
        child.wait().unwrap();
        assert!(!wrote(child.id(), SystemTime::now()));
    }
}
