//! The targets that a kind of build stands for: `full` is stage1, stage2 and stage3.

use super::config::Mode;
use super::name::Place;
use super::quote::shown;
use crate::plan::{Distribution, Lock, PlanError, TargetId};

/// The targets of a run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunTargets {
    /// Those of the mode, in the order in which they are built on each other.
    pub main: Vec<TargetId>,
    /// Those of the extras.
    pub extras: Vec<TargetId>,
}

impl RunTargets {
    /// All of them, each once.
    pub fn all(&self) -> Vec<TargetId> {
        let mut all = self.main.clone();
        all.extend(
            self.extras
                .iter()
                .filter(|id| !self.main.contains(id))
                .cloned(),
        );
        all
    }
}

/// Why a kind of build stands for nothing.
#[derive(Debug, thiserror::Error)]
pub enum ModeError {
    /// The specifications cannot be read.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// They do not have a target.
    #[error(
        "the kind of build `{}` needs `{}`, which the specifications do not have for {}",
        shown(kind), shown(target), shown(place.relative())
    )]
    Unknown {
        /// The mode or extra.
        kind: String,
        /// The target.
        target: String,
        /// The subarch.
        place: Place,
    },
}

/// The targets of a kind of build. The specifications may say so: `multi/targets/MODE` is a list of targets.
pub fn targets(
    mode: &Mode,
    place: &Place,
    distribution: &Distribution,
    lock: &Lock,
) -> Result<RunTargets, ModeError> {
    let index = distribution.index();
    let id = |target: &str| TargetId {
        build: place.build.to_string(),
        arch_desc: place.arch.to_string(),
        subarch: place.subarch.to_string(),
        target: target.to_owned(),
    };
    let asked = index
        .targets
        .iter()
        .map(|t| id(t))
        .find(|id| index.contains(id));
    let elements = match &asked {
        Some(id) => Some(distribution.elements(id, lock)?),
        None => None,
    };
    let listed = |kind: &str| -> Result<Vec<TargetId>, ModeError> {
        let mut words = match &elements {
            Some(elements) => elements
                .words(&format!("multi/targets/{kind}"))
                .map_err(PlanError::from)?,
            None => Vec::new(),
        };
        words.retain(|word| word != "snapshot");
        if words.is_empty() {
            let from_stage1 = match &elements {
                Some(elements) => {
                    let seed = elements.line("strategy/seed").map_err(PlanError::from)?;
                    seed.as_deref() == Some("stage1")
                }
                None => false,
            };
            words = usual(kind, from_stage1);
            // Distributions may do without some of the stages before the last.
            let last = words.len().saturating_sub(1);
            let mut at = 0..;
            words.retain(|word| at.next() == Some(last) || index.contains(&id(word)));
        }
        words
            .iter()
            .map(|word| match index.contains(&id(word)) {
                true => Ok(id(word)),
                false => Err(ModeError::Unknown {
                    kind: kind.to_owned(),
                    target: word.clone(),
                    place: place.clone(),
                }),
            })
            .collect()
    };
    let main = listed(&mode.target)?;
    let mut extras = Vec::new();
    for extra in &mode.extras {
        extras.extend(listed(extra)?);
    }
    Ok(RunTargets { main, extras })
}

/// The targets of a kind of build that the specifications say nothing of.
fn usual(kind: &str, from_stage1: bool) -> Vec<String> {
    let targets: &[&str] = match kind {
        "full" if from_stage1 => &["stage2", "stage3"],
        "full" => &["stage1", "stage2", "stage3"],
        "freshen" => &["stage3-freshen"],
        "quick" => &["stage3"],
        "test" => &["stage3-test"],
        other => &[other],
    };
    targets.iter().map(|t| (*t).to_owned()).collect()
}
