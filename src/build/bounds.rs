//! What a job may use of its machine: memory, processes, room on the disk. Who uses more is ended.
//!
//! Where the machine has control groups of the second version, and this process may make some, the kernel counts memory
//! and processes, and ends what is too much itself. Elsewhere they are looked at four times a second. The changes on the
//! disk no control group counts: they are looked at everywhere.

mod changes;
mod groups;
mod watched;

use std::path::Path;

pub use groups::{Groups, NoGroups};

use changes::Changes;
use groups::Group;
use watched::{descendants, memory, removed_on_disk};

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
        let most = self.bounds.disk?;
        // A file that was removed takes its room for as long as somebody has it open.
        let pid = self.pid;
        let removed = || removed_on_disk(&descendants(pid, None).pids);
        match self.changes.look(most, removed) > most {
            true => over(Resource::Disk, most),
            false => None,
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
        (self.changes.count(most, 0) > most).then_some(Exceeded {
            resource: Resource::Disk,
            most,
        })
    }
}
