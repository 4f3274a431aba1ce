//! Forms of single lines: of engine.log, stats.log, size.log, dependencies.log and the others.

use std::time::{SystemTime, UNIX_EPOCH};

/// A moment as the locks write it: Unix seconds, and behind them in brackets what people read, in UTC.
pub fn moment(at: SystemTime) -> String {
    let seconds = unix(at);
    format!("{seconds} ({})", readable(seconds))
}

/// Unix seconds of a moment; 0 for those before 1970.
pub fn unix(at: SystemTime) -> u64 {
    at.duration_since(UNIX_EPOCH).map_or(0, |d| d.as_secs())
}

/// `Sun Nov 29 14:05:07 2026` of Unix seconds, in UTC.
fn readable(seconds: u64) -> String {
    let (days, rest) = (seconds / 86400, seconds % 86400);
    let weekday = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"][(days % 7) as usize];
    // Years that begin in March: the day of a leap year comes last.
    let since = days as i64 + 719_468;
    let era = since / 146_097;
    let of_era = since % 146_097;
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let name = [
        "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec", "Jan", "Feb",
    ][month as usize];
    let year = year_of_era + era * 400 + i64::from(month >= 10);
    let (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60);
    format!("{weekday} {name} {day:2} {hour:02}:{minute:02}:{second:02} {year}")
}

/// A change of state, as engine.log has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// `T`: to build; something that it needs is not there yet.
    ToBuild,
    /// `Q`: could be built now.
    Queued,
    /// `J`: its job started on this host.
    Job(String),
    /// `B`: built.
    Built,
    /// `I`: can be installed.
    Installable,
    /// `P`: built, and needed by nothing any more.
    Past,
    /// `N`: its job did not finish.
    NotFinished,
    /// `L`: not started, a lock was found.
    Locked,
    /// `^`: put aside, for another job runs in the same folder.
    Aside,
    /// `V`: back from there.
    Back,
    /// `E`: ended in error.
    Error,
    /// `!`: ignored, for this reason.
    Ignored(String),
    /// `!`: ignored because this path is.
    Because(String),
    /// `F`: a source archive that is to be fetched.
    Fetch,
    /// `Y`: built on a host that was not the one that holds its inputs.
    Strayed,
    /// `C`: this host is cleaned for it.
    Cleaned(String),
    /// `L`: a stale lock was taken over.
    TakenOver(String),
}

impl Change {
    /// Its letter, and what follows the path.
    fn parts(&self) -> (char, String) {
        let told = |text: &str| format!(" {}", text.replace(['\n', '\r'], " "));
        match self {
            Change::ToBuild => ('T', String::new()),
            Change::Queued => ('Q', String::new()),
            Change::Job(host) => ('J', told(host)),
            Change::Built => ('B', String::new()),
            Change::Installable => ('I', String::new()),
            Change::Past => ('P', String::new()),
            Change::NotFinished => ('N', String::new()),
            Change::Locked => ('L', String::new()),
            Change::Aside => ('^', String::new()),
            Change::Back => ('V', String::new()),
            Change::Error => ('E', String::new()),
            Change::Ignored(reason) => ('!', told(reason)),
            Change::Because(path) => ('!', format!(" because of {path}")),
            Change::Fetch => ('F', String::new()),
            Change::Strayed => ('Y', String::new()),
            Change::Cleaned(host) => ('C', told(host)),
            Change::TakenOver(who) => ('L', format!(" stale lock of {who} taken over")),
        }
    }

    /// The line of engine.log: `PID@SECONDS: LETTER: PATH[ extra]`.
    pub fn line(&self, pid: u32, at: SystemTime, path: &str) -> String {
        let (letter, extra) = self.parts();
        format!("{pid}@{}: {letter}: {path}{extra}", unix(at))
    }
}

/// How many paths are in each state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Can be installed.
    pub installable: usize,
    /// Built, and lacks something to run.
    pub built: usize,
    /// Could be built now.
    pub queued: usize,
    /// Something that they need is not there yet.
    pub to_build: usize,
    /// Source archives that are to be fetched.
    pub fetch: usize,
    /// Ignored.
    pub ignored: usize,
}

impl Counts {
    /// The line of stats.log: `PID SECONDS I=n B=n Q=n T=n[ F=n]`.
    pub fn line(&self, pid: u32, at: SystemTime) -> String {
        let fetch = match self.fetch {
            0 => String::new(),
            n => format!(" F={n}"),
        };
        format!(
            "{pid} {} I={} B={} Q={} T={}{fetch}",
            unix(at),
            self.installable,
            self.built,
            self.queued,
            self.to_build
        )
    }
}

/// The line of concurrent.log: `PID SECONDS JOBS`.
pub fn concurrent(pid: u32, at: SystemTime, jobs: usize) -> String {
    format!("{pid} {} {jobs}", unix(at))
}

/// The line of size.log: `PATH WORKDIR[ FAKE]`, in KiB.
pub fn size(path: &str, work: u64, fake: Option<u64>) -> String {
    match fake {
        Some(fake) => format!("{path} {work} {fake}"),
        None => format!("{path} {work}"),
    }
}

/// Reads a line of size.log: the path, and KiB of its work folder.
pub fn read_size(line: &str) -> Option<(&str, u64)> {
    let mut words = line.split_whitespace();
    let (path, size) = (words.next()?, words.next()?);
    let fake_is_number = words.next().is_none_or(|word| word.parse::<u64>().is_ok());
    let size = size.parse().ok()?;
    (fake_is_number && words.next().is_none()).then_some((path, size))
}

/// The text of dependencies.log: how often each path is needed, the most needed first.
pub fn dependencies<'p>(counts: impl IntoIterator<Item = (&'p str, usize)>) -> String {
    let mut all: Vec<(&str, usize)> = counts.into_iter().filter(|(_, n)| *n > 0).collect();
    all.sort_by(|a, b| b.1.cmp(&a.1).then(a.0.cmp(b.0)));
    all.iter()
        .map(|(path, n)| format!("{path} {n}\n"))
        .collect()
}

/// The paths of a dependencies.log, in its order.
pub fn read_dependencies(text: &str) -> Vec<&str> {
    text.lines()
        .filter_map(|line| line.split_whitespace().next())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::time::Duration;

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn moments_are_readable() {
        for (seconds, text) in [
            (0, "0 (Thu Jan  1 00:00:00 1970)"),
            (951_782_400, "951782400 (Tue Feb 29 00:00:00 2000)"),
            (1_288_697_669, "1288697669 (Tue Nov  2 11:34:29 2010)"),
            (4_107_542_399, "4107542399 (Sun Feb 28 23:59:59 2100)"),
        ] {
            assert_eq!(moment(at(seconds)), text);
        }
    }

    #[test]
    fn each_letter_of_the_engines_log() {
        let line = |change: Change| change.line(7, at(100), "devel/make");
        let host = || "yak".to_owned();
        for (change, expected) in [
            (Change::ToBuild, "T: devel/make"),
            (Change::Queued, "Q: devel/make"),
            (Change::Job(host()), "J: devel/make yak"),
            (Change::Built, "B: devel/make"),
            (Change::Installable, "I: devel/make"),
            (Change::Past, "P: devel/make"),
            (Change::NotFinished, "N: devel/make"),
            (Change::Locked, "L: devel/make"),
            (Change::Aside, "^: devel/make"),
            (Change::Back, "V: devel/make"),
            (Change::Error, "E: devel/make"),
            (
                Change::Ignored("broken\nhere".to_owned()),
                "!: devel/make broken here",
            ),
            (
                Change::Because("lang/x".to_owned()),
                "!: devel/make because of lang/x",
            ),
            (Change::Fetch, "F: devel/make"),
            (Change::Strayed, "Y: devel/make"),
            (Change::Cleaned(host()), "C: devel/make yak"),
        ] {
            assert_eq!(line(change), format!("7@100: {expected}"));
        }
    }

    #[test]
    fn statistics_sizes_and_dependencies() {
        let mut counts = Counts {
            installable: 12,
            built: 3,
            queued: 7,
            to_build: 120,
            ..Counts::default()
        };
        assert_eq!(counts.line(9, at(5)), "9 5 I=12 B=3 Q=7 T=120");
        counts.fetch = 2;
        assert_eq!(counts.line(9, at(5)), "9 5 I=12 B=3 Q=7 T=120 F=2");
        assert_eq!(concurrent(9, at(5), 4), "9 5 4");
        assert_eq!(size("a/b", 5, None), "a/b 5");
        assert_eq!(read_size("a/b 5"), Some(("a/b", 5)));
        assert_eq!(read_size(&size("a/b,x", 5, Some(7))), Some(("a/b,x", 5)));
        for bad in ["", "a/b", "a/b x", "a/b 5 y", "a/b 1 2 3", "a/b -1"] {
            assert_eq!(read_size(bad), None, "{bad}");
        }
        let text = dependencies([("a/b", 1), ("c/d", 9), ("a/a", 1), ("x/y", 0)]);
        assert_eq!(text, "c/d 9\na/a 1\na/b 1\n");
        assert_eq!(read_dependencies(&text), ["c/d", "a/a", "a/b"]);
    }

    proptest! {
        #[test]
        fn any_line_is_read_or_passed_over(line in "\\PC{0,80}") {
            if let Some((path, kib)) = read_size(&line) {
                let again = size(path, kib, None);
                prop_assert_eq!(read_size(&again), Some((path, kib)));
            }
            for path in read_dependencies(&line) {
                prop_assert!(!path.contains(char::is_whitespace));
            }
        }
    }
}
