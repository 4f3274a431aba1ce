//! Shows how a run is getting on: live lines on a terminal, plain lines elsewhere.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};
use mstore_store::transfer::Progress;

use super::output::{self, Style};
use crate::build::step::Note;
use crate::schedule::{HostNews, JobEnd, JobId, Observer, RunEvent, silence};

/// What the display knows about a node that is being built.
struct Running {
    bar: ProgressBar,
    name: String,
    started: Instant,
    expected: Option<f64>,
    /// What it printed last.
    line: String,
    /// How long it prints nothing, in words, if it is worth telling.
    silent: Option<String>,
    /// Seconds of silence that were told in a line of their own.
    told: f64,
}

impl Running {
    /// How far it is, and how long it goes on, as far as earlier builds tell.
    fn share(&self) -> Option<String> {
        let expected = self.expected.filter(|&e| e > 0.5)?;
        let past = self.started.elapsed().as_secs_f64();
        let share = (past / expected * 100.0).min(99.0);
        Some(match expected - past {
            left if left >= 1.0 => format!("{share:.0}%, {} to go: ", output::duration(left)),
            _ => format!("{share:.0}%: "),
        })
    }

    fn show(&self) {
        let silent = self.silent.as_ref();
        let silent = silent.map(|silent| format!("silent for {silent} "));
        self.bar.set_message(format!(
            "{} {}{}{}",
            output::escaped(&self.name),
            self.share().unwrap_or_default(),
            silent.unwrap_or_default(),
            self.line
        ));
    }
}

/// Seconds of silence that are told in a line of its own where nothing is drawn; then twice as many, and so on.
const SILENCE_TOLD: f64 = 60.0;

/// Prints events to stderr.
pub struct Display {
    style: Style,
    bars: MultiProgress,
    summary: ProgressBar,
    live: bool,
    quiet: bool,
    show_output: bool,
    running: BTreeMap<JobId, Running>,
    total: usize,
    built: usize,
    reused: usize,
    failed: usize,
    started: Instant,
    /// How many seconds the run goes on, and when that was told.
    expected: Option<(Instant, f64)>,
}

impl Display {
    /// A display for this process's stderr; `quiet` leaves only errors, `show_output` adds what steps print.
    pub fn new(quiet: bool, show_output: bool) -> Self {
        let live = !quiet && output::stderr_is_live();
        let target = if live {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        // Some terminals are found out to be none only there.
        let live = live && !target.is_hidden();
        let bars = MultiProgress::with_draw_target(target);
        let summary = bars.add(ProgressBar::new_spinner());
        summary.set_style(template("{spinner} {wide_msg}"));
        Display {
            style: Style::stderr(),
            bars,
            summary,
            live,
            quiet,
            show_output,
            running: BTreeMap::new(),
            total: 0,
            built: 0,
            reused: 0,
            failed: 0,
            started: Instant::now(),
            expected: None,
        }
    }

    /// Prints a line above the live part.
    pub fn say(&self, text: &str) {
        if self.quiet {
        } else if self.live {
            // The terminal going away is no reason to stop a build.
            let _ = self.bars.println(output::calm(text));
        } else {
            tell!("{text}");
        }
    }

    /// Removes the live part.
    pub fn clear(&self) {
        for running in self.running.values() {
            running.bar.finish_and_clear();
        }
        self.summary.finish_and_clear();
    }

    /// A job printed nothing for so long.
    fn silent(&mut self, job: JobId, name: &str, seconds: f64, most: Option<f64>) {
        let Some(running) = self.running.get_mut(&job) else {
            return;
        };
        let most = most.map(|most| format!(", ended at {most:.0} s"));
        running.silent = silence(seconds).map(|told| match &most {
            Some(most) => format!("{told}{most}"),
            None => told,
        });
        running.show();
        if seconds == 0.0 {
            running.told = SILENCE_TOLD / 2.0;
        } else if !self.live && seconds >= running.told * 2.0 {
            running.told = seconds;
            let told = silence(seconds).unwrap_or_default();
            self.say(&format!(
                "{name} is silent for {told}{}",
                most.unwrap_or_default()
            ));
        }
    }

    fn refresh(&self) {
        let left = self
            .total
            .saturating_sub(self.built + self.reused + self.failed);
        let mut text = format!(
            "{} built, {} reused, {left} left, {}",
            self.built,
            self.reused,
            output::duration(self.started.elapsed().as_secs_f64())
        );
        if let Some((when, left)) = self.expected {
            let rest = left - when.elapsed().as_secs_f64();
            if rest > 1.0 {
                text.push_str(&format!(", about {} to go", output::duration(rest)));
            }
        }
        self.summary.set_message(text);
    }
}

/// Results that are named of those that were built on a folder.
const NAMED: usize = 6;

/// What is said of a note.
pub fn note_text(note: &Note) -> String {
    let style = Style::stderr();
    let (found, built_on) = match note {
        Note::Harmed { found, built_on } => (found, built_on),
        Note::Process { pid } => return format!("process {pid}"),
        Note::Used { memory } => return format!("up to {} of memory", output::size(*memory)),
        Note::InMemory { bytes } => return format!("in {} of memory", output::size(*bytes)),
        Note::MemoryFull { step, bytes } => {
            return format!(
                "{} {step} did not fit into {} of memory, and is built again on disk",
                style.note("note:"),
                output::size(*bytes)
            );
        }
        Note::Watched { why } => {
            return format!(
                "{} limits of memory and processes are watched four times a second, and not kept by the kernel: {why}; \
                 see `mstore doctor`",
                style.note("note:")
            );
        }
        Note::Queued {
            step,
            engine,
            seconds,
            properties,
        } => {
            return format!(
                "{} {step} has been in the queue of {engine} for {seconds} s: is there a worker with {properties}?",
                style.note("note:")
            );
        }
        Note::Waiting { step, claimant } => {
            let pid = claimant.pid.unwrap_or_default();
            let called = match claimant.name == *step {
                true => String::new(),
                false => format!(" as {}", claimant.name),
            };
            return format!(
                "{} waiting for {step}: process {pid} builds it{called}",
                style.note("note:")
            );
        }
    };
    let mut text = format!(
        "{} {}: somebody wrote to this folder of the store; it is made anew",
        style.note("note:"),
        found
    );
    if let Some(first) = built_on.first() {
        let more = match built_on.len().saturating_sub(NAMED) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let names = &built_on[..built_on.len().min(NAMED)];
        text.push_str(&format!(
            "\n{} built on it here before, and perhaps wrong: {}{more}\n{} `mstore forget {first}` forgets such a result and what was built on it",
            style.note("note:"),
            names.join(", "),
            style.note("hint:"),
        ));
    }
    text
}

fn template(text: &str) -> ProgressStyle {
    // A fixed template; were it malformed, the default style would still do.
    ProgressStyle::with_template(text).unwrap_or_else(|_| ProgressStyle::default_spinner())
}

impl Observer for Display {
    fn event(&mut self, event: RunEvent<'_>) {
        match event {
            RunEvent::Planned { jobs, expected } => {
                self.total = jobs;
                self.expected = expected.map(|left| (Instant::now(), left));
                self.summary.enable_steady_tick(Duration::from_millis(100));
            }
            RunEvent::Expected { left } => self.expected = Some((Instant::now(), left)),
            RunEvent::Started {
                job,
                name,
                expected,
                ..
            } => {
                let bar = self
                    .bars
                    .insert_before(&self.summary, ProgressBar::new_spinner());
                // Cut to the width of the terminal.
                bar.set_style(template("{spinner} {elapsed} {wide_msg}"));
                bar.set_message(output::escaped(name));
                bar.enable_steady_tick(Duration::from_millis(100));
                if !self.live {
                    self.say(&format!("building {name}"));
                }
                self.running.insert(
                    job,
                    Running {
                        bar,
                        name: name.to_owned(),
                        started: Instant::now(),
                        expected,
                        line: String::new(),
                        silent: None,
                        told: SILENCE_TOLD / 2.0,
                    },
                );
            }
            RunEvent::Output { job, line } => {
                if self.show_output
                    && let Some(running) = self.running.get(&job)
                {
                    self.say(&format!("{}> {line}", running.name));
                }
                if let Some(running) = self.running.get_mut(&job) {
                    let text: String = line
                        .chars()
                        .filter(|c| !c.is_control())
                        .take(LINE)
                        .collect();
                    running.line = output::escaped(&text);
                    running.silent = None;
                    running.show();
                }
            }
            RunEvent::Silent {
                job,
                name,
                seconds,
                most,
            } => self.silent(job, name, seconds, most),
            // Said though the rest is quiet: it is about what may be wrong.
            RunEvent::Noted {
                note: note @ Note::Harmed { .. },
                ..
            } => match self.live {
                true => self.say(&note_text(note)),
                false => tell!("{}", note_text(note)),
            },
            RunEvent::Noted {
                note: Note::Process { .. } | Note::InMemory { .. } | Note::Used { .. },
                ..
            } => {}
            RunEvent::Noted { note, .. } => self.say(&note_text(note)),
            RunEvent::Ended { job, end } => {
                let name = self.running.remove(&job).map(|running| {
                    running.bar.finish_and_clear();
                    running.name
                });
                let name = name.unwrap_or_default();
                match end {
                    JobEnd::Built { seconds, changed } => {
                        self.built += 1;
                        self.say(&format!(
                            "{} {name} in {}, {changed} entries changed",
                            self.style.good("built"),
                            output::duration(seconds)
                        ));
                    }
                    JobEnd::Reused => self.reused += 1,
                    JobEnd::Failed { .. } => {
                        self.failed += 1;
                        self.say(&format!("{} {name}", self.style.error("failed")));
                    }
                    JobEnd::Interrupted { seconds } => {
                        self.say(&format!(
                            "stopped {name} after {}",
                            output::duration(seconds)
                        ));
                    }
                }
            }
            RunEvent::Lost { job, name, reason } => {
                if let Some(running) = self.running.remove(&job) {
                    running.bar.finish_and_clear();
                }
                self.say(&format!("{name} was lost and will run again: {reason}"));
            }
            RunEvent::Host { name, news } => match news {
                HostNews::Named(_) => {}
                HostNews::Up(_) => self.say(&format!("host {name} is ready")),
                HostNews::Stopped => self.say(&format!("host {name} takes no more jobs")),
                HostNews::Down(reason) => self.say(&format!("host {name} is lost: {reason}")),
            },
            RunEvent::Leaving { running: 0 } => self.say("nothing more starts"),
            RunEvent::Leaving { running } => self.say(&format!(
                "nothing more starts; {running} {} still built; press Ctrl-C again to end what runs",
                if running == 1 { "step is" } else { "steps are" },
            )),
            RunEvent::Idle { jobs, hosts } => self.say(&waiting(jobs, hosts)),
            // Told about at the end, in one line: there may be hundreds.
            RunEvent::Skipped { .. } | RunEvent::Refused { .. } => self.failed += 1,
        }
        self.refresh();
    }
}

/// Hosts that are named at a time.
const MOST_HOSTS: usize = 8;

/// Says what steps wait for that could run.
fn waiting(jobs: usize, hosts: &[(String, Option<String>)]) -> String {
    let mut text = format!(
        "nothing runs: {jobs} {} for a host; mend one, or end the run with Ctrl-C",
        if jobs == 1 {
            "step waits"
        } else {
            "steps wait"
        },
    );
    for (name, why) in hosts.iter().take(MOST_HOSTS) {
        let why = why
            .as_deref()
            .unwrap_or("it is not there, or runs none of them");
        text.push_str(&format!("\n  {name}: {why}"));
    }
    if hosts.len() > MOST_HOSTS {
        text.push_str(&format!("\n  and {} more", hosts.len() - MOST_HOSTS));
    }
    text
}

/// Characters of a line that are kept for the live part, more than terminals are wide.
const LINE: usize = 400;

/// Time between plain progress lines where there is no terminal.
const LINE_EVERY: Duration = Duration::from_secs(10);

/// Shows how far a transfer is.
pub struct Bar {
    bar: ProgressBar,
    live: bool,
    quiet: bool,
    state: Mutex<(Instant, Instant)>,
}

impl Bar {
    /// A bar on this process's stderr.
    pub fn new(quiet: bool) -> Bar {
        let live = !quiet && output::stderr_is_live();
        let target = if live {
            ProgressDrawTarget::stderr_with_hz(10)
        } else {
            ProgressDrawTarget::hidden()
        };
        let bar = ProgressBar::with_draw_target(Some(0), target);
        let style = ProgressStyle::with_template(
            "{spinner} {wide_msg} [{bar:20}] {bytes} of {total_bytes}, {eta} to go",
        );
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        let now = Instant::now();
        Bar {
            bar,
            live,
            quiet,
            state: Mutex::new((now, now)),
        }
    }

    /// Takes in how far it is.
    pub fn update(&self, what: &str, p: &Progress) {
        if self.quiet {
            return;
        }
        let mut state = self.state.lock().unwrap_or_else(|e| e.into_inner());
        let (started, last) = *state;
        let every = if self.live {
            Duration::from_millis(100)
        } else {
            LINE_EVERY
        };
        if last.elapsed() < every {
            return;
        }
        state.1 = Instant::now();
        drop(state);
        let seconds = started.elapsed().as_secs_f64().max(0.001);
        let rate = output::size((p.bytes as f64 / seconds) as u64);
        let text = format!(
            "{what}: {} of {} objects, {} ({rate}/s)",
            p.objects,
            p.objects_wanted,
            output::size(p.bytes)
        );
        if self.live {
            self.bar.set_length(p.content_wanted);
            self.bar.set_position(p.content);
            self.bar.set_message(text);
        } else {
            tell!("{text}");
        }
    }

    /// Shows in place of a bar how it goes just now, on a terminal.
    pub fn moment(&self, text: &str) {
        if self.live {
            self.bar.set_style(template("{spinner} {wide_msg}"));
            self.bar.set_message(text.to_owned());
            self.bar.tick();
        }
    }

    /// Prints a line above the bar.
    pub fn say(&self, text: &str) {
        if self.live {
            self.bar.suspend(|| tell!("{text}"));
        } else {
            tell!("{text}");
        }
    }

    /// Removes it.
    pub fn clear(&self) {
        self.bar.finish_and_clear();
    }
}
