//! Control groups of the second version, in which the kernel keeps limits of memory and processes.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::Bounds;

/// Names of our groups begin so.
const PREFIX: &str = "mstore-";

/// Why no control groups can be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoGroups {
    /// There are none here.
    Absent,
    /// Those of the first version count memory or processes here, and a machine has one kind for each.
    FirstVersion,
    /// This process may make none, or they cannot count.
    Closed {
        /// Where it was tried.
        place: PathBuf,
        /// What came of it.
        reason: String,
    },
}

impl std::fmt::Display for NoGroups {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NoGroups::Absent => write!(
                f,
                "this machine has no control groups: those of the second version are mounted nowhere"
            ),
            NoGroups::FirstVersion => write!(
                f,
                "this machine has control groups of the first version for memory or processes"
            ),
            NoGroups::Closed { place, reason } => {
                write!(
                    f,
                    "no control group can be made ({}: {reason})",
                    place.display()
                )
            }
        }
    }
}

/// Where control groups can be made, or why none can.
#[derive(Debug)]
pub struct Groups {
    place: Result<PathBuf, NoGroups>,
    told: AtomicBool,
}

impl Groups {
    /// Those of this machine; found out once.
    pub fn here() -> &'static Groups {
        static HERE: OnceLock<Groups> = OnceLock::new();
        HERE.get_or_init(|| Groups {
            place: find(),
            told: AtomicBool::new(false),
        })
    }

    /// The folder that groups are made in, or why none can be made.
    pub fn place(&self) -> Result<&Path, &NoGroups> {
        self.place.as_deref()
    }

    /// Why none can be made, for the first who asks: people are told once.
    pub fn tell(&self) -> Option<&NoGroups> {
        let why = self.place().err()?;
        (!self.told.swap(true, Ordering::Relaxed)).then_some(why)
    }

    pub(super) fn make(&self, bounds: &Bounds) -> Option<Group> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        Group::make(self.place.as_ref().ok()?.join(name), bounds).ok()
    }
}

/// Finds a place for groups: in the own one, if nobody else is in it, else beside it.
fn find() -> Result<PathBuf, NoGroups> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    if counts_by_first(&own) {
        return Err(NoGroups::FirstVersion);
    }
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let (Some(own), Some((top, root))) = (own, mount_of(&mounts)) else {
        return Err(NoGroups::Absent);
    };
    let below = own.strip_prefix(root.trim_end_matches('/')).unwrap_or(own);
    let own = top.join(below.trim_start_matches('/'));
    let above = own.parent().filter(|_| own != top).map(Path::to_path_buf);
    let mut tried = try_place(&own).map(|()| own.clone()).map_err(|e| (own, e));
    if let (Err(_), Some(above)) = (&tried, above) {
        tried = try_place(&above)
            .map(|()| above.clone())
            .map_err(|e| (above, e));
    }
    match tried {
        Ok(place) => {
            remove_old(&place);
            Ok(place)
        }
        Err((place, error)) => Err(NoGroups::Closed {
            place,
            reason: error.to_string(),
        }),
    }
}

/// Whether groups of the first version have what is counted, by what `/proc/self/cgroup` says.
fn counts_by_first(own: &str) -> bool {
    own.lines().any(|line| {
        let controllers = line.split(':').nth(1).unwrap_or_default();
        controllers.split(',').any(|c| c == "memory" || c == "pids")
    })
}

/// The folder of the control groups of the second version, and the group that it shows.
fn mount_of(mounts: &str) -> Option<(PathBuf, &str)> {
    mounts.lines().find_map(|line| {
        let (fields, kind) = line.split_once(" - ")?;
        let mut fields = fields.split(' ').skip(3);
        let (root, top) = (fields.next()?, fields.next()?);
        kind.starts_with("cgroup2 ").then(|| (top.into(), root))
    })
}

fn try_place(place: &Path) -> io::Result<()> {
    let there = fs::read_to_string(place.join("cgroup.controllers"))?;
    for controller in ["memory", "pids"] {
        if !there.split_ascii_whitespace().any(|c| c == controller) {
            return Err(io::Error::other(format!(
                "it has no controller `{controller}`"
            )));
        }
    }
    let switch = place.join("cgroup.subtree_control");
    let on = fs::read_to_string(&switch)?;
    let is_on = |controller| on.split_ascii_whitespace().any(|c| c == controller);
    if !(is_on("memory") && is_on("pids")) {
        let enabled = fs::write(&switch, "+memory +pids");
        if enabled.is_err() {
            // A group with processes of its own gives nothing on: they go into one below, if they are ours.
            let me = std::process::id().to_string();
            let procs = fs::read_to_string(place.join("cgroup.procs"))?;
            if procs.lines().any(|pid| pid != me) {
                return enabled;
            }
            let leaf = place.join(format!("{PREFIX}{me}-self"));
            fs::create_dir(&leaf)?;
            fs::write(leaf.join("cgroup.procs"), &me)?;
            fs::write(&switch, "+memory +pids")?;
        }
    }
    let tried = place.join(format!("{PREFIX}{}-try", std::process::id()));
    let tiny = Bounds {
        memory: Some(1 << 30),
        processes: Some(1 << 10),
        ..Bounds::default()
    };
    Group::make(tried, &tiny).map(drop)
}

/// Removes groups of processes of ours that are gone.
fn remove_old(place: &Path) {
    let Ok(entries) = fs::read_dir(place) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let pid = name.to_str().and_then(|name| {
            let (pid, _) = name.strip_prefix(PREFIX)?.split_once('-')?;
            pid.parse::<u32>().ok()
        });
        if let Some(pid) = pid
            && !Path::new(&format!("/proc/{pid}")).exists()
        {
            // One with processes resists.
            let _ = fs::remove_dir(entry.path());
        }
    }
}

/// A control group, for one job. Dropping it removes it, once its processes are gone.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
}

impl Group {
    fn make(path: PathBuf, bounds: &Bounds) -> io::Result<Group> {
        fs::create_dir(&path)?;
        let group = Group { path };
        if let Some(memory) = bounds.memory {
            group.set("memory.max", memory.saturating_add(bounds.beside))?;
            // All of the job ends, not the one process that asked last.
            group.set("memory.oom.group", 1)?;
            // Where there is no swap there is no such file.
            let _ = group.set("memory.swap.max", 0);
        }
        if let Some(processes) = bounds.processes {
            // The helper and the first process are the sandbox's.
            group.set("pids.max", processes.saturating_add(2))?;
        }
        Ok(group)
    }

    fn set(&self, name: &str, value: u64) -> io::Result<()> {
        fs::write(self.path.join(name), value.to_string())
    }

    pub(super) fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }

    /// A counter of events.
    pub(super) fn events(&self, file: &str, name: &str) -> u64 {
        let text = fs::read_to_string(self.path.join(file)).unwrap_or_default();
        let mut lines = text.lines();
        lines
            .find_map(|line| line.strip_prefix(name)?.trim().parse().ok())
            .unwrap_or(0)
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The last of its processes may be on its way out for a moment.
        for _ in 0..50 {
            match fs::remove_dir(&self.path) {
                Err(e) if e.kind() == io::ErrorKind::ResourceBusy => {
                    std::thread::sleep(Duration::from_millis(10));
                }
                _ => return,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_of_control_groups_is_found() {
        let text = "30 23 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
                    41 31 0:38 /a /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n";
        let (top, root) = mount_of(text).unwrap();
        assert_eq!(
            (top.to_str().unwrap(), root),
            ("/sys/fs/cgroup/unified", "/a")
        );
        assert!(mount_of("30 23 0:26 / /x rw - tmpfs cgroup2 rw\n").is_none());
    }

    #[test]
    fn groups_of_the_first_version_are_told_by_what_they_count() {
        assert!(counts_by_first("4:memory:/\n3:cpu,cpuacct:/\n0::/\n"));
        assert!(counts_by_first("9:pids:/a\n"));
        assert!(!counts_by_first("1:name=systemd:/\n0::/user.slice\n"));
        assert!(!counts_by_first("0::/memory:pids\n"));
        assert!(!counts_by_first(""));
    }
}
