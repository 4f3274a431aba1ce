//! Where the lines of scripts are written, for what shells say of them.

use std::collections::HashMap;
use std::path::Path;
use std::sync::{Mutex, PoisonError};

use crate::plan::{Graph, script_lines};
use crate::project::Project;
use crate::project::events::Steps;
use crate::schedule::{JobId, Observer, RunEvent};

/// The script as a step sees it.
const SCRIPT: &str = "/mstore/step";

/// Adds to lines that steps print where the line of the script is written that they are about.
pub(super) struct Places<'a> {
    project: &'a Project,
    graph: &'a Graph,
    /// Of each step that was asked about the place of each line, for people.
    known: Mutex<HashMap<String, Option<Vec<String>>>>,
}

impl<'a> Places<'a> {
    pub(super) fn new(project: &'a Project, graph: &'a Graph) -> Self {
        Places {
            project,
            graph,
            known: Mutex::default(),
        }
    }

    /// A line that the step called `name` printed, with the place that it is about. Nothing if it is about none, or if
    /// that cannot be told.
    pub(super) fn placed(&self, name: &str, line: &str) -> Option<String> {
        let number = script_line(line)?.checked_sub(1)?;
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let lines = known
            .entry(name.to_owned())
            .or_insert_with(|| self.lines(name));
        let place = lines.as_ref()?.get(number)?;
        Some(format!("{line} ({place})"))
    }

    fn lines(&self, name: &str) -> Option<Vec<String>> {
        let node = &self.graph.nodes()[self.graph.find(name)?];
        if node.target.is_port() || node.package.is_some() {
            return None;
        }
        let distribution = &self.project.distribution;
        let elements = distribution
            .elements(&node.target, &self.project.lock)
            .ok()?;
        let places = script_lines(&elements, node.name.step())?;
        let base = distribution.entry().parent().unwrap_or(Path::new(""));
        let shown = |place: crate::plan::Location| {
            let file = place.file.strip_prefix(base).unwrap_or(&place.file);
            format!("{}:{}", file.display(), place.line)
        };
        Some(places.into_iter().map(shown).collect())
    }
}

/// The number of the line of the script that a message of a shell or another interpreter is about: `/mstore/step: 6:`,
/// `/mstore/step: line 6:`, `File "/mstore/step", line 6`, `at /mstore/step line 6.`
fn script_line(message: &str) -> Option<usize> {
    let at = message.find(SCRIPT)? + SCRIPT.len();
    let between = |c: char| matches!(c, ':' | ' ' | ',' | '"' | '\'' | '(' | '[');
    let rest = message[at..].trim_start_matches(between);
    if rest.len() == message.len() - at {
        // It is the beginning of another name.
        return None;
    }
    let rest = rest
        .strip_prefix("line")
        .map_or(rest, |rest| rest.trim_start_matches(between));
    let digits = rest.len() - rest.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    rest[..digits].parse().ok()
}

/// Passes the events of a run over steps on, with places in lines that are about scripts.
pub(super) struct Placing<'a> {
    pub(super) steps: Steps<'a>,
    pub(super) places: &'a Places<'a>,
    pub(super) names: HashMap<JobId, String>,
}

impl Observer for Placing<'_> {
    fn event(&mut self, event: RunEvent<'_>) {
        match event {
            RunEvent::Started { job, name, .. } => {
                self.names.insert(job, name.to_owned());
            }
            RunEvent::Ended { job, .. } | RunEvent::Lost { job, .. } => {
                self.names.remove(&job);
            }
            RunEvent::Output { job, line } if line.contains(SCRIPT) => {
                let name = self.names.get(&job);
                if let Some(line) = name.and_then(|name| self.places.placed(name, line)) {
                    let line = &line;
                    return self.steps.event(RunEvent::Output { job, line });
                }
            }
            _ => {}
        }
        self.steps.event(event);
    }

    fn wants_every_line(&self) -> bool {
        self.steps.wants_every_line()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_of_interpreters_name_lines() {
        for (message, line) in [
            ("/mstore/step: 6: foo: not found", Some(6)),
            ("/mstore/step: line 16: foo: command not found", Some(16)),
            (
                "/mstore/step: 3: Syntax error: end of file unexpected",
                Some(3),
            ),
            ("/mstore/step:7: command not found: foo", Some(7)),
            ("  File \"/mstore/step\", line 12, in <module>", Some(12)),
            ("died at /mstore/step line 4.", Some(4)),
            ("sh: /mstore/step: No such file or directory", None),
            ("/mstore/steps: 6: foo", None),
            ("/mstore/step2: 6: foo", None),
            ("cp /mstore/step", None),
            ("/mstore/step: 99999999999999999999999: foo", None),
            ("make: *** 6", None),
        ] {
            assert_eq!(script_line(message), line, "{message}");
        }
    }
}
