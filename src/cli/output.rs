//! Printing: colours, sizes, durations, JSON lines.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU8, Ordering};

use super::Failure;
use crate::project::clock;

/// When to use colours.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum When {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Always
    Always,
    /// Never
    Never,
}

static COLOUR: AtomicU8 = AtomicU8::new(0);

/// Sets the answer to `--color` for the process.
pub fn set_colour(when: When) {
    COLOUR.store(when as u8, Ordering::Relaxed);
}

fn wanted(terminal: bool) -> bool {
    match COLOUR.load(Ordering::Relaxed) {
        1 => true,
        2 => false,
        _ => terminal && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    }
}

/// Whether diagnostics on stderr get colours.
pub fn stderr_colour() -> bool {
    wanted(io::stderr().is_terminal())
}

/// Whether diagnostics on stdout get colours.
pub fn stdout_colour() -> bool {
    wanted(io::stdout().is_terminal())
}

/// Wraps words in colours, or not.
#[derive(Clone, Copy)]
pub struct Style(bool);

impl Style {
    /// For text on stderr.
    pub fn stderr() -> Self {
        Style(stderr_colour())
    }

    /// For text on stdout.
    pub fn stdout() -> Self {
        Style(wanted(io::stdout().is_terminal()))
    }

    fn wrap(self, code: &str, text: &str) -> String {
        if self.0 {
            format!("\x1b[{code}m{text}\x1b[0m")
        } else {
            text.to_owned()
        }
    }

    /// Something wrong.
    pub fn error(self, text: &str) -> String {
        self.wrap("1;31", text)
    }

    /// Something good.
    pub fn good(self, text: &str) -> String {
        self.wrap("32", text)
    }

    /// Advice.
    pub fn note(self, text: &str) -> String {
        self.wrap("1;36", text)
    }
}

/// What `tell!` does.
pub fn tell(text: &str) {
    // Nobody to tell the error to.
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes `text` and a newline to stdout. A reader that went away (`| head`) ends the
/// command quietly, as it does other tools.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes to stdout; see [`line`].
pub fn bytes(data: &[u8]) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match out.write_all(data).and_then(|()| out.flush()) {
        Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Err(Failure::broken_pipe()),
        Err(e) => Err(Failure::machine(format!("cannot write to stdout: {e}"))),
        Ok(()) => Ok(()),
    }
}

/// Prints a value as one line of JSON.
pub fn json(value: &impl serde::Serialize) -> Result<(), Failure> {
    match serde_json::to_string(value) {
        Ok(text) => line(text),
        Err(e) => Err(Failure::machine(format!("cannot write JSON: {e}"))),
    }
}

/// Prints a value as indented JSON.
pub fn json_pretty(value: &impl serde::Serialize) -> Result<(), Failure> {
    match serde_json::to_string_pretty(value) {
        Ok(text) => line(text),
        Err(e) => Err(Failure::machine(format!("cannot write JSON: {e}"))),
    }
}

/// A number of bytes for people: `812 B`, `3.4 MB`, in powers of ten.
pub fn size(bytes: u64) -> String {
    let mut value = bytes as f64;
    for unit in ["B", "kB", "MB", "GB"] {
        if value < 999.5 {
            return if unit == "B" {
                format!("{bytes} B")
            } else {
                format!("{value:.1} {unit}")
            };
        }
        value /= 1000.0;
    }
    format!("{value:.1} TB")
}

/// A duration for people: `45 ms`, `3.2 s`, `4 min 10 s`, `2 h 5 min`.
pub fn duration(seconds: f64) -> String {
    if seconds < 0.9995 {
        format!("{:.0} ms", seconds * 1000.0)
    } else if seconds < 59.95 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        let (hours, minutes) = (whole / 3600, whole / 60 % 60);
        if hours > 0 {
            format!("{hours} h {minutes} min")
        } else {
            format!("{minutes} min {} s", whole % 60)
        }
    }
}

/// A word in the singular for one and in the plural otherwise.
pub fn plural(n: usize, word: &str) -> String {
    if n == 1 {
        word.to_owned()
    } else {
        format!("{word}s")
    }
}

/// `2026-11-21 03:04:05`, in UTC.
pub fn time(seconds: i64) -> String {
    let of_day = seconds.rem_euclid(86_400);
    format!(
        "{} {:02}:{:02}:{:02}",
        clock::date(seconds),
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// Text that cannot upset a terminal.
pub fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c.is_control() {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_durations_read_well() {
        assert_eq!(size(999), "999 B");
        assert_eq!(size(1_500), "1.5 kB");
        assert_eq!(size(444_263_371), "444.3 MB");
        assert_eq!(duration(0.045), "45 ms");
        assert_eq!(duration(3.21), "3.2 s");
        assert_eq!(duration(250.0), "4 min 10 s");
        assert_eq!(duration(7500.0), "2 h 5 min");
    }
}
