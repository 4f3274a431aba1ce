//! What the driver knows of running jobs beside their state: since when they run, and what they printed.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::build::pause::Stopwatch;
use crate::schedule::engine::{JobId, Run};
use crate::schedule::executor::Pulse;
use crate::schedule::progress::SILENT;

/// How often running jobs are looked at.
const LOOK: Duration = Duration::from_secs(1);

/// The running jobs.
#[derive(Default)]
pub(super) struct Pulses {
    going: BTreeMap<JobId, Going>,
    next_look: Option<Instant>,
}

/// A running job.
pub(super) struct Going {
    /// Its time.
    pub clock: Stopwatch,
    pulse: Arc<Pulse>,
    /// What it had printed when it was looked at last.
    bytes: u64,
    /// The time since it was last seen to have printed something.
    heard: Stopwatch,
    /// Whether its silence was told.
    told: bool,
}

impl Going {
    /// Bytes that it printed.
    pub fn bytes(&self) -> u64 {
        self.pulse.bytes()
    }

    /// Seconds since it was last seen to have printed something.
    pub fn silent(&self) -> f64 {
        self.heard.elapsed().as_secs_f64()
    }

    /// How many seconds it may be silent.
    pub fn most_silence(&self) -> Option<f64> {
        self.pulse.silence().map(|most| most.as_secs_f64())
    }

    fn look(&mut self) {
        let bytes = self.pulse.bytes();
        if bytes != self.bytes {
            self.bytes = bytes;
            self.heard = Stopwatch::start();
        }
    }
}

/// A job that prints nothing, or that goes on after it was told to print nothing.
pub(super) struct Silence {
    pub job: JobId,
    pub seconds: f64,
    pub most: Option<f64>,
}

impl Pulses {
    /// A job was handed over.
    pub fn begin(&mut self, run: Run, pulse: Arc<Pulse>) {
        let clock = Stopwatch::start();
        let going = Going {
            clock,
            bytes: pulse.bytes(),
            pulse,
            heard: clock,
            told: false,
        };
        self.going.insert(run.job, going);
    }

    /// A job does not run any more.
    pub fn end(&mut self, job: JobId) {
        self.going.remove(&job);
    }

    /// A running job.
    pub fn get(&self, job: JobId) -> Option<&Going> {
        self.going.get(&job)
    }

    /// Looks at all jobs, unless that was done just now. Gives those that are silent, and those that were.
    pub fn silences(&mut self) -> Vec<Silence> {
        let now = Instant::now();
        if self.going.is_empty() || self.next_look.is_some_and(|next| now < next) {
            return Vec::new();
        }
        self.next_look = Some(now + LOOK);
        let mut found = Vec::new();
        for (&job, going) in &mut self.going {
            going.look();
            let silent = going.silent();
            let (seconds, most) = match silent >= SILENT {
                true => (silent, going.most_silence()),
                false if going.told => (0.0, None),
                false => continue,
            };
            going.told = seconds > 0.0;
            found.push(Silence { job, seconds, most });
        }
        found
    }
}
