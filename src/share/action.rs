//! What travels with an action of remote execution: the [`Job`] to it, and the [`Record`] of what came of it back.
//!
//! Both are canonical CBOR, the number of the form first. Whatever is read is bounded and checked: a job comes from a
//! network, and a record from a machine that anybody may run.

use std::collections::BTreeSet;

use mstore_store::codec::{self, Bytes, CodecError};
use mstore_store::{StoreError, TreeHash};
use serde::{Deserialize, Serialize};

use super::bundle::{Digest, Layer, MOST_PACKED};
use crate::drv::resolved::RecordError;
use crate::drv::{Key, Resolved};

/// The number of the form of jobs and of records. Ends of different numbers do not work together.
pub const FORMAT: u32 = 1;
/// Largest job, in bytes: a derivation with its scripts, and some hundred thousand bundles.
pub const MOST_JOB: usize = 96 << 20;
/// Largest record, in bytes.
pub const MOST_RECORD: usize = 1 << 20;
/// Most bundles of one job.
const MOST_BUNDLES: usize = 1 << 17;
/// Most trees of one job.
const MOST_LAYERS: usize = 1 << 14;
/// Longest text within a record, in bytes.
const MOST_TEXT: usize = 16 << 10;

/// Seconds of an hour.
const HOUR: u64 = 3600;
/// Seconds that an action may take: the least of these above the limit of its step.
const CLASSES: [u64; 4] = [HOUR, 4 * HOUR, 12 * HOUR, 48 * HOUR];
/// Seconds of a class that are left for what comes before a script and after it.
const ROOM: u64 = 300;
/// Seconds that a worker lets a step print nothing: the least of these that is not below its limit.
const SILENCES: [u64; 5] = [HOUR / 4, HOUR, 4 * HOUR, 12 * HOUR, 48 * HOUR];

/// The class of a time limit in seconds: as long as its action may take.
pub fn class(limit: u64) -> u64 {
    let above = CLASSES
        .into_iter()
        .find(|class| limit.saturating_add(ROOM) <= *class);
    let last = CLASSES[CLASSES.len() - 1];
    // Beyond, whole multiples of the last class.
    let beyond = || limit.saturating_add(ROOM).div_ceil(last);
    above.unwrap_or_else(|| beyond().saturating_mul(last))
}

/// What the run that a job belongs to says of steps, where that is not the usual. A step that writes more has failed.
///
/// The fields stand in the order of canonical CBOR.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// Bytes of one file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<u64>,
    /// Bytes of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
}

/// What is to be built, complete: nothing but the files of its bundles is needed beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Build though the worker has a result.
    pub anew: bool,
    /// The step, with the trees of its inputs.
    pub step: Resolved,
    /// The trees that it needs, each once, those that others lie on before these.
    pub layers: Vec<Layer>,
    /// What its run says of how much it may write.
    pub bounds: Bounds,
}

/// A job or a record that is none.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ActionError {
    /// It cannot be read.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The step in it cannot be read.
    #[error("its step: {0}")]
    Step(#[from] RecordError),
    /// It comes from another version of mstore.
    #[error("it has format {found}, and this program reads {FORMAT}")]
    Format {
        /// The number that it has.
        found: u32,
    },
    /// It makes no sense.
    #[error("{0}")]
    Nonsense(String),
}

fn nonsense<T>(detail: impl Into<String>) -> Result<T, ActionError> {
    Err(ActionError::Nonsense(detail.into()))
}

/// A job as it is written. The fields stand in the order of canonical CBOR.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    anew: bool,
    step: Bytes,
    #[serde(default, skip_serializing_if = "is_usual")]
    bounds: Bounds,
    layers: Vec<Layer>,
    sandbox: String,
}

fn is_usual(bounds: &Bounds) -> bool {
    *bounds == Bounds::default()
}

/// The number of the form alone.
fn format_of(bytes: &[u8]) -> Option<u32> {
    // A pair whose first half is a small number.
    match bytes {
        [0x82, number @ 0..=23, ..] => Some((*number).into()),
        _ => None,
    }
}

fn known_format(bytes: &[u8]) -> Result<(), ActionError> {
    match format_of(bytes) {
        Some(FORMAT) => Ok(()),
        Some(found) => Err(ActionError::Format { found }),
        None => nonsense("it does not begin with the number of its form"),
    }
}

impl Job {
    /// A step as it is sent: with its time limits by their classes, `silence` of its run in the place of one of its own.
    ///
    /// A job is a part of the action that an engine knows by its digest. So that a changed limit is no other action, the
    /// limit itself stays here: whoever sent the step ends it when it is over its time, and its worker sees to
    /// the class. Neither decides what a step produces, and neither is in its key.
    pub fn sent(step: &Resolved, silence: Option<u64>) -> Resolved {
        let mut derivation = step.derivation().clone();
        let policy = &mut derivation.policy;
        policy.timeout = policy.timeout.map(|limit| class(limit) - ROOM);
        let silent = policy.silence.or(silence);
        policy.silence = silent.map(|limit| {
            let above = SILENCES.into_iter().find(|class| limit <= *class);
            above.unwrap_or(limit)
        });
        // The same trees for the same inputs.
        derivation
            .resolve(step.trees().to_vec())
            .unwrap_or_else(|_| step.clone())
    }

    /// The canonical encoding.
    pub fn encode(&self) -> Vec<u8> {
        let written = Written {
            anew: self.anew,
            step: Bytes(self.step.encode()),
            bounds: self.bounds,
            layers: self.layers.clone(),
            sandbox: self.step.derivation().sandbox.clone(),
        };
        codec::encode(&(FORMAT, written))
    }

    /// Reads a job, and checks all that one promises.
    pub fn decode(bytes: &[u8]) -> Result<Job, ActionError> {
        known_format(bytes)?;
        let (_, written) = codec::decode::<(u32, Written)>(bytes, MOST_JOB)?;
        let job = Job {
            anew: written.anew,
            step: Resolved::decode(&written.step.0)?,
            layers: written.layers,
            bounds: written.bounds,
        };
        if job.step.derivation().sandbox != written.sandbox {
            return nonsense("its step is to be isolated in another way than it says itself");
        }
        job.check()?;
        Ok(job)
    }

    fn check(&self) -> Result<(), ActionError> {
        let count: usize = self.layers.iter().map(|layer| layer.bundles.len()).sum();
        if count > MOST_BUNDLES || self.layers.len() > MOST_LAYERS {
            return nonsense("it has too many bundles");
        }
        let mut known = BTreeSet::new();
        for layer in &self.layers {
            if let Some(base) = layer.on.iter().find(|base| !known.contains(*base)) {
                let tree = layer.tree;
                return nonsense(format!("tree {base} below tree {tree} is not before it"));
            }
            if !known.insert(layer.tree) {
                return nonsense(format!("tree {} is there twice", layer.tree));
            }
            let long = layer.bundles.iter().find(|b| b.size > MOST_PACKED);
            if let Some(bundle) = long {
                return nonsense(format!("a bundle has {} bytes", bundle.size));
            }
        }
        match self.step.trees().iter().find(|tree| !known.contains(tree)) {
            Some(tree) => nonsense(format!("the input {tree} is not among its trees")),
            None => Ok(()),
        }
    }

    /// The bundles in their order. The file of each is [`bundle_path`] of its number.
    pub fn bundles(&self) -> impl Iterator<Item = &Digest> {
        self.layers.iter().flat_map(|layer| &layer.bundles)
    }

    /// The layers that have to be joined where `has` says which trees are there, each with the number of its first
    /// bundle, in the order in which to do it.
    pub fn lacking(
        &self,
        mut has: impl FnMut(TreeHash) -> Result<bool, StoreError>,
    ) -> Result<Vec<(usize, &Layer)>, StoreError> {
        let mut first = self.bundles().count();
        let mut wanted: BTreeSet<TreeHash> = self.step.trees().iter().copied().collect();
        let mut lacking = Vec::new();
        // Backwards: what a layer lies on comes before it.
        for layer in self.layers.iter().rev() {
            first -= layer.bundles.len();
            if wanted.contains(&layer.tree) && !has(layer.tree)? {
                wanted.extend(&layer.on);
                lacking.push((first, layer));
            }
        }
        lacking.reverse();
        Ok(lacking)
    }
}

/// The name of a bundle in the input root of an action, or of one of its result below `out`.
pub fn bundle_path(number: usize) -> String {
    format!("b/{}", bundle_name(number))
}

/// The name of a bundle within its folder.
pub fn bundle_name(number: usize) -> String {
    format!("{number:04}")
}

/// What came of a job.
///
/// The fields stand in the order of canonical CBOR.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Record {
    /// The key of the step that it is about.
    pub key: Key,
    /// When, and for how long.
    pub times: Times,
    /// Bytes of memory that its processes had at the most, as far as that is known.
    pub memory: Option<u64>,
    /// What came of it.
    pub outcome: Outcome,
}

/// When a job was worked on. All lengths are in milliseconds of a wall clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Times {
    /// Cutting the result.
    pub cut: u64,
    /// Joining the inputs.
    pub join: u64,
    /// When it began, in Unix seconds.
    pub began: i64,
    /// Building.
    pub build: u64,
}

/// What came of a job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Outcome {
    /// It was built.
    Built {
        /// Bytes that its work folder had, where that is known.
        size: Option<u64>,
        /// The result.
        tree: TreeHash,
        /// The bundles of the result, less what the trees that it is a layer on have
        /// ([`Resolved::below`]): the file of each is `out/` and [`bundle_name`] of its number.
        bundles: Vec<Digest>,
        /// Entries that changed against its root.
        changed: u64,
    },
    /// Its script failed.
    Failed {
        /// How, for people.
        how: String,
        /// Which of its scripts, from 0.
        step: u32,
        /// Whether it was ended because it was over its time or another limit of its own.
        limit: bool,
        /// Its exit or signal, as wait(2) gives it.
        status: i32,
    },
    /// The machine failed.
    Infrastructure {
        /// The exit status of the worker.
        code: u8,
        /// What is wrong, for people.
        what: String,
    },
}

impl Record {
    /// The canonical encoding, unless it is longer than [`MOST_RECORD`]. Texts are shortened.
    pub fn encode(&self) -> Result<Vec<u8>, ActionError> {
        let mut short = self.clone();
        if let Outcome::Failed { how: text, .. } | Outcome::Infrastructure { what: text, .. } =
            &mut short.outcome
        {
            let mut end = MOST_TEXT.min(text.len());
            while !text.is_char_boundary(end) {
                end -= 1;
            }
            text.truncate(end);
        }
        let bytes = codec::encode(&(FORMAT, &short));
        match bytes.len() {
            0..=MOST_RECORD => Ok(bytes),
            size => nonsense(format!("the record of {size} bytes is too long")),
        }
    }

    /// Reads a record, and checks all that one promises.
    pub fn decode(bytes: &[u8]) -> Result<Record, ActionError> {
        if bytes.len() > MOST_RECORD {
            let (size, limit) = (bytes.len(), MOST_RECORD);
            return Err(CodecError::TooLarge { size, limit }.into());
        }
        known_format(bytes)?;
        let (_, record) = codec::decode::<(u32, Record)>(bytes, MOST_RECORD)?;
        match &record.outcome {
            Outcome::Built { bundles, .. } => match bundles.iter().find(|b| b.size > MOST_PACKED) {
                Some(bundle) => nonsense(format!("a bundle has {} bytes", bundle.size)),
                None => Ok(record),
            },
            Outcome::Failed { how: text, .. } | Outcome::Infrastructure { what: text, .. }
                if text.len() > MOST_TEXT =>
            {
                nonsense("a text is too long")
            }
            Outcome::Failed { status: 0, .. } => nonsense("a script failed with exit status 0"),
            Outcome::Infrastructure {
                code: 0..=99 | 120..=255,
                ..
            } => nonsense("an exit status is not one of a worker that failed"),
            _ => Ok(record),
        }
    }
}

#[cfg(test)]
mod tests;
