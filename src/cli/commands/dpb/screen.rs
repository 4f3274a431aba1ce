//! The display of dpb: on a terminal the running jobs and the counters, drawn again and again; elsewhere plain lines.

use std::io::{self, Write};
use std::time::{Duration, Instant};

use rustix::termios::tcgetwinsize;

use crate::build::pause::Stopwatch;
use crate::cli::output;
use crate::dpb::desk::Silences;
use crate::dpb::display::{cut, error_list, summary};
use crate::dpb::{Board, Screen};
use crate::schedule::HostNews;

/// Time between two drawings, at least.
const SHORTEST: Duration = Duration::from_millis(250);
/// Size of a terminal that does not tell.
const USUAL: (usize, usize) = (80, 24);

/// How it is shown.
enum Form {
    /// Drawn again and again.
    Live,
    /// Lines about hosts, errors and silence.
    Plain {
        /// The errors that were told last.
        errors: Vec<(String, Option<String>)>,
        silences: Silences,
    },
}

/// The display on stderr.
pub struct Display {
    form: Form,
    /// Whether only what is really important is told.
    terse: bool,
    /// How often it is drawn though nothing changed.
    every: Duration,
    drawn_at: Option<Instant>,
    /// The lines that stand there.
    standing: Vec<usize>,
    dirty: bool,
    /// Two clocks of which one stands still while this process is stopped.
    clocks: (Instant, Stopwatch),
    asleep: Duration,
}

impl Display {
    /// A display; `terse` is `-x`. It is drawn every `every` at least.
    pub fn new(terse: bool, every: Duration) -> Display {
        let form = match !terse && output::stderr_is_live() {
            true => Form::Live,
            false => Form::Plain {
                errors: Vec::new(),
                silences: Silences::default(),
            },
        };
        Display {
            form,
            terse,
            every,
            drawn_at: None,
            standing: Vec::new(),
            dirty: true,
            clocks: (Instant::now(), Stopwatch::start()),
            asleep: Duration::ZERO,
        }
    }

    /// Whether this process was stopped and goes on since this was asked last: the shell wrote below what stood
    /// there.
    fn was_asleep(&mut self) -> bool {
        let asleep = self
            .clocks
            .0
            .elapsed()
            .saturating_sub(self.clocks.1.elapsed());
        let more = asleep > self.asleep + Duration::from_millis(20);
        self.asleep = asleep;
        more
    }

    /// What takes the cursor back to the first of the lines that stand there, and clears them.
    fn back(&mut self, width: usize) -> String {
        // A terminal that became narrower has broken them.
        let rows = self
            .standing
            .iter()
            .map(|length| length.saturating_sub(1) / width + 1);
        let rows: usize = rows.sum();
        self.standing.clear();
        match rows {
            0 => String::new(),
            rows => format!("\x1b[{rows}A\r\x1b[J"),
        }
    }

    fn draw(&mut self, board: &Board) {
        let (width, height) = size();
        let mut text = self.back(width);
        let mut lines: Vec<String> = board.jobs.iter().map(|job| job.line()).collect();
        let below = summary(&board.counts, &board.locked, &board.errors);
        let room = height.saturating_sub(below.len() + 1).max(1);
        if lines.len() > room {
            let more = lines.len() - (room - 1);
            lines.truncate(room - 1);
            lines.push(format!("and {more} more"));
        }
        for line in lines.iter().chain(&below) {
            // The last column is left free: some terminals go to the next line there.
            let line = cut(line, width.saturating_sub(1));
            self.standing.push(line.chars().count());
            text.push_str(&line);
            text.push('\n');
        }
        // A terminal that went away is no reason to stop.
        let _ = io::stderr().write_all(text.as_bytes());
        self.drawn_at = Some(Instant::now());
        self.dirty = false;
    }

    /// Tells the errors, where the list changed, and long silences.
    fn tell(&mut self, board: &Board) {
        let Form::Plain { errors, silences } = &mut self.form else {
            return;
        };
        if *errors != board.errors {
            if !board.errors.is_empty() {
                tell!("Error in {}", error_list(&board.errors));
            }
            errors.clone_from(&board.errors);
        }
        for line in silences.told(&board.jobs) {
            tell!("{line}");
        }
    }

    /// Says a line above what is drawn.
    fn say(&mut self, line: &str) {
        let back = self.back(size().0);
        let _ = io::stderr().write_all(back.as_bytes());
        tell!("{line}");
        self.dirty = true;
    }
}

fn size() -> (usize, usize) {
    let size = tcgetwinsize(io::stderr()).ok();
    let size = size.filter(|size| size.ws_col > 0 && size.ws_row > 0);
    size.map_or(USUAL, |size| (size.ws_col.into(), size.ws_row.into()))
}

impl Screen for Display {
    fn turn(&mut self, changed: bool, board: &mut dyn FnMut() -> Board) {
        self.dirty |= changed;
        if self.was_asleep() {
            self.standing.clear();
            self.dirty = true;
        }
        let since = self.drawn_at.map(|at| at.elapsed());
        let soon = since.is_none_or(|since| since >= SHORTEST);
        let due = since.is_none_or(|since| since >= self.every);
        if !(due || soon && self.dirty) {
            return;
        }
        match self.form {
            Form::Live => self.draw(&board()),
            Form::Plain { .. } => {
                self.drawn_at = Some(Instant::now());
                self.dirty = false;
                self.tell(&board());
            }
        }
    }

    fn host(&mut self, name: &str, news: &HostNews) {
        match news {
            HostNews::Named(_) => {}
            // This machine is there.
            HostNews::Up(host) if host.here => {}
            HostNews::Up(_) => self.say(&format!("host {name} is up")),
            HostNews::Stopped => self.say(&format!("host {name} is stopped")),
            HostNews::Down(reason) => self.say(&format!("host {name} is down: {reason}")),
        }
    }

    fn close(&mut self, board: Board) {
        match self.form {
            Form::Live => self.draw(&board),
            Form::Plain { .. } => {
                self.tell(&board);
                if !self.terse {
                    for line in summary(&board.counts, &board.locked, &board.errors) {
                        tell!("{line}");
                    }
                }
            }
        }
    }
}
