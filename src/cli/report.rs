//! What commands that bring targets up to date share: how they build, and what they tell of failures.

use super::output::Style;
use super::{Failure, blame};
use crate::drv::StepName;
use crate::project::realise::Report;
use crate::schedule::realise::{Failed, Outcome};

/// Steps that were not tried and are named.
const SKIPPED_SHOWN: usize = 6;

/// How many processors there are.
pub fn processors() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// A failed step, in the form that failures have everywhere.
pub fn failed_json(failed: &Failed) -> serde_json::Value {
    let failure = &failed.failure;
    serde_json::json!({
        "class": "build",
        "reason": failure.how,
        "step": failed.name.to_string(),
        "log": failure.log.display().to_string(),
        "hints": [],
    })
}

/// A step that was stopped from outside, in the same form.
pub fn put_by_json(step: &StepName) -> serde_json::Value {
    serde_json::json!({
        "class": "interrupted",
        "reason": "it was stopped from outside",
        "step": step.to_string(),
        "log": null,
        "hints": [],
    })
}

/// Tells about failed steps: how, the last lines, and what can be done next.
pub fn show_failed(outcome: &Outcome) {
    let style = Style::stderr();
    for failed in &outcome.failed {
        let failure = &failed.failure;
        tell!(
            "{} {} failed: {}",
            style.error("error:"),
            failed.name,
            failure.how
        );
        if !failure.tail.is_empty() {
            tell!("last lines of {}:", failure.log.display());
            for line in &failure.tail {
                let clean: String = line
                    .chars()
                    .filter(|c| !c.is_control() || *c == '\t')
                    .collect();
                tell!("  {clean}");
            }
        }
        let target = failed.name.target();
        tell!(
            "{} `mstore log {target}` shows the whole log, `mstore shell {target}` enters the root file system as the step left it",
            style.note("hint:")
        );
    }
    // After a failure of the machine or a signal it goes without saying.
    if !outcome.failed.is_empty() && !outcome.skipped.is_empty() {
        let (first, rest) = outcome
            .skipped
            .split_at(outcome.skipped.len().min(SKIPPED_SHOWN));
        let more = match rest.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        tell!("not tried because of this: {}{more}", first.join(" "));
    }
}

/// Ends a run that broke off: neither the build nor its failure is written down.
pub fn broke_off(report: &Report) -> Result<(), Failure> {
    let outcome = &report.outcome;
    if outcome.cancelled {
        return Err(Failure::interrupted().hint("what is finished is kept; run it again to go on"));
    }
    if let Some((step, error)) = &outcome.infrastructure {
        return Err(blame::run(step.as_ref(), error));
    }
    if let Some((step, flaw)) = outcome.refused.first() {
        return Err(Failure::usage(format!("{step} cannot be built: {flaw}")));
    }
    Ok(())
}
