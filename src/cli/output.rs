//! Printing: colours, sizes, durations, JSON lines.

use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

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
        _ => terminal && !is_dumb() && std::env::var_os("NO_COLOR").is_none_or(|v| v.is_empty()),
    }
}

/// Whether the terminal says of itself that it can only print.
fn is_dumb() -> bool {
    std::env::var_os("TERM").is_some_and(|term| term == "dumb")
}

/// Whether lines on stderr can be drawn again and again.
pub fn stderr_is_live() -> bool {
    io::stderr().is_terminal() && !is_dumb()
}

/// Whether a terminal on stdout can be drawn on.
pub fn stdout_can_draw() -> bool {
    !is_dumb()
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

/// What `tell!` does. Whatever the text came from, it cannot upset a terminal.
pub fn tell(text: &str) {
    // Nobody to tell the error to.
    let _ = writeln!(io::stderr().lock(), "{}", calm(text));
}

/// Writes `text` and a newline to stdout. A reader that went away (`| head`) ends the
/// command quietly, as it does other tools.
pub fn line(text: impl std::fmt::Display) -> Result<(), Failure> {
    bytes(format!("{text}\n").as_bytes())
}

/// Writes bytes to stdout; see [`line`]. On a terminal they are shown so that they cannot upset it.
pub fn bytes(data: &[u8]) -> Result<(), Failure> {
    Content::new().show(data, true)
}

/// Bytes of somebody else's that go to stdout piece by piece: as they are, but on a terminal [`calm`].
pub struct Content {
    terminal: bool,
    /// The beginning of a character or a colour whose end is in the next piece.
    kept: Vec<u8>,
}

impl Content {
    /// For this process's stdout.
    pub fn new() -> Self {
        Content {
            terminal: io::stdout().is_terminal(),
            kept: Vec::new(),
        }
    }

    /// Shows a piece; `last` says that nothing follows.
    pub fn show(&mut self, data: &[u8], last: bool) -> Result<(), Failure> {
        if !self.terminal {
            return write(data);
        }
        self.kept.extend_from_slice(data);
        let ready = match last {
            true => self.kept.len(),
            false => whole(&self.kept),
        };
        let text: Vec<u8> = self.kept.drain(..ready).collect();
        write(calm(&String::from_utf8_lossy(&text)).as_bytes())
    }
}

/// How much of some bytes can be shown without knowing what follows.
fn whole(data: &[u8]) -> usize {
    let from = data.len().saturating_sub(LONGEST_COLOUR);
    if let Some(at) = data[from..].iter().rposition(|b| matches!(b, 0x1b | b'\r')) {
        let after = &data[from + at..];
        if after.len() == 1 || after[0] == 0x1b && !after.contains(&b'm') {
            return from + at;
        }
    }
    // A character that is cut off has at most three bytes of four.
    let lead = data.iter().rev().take(3).position(|b| *b >= 0xc0);
    match lead {
        Some(back) if std::str::from_utf8(&data[data.len() - 1 - back..]).is_err() => {
            data.len() - 1 - back
        }
        _ => data.len(),
    }
}

fn write(data: &[u8]) -> Result<(), Failure> {
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

/// Whether a whole document was printed.
static ANSWERED: AtomicBool = AtomicBool::new(false);

/// Whether a whole document of JSON was printed, to which nothing may be added. Lines can be.
pub fn has_answered() -> bool {
    ANSWERED.load(Ordering::Relaxed)
}

/// Prints a value as indented JSON.
pub fn json_pretty(value: &impl serde::Serialize) -> Result<(), Failure> {
    ANSWERED.store(true, Ordering::Relaxed);
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

/// Longest escape sequence that is taken for a colour.
const LONGEST_COLOUR: usize = 24;

/// Text of several lines that cannot upset a terminal, whoever wrote it: of what is not printable only line feeds,
/// tabs and colours stay; the rest is written as escapes. Colours are ours, or those of a compiler in a log.
pub fn calm(text: &str) -> std::borrow::Cow<'_, str> {
    let upsets = |c: char| c.is_control() && c != '\n' && c != '\t' || turns(c);
    if !text.contains(upsets) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len() + 16);
    let mut rest = text;
    while let Some(at) = rest.find(upsets) {
        out.push_str(&rest[..at]);
        rest = &rest[at..];
        let kept = colour(rest);
        if kept > 0 {
            out.push_str(&rest[..kept]);
            rest = &rest[kept..];
        } else if let Some(after) = rest.strip_prefix("\r\n") {
            out.push('\n');
            rest = after;
        } else if let Some(c) = rest.chars().next() {
            out.extend(c.escape_default());
            rest = &rest[c.len_utf8()..];
        }
    }
    out.push_str(rest);
    out.into()
}

/// Characters that show what follows in another direction, so that it reads as something else.
fn turns(c: char) -> bool {
    matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Length of the escape sequence that a text begins with, if it sets nothing but colours, weight and lines below:
/// text cannot be hidden by it.
fn colour(text: &str) -> usize {
    let Some(codes) = text.strip_prefix("\x1b[") else {
        return 0;
    };
    let Some(end) = codes.find(|c: char| !c.is_ascii_digit() && c != ';') else {
        return 0;
    };
    let plain = |code: &str| {
        matches!(code, "" | "38" | "2" | "5")
            || code
                .parse::<u8>()
                .is_ok_and(|n| matches!(n, 0 | 1 | 3 | 4 | 9 | 22..=24 | 31..=37 | 39 | 90..=97))
    };
    let long = codes.starts_with("38;");
    let shows = codes[..end]
        .split(';')
        .all(|code| plain(code) && (long || code != "5") || long && code.len() <= 3);
    match codes[end..].starts_with('m') && end < LONGEST_COLOUR - 3 && shows {
        true => 2 + end + 1,
        false => 0,
    }
}

/// Text on one line that cannot upset a terminal.
pub fn escaped(text: &str) -> String {
    text.chars()
        .map(|c| match c.is_control() || turns(c) {
            true => c.escape_default().to_string(),
            false => c.to_string(),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_would_upset_a_terminal_is_written_as_escapes() {
        for quiet in [
            "",
            "a\tb\nc",
            "\x1b[1;31merror:\x1b[0m x",
            "\x1b[38;5;9mé\x1b[m",
            "日本",
        ] {
            assert_eq!(calm(quiet), quiet);
        }
        for (text, shown) in [
            ("\x1b]0;t\x07", "\\u{1b}]0;t\\u{7}"),
            ("\x1b[2J", "\\u{1b}[2J"),
            ("\x1b[8mhidden", "\\u{1b}[8mhidden"),
            ("\x1b[5mblinks", "\\u{1b}[5mblinks"),
            ("a\r\nb\rc", "a\nb\\rc"),
            ("\u{9b}2J", "\\u{9b}2J"),
            ("\u{202e}x", "\\u{202e}x"),
            ("\x1b[1\x1b[1m", "\\u{1b}[1\x1b[1m"),
            ("\x1b", "\\u{1b}"),
        ] {
            assert_eq!(calm(text), shown);
        }
    }

    #[test]
    fn pieces_show_what_the_whole_shows() {
        let text = "é\x1b[31mred\x1b[0m\r\n日\x1b]52;c\x07\x1b[2J\r.\x1b".as_bytes();
        for at in 0..text.len() {
            let ready = whole(&text[..at]);
            assert!(ready <= at && at - ready <= LONGEST_COLOUR, "{at}");
            let (first, rest) = text.split_at(ready);
            let both = [first, rest].map(|part| calm(&String::from_utf8_lossy(part)).into_owned());
            assert_eq!(both.concat(), calm(&String::from_utf8_lossy(text)), "{at}");
        }
        let bad = b"\xff\xfe\x9b\xe6\x97";
        assert_eq!(whole(bad), 3);
        assert_eq!(whole(b"\xe6\xe6\xe6"), 2);
    }

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
