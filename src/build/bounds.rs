//! What a job may use of its machine: memory, processes, room on the disk. Who uses more is ended.
//!
//! Where the machine has control groups of the second version, and this process may make some, the kernel counts memory
//! and processes, and ends what is too much itself. Elsewhere they are looked at four times a second. The changes on the
//! disk no control group counts: they are looked at everywhere.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::space;

/// Most processes of a job that are looked at: where there are more, there are too many.
const MOST_PROCESSES: u64 = 1 << 17;
/// Changes are counted again at the earliest after this, and after ten times as long as it took.
const PAUSE: Duration = Duration::from_secs(1);
/// Folders of changes deeper than this are not counted; the capture refuses them.
const MOST_DEPTH: usize = 600;
/// Names of our groups begin so.
const PREFIX: &str = "mstore-";

/// What a job may use; without a limit where nothing is said.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bounds {
    /// Bytes of memory, what lies in `/tmp` and `/dev/shm` among it.
    pub memory: Option<u64>,
    /// Processes and threads at a time.
    pub processes: Option<u64>,
    /// Bytes of its changes on the disk.
    pub disk: Option<u64>,
    /// Bytes that its work folder may take in memory, which a control group counts and this limit does not.
    pub beside: u64,
}

impl Bounds {
    /// Whether there is a limit that a control group would count.
    pub fn want_group(&self) -> bool {
        self.memory.is_some() || self.processes.is_some()
    }
}

/// What a job used too much of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    /// Memory, in bytes.
    Memory,
    /// Processes.
    Processes,
    /// Room on the disk, in bytes.
    Disk,
}

/// A limit that a job reached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Exceeded {
    /// Of what.
    pub resource: Resource,
    /// The limit.
    pub most: u64,
}

impl std::fmt::Display for Exceeded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let most = self.most;
        match self.resource {
            Resource::Memory => write!(f, "used more than {most} bytes of memory"),
            Resource::Processes => write!(f, "had more than {most} processes"),
            Resource::Disk => write!(f, "wrote more than {most} bytes to the disk"),
        }
    }
}

/// Where control groups can be made, or why none can.
#[derive(Debug)]
pub struct Groups {
    place: Result<PathBuf, String>,
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
    pub fn place(&self) -> Result<&Path, &str> {
        match &self.place {
            Ok(place) => Ok(place),
            Err(why) => Err(why),
        }
    }

    /// Why none can be made, for the first who asks: people are told once.
    pub fn tell(&self) -> Option<&str> {
        let why = self.place().err()?;
        (!self.told.swap(true, Ordering::Relaxed)).then_some(why)
    }

    fn make(&self, bounds: &Bounds) -> Option<Group> {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("{PREFIX}{}-{number}", std::process::id());
        Group::make(self.place.as_ref().ok()?.join(name), bounds).ok()
    }
}

/// Finds a place for groups: in the own one, if nobody else is in it, else beside it.
fn find() -> Result<PathBuf, String> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").map_err(|e| e.to_string())?;
    let own = fs::read_to_string("/proc/self/cgroup").map_err(|e| e.to_string())?;
    let own = own.lines().find_map(|line| line.strip_prefix("0::"));
    let (Some(own), Some((top, root))) = (own, mount_of(&mounts)) else {
        return Err("this machine has no control groups of the second version".to_owned());
    };
    let below = own.strip_prefix(root.trim_end_matches('/')).unwrap_or(own);
    let own = top.join(below.trim_start_matches('/'));
    let mut why = String::new();
    let above = own.parent().filter(|_| own != top).map(Path::to_path_buf);
    for place in [Some(own), above].into_iter().flatten() {
        match try_place(&place) {
            Ok(()) => {
                remove_old(&place);
                return Ok(place);
            }
            Err(error) => why = format!("{}: {error}", place.display()),
        }
    }
    Err(format!("no control group can be made ({why})"))
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
struct Group {
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

    fn add(&self, pid: u32) -> io::Result<()> {
        fs::write(self.path.join("cgroup.procs"), pid.to_string())
    }

    /// A counter of events.
    fn events(&self, file: &str, name: &str) -> u64 {
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

/// Follows what one job uses.
#[derive(Debug)]
pub(crate) struct Meter {
    bounds: Bounds,
    /// The helper.
    pid: u32,
    group: Option<Group>,
    changes: Changes,
}

impl Meter {
    /// Begins with the helper of a job, before it starts anything, whose changes go to `upper`.
    pub fn start(bounds: Bounds, pid: u32, upper: &Path) -> Meter {
        let mut group = None;
        if bounds.want_group() {
            group = Groups::here().make(&bounds);
            // A helper that is gone already is found out about by its end.
            group = group.filter(|group| group.add(pid).is_ok());
        }
        Meter {
            bounds,
            pid,
            group,
            changes: Changes::new(upper),
        }
    }

    /// Whether anything has to be looked at.
    pub fn is_needed(&self) -> bool {
        self.bounds.want_group() || self.bounds.disk.is_some()
    }

    /// Tells which limit the job reached, if it did.
    pub fn look(&mut self) -> Option<Exceeded> {
        let over = |resource, most| Some(Exceeded { resource, most });
        if let Some(exceeded) = self.counted() {
            return Some(exceeded);
        }
        if self.group.is_none() && self.bounds.want_group() {
            let processes = descendants(self.pid, self.bounds.processes);
            if let Some(most) = self.bounds.processes
                && processes.threads > most.saturating_add(2)
            {
                return over(Resource::Processes, most);
            }
            if let Some(most) = self.bounds.memory
                && memory(&processes.pids, most) > most
            {
                return over(Resource::Memory, most);
            }
        }
        match self.bounds.disk {
            Some(most) if self.changes.look(most) > most => over(Resource::Disk, most),
            _ => None,
        }
    }

    /// What the kernel counted.
    pub fn counted(&self) -> Option<Exceeded> {
        let group = self.group.as_ref()?;
        let exceeded = |resource, most| Exceeded { resource, most };
        if let Some(most) = self.bounds.memory
            && group.events("memory.events", "oom_kill ") > 0
        {
            return Some(exceeded(Resource::Memory, most));
        }
        let most = self.bounds.processes?;
        (group.events("pids.events", "max ") > 0).then(|| exceeded(Resource::Processes, most))
    }

    /// Looks a last time when the job has ended: what it left counts too.
    pub fn end(&mut self) -> Option<Exceeded> {
        if let Some(exceeded) = self.counted() {
            return Some(exceeded);
        }
        let most = self.bounds.disk?;
        (self.changes.count() > most).then_some(Exceeded {
            resource: Resource::Disk,
            most,
        })
    }
}

/// Processes below one, itself included.
struct Processes {
    pids: Vec<u32>,
    threads: u64,
}

/// Finds the processes below one. Where there are more than wanted it does not look on.
fn descendants(pid: u32, most: Option<u64>) -> Processes {
    let most = most.map_or(MOST_PROCESSES, |most| most.saturating_add(2));
    let mut found = Processes {
        pids: Vec::new(),
        threads: 0,
    };
    let mut open = vec![pid];
    while let Some(pid) = open.pop() {
        found.pids.push(pid);
        let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
            continue;
        };
        for thread in threads.flatten() {
            found.threads += 1;
            let children = fs::read_to_string(thread.path().join("children"));
            let children = children.unwrap_or_default();
            open.extend(
                children
                    .split_ascii_whitespace()
                    .filter_map(|pid| pid.parse::<u32>().ok()),
            );
        }
        if found.threads > most {
            break;
        }
    }
    found
}

/// Bytes of memory that processes use, each page once where the sum of all is more than `most`.
fn memory(pids: &[u32], most: u64) -> u64 {
    let sum = |file: &str, names: &[&str]| -> u64 {
        let of = |pid: &u32| {
            let text = fs::read_to_string(format!("/proc/{pid}/{file}")).unwrap_or_default();
            let lines = text.lines().filter_map(|line| {
                let (name, value) = line.split_once(':')?;
                names.contains(&name).then_some(())?;
                value.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
            });
            lines.sum::<u64>() << 10
        };
        pids.iter().map(of).sum()
    };
    let held = in_memory(pids);
    let quick = sum("status", &["RssAnon"]);
    if quick.saturating_add(held) <= most {
        return quick.saturating_add(held);
    }
    // After a fork both have the same pages, until one writes to them.
    let exact = sum("smaps_rollup", &["Pss_Anon", "SwapPss"]);
    let exact = if exact == 0 { quick } else { exact };
    exact.saturating_add(held)
}

/// Bytes of files in the job's file systems in memory.
fn in_memory(pids: &[u32]) -> u64 {
    // All but the helper have the same root.
    let Some(pid) = pids.iter().find(|pid| {
        let root = format!("/proc/{pid}/root/mstore/step");
        Path::new(&root).exists()
    }) else {
        return 0;
    };
    let used = |path: &str| -> u64 {
        const TMPFS: rustix::fs::FsWord = 0x0102_1994;
        let path = format!("/proc/{pid}/root{path}");
        let is_tmpfs = rustix::fs::statfs(&*path).is_ok_and(|stat| stat.f_type == TMPFS);
        match rustix::fs::statvfs(&*path) {
            Ok(stat) if is_tmpfs => {
                let blocks = stat.f_blocks.saturating_sub(stat.f_bfree);
                blocks.saturating_mul(stat.f_frsize)
            }
            _ => 0,
        }
    };
    used("/tmp").saturating_add(used("/dev/shm"))
}

/// Counts the changes of a job, not more often than needed.
#[derive(Debug)]
struct Changes {
    upper: PathBuf,
    /// What there was when it was counted last.
    bytes: u64,
    next: Instant,
    /// What was free then.
    free: Option<u64>,
}

impl Changes {
    fn new(upper: &Path) -> Changes {
        Changes {
            upper: upper.to_owned(),
            bytes: 0,
            next: Instant::now(),
            free: None,
        }
    }

    fn look(&mut self, most: u64) -> u64 {
        let free = space::free(&self.upper).ok().map(|free| free.bytes);
        // So much went since, by whomever: it may have been this job.
        let gone = match (self.free, free) {
            (Some(before), Some(now)) => before.saturating_sub(now),
            _ => 0,
        };
        let may_be = self.bytes.saturating_add(gone) > most;
        if Instant::now() < self.next && !may_be {
            return self.bytes;
        }
        self.free = free;
        self.count()
    }

    fn count(&mut self) -> u64 {
        let began = Instant::now();
        self.bytes = blocks(&self.upper, 0);
        self.next = Instant::now() + PAUSE.max(began.elapsed() * 10);
        self.bytes
    }
}

/// Bytes on the disk of everything in a folder. A file with several names counts in parts.
fn blocks(folder: &Path, depth: usize) -> u64 {
    let Ok(entries) = fs::read_dir(folder) else {
        return 0;
    };
    let mut bytes = 0_u64;
    for entry in entries.flatten() {
        // What went meanwhile takes nothing.
        let Ok(meta) = entry.metadata() else { continue };
        if meta.is_dir() {
            bytes = bytes.saturating_add(meta.blocks() * 512);
            if depth < MOST_DEPTH {
                bytes = bytes.saturating_add(blocks(&entry.path(), depth + 1));
            }
        } else {
            bytes = bytes.saturating_add(meta.blocks() * 512 / meta.nlink().max(1));
        }
    }
    bytes
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
    fn processes_and_memory_of_a_child_are_counted() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 20 & sleep 20 & wait"])
            .spawn()
            .unwrap();
        let began = Instant::now();
        while descendants(child.id(), None).threads < 3 && began.elapsed().as_secs() < 10 {
            std::thread::sleep(Duration::from_millis(5));
        }
        let found = descendants(child.id(), None);
        assert_eq!(found.threads, 3);
        assert!(memory(&found.pids, u64::MAX) > 0);
        assert!(descendants(child.id(), Some(0)).threads <= 3);
        for pid in &found.pids {
            let pid = rustix::process::Pid::from_raw(pid.cast_signed()).unwrap();
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        let _ = child.wait();
    }

    #[test]
    fn changes_are_counted_in_blocks() {
        let dir = tempfile::tempdir().unwrap();
        let hole = fs::File::create(dir.path().join("hole")).unwrap();
        hole.set_len(1 << 30).unwrap();
        fs::create_dir(dir.path().join("folder")).unwrap();
        fs::write(dir.path().join("folder/file"), vec![1; 300_000]).unwrap();
        fs::hard_link(dir.path().join("folder/file"), dir.path().join("again")).unwrap();
        let mut changes = Changes::new(dir.path());
        let bytes = changes.look(1 << 20);
        assert!((290_000..500_000).contains(&bytes), "{bytes}");
    }
}
