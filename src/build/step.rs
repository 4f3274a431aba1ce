//! One derivation to one tree: checkout, sandbox, capture, record.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use mstore_store::{
    Attempt, CaptureOptions, Checkout, Outcome, Realisation, RealisationKind, Room, Store, TreeHash,
};

use super::cancel::CancelToken;
use super::error::{Failure, Infrastructure, StepError, failed_to};
use super::failed::{self, FailedRoot};
use super::host;
use super::sandbox::{Bind, Finished, Job, Sandbox, Status};
use super::step_log::StepLog;
use crate::drv::derivation::Output;
use crate::drv::{Key, Resolved, Role, StoreFacts};

/// Builds steps in a store.
pub struct Builder<'a> {
    /// Where inputs come from and results go.
    pub store: &'a Store,
    /// Where derivations are remembered.
    pub facts: &'a StoreFacts,
    /// Runs the scripts.
    pub sandbox: Sandbox,
    /// Stops running builds.
    pub cancel: &'a CancelToken,
    /// How many jobs `MAKEOPTS` allows in a build; never part of a key.
    pub make_jobs: usize,
    /// Name of this machine, for the record.
    pub host: String,
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
}

/// Everything that a job in the root of a step needs, held while it runs.
pub struct Prepared {
    root: Checkout,
    /// Only held: the binds point into them.
    _inputs: Vec<Checkout>,
    binds: Vec<Bind>,
}

impl Prepared {
    /// Brings the inputs of `step`, known as `name`, to disk.
    pub fn new(store: &Store, name: &str, step: &Resolved) -> Result<Prepared, Infrastructure> {
        let bad = |detail: &str| Infrastructure::Inputs {
            step: name.to_owned(),
            detail: detail.to_owned(),
        };
        let tree = step.root_tree().ok_or_else(|| bad("it has no root"))?;
        let root = store.checkout(tree)?;
        let (mut inputs, mut binds) = (Vec::new(), Vec::new());
        for (input, tree) in step.inputs().filter(|(i, _)| i.role != Role::Root) {
            let checkout = store.checkout(tree)?;
            let [source] = checkout.layers() else {
                // Snapshots are imported whole; only results of builds come in layers.
                return Err(bad("its snapshot is the result of a build"));
            };
            binds.push(Bind {
                source: source.clone(),
                target: input.at.clone().into(),
                writable: false,
            });
            inputs.push(checkout);
        }
        Ok(Prepared {
            root,
            _inputs: inputs,
            binds,
        })
    }

    /// The job that runs the scripts of `step`, with changes going to `upper`.
    pub fn job(
        &self,
        step: &Resolved,
        upper: Option<PathBuf>,
        scratch: &Path,
        make_jobs: usize,
    ) -> Job {
        let derivation = step.derivation();
        let script: Vec<&str> = derivation
            .phases
            .iter()
            .map(|p| p.script.as_str())
            .collect();
        let mut env = derivation.env.0.clone();
        env.extend(super::environment(derivation.epoch, make_jobs));
        Job {
            layers: self.root.layers().to_vec(),
            upper,
            scratch: scratch.to_owned(),
            binds: self.binds.clone(),
            script: script.concat().into_bytes(),
            env,
            platform: derivation.platform.clone(),
            tmp_on_root: Path::new(&derivation.root).starts_with("/tmp"),
            timeout: derivation.policy.timeout.map(Duration::from_secs),
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
        let started = Instant::now();
        let began = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .map_or(0, |d| d.as_secs().cast_signed());
        let made = self.make(name, step, began, true, output);
        let seconds = started.elapsed().as_secs_f64();
        let (tree, changed, log) = match made {
            Ok(made) => made,
            Err(error) => {
                self.note_failure(name, step, began, seconds, &error);
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
            host: self.host.clone(),
            log: Some(log),
        })?;
        failed::forget(self.store, name)?;
        Ok(BuiltStep {
            tree,
            changed,
            seconds,
        })
    }

    /// Adds a failed attempt to the history. Failing to must not hide the failure itself.
    fn note_failure(
        &self,
        name: &str,
        step: &Resolved,
        began: i64,
        seconds: f64,
        error: &StepError,
    ) {
        let (outcome, detail, log) = match error {
            StepError::Failed(failure) => {
                let log = failure.log.file_name();
                let log = log.map(|l| l.to_string_lossy().into_owned());
                (Outcome::Failed, failure.how.clone(), log)
            }
            StepError::Infrastructure(error) => (Outcome::Infrastructure, error.to_string(), None),
            StepError::Cancelled => return,
        };
        let _ = self.store.note_attempt(&Attempt {
            kind: RealisationKind::Step,
            key: step.key().0,
            drv: step.derivation().hash().0,
            name: name.to_owned(),
            tree: None,
            started: began,
            seconds,
            host: self.host.clone(),
            outcome,
            phase: Some(step.derivation().name.step().to_owned()),
            detail: Some(detail),
            log,
        });
    }

    /// Builds `step` once more and gives the tree, which is not recorded.
    pub fn rebuild(
        &self,
        name: &str,
        step: &Resolved,
        output: &mut dyn FnMut(&str),
    ) -> Result<TreeHash, StepError> {
        self.make(name, step, 0, false, output)
            .map(|(tree, _, _)| tree)
    }

    /// Gives the tree, the number of changed entries and the name of the log.
    fn make(
        &self,
        name: &str,
        step: &Resolved,
        began: i64,
        keep: bool,
        output: &mut dyn FnMut(&str),
    ) -> Result<(TreeHash, u64, String), StepError> {
        let derivation = step.derivation();
        host::runs(&derivation.platform)?;
        let prepared = Prepared::new(self.store, name, step)?;
        let scratch = self.store.scratch("build")?;
        let upper = scratch.path().join("upper");
        let work = scratch.path().join("work");
        fs::create_dir(&work).map_err(failed_to("make the folder", &work))?;
        let job = prepared.job(step, Some(upper.clone()), &work, self.make_jobs);

        let mut log = StepLog::create(self.store, name, began)?;
        let finished =
            self.sandbox
                .run(&job, &mut |bytes| log.write(bytes, output), self.cancel)?;
        let (log_name, log_path, tail) = log.finish(output)?;
        if !finished.status.is_success() {
            return Err(self.failure(
                name,
                step,
                &finished,
                log_path,
                tail,
                keep.then_some(&*upper),
            ));
        }
        let root_tree = step.root_tree().ok_or_else(|| Infrastructure::Inputs {
            step: name.to_owned(),
            detail: "it has no root".to_owned(),
        })?;
        match derivation.output {
            Output::Input => Ok((root_tree, 0, log_name)),
            Output::Captured => {
                let options = CaptureOptions {
                    epoch: derivation.epoch,
                };
                let captured = self.store.capture(root_tree, &upper, &options)?;
                if keep && captured.tree != root_tree {
                    self.store.keep_layer(root_tree, captured.tree, upper)?;
                }
                Ok((captured.tree, captured.changed, log_name))
            }
        }
    }

    fn failure(
        &self,
        name: &str,
        step: &Resolved,
        finished: &Finished,
        log: PathBuf,
        tail: Vec<String>,
        upper: Option<&Path>,
    ) -> StepError {
        let how = finished.status.to_string();
        if finished.status == Status::Cancelled {
            return StepError::Cancelled;
        }
        if finished.disk_was_full() {
            return StepError::Infrastructure(Infrastructure::NoSpace {
                path: self.store.path().to_owned(),
                room: Room::of(self.store.path()).map(Box::new),
                step: name.to_owned(),
                how,
            });
        }
        // The root is kept for `mstore shell`. Failing to keep it must not hide the failure.
        if let Some(upper) = upper {
            let _ = FailedRoot::keep(self.store, name, step, upper);
        }
        StepError::Failed(Failure { how, log, tail })
    }
}
