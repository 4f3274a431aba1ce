//! A run under way: what each of its targets is built with.

use std::collections::BTreeMap;
use std::path::PathBuf;

use mstore_store::{Cancel, TreeHash};

use super::job::Job;
use crate::build::userns::Entered;
use crate::cli::report::{broke_off, processors, show_failed};
use crate::cli::watch::Watch;
use crate::cli::{Failure, args};
use crate::plan::TargetId;
use crate::project::realise::{Report, Run, Until, realise};
use crate::project::{Caches, Events, Project};
use crate::repo::run::{Origin, Sources};
use crate::schedule::Leave;
use crate::share::Trust;
use crate::share::fetch::FetchOptions;

/// A run under way.
pub struct Under<'a> {
    pub job: &'a Job<'a>,
    pub project: Project,
    pub cancel: &'a Cancel,
    pub watch: &'a Watch,
    /// Trees of archives that were published, by their paths in the mirror.
    pub made: BTreeMap<PathBuf, TreeHash>,
    pub entered: Entered,
    pub caches: &'a Caches,
    pub trust: &'a Trust,
    pub outside: &'a FetchOptions,
    /// Whether something was built.
    pub busy: bool,
}

impl Under<'_> {
    /// Brings a target up to date. A run that broke off is an error; failed steps are part of the report.
    pub fn realise(&mut self, id: &TargetId, events: &dyn Events) -> Result<Report, Failure> {
        let config = &self.job.site.config;
        let run = Run {
            farm: None,
            site: None,
            jobs: self
                .job
                .args
                .jobs
                .map_or_else(processors, |n| n.get().into()),
            processors: processors(),
            limits: args::limits(config),
            keep_going: false,
            until: &Until::default(),
            rebuild: false,
            read_inputs: self.job.site.key().is_some() && config.sign_verify,
            caches: self.caches,
            trust: self.trust,
            outside: self.outside,
            sign: self.job.site.key(),
            cancel: self.cancel,
            leave: &Leave::default(),
            events,
            random: None,
            books: None,
        };
        let entered = Ok(self.entered.clone());
        let recipes = self.project.recipes(std::slice::from_ref(id))?;
        let report = realise(&mut self.project, recipes, &run, entered)?;
        self.busy |= !report.idle;
        show_failed(&report.outcome);
        broke_off(&report)?;
        Ok(report)
    }

    /// Lets a target start from what the mirror has.
    pub fn sources_settle(
        &mut self,
        id: &TargetId,
        events: &dyn Events,
    ) -> Result<Origin, Failure> {
        let sources = Sources {
            mirror: self.job.mirror(),
            version: &self.job.version,
            made: &self.made,
            cancel: self.cancel,
        };
        Ok(sources.settle(&mut self.project, id, events)?)
    }
}
