//! The targets that a kind of build of a mirror stands for.

use super::config::Mode;
use super::name::Place;
use super::quote::shown;
use crate::plan::mode::{self, Home};
use crate::plan::{Distribution, Lock, PlanError};

pub use crate::plan::mode::{RunTargets, SNAPSHOT};

/// Why a kind of build stands for nothing.
#[derive(Debug, thiserror::Error)]
pub enum ModeError {
    /// The specifications cannot be read.
    #[error(transparent)]
    Plan(PlanError),
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

/// The targets of a kind of build.
pub fn targets(
    mode: &Mode,
    place: &Place,
    distribution: &Distribution,
    lock: &Lock,
) -> Result<RunTargets, ModeError> {
    let home = Home {
        build: place.build.as_str(),
        arch: place.arch.as_str(),
        subarch: place.subarch.as_str(),
    };
    mode::targets(distribution, home, &mode.target, &mode.extras, lock).map_err(|error| match error
    {
        PlanError::Mode { kind, target, .. } => ModeError::Unknown {
            kind,
            target,
            place: place.clone(),
        },
        error => ModeError::Plan(error),
    })
}

#[cfg(test)]
mod tests {
    use mstore_lang::Definition;

    use super::super::name::Name;
    use super::*;
    use crate::plan::TargetId;

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
