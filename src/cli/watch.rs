//! Tells people what happens in a project: live on a terminal, in plain lines elsewhere.

use std::sync::{Mutex, PoisonError};

use super::output::{self, Style, plural};
use super::progress::{Bar, Display, note_text};
use crate::drv::StepName;
use crate::project::events::{Amount, Event, Events, Transfer, Verdict};
use crate::schedule::Observer as _;

/// Renders events on stderr.
pub struct Watch {
    quiet: bool,
    show_output: bool,
    bar: Bar,
    /// There while steps are built.
    display: Mutex<Option<Display>>,
}

impl Watch {
    /// `quiet` leaves only what people must know.
    pub fn new(quiet: bool) -> Watch {
        Self::with_bar(quiet, quiet)
    }

    /// The same, with bars left out apart: data on standard output speaks for itself.
    pub fn with_bar(quiet: bool, no_bar: bool) -> Watch {
        Watch {
            quiet,
            show_output: false,
            bar: Bar::new(no_bar),
            display: Mutex::new(None),
        }
    }

    /// The same, with every line that steps print, behind the name of its step.
    pub fn showing_output(self, show_output: bool) -> Watch {
        Watch {
            show_output,
            ..self
        }
    }

    fn with_display(&self, work: impl FnOnce(&mut Option<Display>)) {
        work(&mut self.display.lock().unwrap_or_else(PoisonError::into_inner));
    }

    fn build_started(&self, amount: Amount) {
        let display = Display::new(self.quiet, self.show_output);
        display.say(&format!(
            "{} {} to build{}, {} up to date",
            amount.build,
            plural(amount.build, "step"),
            match amount.maybe {
                0 => String::new(),
                n => format!(", {n} more if their inputs change"),
            },
            amount.up_to_date
        ));
        self.with_display(|place| *place = Some(display));
    }
}

fn checked(step: &StepName, verdict: &Verdict<'_>) {
    let style = Style::stderr();
    match verdict {
        Verdict::Same => tell!("{} {step}", style.good("same")),
        Verdict::Differs {
            first,
            second,
            changes,
            details,
        } => {
            tell!(
                "{} {step}: {first} before, {second} now",
                style.error("differs")
            );
            for (path, details) in changes.paths.iter().zip(*details) {
                tell!("  {path}");
                for line in details {
                    tell!("      {line}");
                }
            }
            if changes.more {
                tell!("  and more");
            }
        }
        Verdict::Failed(how) => tell!("{} {step}: {how}", style.error("failed")),
    }
}

impl Events for Watch {
    fn wants_every_line(&self) -> bool {
        self.show_output
    }

    fn event(&self, event: Event<'_>) {
        match event {
            Event::CachesUntrusted => tell!(
                "caches are not used: no signing key is trusted here (trust/keys of the configuration file)"
            ),
            Event::Cache(notice) => self.bar.say(&notice.to_string()),
            Event::Progress(transfer, progress) => {
                let what = match transfer {
                    Transfer::Fetch => "fetching",
                    Transfer::Copy => "copying",
                };
                self.bar.update(what, progress);
            }
            Event::TransferEnded => self.bar.clear(),
            Event::BuildStarted(amount) => self.build_started(amount),
            Event::WalkStarted { ports } => {
                let display = Display::new(self.quiet, self.show_output);
                display.say(&format!("walking over {ports} {}", plural(ports, "port")));
                self.with_display(|place| *place = Some(display));
            }
            Event::Step(event) => self.with_display(|display| {
                if let Some(display) = display {
                    display.event(event);
                }
            }),
            Event::BuildEnded => self.with_display(|display| {
                if let Some(display) = display.take() {
                    display.clear();
                }
            }),
            Event::Checked { step, verdict } => checked(step, &verdict),
            Event::Noted(note) => self.bar.say(&note_text(note)),
            Event::HistoryUnread(error) => self.bar.say(&format!(
                "{} how long steps take is not known: {error}",
                Style::stderr().note("warning:")
            )),
            Event::HistoryLeftOut { runs } => self.bar.say(&format!(
                "{} {runs} {} of the history left out: their times or hosts make no sense",
                Style::stderr().note("warning:"),
                plural(runs, "run")
            )),
            Event::Undeclared(told) => self
                .bar
                .say(&format!("{} {told}", Style::stderr().note("note:"))),
            _ if self.quiet => {}
            Event::Fetching {
                line,
                passing: true,
            } => self.bar.moment(line),
            Event::Fetching { line, .. } => self.bar.say(line),
            Event::CaptureStarted => tell!("capturing a seed from this machine"),
            Event::LeftOut { what, why } => tell!("without {what}: {why}"),
            Event::Captured {
                entries,
                bytes,
                seconds,
            } => tell!(
                "captured {entries} entries, {} in {}",
                output::size(bytes),
                output::duration(seconds)
            ),
            Event::Unattended(error) => self.with_display(|display| {
                let note = Style::stderr().note("note:");
                let text = format!("{note} `mstore top` cannot look at this run: {error}");
                if let Some(display) = display {
                    display.say(&text);
                }
            }),
            Event::Provided { kind, name, tree } => tell!("{kind} {name} is {tree}"),
            Event::FetchStarted { trees, bytes } => {
                let most = bytes.map(|bytes| format!(", at most {}", output::size(bytes)));
                tell!(
                    "fetching {trees} {}{}",
                    plural(trees, "tree"),
                    most.unwrap_or_default()
                );
            }
        }
    }
}
