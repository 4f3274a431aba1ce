//! What is said of jobs that are silent.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::dpb::display::{Shown, frozen};

/// What is told of jobs whose silence has doubled since it was told last, from a minute on.
#[derive(Debug, Default)]
pub struct Silences(BTreeMap<String, Duration>);

impl Silences {
    /// Takes in how long running jobs have been silent; gives a line for each that is to be told of.
    pub fn told(&mut self, jobs: &[Shown]) -> Vec<String> {
        self.0
            .retain(|path, _| jobs.iter().any(|job| job.path == *path));
        let mut lines = Vec::new();
        for job in jobs {
            let last = self.0.get(&job.path).copied().unwrap_or_default();
            if job.silent < last {
                // It spoke meanwhile.
                self.0.remove(&job.path);
            } else if job.silent >= (last * 2).max(Duration::from_secs(60)) {
                self.0.insert(job.path.clone(), job.silent);
                lines.extend(
                    frozen(job.silent).map(|text| format!("{}({}) {text}", job.path, job.task)),
                );
            }
        }
        lines
    }
}
