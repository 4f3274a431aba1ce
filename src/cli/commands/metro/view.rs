//! What a run tells of itself as JSON.

use std::path::Path;

use mstore_store::TreeHash;
use serde::Serialize;

use super::job::Job;
use crate::plan::TargetId;
use crate::repo::publish::ArchiveOutcome;

/// What became of a target.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Outcome {
    /// It was built and published.
    Built,
    /// It was there.
    Kept,
    /// It failed.
    Failed,
    /// One before it failed.
    NotTried,
    /// It would be built.
    WouldBuild,
}

/// A target, as JSON.
#[derive(Serialize)]
pub struct TargetView {
    pub target: String,
    outcome: Outcome,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub archive: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tree: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    bytes: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    digests: Option<String>,
    /// What it would start from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    /// The log of a failure.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub log: Option<String>,
}

impl TargetView {
    /// The view of a target, with its archive.
    pub fn new(target: &str, outcome: Outcome, archive: Option<&Path>) -> TargetView {
        TargetView {
            target: target.to_owned(),
            outcome,
            archive: archive.map(|path| path.to_string_lossy().into_owned()),
            tree: None,
            bytes: None,
            digests: None,
            source: None,
            log: None,
        }
    }

    /// The view of a target after one that failed.
    pub fn not_tried(id: &TargetId) -> TargetView {
        TargetView::new(&id.target, Outcome::NotTried, None)
    }

    /// Adds what was published.
    pub fn set_archive(&mut self, path: &Path, outcome: &ArchiveOutcome, tree: TreeHash) {
        self.archive = Some(path.to_string_lossy().into_owned());
        self.tree = Some(tree.to_string());
        if let ArchiveOutcome::Written(digests) | ArchiveOutcome::Resumed(digests) = outcome {
            self.bytes = Some(digests.bytes);
            self.digests = Some(digests.lines());
        }
    }
}

/// A run, as JSON.
#[derive(Serialize)]
pub struct RunView<'a> {
    build: &'a str,
    arch_desc: &'a str,
    subarch: &'a str,
    version: &'a str,
    path: String,
    #[serde(skip_serializing_if = "str::is_empty")]
    status: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    failcount: Option<u64>,
    /// The targets, in their order.
    pub targets: Vec<TargetView>,
}

impl<'a> RunView<'a> {
    /// The view of a run that has not begun.
    pub fn new(job: &'a Job<'_>) -> RunView<'a> {
        RunView {
            build: job.place.build.as_str(),
            arch_desc: job.place.arch.as_str(),
            subarch: job.place.subarch.as_str(),
            version: &job.version,
            path: job.path().join(&job.version).to_string_lossy().into_owned(),
            status: "",
            failcount: None,
            targets: Vec::new(),
        }
    }

    /// Adds how it ended.
    pub fn end(&mut self, status: &'static str, failcount: Option<u64>) {
        self.status = status;
        self.failcount = failcount;
    }
}
