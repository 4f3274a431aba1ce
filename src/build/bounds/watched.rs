//! What the processes of a job have, where no control group counts it: found by looking at each.

use std::collections::HashSet;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

/// Most processes of a job that are looked at: where there are more, there are too many.
const MOST_PROCESSES: u64 = 1 << 17;
/// What `statfs` calls a file system in memory, and an overlay.
const TMPFS: rustix::fs::FsWord = 0x0102_1994;
const OVERLAY: rustix::fs::FsWord = 0x794c_7630;

/// Processes below one, itself included.
pub(super) struct Processes {
    /// All of them, the first one first.
    pub pids: Vec<u32>,
    /// How many threads they have.
    pub threads: u64,
}

/// Finds the processes below one. Where there are more than wanted it does not look on.
pub(super) fn descendants(pid: u32, most: Option<u64>) -> Processes {
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
pub(super) fn memory(pids: &[u32], most: u64) -> u64 {
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
    let held = in_memory(pids).saturating_add(removed(pids, Where::Memory));
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

/// Bytes of files in the root of the job that have no name any more.
pub(super) fn removed_on_disk(pids: &[u32]) -> u64 {
    removed(pids, Where::Disk)
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Where {
    /// In no mounted file system: what `memfd_create` makes. What lies in `/tmp` is counted there.
    Memory,
    /// In an overlay, as the roots of jobs are.
    Disk,
}

/// Bytes of files without a name that processes have open, each file once. The helper's are its own.
fn removed(pids: &[u32], place: Where) -> u64 {
    let mut seen = HashSet::new();
    let mut bytes = 0_u64;
    for pid in pids.iter().skip(1) {
        let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
            continue;
        };
        let counted = |path: &str| fs::metadata(format!("/proc/{pid}/root{path}")).map(|m| m.dev());
        let mounted = match place {
            Where::Memory => [counted("/tmp").ok(), counted("/dev/shm").ok()],
            Where::Disk => [None, None],
        };
        for entry in open.flatten() {
            let path = entry.path();
            // What it leads to, whatever its name; nothing is opened.
            let Ok(meta) = fs::metadata(&path) else {
                continue;
            };
            if !meta.is_file() || meta.nlink() > 0 || mounted.contains(&Some(meta.dev())) {
                continue;
            }
            let kind = rustix::fs::statfs(&path).map(|stat| stat.f_type);
            let wanted = match place {
                Where::Memory => TMPFS,
                Where::Disk => OVERLAY,
            };
            if kind == Ok(wanted) && seen.insert((meta.dev(), meta.ino())) {
                bytes = bytes.saturating_add(meta.blocks() * 512);
            }
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_and_memory_of_a_child_are_counted() {
        let mut child = std::process::Command::new("sh")
            .args(["-c", "sleep 20 & sleep 20 & wait"])
            .spawn()
            .unwrap();
        let began = std::time::Instant::now();
        while descendants(child.id(), None).threads < 3 && began.elapsed().as_secs() < 10 {
            std::thread::sleep(std::time::Duration::from_millis(5));
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
}
