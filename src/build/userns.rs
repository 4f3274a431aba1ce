//! Makes an ordinary user's process root of a user namespace of its own.
//!
//! Everything that follows (unpacking trees, overlay mounts, builds) then works as it does for
//! real root, within the ids that are mapped.

use std::fmt;
use std::fs;
use std::io::{self, Read, Write};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::io::Errno;
use rustix::mount::MountPropagationFlags;
use rustix::process::{Pid, WaitOptions};
use rustix::thread::UnshareFlags;

use super::sys;

/// Which ids to map.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// The user's subordinate ranges where there are any, else the user alone.
    #[default]
    Auto,
    /// The user alone.
    Single,
}

/// Which ids this process can use now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Entered {
    /// It was root already; nothing was changed.
    Root,
    /// Root inside is the user, and this many further ids are there.
    Ranges {
        /// Further user ids.
        users: u64,
        /// Further group ids.
        groups: u64,
    },
    /// Root inside is the user, and there is no other id: files of other owners cannot be made.
    Single {
        /// Why there are no more.
        reason: String,
    },
}

impl fmt::Display for Entered {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Entered::Root => f.write_str("root"),
            Entered::Ranges { users, groups } => {
                write!(
                    f,
                    "user namespace with {users} more users and {groups} more groups"
                )
            }
            Entered::Single { reason } => write!(f, "user namespace with a single id: {reason}"),
        }
    }
}

/// No user namespace could be entered. Nothing outside this process was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum UsernsError {
    /// The limit is zero.
    #[error(
        "user namespaces are switched off on this machine: as root, run \
         `sysctl -w user.max_user_namespaces=15000`"
    )]
    MaxIsZero,
    /// The limit is reached.
    #[error("too many user namespaces are in use (see the sysctl user.max_user_namespaces)")]
    TooMany,
    /// Debian's switch.
    #[error(
        "user namespaces are switched off for ordinary users: as root, run \
         `sysctl -w kernel.unprivileged_userns_clone=1`"
    )]
    CloneDisabled,
    /// AppArmor's restriction, as on Ubuntu since 23.10.
    #[error(
        "AppArmor takes all rights from user namespaces of ordinary users: as root, run \
         `sysctl -w kernel.apparmor_restrict_unprivileged_userns=0`, or install an AppArmor \
         profile that allows this program `userns`"
    )]
    AppArmor,
    /// Something else forbids it.
    #[error(
        "user namespaces are not permitted here; in a container, its seccomp profile must allow \
         `unshare` (for example `--security-opt seccomp=unconfined`), and a process in a chroot \
         cannot make any"
    )]
    NotPermitted,
    /// A kernel without them.
    #[error("this kernel has no user namespaces (CONFIG_USER_NS)")]
    NotSupported,
    /// Called too late.
    #[error("the user namespace must be entered before any thread is started")]
    Threads,
    /// `newuidmap` or `newgidmap` refused.
    #[error(
        "{program} failed: {message} (check the lines of user {user} in /etc/subuid and \
         /etc/subgid, and that the program is setuid root)"
    )]
    Helper {
        /// Which one.
        program: &'static str,
        /// What it printed.
        message: String,
        /// For whom.
        user: String,
    },
    /// Another system call failed.
    #[error("cannot enter a user namespace: {what}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// One line of an id map.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Range {
    inside: u64,
    outside: u64,
    count: u64,
}

/// Enters a user and a mount namespace, unless this process is root already.
///
/// To be called at the very start of `main`, while there is a single thread.
pub fn enter(choice: Choice) -> Result<Entered, UsernsError> {
    if rustix::process::geteuid().is_root() {
        return Ok(Entered::Root);
    }
    let uid = rustix::process::geteuid().as_raw();
    let gid = rustix::process::getegid().as_raw();
    match choice {
        Choice::Single => single(uid, gid, "as asked for".into()),
        Choice::Auto => match find_ranges(uid) {
            Ok(found) => ranges(uid, gid, &found),
            Err(reason) => single(uid, gid, reason),
        },
    }
}

fn io_error(what: &'static str) -> impl Fn(io::Error) -> UsernsError {
    move |source| UsernsError::Io { what, source }
}

/// What a user may map, found before anything is changed.
#[derive(Debug)]
struct Found {
    user: String,
    users: Vec<(u64, u64)>,
    groups: Vec<(u64, u64)>,
}

/// Reads the subordinate ranges; an error is the reason for a single id.
fn find_ranges(uid: u32) -> Result<Found, String> {
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let user = user_name(&read("/etc/passwd"), uid);
    let shown = user.clone().unwrap_or_else(|| uid.to_string());
    let of = |path: &str| {
        let found = parse_ranges(&read(path), user.as_deref(), uid);
        if found.is_empty() {
            Err(format!("{path} has no line for user {shown}"))
        } else {
            Ok(found)
        }
    };
    let users = of("/etc/subuid")?;
    let groups = of("/etc/subgid")?;
    for program in ["newuidmap", "newgidmap"] {
        if find_program(program).is_none() {
            return Err(format!(
                "{program} is not installed (package uidmap or shadow)"
            ));
        }
    }
    Ok(Found {
        user: shown,
        users,
        groups,
    })
}

/// The name of a user in passwd's format.
fn user_name(passwd: &str, uid: u32) -> Option<String> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        let id: u32 = fields.nth(1)?.parse().ok()?;
        (id == uid).then(|| name.to_owned())
    })
}

/// The ranges of a user, by name or number, in the format of subuid(5).
fn parse_ranges(text: &str, user: Option<&str>, uid: u32) -> Vec<(u64, u64)> {
    let number = uid.to_string();
    let range = |line: &str| {
        let mut fields = line.trim().split(':');
        let owner = fields.next()?;
        let start: u32 = fields.next()?.parse().ok()?;
        let count: u32 = fields.next()?.parse().ok()?;
        let ours = Some(owner) == user || owner == number;
        (ours && count > 0).then_some((u64::from(start), u64::from(count)))
    };
    text.lines().filter_map(range).collect()
}

/// Where these programs are installed; the search path of the user plays no part.
fn find_program(name: &str) -> Option<std::path::PathBuf> {
    ["/usr/bin", "/bin", "/usr/local/bin", "/run/wrappers/bin"]
        .iter()
        .map(|dir| Path::new(dir).join(name))
        .find(|path| path.exists())
}

/// The arguments that follow the process id: root is `own`, the rest follows without gaps.
fn map_arguments(own: u32, ranges: &[(u64, u64)]) -> Vec<String> {
    let mut arguments = vec!["0".to_owned(), own.to_string(), "1".to_owned()];
    let mut next = 1;
    for (start, count) in ranges {
        arguments.extend([next.to_string(), start.to_string(), count.to_string()]);
        next += count;
    }
    arguments
}

fn unshare() -> Result<(), UsernsError> {
    sys::unshare(UnshareFlags::NEWUSER | UnshareFlags::NEWNS).map_err(|e| refusal(&e))
}

/// What it means when `unshare` is refused.
pub(crate) fn refusal(error: &io::Error) -> UsernsError {
    let switched = |path: &str, value: &str| {
        fs::read_to_string(Path::new("/proc/sys").join(path)).is_ok_and(|t| t.trim() == value)
    };
    match Errno::from_io_error(error) {
        Some(Errno::NOSPC) if switched("user/max_user_namespaces", "0") => UsernsError::MaxIsZero,
        Some(Errno::NOSPC | Errno::USERS) => UsernsError::TooMany,
        Some(Errno::PERM | Errno::ACCESS) => {
            if switched("kernel/unprivileged_userns_clone", "0") {
                UsernsError::CloneDisabled
            } else if switched("kernel/apparmor_restrict_unprivileged_userns", "1") {
                UsernsError::AppArmor
            } else if switched("user/max_user_namespaces", "0") {
                UsernsError::MaxIsZero
            } else {
                UsernsError::NotPermitted
            }
        }
        Some(Errno::NOSYS) => UsernsError::NotSupported,
        Some(Errno::INVAL) if several_threads() => UsernsError::Threads,
        Some(Errno::INVAL) => UsernsError::NotSupported,
        _ => UsernsError::Io {
            what: "unshare",
            source: io::Error::from_raw_os_error(error.raw_os_error().unwrap_or_default()),
        },
    }
}

fn several_threads() -> bool {
    fs::read_dir("/proc/self/task").is_ok_and(|tasks| tasks.count() > 1)
}

fn single(uid: u32, gid: u32, reason: String) -> Result<Entered, UsernsError> {
    unshare()?;
    map_single(uid, gid)?;
    settle()?;
    Ok(Entered::Single { reason })
}

fn map_single(uid: u32, gid: u32) -> Result<(), UsernsError> {
    // An AppArmor profile lets the namespace be made and then takes every right in it.
    let refused = |e: io::Error| match refusal(&e) {
        UsernsError::NotPermitted => io_error("cannot write the id map")(e),
        other => other,
    };
    // Without this the kernel maps no group: it must not be possible to shed a group by it.
    fs::write("/proc/self/setgroups", "deny").map_err(refused)?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1\n")).map_err(refused)?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1\n")).map_err(refused)
}

/// Cuts the new mount namespace off, which also shows whether we have rights in it.
fn settle() -> Result<(), UsernsError> {
    rustix::mount::mount_change(
        "/",
        MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
    )
    .map_err(|e| match refusal(&e.into()) {
        UsernsError::NotPermitted => io_error("no rights in the new namespace")(e.into()),
        other => other,
    })
}

/// Runs a program as the user who entered the namespace of this process: in a further one, in which root of ours has that
/// user's number again. What cares who it is run by, as ssh does, does not see a difference.
pub(crate) fn user_main() -> ! {
    let mut words = std::env::args_os().skip(2);
    let mut number = || words.next()?.to_str()?.parse::<u32>().ok();
    let error = match (number(), number(), words.next()) {
        (Some(uid), Some(gid), Some(program)) => match become_user(uid, gid) {
            Ok(()) => Command::new(program).args(words).exec(),
            Err(error) => error,
        },
        _ => io::ErrorKind::InvalidInput.into(),
    };
    // Nobody else is there to tell it, as when ssh itself fails.
    let _ = writeln!(io::stderr(), "cannot run as the user: {error}");
    std::process::exit(255)
}

fn become_user(uid: u32, gid: u32) -> io::Result<()> {
    sys::unshare(UnshareFlags::NEWUSER)?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("{uid} 0 1\n"))?;
    fs::write("/proc/self/gid_map", format!("{gid} 0 1\n"))
}

/// Maps the ranges with the setuid helpers, which must run outside of the namespace: a child
/// forked before we enter calls them when we are inside.
fn ranges(uid: u32, gid: u32, found: &Found) -> Result<Entered, UsernsError> {
    let (ready, mut say_ready) = io::pipe().map_err(io_error("pipe"))?;
    let (mut answer, mut say_answer) = io::pipe().map_err(io_error("pipe"))?;
    let parent = rustix::process::getpid();
    let child = match sys::fork().map_err(io_error("fork"))? {
        None => {
            drop((say_ready, answer));
            let text = map_from_outside(parent, ready, uid, gid, found);
            let _ = say_answer.write_all(text.as_bytes());
            std::process::exit(0)
        }
        Some(child) => child,
    };
    drop((ready, say_answer));
    let entered = unshare();
    if entered.is_ok() {
        let _ = say_ready.write_all(b"!");
    }
    // Without the byte the child just ends.
    drop(say_ready);
    let mut text = String::new();
    let read = answer.read_to_string(&mut text);
    while let Err(Errno::INTR) = rustix::process::waitpid(Some(child), WaitOptions::empty()) {}
    entered?;
    read.map_err(io_error("cannot hear the id mapping process"))?;

    let reason = match text.split_once('\n') {
        Some(("mapped", _)) => {
            settle()?;
            let sum = |ranges: &[(u64, u64)]| ranges.iter().map(|r| r.1).sum();
            return Ok(Entered::Ranges {
                users: sum(&found.users),
                groups: sum(&found.groups),
            });
        }
        Some(("newuidmap", message)) => message,
        // The user ids are mapped and cannot be mapped again: there is no way back.
        Some((_, message)) => {
            return Err(UsernsError::Helper {
                program: "newgidmap",
                message: message.trim().to_owned(),
                user: found.user.clone(),
            });
        }
        None => "it was killed",
    };
    map_single(uid, gid)?;
    settle()?;
    Ok(Entered::Single {
        reason: format!("newuidmap failed: {}", reason.trim()),
    })
}

/// Runs in the child: the first line of the answer is what failed, or `mapped`.
fn map_from_outside(
    parent: Pid,
    mut ready: io::PipeReader,
    uid: u32,
    gid: u32,
    found: &Found,
) -> String {
    if ready.read_exact(&mut [0]).is_err() {
        return "newuidmap\nnot entered".into();
    }
    for (name, own, ranges) in [
        ("newuidmap", uid, &found.users),
        ("newgidmap", gid, &found.groups),
    ] {
        let program = find_program(name).unwrap_or_else(|| name.into());
        let output = Command::new(program)
            .arg(parent.as_raw_nonzero().to_string())
            .args(map_arguments(own, ranges))
            .env_clear()
            .stdin(Stdio::null())
            .output();
        match output {
            Ok(output) if output.status.success() => {}
            Ok(output) => {
                let text = String::from_utf8_lossy(&output.stderr);
                return format!("{name}\n{text}");
            }
            Err(e) => return format!("{name}\n{e}"),
        }
    }
    "mapped\n".into()
}

/// The map of this process's own namespace: `uid_map` or `gid_map`.
pub(crate) fn own_map(kind: &str) -> io::Result<Vec<Range>> {
    let text = fs::read_to_string(Path::new("/proc/self").join(kind))?;
    parse_map(&text).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "malformed id map"))
}

fn parse_map(text: &str) -> Option<Vec<Range>> {
    text.lines()
        .map(|line| {
            let mut numbers = line.split_whitespace().map(|n| n.parse().ok());
            Some(Range {
                inside: numbers.next()??,
                outside: numbers.next()??,
                count: numbers.next()??,
            })
        })
        .collect()
}

/// A map that gives a nested namespace the same ids.
pub(crate) fn identity(map: &[Range]) -> String {
    map.iter()
        .map(|r| format!("{} {} {}\n", r.inside, r.inside, r.count))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_found_by_name_and_number() {
        let text = "alice:100000:65536\nbob:200000:65536\n1001:300000:10\nbob:bad:1\nbob:1:0\n\n";
        assert_eq!(
            parse_ranges(text, Some("bob"), 1001),
            [(200_000, 65_536), (300_000, 10)]
        );
        assert_eq!(parse_ranges(text, None, 7), []);
        let passwd = "root:x:0:0::/root:/bin/sh\nbob:x:1001:1001::/:/bin/sh\n";
        assert_eq!(user_name(passwd, 1001).as_deref(), Some("bob"));
        assert_eq!(user_name(passwd, 1002), None);
    }

    #[test]
    fn several_ranges_follow_one_another() {
        assert_eq!(
            map_arguments(1001, &[(200_000, 65_536), (300_000, 10)]).join(" "),
            "0 1001 1 1 200000 65536 65537 300000 10"
        );
    }

    #[test]
    fn nested_maps_keep_the_ids() {
        let map = parse_map("         0       1001          1\n 1 100000 65536\n").unwrap();
        assert_eq!(identity(&map), "0 0 1\n1 1 65536\n");
        assert!(parse_map("0 x 1").is_none());
        assert!(parse_map("0 1").is_none());
        assert!(!own_map("uid_map").unwrap().is_empty());
    }

    #[test]
    fn refusals_name_the_remedy() {
        let text = refusal(&io::Error::from_raw_os_error(Errno::NOSYS.raw_os_error())).to_string();
        assert!(text.contains("CONFIG_USER_NS"), "{text}");
        for error in [
            UsernsError::MaxIsZero,
            UsernsError::CloneDisabled,
            UsernsError::AppArmor,
        ] {
            assert!(error.to_string().contains("sysctl -w"), "{error}");
        }
    }
}
