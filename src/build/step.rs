//! One derivation to one tree: checkout, sandbox, capture, record.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use mstore_store::{
    Attempt, Cancel, CaptureBounds, CaptureOptions, Captured, Checkout, Claim, Claimant, Claimed,
    ComposeError, Dropped, ErrorKind, Hash, Member, Outcome, Realisation, RealisationKind, Room,
    ScratchDir, Store, StoreError, TreeHash,
};

use rustix::event::{PollFd, PollFlags, Timespec};

use super::bounds::{Bounds, Groups};
use super::cancel::CancelToken;
use super::deadline::Deadline;
use super::error::{Failure, Infrastructure, StepError, failed_to};
use super::failed::{self, FailedRoot};
use super::host;
use super::memory::{self, Memory};
use super::over;
use super::pause::Stopwatch;
use super::processors::{Processors, Share};
use super::sandbox::{Bind, Finished, Job, Sandbox, Status};
use super::step_log::StepLog;
use crate::drv::Results;
use crate::drv::derivation::Output;
use crate::drv::fetcher::Fetcher;
use crate::drv::{Derivation, Key, Resolved, Role, StoreFacts};

/// Builds steps in a store.
pub struct Builder<'a> {
    /// Where inputs come from and results go.
    pub store: &'a Store,
    /// Where derivations are remembered.
    pub facts: &'a StoreFacts,
    /// Runs the scripts.
    pub sandbox: Sandbox,
    /// Fetches what is known by its hashes.
    pub fetcher: &'a dyn Fetcher,
    /// Stops running builds.
    pub cancel: &'a CancelToken,
    /// What steps share the processors of this machine with; how many one gets is never part of a key.
    pub processors: Processors,
    /// How many of the places for steps on this machine the step has.
    pub slots: usize,
    /// How much a step may leave and write.
    pub limits: Limits,
    /// Is told what people should know.
    pub note: &'a (dyn Fn(Note) + Sync),
    /// Is given what the script prints, as it comes.
    pub raw: &'a (dyn Fn(&[u8]) + Sync),
    /// Builds though somebody else has built the same by now.
    pub anew: bool,
    /// Name of this machine, for the record.
    pub host: String,
}

/// What a step may leave and write; more is a failure of the step. Never part of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one file, holes included.
    pub file: u64,
    /// Bytes of output.
    pub output: u64,
    /// Bytes up to which a step's work folder lies in memory, if it is known not to need more: nothing is, where there
    /// is none. One that needs more all the same is built again on disk.
    pub memory: Option<u64>,
    /// How long a step may print nothing whose derivation does not say it.
    pub silence: Option<Duration>,
}

impl Limits {
    /// How long a step may print nothing, if there is a limit.
    pub fn silence_of(&self, step: &Derivation) -> Option<Duration> {
        let own = step.policy.silence.map(Duration::from_secs);
        own.or(self.silence)
    }
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            file: 64 << 30,
            output: 4 << 30,
            memory: None,
            silence: None,
        }
    }
}

/// Something that people should know, and that is no failure.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// A folder of the store was to be used and was not what it should be. It is made anew.
    Harmed {
        /// The folder, and what was found in it.
        found: String,
        /// Names of what was built on it here before, and may be wrong.
        built_on: Vec<String>,
    },
    /// The work folder of a step is in memory.
    InMemory {
        /// Bytes that it may take.
        bytes: u64,
    },
    /// What a step wrote did not fit into memory: it is built again on disk.
    MemoryFull {
        /// What the step is called here.
        step: String,
        /// Bytes that it might use.
        bytes: u64,
    },
    /// Limits of memory and processes are watched, since the kernel cannot be told them.
    Watched {
        /// Why it cannot.
        why: String,
    },
    /// Somebody else builds the same step: its result is waited for.
    Waiting {
        /// What the step is called here.
        step: String,
        /// Who builds it.
        claimant: Claimant,
    },
    /// The script ended.
    Used {
        /// Bytes of memory that any one of its processes had at the most.
        memory: u64,
    },
    /// A step waits for long in the queue of an engine.
    Queued {
        /// What the step is called here.
        step: String,
        /// The address of the engine.
        engine: String,
        /// For how long it has waited.
        seconds: u64,
        /// What its worker must have.
        properties: String,
    },
    /// The script runs, as this process of this machine.
    Process {
        /// Its number.
        pid: u32,
    },
}

/// A step that was built.
#[derive(Clone, Debug)]
pub struct BuiltStep {
    /// Its result.
    pub tree: TreeHash,
    /// Entries that changed against its root input.
    pub changed: u64,
    /// Wall seconds.
    pub seconds: f64,
    /// Whether somebody else built it meanwhile.
    pub found: bool,
}

/// Has a step built by another machine. It is given what takes all that the script prints.
pub type Deputy<'a> = dyn FnMut(&mut dyn FnMut(&[u8])) -> Result<Elsewhere, StepError> + 'a;

/// How a step ended that another machine built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Elsewhere {
    /// Its result is in the store of this machine.
    Built {
        /// The tree.
        tree: TreeHash,
        /// Entries that changed against its root input.
        changed: u64,
        /// Bytes that its work folder had.
        size: Option<u64>,
    },
    /// Its script failed.
    Failed {
        /// How, for people.
        how: String,
        /// The same as wait(2) gives it.
        status: i32,
    },
}

/// Everything that a job in the root of a step needs, held while it runs.
pub struct Prepared {
    root: Checkout,
    /// The binds point into them.
    inputs: Vec<Checkout>,
    binds: Vec<Bind>,
}

impl Prepared {
    /// Brings the inputs of `step`, known as `name`, to disk.
    pub fn new(store: &Store, name: &str, step: &Resolved) -> Result<Prepared, Infrastructure> {
        Self::until(store, name, step, Run::First, None)
    }

    /// The same; it ends with [`StoreError::Interrupted`] soon after it was cancelled.
    fn until(
        store: &Store,
        name: &str,
        step: &Resolved,
        run: Run,
        cancel: Option<&Cancel>,
    ) -> Result<Prepared, Infrastructure> {
        let bad = |detail: &str| Infrastructure::Inputs {
            step: name.to_owned(),
            detail: detail.to_owned(),
        };
        let tree = step.root_tree().ok_or_else(|| bad("it has no root"))?;
        let root = match run {
            Run::First => {
                over::lay(store, tree, cancel)?;
                store.checkout_until(tree, cancel)?
            }
            Run::Check => store.checkout_anew(tree, cancel)?,
        };
        let (mut inputs, mut binds) = (Vec::new(), Vec::new());
        for (input, tree) in step.inputs().filter(|(i, _)| i.role != Role::Root) {
            let checkout = store.checkout_until(tree, cancel)?;
            let [source] = checkout.layers() else {
                // Snapshots are imported whole; only results of builds come in layers.
                return Err(bad("its snapshot is the result of a build"));
            };
            let target = PathBuf::from(&input.at);
            let source = match (input.role, target.file_name()) {
                // The tree is a folder with the file in it, under the same name.
                (Role::File, Some(name)) => source.join(name),
                _ => source.clone(),
            };
            binds.push(Bind {
                source,
                target,
                writable: false,
            });
            inputs.push(checkout);
        }
        for impure in &step.derivation().policy.impure {
            binds.push(Bind {
                source: store.impure(&impure.folder)?,
                target: PathBuf::from(&impure.at),
                writable: true,
            });
        }
        Ok(Prepared {
            root,
            inputs,
            binds,
        })
    }

    /// The job that runs the scripts of `step`, with changes going to `upper`, and with `share` of the
    /// processors.
    pub fn job(
        &self,
        step: &Resolved,
        upper: Option<PathBuf>,
        scratch: &Path,
        share: &Share,
    ) -> Job {
        let derivation = step.derivation();
        let script: Vec<&str> = derivation.phases.iter().map(|p| &*p.script).collect();
        Job {
            layers: self.root.layers().to_vec(),
            upper,
            scratch: scratch.to_owned(),
            binds: self.binds.clone(),
            script: script.concat().into_bytes(),
            env: environment_of(step, share.jobs()),
            platform: derivation.platform.clone(),
            tmp_on_root: Path::new(&derivation.root).starts_with("/tmp"),
            timeout: derivation.policy.timeout.map(Duration::from_secs),
            silence: None,
            most_output: None,
            bounds: Bounds::default(),
            fewer_processors: false,
            jobserver: Some(share.jobserver()),
        }
    }

    /// Folders of inputs that were not what they should be and were written anew.
    pub fn dropped(&self) -> impl Iterator<Item = &Dropped> {
        let all = std::iter::once(&self.root).chain(&self.inputs);
        all.flat_map(Checkout::dropped)
    }
}

/// What is kept of a step that fails.
#[derive(Clone, Copy)]
struct Kept<'a> {
    upper: &'a Path,
    /// Where it is copied first, if it lies in memory.
    aside: Option<&'a Path>,
}

/// Why a step runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Run {
    /// Its result is not known.
    First,
    /// To see whether the result is the same, though everything differs that may.
    Check,
}

/// Whose turn it is to build a step.
enum Turn {
    Ours(Claim),
    /// It was built by somebody else meanwhile.
    Found(TreeHash),
}

/// What came of a step.
struct Made {
    tree: TreeHash,
    changed: u64,
    /// Bytes that its work folder had, where that is known.
    size: Option<u64>,
}

/// How it went where it was tried.
enum Tried {
    Made(Made),
    /// Memory was full. What was printed is in the log.
    Full(StepLog),
}

/// Bytes that an entry takes in a work folder beside its content, about.
const ENTRY: u64 = 4096;

/// How a step's script ended, and where its output is.
struct Ran {
    finished: Finished,
    /// Why it was ended, where the log tells it.
    killed: Option<String>,
    log: PathBuf,
    tail: Vec<String>,
}

impl Ran {
    fn failed(self, how: String, status: i32, limit: bool) -> StepError {
        StepError::Failed(Failure {
            how,
            status,
            limit,
            log: self.log,
            tail: self.tail,
        })
    }
}

impl Builder<'_> {
    /// The same for a step that has so many places, with another token and somebody else who is told what people
    /// should know.
    pub fn with<'b>(
        &'b self,
        cancel: &'b CancelToken,
        note: &'b (dyn Fn(Note) + Sync),
        slots: usize,
    ) -> Builder<'b> {
        Builder {
            sandbox: self.sandbox.clone(),
            processors: self.processors.clone(),
            host: self.host.clone(),
            cancel,
            note,
            slots,
            ..*self
        }
    }
}

impl Builder<'_> {
    /// Builds `step`, known as `name` (`BUILD/ARCH/SUBARCH/TARGET:STEP`), and records what came
    /// out. `output` takes every line that the script prints.
    pub fn build(
        &self,
        name: &str,
        step: &Resolved,
        output: &mut dyn FnMut(&str),
    ) -> Result<BuiltStep, StepError> {
        self.attempt(name, step, &self.host, &mut |log| {
            self.make(name, step, log, Run::First, output)
        })
    }

    /// Has `step` built by the machine `host`, and records what came out. `work` does it: it is given what takes all
    /// that the script prints.
    pub fn build_elsewhere(
        &self,
        name: &str,
        step: &Resolved,
        host: &str,
        output: &mut dyn FnMut(&str),
        work: &mut Deputy<'_>,
    ) -> Result<BuiltStep, StepError> {
        self.attempt(name, step, host, &mut |log| {
            self.elsewhere(log, output, work)
        })
    }

    /// Has `step` built once more by another machine, as [`Builder::rebuild`] does here.
    pub fn rebuild_elsewhere(
        &self,
        name: &str,
        output: &mut dyn FnMut(&str),
        work: &mut Deputy<'_>,
    ) -> Result<TreeHash, StepError> {
        let log = StepLog::create(self.store, name, 0)?;
        self.elsewhere(log, output, work).map(|made| made.tree)
    }

    /// Has a step built by another machine, which `work` asks.
    fn elsewhere(
        &self,
        mut log: StepLog,
        output: &mut dyn FnMut(&str),
        work: &mut Deputy<'_>,
    ) -> Result<Made, StepError> {
        let done = work(&mut |bytes| {
            (self.raw)(bytes);
            log.write(bytes, output);
        });
        let (_, log, tail) = log.finish(output)?;
        match done? {
            Elsewhere::Built {
                tree,
                changed,
                size,
            } => Ok(Made {
                tree,
                changed,
                size,
            }),
            Elsewhere::Failed { how, status } => Err(StepError::Failed(Failure {
                how,
                status,
                // Nobody here asks.
                limit: false,
                log,
                tail,
            })),
        }
    }

    /// Makes an attempt at a step, unless somebody else builds it meanwhile, and records what came of it.
    fn attempt(
        &self,
        name: &str,
        step: &Resolved,
        host: &str,
        make: &mut dyn FnMut(StepLog) -> Result<Made, StepError>,
    ) -> Result<BuiltStep, StepError> {
        let _claim = match self.claim(name, step)? {
            Turn::Ours(claim) => claim,
            Turn::Found(tree) => {
                return Ok(BuiltStep {
                    tree,
                    changed: 0,
                    seconds: 0.0,
                    found: true,
                });
            }
        };
        let clock = Stopwatch::start();
        let began = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs().cast_signed());
        let log = StepLog::create(self.store, name, began)?;
        let log_name = log.name().to_owned();
        let made = make(log);
        let seconds = clock.elapsed().as_secs_f64();
        let Made {
            tree,
            changed,
            size,
        } = match made {
            Ok(made) => made,
            Err(error) => {
                self.note_failure(name, step, host, (began, seconds), &error, log_name);
                return Err(error);
            }
        };
        let Key(key) = step.key();
        // Before the realisation, so that whatever is known can be explained.
        self.facts.remember(step)?;
        self.store.record(&Realisation {
            kind: RealisationKind::Step,
            key,
            drv: step.derivation().hash().0,
            name: name.to_owned(),
            tree,
            started: began,
            seconds,
            host: host.to_owned(),
            log: Some(log_name),
        })?;
        failed::forget(self.store, name)?;
        if let Some(size) = size {
            // It decides where it is built the next time, and nothing else.
            let _ = self.store.note_work_size(name, size);
        }
        Ok(BuiltStep {
            tree,
            changed,
            seconds,
            found: false,
        })
    }

    /// Claims a step; while somebody else builds it, its result is waited for.
    fn claim(&self, name: &str, step: &Resolved) -> Result<Turn, StepError> {
        let Key(key) = step.key();
        let mut told = false;
        loop {
            let claimed = self.store.claim(&key, name)?;
            if let Claimed::Ours(claim) = claimed {
                return Ok(match self.built_by_now(&key)? {
                    Some(tree) => Turn::Found(tree),
                    None => Turn::Ours(claim),
                });
            }
            if self.cancel.is_cancelled() {
                return Err(StepError::Cancelled);
            }
            // Nobody has a name in the moment in which a claim is made.
            if let Claimed::Theirs(claimant) = claimed
                && claimant.pid.is_some()
                && !std::mem::replace(&mut told, true)
            {
                let step = name.to_owned();
                (self.note)(Note::Waiting { step, claimant });
            }
            let wait = Timespec {
                tv_sec: 0,
                tv_nsec: 50_000_000,
            };
            // Whatever ends the wait, all is looked at again.
            let _ =
                rustix::event::poll(&mut [PollFd::new(self.cancel, PollFlags::IN)], Some(&wait));
        }
    }

    /// What somebody built under a key, if that is wanted.
    fn built_by_now(&self, key: &Hash) -> Result<Option<TreeHash>, StepError> {
        if self.anew {
            return Ok(None);
        }
        let Some(made) = self.store.realisation(key)? else {
            return Ok(None);
        };
        match self.store.lease_trees("build", &[made.tree]) {
            Ok(_) => Ok(Some(made.tree)),
            Err(error) if error.kind() == ErrorKind::Missing => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    /// Adds an attempt without a result to the history. Failing to must not hide the failure itself.
    fn note_failure(
        &self,
        name: &str,
        step: &Resolved,
        host: &str,
        (began, seconds): (i64, f64),
        error: &StepError,
        log: String,
    ) {
        let (outcome, detail) = match error {
            StepError::Failed(failure) => (Outcome::Failed, Some(failure.how.clone())),
            StepError::Infrastructure(error) => (Outcome::Infrastructure, Some(error.to_string())),
            StepError::Cancelled => (Outcome::Interrupted, None),
            StepError::Lost(reason) => (Outcome::Interrupted, Some(reason.clone())),
        };
        let _ = self.store.note_attempt(&Attempt {
            kind: RealisationKind::Step,
            key: step.key().0,
            drv: step.derivation().hash().0,
            name: name.to_owned(),
            tree: None,
            started: began,
            seconds,
            host: host.to_owned(),
            outcome,
            phase: Some(step.derivation().name.step().to_owned()),
            detail,
            log: Some(log),
        });
    }

    /// Builds `step` once more and gives the tree, which is not recorded. Its inputs are written out anew,
    /// and what a script can see of the machine differs as far as it can be made to (doc/sandbox.md).
    pub fn rebuild(
        &self,
        name: &str,
        step: &Resolved,
        output: &mut dyn FnMut(&str),
    ) -> Result<TreeHash, StepError> {
        // At the beginning of all time: it is never the newest.
        let log = StepLog::create(self.store, name, 0)?;
        self.make(name, step, log, Run::Check, output)
            .map(|made| made.tree)
    }

    /// Builds a step: in memory if it is known to fit, else on disk.
    fn make(
        &self,
        name: &str,
        step: &Resolved,
        mut log: StepLog,
        run: Run,
        output: &mut dyn FnMut(&str),
    ) -> Result<Made, StepError> {
        let derivation = step.derivation();
        if derivation.fetched().is_some() {
            return self.fetch(step, log, output);
        }
        if derivation.is_union() {
            return self.compose(step, log, output);
        }
        if derivation.is_open() {
            return Err(StepError::Infrastructure(Infrastructure::Inputs {
                step: name.to_owned(),
                detail: "it stands for packages, which are not known".to_owned(),
            }));
        }
        host::runs(&derivation.platform)?;
        let (mut memory, mut least) = (None, 0);
        if run == Run::First {
            memory = self.memory_for(name)?;
        }
        loop {
            match self.try_in(name, step, log, (run, memory), output)? {
                Tried::Made(mut made) => {
                    made.size = made.size.map(|size| size.max(least));
                    return Ok(made);
                }
                Tried::Full(begun) => log = begun,
            }
            let bytes = memory.take().unwrap_or_default();
            // Once is enough, whatever it leaves in the end.
            least = bytes.saturating_add(1);
            let _ = self.store.note_work_size(name, least);
            (self.note)(Note::MemoryFull {
                step: name.to_owned(),
                bytes,
            });
            let line = b"mstore: this did not fit into memory, and is built again on disk\n";
            (self.raw)(line);
            log.write(line, output);
        }
    }

    /// The bytes of memory that a step's work folder may take, if it is known to need no more.
    fn memory_for(&self, name: &str) -> Result<Option<u64>, StepError> {
        let Some(most) = self.limits.memory else {
            return Ok(None);
        };
        let size = self.store.work_size(name)?;
        Ok(size.filter(|size| *size <= most).map(|_| most))
    }

    /// Builds a step with its work folder in memory that may take so many bytes, or on disk.
    fn try_in(
        &self,
        name: &str,
        step: &Resolved,
        mut log: StepLog,
        (run, memory): (Run, Option<u64>),
        output: &mut dyn FnMut(&str),
    ) -> Result<Tried, StepError> {
        let root_tree = step.root_tree().ok_or_else(|| Infrastructure::Inputs {
            step: name.to_owned(),
            detail: "it has no root".to_owned(),
        })?;
        let scratch = self.store.scratch("build")?;
        let share = self
            .processors
            .join(self.slots, usize::from(run == Run::Check));
        let prepared = self.prepare(name, step, run)?;
        self.tell_of_harmed(&prepared)?;
        let beside = memory.unwrap_or(0);
        let memory = match memory {
            Some(bytes) => Memory::mount(&self.folder(&scratch, "memory")?, bytes),
            None => None,
        };
        if memory.is_some() {
            (self.note)(Note::InMemory { bytes: beside });
        }
        let within = match memory {
            Some(_) => scratch.path().join("memory"),
            None => scratch.path().to_owned(),
        };
        let upper = within.join("upper");
        let work = within.join("work");
        let made = self.store.inside().make_folder(&work, 0o700);
        made.map_err(failed_to("make the folder", &work))?;
        let raised = match run {
            Run::First => self.store.prepare_upper(root_tree, &upper),
            Run::Check => self.store.prepare_upper_anew(root_tree, &upper),
        };
        let full = |error: &StoreError| error.kind() == ErrorKind::NoSpace;
        let raised = match raised {
            Err(error) if memory.is_some() && full(&error) => return Ok(Tried::Full(log)),
            raised => raised?,
        };
        let mut job = prepared.job(step, Some(upper.clone()), &work, &share);
        let bounds = step.derivation().policy.limits.as_deref().copied();
        let bounds = bounds.unwrap_or_default();
        let output_limit = bounds.output.unwrap_or(u64::MAX).min(self.limits.output);
        job.most_output = Some(output_limit);
        job.bounds = Bounds {
            memory: bounds.memory,
            processes: bounds.processes,
            disk: bounds.disk,
            beside,
        };
        if job.bounds.want_group()
            && let Some(why) = Groups::here().tell()
        {
            let why = why.to_string();
            (self.note)(Note::Watched { why });
        }
        job.silence = self.limits.silence_of(step.derivation());
        job.fewer_processors = run == Run::Check;

        let clock = Stopwatch::start();
        let mut written = 0_u64;
        let finished = self.sandbox.run_told(
            &job,
            &mut |bytes| {
                written += bytes.len() as u64;
                (self.raw)(bytes);
                log.write(bytes, output);
            },
            self.cancel,
            &mut |pid| (self.note)(Note::Process { pid }),
        );
        drop(share);
        if let Ok(finished) = &finished {
            let memory = finished.usage.peak_kib.saturating_mul(1024);
            (self.note)(Note::Used { memory });
        }
        let finished = match finished {
            Err(error) if memory.is_some() && error.is_disk_full() => return Ok(Tried::Full(log)),
            finished => finished?,
        };
        // Also of a script that went on without what it could not write.
        let lowest = finished.lowest_free;
        let cancelled = finished.status == Status::Cancelled;
        if memory.as_ref().is_some_and(|m| m.was_full(lowest)) && !cancelled {
            return Ok(Tried::Full(log));
        }
        let used = memory.as_ref().map(|memory| memory.used(lowest));
        let killed = match finished.status {
            Status::Silent { seconds } => {
                let step = step.derivation().name.step();
                let text = format!(
                    "KILLED: {step} stuck at {written} bytes of output, silent for {seconds} s"
                );
                (self.raw)(&log.say(&text, output));
                Some(text)
            }
            _ => None,
        };
        let (_, log, tail) = log.finish(output)?;
        let ran = Ran {
            finished,
            killed,
            log,
            tail,
        };
        // What lies in memory is brought to disk only if somebody may look at it.
        let aside = memory.is_some().then(|| scratch.path().join("upper"));
        let kept = (run == Run::First).then_some(Kept {
            upper: &upper,
            aside: aside.as_deref(),
        });
        if !ran.finished.status.is_success() {
            return Err(self.failure(name, step, ran, kept));
        }
        if step.derivation().output == Output::Input {
            return Ok(Tried::Made(Made {
                tree: root_tree,
                changed: 0,
                size: used,
            }));
        }
        raised.take_back()?;
        let captured = match self.capture(step, root_tree, &upper, clock) {
            Ok(captured) => captured,
            Err(error) => return Err(self.not_captured(name, step, ran, kept, error)),
        };
        let Captured {
            mut tree,
            changed,
            bytes,
        } = captured;
        if step.derivation().output == Output::Folder {
            tree = match self.store.subtree(tree, &step.derivation().root) {
                Err(error @ StoreError::NoSuchPath { .. }) => {
                    return Err(self.not_captured(name, step, ran, kept, error));
                }
                folder => folder?,
            };
        } else if run == Run::First && memory.is_none() && tree != root_tree {
            self.store.keep_layer(root_tree, tree, upper)?;
        }
        let left = bytes.saturating_add(changed.saturating_mul(ENTRY));
        Ok(Tried::Made(Made {
            tree,
            changed,
            size: Some(used.unwrap_or(0).max(left)),
        }))
    }

    /// Makes a folder in a scratch folder.
    fn folder(&self, scratch: &ScratchDir, name: &str) -> Result<PathBuf, StepError> {
        let path = scratch.path().join(name);
        let made = self.store.inside().make_folder(&path, 0o700);
        made.map_err(failed_to("make the folder", &path))?;
        Ok(path)
    }

    /// Fetches what no script makes.
    fn fetch(
        &self,
        step: &Resolved,
        mut log: StepLog,
        output: &mut dyn FnMut(&str),
    ) -> Result<Made, StepError> {
        let mut say = |line: &str, passing: bool| match passing {
            true => output(line),
            false => {
                let line = format!("{line}\n");
                (self.raw)(line.as_bytes());
                log.write(line.as_bytes(), output);
            }
        };
        let fetched = self
            .fetcher
            .fetch(step.derivation(), &mut say, self.cancel.flag());
        log.finish(output)?;
        Ok(Made {
            tree: fetched?,
            changed: 1,
            size: None,
        })
    }

    /// Makes the union of what no script makes. Gives what [`Builder::make`] gives.
    fn compose(
        &self,
        step: &Resolved,
        mut log: StepLog,
        output: &mut dyn FnMut(&str),
    ) -> Result<Made, StepError> {
        let members = step.inputs().map(|(input, tree)| Member {
            tree,
            at: input.at.clone(),
            owner: input
                .owner
                .clone()
                .unwrap_or_else(|| input.role.to_string()),
            yields: input.role == Role::Root,
        });
        let members: Vec<Member> = members.collect();
        match self.store.compose(&members) {
            Ok(tree) => {
                log.finish(output)?;
                if let Some(root) = step.root_tree() {
                    over::note(self.store, root, tree)?;
                }
                Ok(Made {
                    tree,
                    changed: members.len() as u64 - 1,
                    size: None,
                })
            }
            Err(ComposeError::Store(error)) => Err(error.into()),
            Err(error) => {
                log.write(format!("{error}\n").as_bytes(), output);
                let (_, log, tail) = log.finish(output)?;
                Err(StepError::Failed(Failure {
                    how: error.to_string(),
                    status: Status::Exited(1).raw(),
                    limit: false,
                    log,
                    tail,
                }))
            }
        }
    }

    fn prepare(&self, name: &str, step: &Resolved, run: Run) -> Result<Prepared, StepError> {
        let watch = Deadline::watch(self.cancel, Stopwatch::start(), None)
            .map_err(failed_to("watch for an interruption in", self.store.path()))?;
        match Prepared::until(self.store, name, step, run, Some(watch.flag())) {
            Err(Infrastructure::Store(StoreError::Interrupted)) => Err(StepError::Cancelled),
            other => Ok(other?),
        }
    }

    fn tell_of_harmed(&self, prepared: &Prepared) -> Result<(), StepError> {
        let mut results = None;
        for dropped in prepared.dropped() {
            let results = match &results {
                Some(results) => results,
                None => results.insert(Results::read(self.facts)?),
            };
            let built_on = results.in_trees(&BTreeSet::from([dropped.tree]))?;
            (self.note)(Note::Harmed {
                found: dropped.found.clone(),
                built_on: built_on.into_iter().map(|result| result.name).collect(),
            });
        }
        Ok(())
    }

    /// Captures what a script left. It had `clock` to the timeout for both.
    fn capture(
        &self,
        step: &Resolved,
        root: TreeHash,
        upper: &Path,
        clock: Stopwatch,
    ) -> Result<Captured, StoreError> {
        let derivation = step.derivation();
        let timeout = derivation.policy.timeout.map(Duration::from_secs);
        let watch = Deadline::watch(self.cancel, clock, timeout)
            .map_err(|e| StoreError::io("watch the capture of", upper, e))?;
        let options = CaptureOptions {
            epoch: derivation.epoch,
        };
        let bounds = CaptureBounds {
            file: Some(self.limits.file),
            cancel: watch.flag().clone(),
        };
        self.store.capture_within(root, upper, &options, &bounds)
    }

    /// Tells apart what a step left that is not to be captured, and a failure of the store.
    fn not_captured(
        &self,
        name: &str,
        step: &Resolved,
        ran: Ran,
        kept: Option<Kept<'_>>,
        error: StoreError,
    ) -> StepError {
        let limit = matches!(error, StoreError::Interrupted);
        let how = match &error {
            StoreError::TooDeep { .. }
            | StoreError::TooLarge { .. }
            | StoreError::NoSuchPath { .. }
            | StoreError::BadEntry { .. } => format!("left what cannot be kept: {error}"),
            StoreError::Interrupted if self.cancel.is_cancelled() => return StepError::Cancelled,
            StoreError::Interrupted => Status::TimedOut.to_string(),
            _ => return error.into(),
        };
        self.keep_failed(name, step, kept);
        ran.failed(how, Status::Exited(1).raw(), limit)
    }

    fn failure(&self, name: &str, step: &Resolved, ran: Ran, kept: Option<Kept<'_>>) -> StepError {
        let how = match &ran.killed {
            Some(killed) => killed.clone(),
            None => ran.finished.status.to_string(),
        };
        if ran.finished.status == Status::Cancelled {
            return StepError::Cancelled;
        }
        if ran.finished.disk_was_full() {
            return StepError::Infrastructure(Infrastructure::NoSpace {
                path: self.store.path().to_owned(),
                room: Room::of(self.store.path()).map(Box::new),
                step: name.to_owned(),
                how,
            });
        }
        self.keep_failed(name, step, kept);
        let (status, limit) = (ran.finished.status.raw(), ran.finished.status.is_limit());
        ran.failed(how, status, limit)
    }

    /// Keeps the root of a failed step for people. Failing to must not hide the failure itself.
    fn keep_failed(&self, name: &str, step: &Resolved, kept: Option<Kept<'_>>) {
        let Some(Kept { upper, aside }) = kept else {
            return;
        };
        let upper = match aside {
            None => upper,
            Some(aside) if memory::copy(upper, aside).is_ok() => aside,
            Some(_) => return,
        };
        let _ = FailedRoot::keep(self.store, name, step, upper);
    }
}

/// The whole environment of a step.
fn environment_of(step: &Resolved, make_jobs: usize) -> BTreeMap<String, String> {
    let derivation = step.derivation();
    super::environment(&derivation.env.0, derivation.epoch, make_jobs)
}
