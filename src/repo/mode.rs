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
            let word = |name: &str| match &elements {
                Some(elements) => elements.line(name).map_err(PlanError::from),
                None => Ok(None),
            };
            words = usual(
                kind,
                &Strategy {
                    from_stage1: word("strategy/seed")?.as_deref() == Some("stage1"),
                    without_stage2: word("strategy/stage2")?.as_deref() == Some("no"),
                    quick: index.contains(&id("stage3-quick")),
                },
            );
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

/// What the specifications say of the way to a stage3.
struct Strategy {
    /// A seed is a stage1.
    from_stage1: bool,
    /// A stage3 starts from a stage1.
    without_stage2: bool,
    /// There is a target that builds a stage3 without the stages before it.
    quick: bool,
}

/// The targets of a kind of build that the specifications do not list.
fn usual(kind: &str, strategy: &Strategy) -> Vec<String> {
    let targets: &[&str] = match kind {
        "full" => match (strategy.from_stage1, strategy.without_stage2) {
            (true, true) => &["stage3"],
            (true, false) => &["stage2", "stage3"],
            (false, true) => &["stage1", "stage3"],
            (false, false) => &["stage1", "stage2", "stage3"],
        },
        "freshen" => &["stage3-freshen"],
        "quick" if strategy.quick => &["stage3-quick"],
        "quick" => &["stage3"],
        "test" => &["stage3-test"],
        other => &[other],
    };
    targets.iter().map(|t| (*t).to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use mstore_lang::Definition;

    use super::super::name::Name;
    use super::*;

    /// Elements that a user gives.
    type Given = [(&'static str, &'static str)];

    /// The targets of `MODE+EXTRA+…` with the standard specifications, those of extras behind a `+`; or what is
    /// wrong.
    fn of(kind: &str, build: &str, given: &Given) -> String {
        let dir = tempfile::tempdir().unwrap();
        let given = given
            .iter()
            .map(|(name, text)| Definition::new(*name, *text));
        let specs = Distribution::open(None, dir.path(), given.collect()).unwrap();
        let place = Place {
            build: Name::new(build).unwrap(),
            arch: Name::new("x86-64bit").unwrap(),
            subarch: Name::new("corei7").unwrap(),
        };
        let mode = Mode::of_words([kind]).unwrap();
        let found = match targets(&mode, &place, &specs, &Lock::in_memory()) {
            Ok(found) => found,
            Err(error) => return error.to_string(),
        };
        let joined = |ids: &[TargetId]| {
            let names: Vec<&str> = ids.iter().map(|id| id.target.as_str()).collect();
            names.join(" ")
        };
        for id in found.all() {
            assert_eq!((id.build.as_str(), id.subarch.as_str()), (build, "corei7"));
        }
        match found.extras.as_slice() {
            [] => joined(&found.main),
            extras => format!("{} + {}", joined(&found.main), joined(extras)),
        }
    }

    #[test]
    fn kinds_of_builds_and_their_targets() {
        let from_stage1 = [("strategy/seed", "stage1")];
        let without_stage2 = [("strategy/stage2", "no")];
        let neither = [from_stage1[0], without_stage2[0]];
        let listed = [
            ("multi/targets/full", "stage1 stage3"),
            ("multi/targets/media", "livecd diskimage"),
        ];
        let table: &[(&str, &str, &Given, &str)] = &[
            ("full", "gentoo", &[], "stage1 stage2 stage3"),
            ("full", "funtoo-current", &[], "stage1 stage2 stage3"),
            ("full", "seedling", &[], "stage1 stage2 stage3"),
            ("full", "gentoo", &from_stage1, "stage2 stage3"),
            ("full", "gentoo", &without_stage2, "stage1 stage3"),
            ("full", "gentoo", &neither, "stage3"),
            ("freshen", "gentoo", &[], "stage3-freshen"),
            ("freshen", "gentoo", &from_stage1, "stage3-freshen"),
            ("freshen", "seedling", &[], "stage3-freshen"),
            ("quick", "gentoo", &[], "stage3-quick"),
            ("quick", "funtoo-current", &[], "stage3-quick"),
            ("quick", "seedling", &[], "stage3"),
            ("stage1", "gentoo", &[], "stage1"),
            ("stage4", "gentoo", &[], "stage4"),
            (
                "full+openvz",
                "gentoo",
                &[],
                "stage1 stage2 stage3 + openvz",
            ),
            (
                "full+lxd+openvz",
                "funtoo-current",
                &without_stage2,
                "stage1 stage3 + lxd openvz",
            ),
            (
                "freshen+openvz+stage4",
                "gentoo",
                &[],
                "stage3-freshen + openvz stage4",
            ),
            ("quick+livecd", "gentoo", &[], "stage3-quick + livecd"),
            (
                "full+full",
                "gentoo",
                &from_stage1,
                "stage2 stage3 + stage2 stage3",
            ),
            ("full", "gentoo", &listed, "stage1 stage3"),
            (
                "freshen+media",
                "gentoo",
                &listed,
                "stage3-freshen + livecd diskimage",
            ),
            (
                "full+openvz",
                "seedling",
                &[],
                "the kind of build `openvz` needs `openvz`, which the specifications do not have for \
                 seedling/x86-64bit/corei7",
            ),
            (
                "test",
                "gentoo",
                &[],
                "the kind of build `test` needs `stage3-test`, which the specifications do not have for \
                 gentoo/x86-64bit/corei7",
            ),
        ];
        for (kind, build, given, want) in table {
            assert_eq!(
                of(kind, build, given),
                *want,
                "{kind} of {build}, {given:?}"
            );
        }
    }
}
