//! What a run has to do: the subarch, the version and the targets, found out before anything is changed.

use std::path::PathBuf;

use mstore_lang::Definition;

use super::Args;
use super::settings::{Settings, Wanted};
use crate::cli::Failure;
use crate::cli::context::Context;
use crate::cli::site::{self, Site};
use crate::plan::TargetId;
use crate::project::Access;
use crate::repo::layout::Mirror;
use crate::repo::mode::{SNAPSHOT, targets};
use crate::repo::name::Place;
use crate::repo::publish::place;
use crate::repo::quote::shown;

/// What is to be built, and where it goes.
pub struct Job<'a> {
    pub context: &'a Context,
    pub args: &'a Args,
    pub settings: Settings,
    pub site: Site,
    /// A target of the subarch that is built.
    pub id: TargetId,
    pub place: Place,
    pub version: String,
    /// The targets, in their order.
    pub targets: Vec<TargetId>,
    /// Whether a snapshot comes first.
    pub snapshot: bool,
}

impl<'a> Job<'a> {
    /// Finds out what is to be built; changes nothing.
    pub fn new(
        context: &'a Context,
        args: &'a Args,
        settings: Settings,
        wanted: Wanted,
    ) -> Result<Job<'a>, Failure> {
        let version = settings.version()?;
        let distribution = settings.distribution(&[])?;
        let id = settings.id(distribution.index(), &wanted)?;
        let place = place(&id)?;
        let mirror = settings.mirror()?;
        let ownership = site::ownership(|name| settings.element(name))?;
        let site = Site::new(context, mirror, ownership)?;
        let more = settings.of_subarch(&site.mirror, &id)?;
        let access = Access::ReadIfPresent;
        let project = context.open(access, settings.distribution(&more)?)?;
        let index = project.distribution.index();
        let (targets, snapshot) = match wanted {
            Wanted::Multi(mode) => {
                let all = targets(&mode, &place, &project.distribution, &project.lock)?;
                (all.all(), all.snapshot)
            }
            Wanted::Single(target) if target == SNAPSHOT => (Vec::new(), true),
            Wanted::Single(target) => {
                let id = TargetId {
                    target,
                    ..id.clone()
                };
                if !index.contains(&id) {
                    // Says which part is not known, and what is near; a pattern is not a target either.
                    project.distribution.expand(&[id.to_string()])?;
                    return Err(
                        Failure::usage(format!("`{}` is not a target", shown(&id.target)))
                            .hint("give several with `multi: yes` and `multi/mode: full`"),
                    );
                }
                (vec![id], false)
            }
        };
        let id = targets.last().cloned().unwrap_or(id);
        Ok(Job {
            context,
            args,
            settings,
            site,
            id,
            place,
            version,
            targets,
            snapshot,
        })
    }

    /// The mirror.
    pub fn mirror(&self) -> &Mirror {
        &self.site.mirror
    }

    /// The definitions that hold now: the files of control may have changed since the last target.
    pub fn more(&self) -> Result<Vec<Definition>, Failure> {
        self.settings.of_subarch(self.mirror(), &self.id)
    }

    /// The short names of the targets.
    pub fn names(&self) -> Vec<String> {
        self.targets.iter().map(|id| id.target.clone()).collect()
    }

    /// The path of the subarch.
    pub fn path(&self) -> PathBuf {
        self.mirror().path(&self.place)
    }

    /// Tells something that is no error.
    pub fn tell(&self, line: &str) {
        if !self.args.quiet {
            tell!("{line}");
        }
    }
}
