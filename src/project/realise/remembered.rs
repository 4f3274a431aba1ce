//! The answer of the last run that found nothing to do, so that the next one need not work it out again.
//!
//! What such a run finds depends on: the words it was asked with and where; this program; every file
//! that it read and every one that it looked for, the lock file among them; the state of the store, and
//! the packs that have the trees. An answer is kept with all of these, and given again only while each is
//! what it was. Whoever gives it notes first that the trees are used, as a run does that works it out; it is
//! given for a day, so that what such a run writes down once a day, of the lock file, is not forgotten.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use mstore_lang::Definition;
use mstore_store::{Hash, Store, TreeHash, codec};
use serde::{Deserialize, Serialize};

use super::{Report, TargetReport};
use crate::drv::DrvHash;
use crate::plan::{Sights, TargetId};
use crate::project::clock::{self, DAY};
use crate::project::{Access, Project, ProjectError, open_store};
use crate::schedule::realise::Outcome;

/// Keeps hashes of questions apart from all others.
const CONTEXT: &str = "mstore 2026 project question of realise";
/// Format number of an answer.
const FORMAT: u32 = 1;
/// Longest answer that is read.
const LIMIT: usize = 16 << 20;
/// Seconds for which it need not be noted again that the trees are used.
const MINUTE: i64 = 60;

/// What is asked: targets by the words that name them, and what else the answer depends on besides files
/// and the store.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The store's folder.
    pub store: &'a Path,
    /// The entry file, if one was named.
    pub entry: Option<&'a Path>,
    /// The folder in which it is looked for.
    pub cwd: &'a Path,
    /// Definitions in the place of those of the entry file.
    pub definitions: &'a [Definition],
    /// Names and patterns of targets.
    pub words: &'a [String],
    /// This program.
    pub program: &'a Path,
}

/// What is kept.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Answer {
    /// When it was worked out, in seconds since 1970.
    at: i64,
    /// When the trees were noted as used.
    noted: i64,
    /// The state of the store.
    state: i64,
    /// Everything that was looked at.
    sights: Sights,
    up_to_date: u64,
    targets: Vec<Kept>,
}

/// A target: its id and name, its derivation and tree.
type Kept = (TargetId, String, DrvHash, TreeHash);

impl Question<'_> {
    fn hash(&self) -> Hash {
        let bytes = |path: &Path| path.as_os_str().as_bytes().to_vec();
        let definitions = self.definitions.iter();
        let definitions: Vec<(&str, &str)> = definitions
            .map(|d| (d.name.as_str(), d.value.as_str()))
            .collect();
        let asked = (
            FORMAT,
            env!("CARGO_PKG_VERSION"),
            rustix::process::geteuid().as_raw(),
            self.entry.map(bytes),
            bytes(self.cwd),
            definitions,
            self.words,
            bytes(self.program),
        );
        Hash::derive(CONTEXT, &codec::encode(&asked))
    }

    /// The report of the last run that was asked this and found nothing to do, if it would be the same now.
    /// Notes once a minute that the trees are used.
    pub fn recall(&self) -> Option<Report> {
        let started = std::time::Instant::now();
        let question = self.hash();
        let (bytes, state) = Store::kept_answer(self.store, &question)?;
        let (format, mut answer) = codec::decode::<(u32, Answer)>(&bytes, LIMIT).ok()?;
        let now = clock::now();
        if format != FORMAT
            || answer.state != state
            || !(0..DAY).contains(&(now - answer.at))
            || !answer.sights.is_unchanged()
        {
            return None;
        }
        if !(0..MINUTE).contains(&(now - answer.noted)) {
            answer.noted = now;
            self.note_use(&question, &answer)
                .ok()
                .filter(|noted| *noted)?;
        }
        let up_to_date = usize::try_from(answer.up_to_date).ok()?;
        let targets = answer.targets.into_iter();
        Some(Report {
            targets: targets
                .map(|(id, name, drv, tree)| TargetReport {
                    id,
                    name,
                    drv,
                    tree: Some(tree),
                })
                .collect(),
            idle: true,
            up_to_date,
            reused: up_to_date,
            substituted: 0,
            same: 0,
            spared: 0,
            packages: Vec::new(),
            outcome: Outcome::default(),
            state: None,
            seconds: started.elapsed().as_secs_f64(),
        })
    }

    /// Notes that the trees of an answer are used. Tells whether it could be done, with all of them here.
    fn note_use(&self, question: &Hash, answer: &Answer) -> Result<bool, ProjectError> {
        let store = open_store(self.store, Access::ChangeIfAllowed)?;
        let trees: Vec<TreeHash> = answer.targets.iter().map(|target| target.3).collect();
        if store.is_read_only() || !store.note_use(&trees)? {
            return Ok(false);
        }
        store.keep_answer(question, &codec::encode(&(FORMAT, answer)))?;
        Ok(true)
    }

    /// Keeps the report of a run that was asked this, if it found nothing to do and all that it looked at
    /// stayed as it was.
    pub fn keep(&self, project: &Project, report: &Report) -> Result<(), ProjectError> {
        let idle = report.idle && report.substituted == 0 && report.reused == report.up_to_date;
        let Some(state) = report.state.filter(|_| idle) else {
            return Ok(());
        };
        if project.store.is_read_only() {
            return Ok(());
        }
        let targets = report.targets.iter().map(|target| {
            let name = target.name.clone();
            Some((target.id.clone(), name, target.drv, target.tree?))
        });
        let Some(targets) = targets.collect::<Option<Vec<Kept>>>() else {
            return Ok(());
        };
        let Some(sights) = self.sights(project, &targets)? else {
            return Ok(());
        };
        let now = clock::now();
        let answer = Answer {
            at: now,
            noted: now,
            state,
            sights,
            up_to_date: report.up_to_date as u64,
            targets,
        };
        let bytes = codec::encode(&(FORMAT, answer));
        Ok(project.store.keep_answer(&self.hash(), &bytes)?)
    }

    /// All files that the answer depends on. `None` when they do not stay as they are.
    fn sights(&self, project: &Project, targets: &[Kept]) -> Result<Option<Sights>, ProjectError> {
        let trees: Vec<TreeHash> = targets.iter().map(|target| target.3).collect();
        let Some(packs) = project.store.files_of_trees(&trees)? else {
            return Ok(None);
        };
        let format = self.store.join("format");
        let mut sealed: Vec<&Path> = packs.iter().map(AsRef::as_ref).collect();
        sealed.push(self.program);
        sealed.push(&format);
        let (Some(mut sights), Some(files)) =
            (project.distribution.sights(), Sights::of_sealed(&sealed))
        else {
            return Ok(None);
        };
        sights.extend(files);
        Ok(Some(sights))
    }
}

#[cfg(test)]
mod tests;
