//! build.log: a line a build, and what the next run learns from it.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::io;
use std::path::Path;

use super::files;

/// Bytes of a build.log that are read: the end of it.
const MOST: u64 = 64 << 20;
/// Tasks of a line.
const MOST_TASKS: usize = 10_000;

/// Whether the seconds of a task count as those of the build: from extract to package.
pub fn counts(task: &str) -> bool {
    !matches!(
        task,
        "clean"
            | "layers"
            | "depends"
            | "fetch"
            | "junk"
            | "prepare-depends"
            | "show-size"
            | "show-fake-size"
    )
}

/// A line: `PATH HOST TIME LOGSIZE TIMING[!]`.
#[derive(Clone, Debug, PartialEq)]
pub struct BuildLine {
    /// The whole path.
    pub path: String,
    /// Where it was built.
    pub host: String,
    /// Cores that it used there.
    pub cores: u32,
    /// Seconds of the tasks that count.
    pub seconds: f64,
    /// Bytes of its log.
    pub log_size: u64,
    /// Seconds of each task, in the order run.
    pub tasks: Vec<(String, f64)>,
    /// Whether it failed.
    pub failed: bool,
}

impl BuildLine {
    /// The line of a build whose tasks took these seconds.
    pub fn new(path: &str, host: &str, log_size: u64, tasks: Vec<(String, f64)>) -> BuildLine {
        let counted = tasks.iter().filter(|(task, _)| counts(task));
        BuildLine {
            path: path.to_owned(),
            host: host.to_owned(),
            cores: 1,
            seconds: counted.map(|(_, seconds)| seconds).sum(),
            log_size,
            tasks,
            failed: false,
        }
    }

    /// Its text.
    pub fn line(&self) -> String {
        let mut line = format!("{} {}", self.path, self.host);
        if self.cores > 1 {
            // Cannot fail.
            let _ = write!(line, "*{}", self.cores);
        }
        let tasks: Vec<String> = self
            .tasks
            .iter()
            .map(|(task, seconds)| format!("{task}={seconds:.2}"))
            .collect();
        let end = if self.failed { "!" } else { "" };
        let _ = write!(
            line,
            " {:.2} {} {}{end}",
            self.seconds,
            self.log_size,
            tasks.join("/")
        );
        line
    }

    /// Reads a line, with the timing in brackets or not; nothing if it is none.
    pub fn parse(line: &str) -> Option<BuildLine> {
        let line = line.trim();
        let (line, failed) = match line.strip_suffix('!') {
            Some(line) => (line.trim_end(), true),
            None => (line, false),
        };
        let mut rest = line;
        let mut word = || {
            let trimmed = rest.trim_start();
            let end = trimmed.find(char::is_whitespace).unwrap_or(trimmed.len());
            let (word, after) = trimmed.split_at(end);
            rest = after;
            (!word.is_empty()).then_some(word)
        };
        let (path, host, seconds, size) = (word()?, word()?, word()?, word()?);
        let timing = rest.trim();
        let timing = match timing.strip_prefix('(') {
            Some(inner) => inner.strip_suffix(')')?,
            None => timing,
        };
        let (host, cores) = match host.rsplit_once('*') {
            Some((host, cores)) => (host, cores.parse().ok().filter(|n| *n > 0)?),
            None => (host, 1),
        };
        if host.contains('*') {
            return None;
        }
        let seconds = number(seconds)?;
        let parts = timing.split(|c: char| c == '/' || c == ',' || c.is_whitespace());
        let tasks = parts
            .filter(|part| !part.is_empty())
            .map(|part| {
                let (task, seconds) = part.split_once('=')?;
                let plain = !task.is_empty() && !task.contains(['(', ')', '!']);
                Some((task.to_owned(), number(seconds).filter(|_| plain)?))
            })
            .take(MOST_TASKS)
            .collect::<Option<Vec<_>>>()?;
        Some(BuildLine {
            path: path.to_owned(),
            host: host.to_owned(),
            cores,
            seconds,
            log_size: size.parse().ok()?,
            tasks,
            failed,
        })
    }
}

/// Seconds that something can take.
fn number(word: &str) -> Option<f64> {
    word.parse()
        .ok()
        .filter(|n: &f64| n.is_finite() && (0.0..1e12).contains(n))
}

/// What is known of the last successful build of a path.
#[derive(Clone, Debug, PartialEq)]
pub struct Known {
    /// Seconds that it would take the fastest host.
    pub seconds: f64,
    /// Seconds of each task there.
    pub tasks: HashMap<String, f64>,
    /// Bytes of its log.
    pub log_size: u64,
    /// Whether the speed of its host is known.
    sure: bool,
}

/// What build.log says of each path.
#[derive(Clone, Debug, Default)]
pub struct BuildHistory {
    paths: HashMap<String, Known>,
    /// Lines that are none.
    pub malformed: usize,
    /// Whether the log was longer than what is read of it.
    pub cut: bool,
}

impl BuildHistory {
    /// Reads a file. `factors` are the speed factors of the hosts; where it is empty, all hosts are equal.
    pub fn read(path: &Path, factors: &HashMap<String, f64>) -> io::Result<BuildHistory> {
        let (text, cut) = files::tail(path, MOST)?;
        Ok(BuildHistory {
            cut,
            ..BuildHistory::parse(&text, factors)
        })
    }

    /// Reads the text of one. The last line of each path counts. A time of a host with a known factor is scaled by
    /// that over the greatest; those of other hosts only fill gaps. Lines that are none are passed over.
    pub fn parse(text: &str, factors: &HashMap<String, f64>) -> BuildHistory {
        let greatest = factors.values().copied().fold(1.0, f64::max);
        let mut history = BuildHistory::default();
        for line in text.lines().filter(|line| !line.trim().is_empty()) {
            let Some(line) = BuildLine::parse(line) else {
                history.malformed += 1;
                continue;
            };
            if line.failed {
                continue;
            }
            let factor = factors.get(&line.host).copied();
            let sure = factor.is_some() || factors.is_empty();
            let scale = factor.map_or(1.0, |factor| factor / greatest);
            if let Some(before) = history.paths.get(&line.path)
                && before.sure
                && !sure
            {
                continue;
            }
            let tasks = line.tasks.into_iter();
            let known = Known {
                seconds: line.seconds * scale,
                tasks: tasks.map(|(task, s)| (task, s * scale)).collect(),
                log_size: line.log_size,
                sure,
            };
            history.paths.insert(line.path, known);
        }
        history
    }

    /// What is known of a path.
    pub fn get(&self, path: &str) -> Option<&Known> {
        self.paths.get(path)
    }

    /// How many paths are known.
    pub fn len(&self) -> usize {
        self.paths.len()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.paths.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_line_is_written_and_read_in_both_forms() {
        let tasks = [
            ("depends", 3.0),
            ("fetch", 1.0),
            ("patch", 0.5),
            ("build", 20.25),
            ("clean", 2.0),
        ];
        let tasks = tasks.map(|(task, s)| (task.to_owned(), s)).to_vec();
        let mut line = BuildLine::new("devel/make", "yak", 4711, tasks);
        let text =
            "devel/make yak 20.75 4711 depends=3.00/fetch=1.00/patch=0.50/build=20.25/clean=2.00";
        assert_eq!(line.line(), text);
        assert_eq!(BuildLine::parse(text), Some(line.clone()));
        (line.failed, line.cores) = (true, 2);
        let text = "devel/make yak*2 20.75 4711 depends=3.00/fetch=1.00/patch=0.50/build=20.25/clean=2.00!";
        assert_eq!(line.line(), text);
        assert_eq!(BuildLine::parse(text), Some(line.clone()));
        let old = "devel/make yak*2 20.75 4711 (depends=3.00/fetch=1.00/patch=0.50/build=20.25/clean=2.00)!";
        assert_eq!(BuildLine::parse(old), Some(line.clone()));
        let older =
            "devel/make yak*2 20.75 4711 (depends=3 fetch=1 patch=0.5 build=20.25 clean=2) !";
        assert_eq!(BuildLine::parse(older), Some(line));
    }

    #[test]
    fn malformed_lines_are_passed_over() {
        let text = "a/b h 1.00 10 build=1.00\nnonsense\na/c h x 10 build=1\na/c h 1 -1 b=1\na/c h 1 10 (b=1\n\
                    a/c h NaN 1 b=1\na/c h*0 1 1 b=1\n\n\u{0}\na/d h 2.00 20 build=2.00";
        let history = BuildHistory::parse(text, &HashMap::new());
        assert_eq!((history.len(), history.malformed), (2, 7));
        assert_eq!(history.get("a/d").unwrap().log_size, 20);
        assert!(history.get("a/c").is_none());
    }

    #[test]
    fn times_are_scaled_by_speed_and_unknown_hosts_fill_gaps() {
        let factors = HashMap::from([("slow".to_owned(), 2.0), ("fast".to_owned(), 8.0)]);
        let text = "a/b slow 80.00 1 build=80.00\na/b gone 3.00 1 build=3.00\nc/d gone 7.00 1 build=7.00\n\
                    e/f fast 5.00 1 build=5.00\ne/f slow 60.00 9 build=60.00\ne/f slow 1.00 1 build=1.00!";
        let history = BuildHistory::parse(text, &factors);
        let seconds = |path| history.get(path).unwrap().seconds;
        assert_eq!(
            (seconds("a/b"), seconds("c/d"), seconds("e/f")),
            (20.0, 7.0, 15.0)
        );
        assert_eq!(history.get("e/f").unwrap().tasks["build"], 15.0);
        // Without factors the last line counts.
        let equal = BuildHistory::parse(text, &HashMap::new());
        assert_eq!(equal.get("a/b").unwrap().seconds, 3.0);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            path in "[a-z]{1,8}/[a-z]{1,8}(,[a-z]{1,4}){0,2}",
            host in "[a-z]{1,8}(\\.[a-z]{1,4})?",
            cores in 1u32..64,
            size in any::<u32>(),
            tasks in proptest::collection::vec(("[a-z-]{1,8}", 0u32..1_000_000), 0..12),
            failed in any::<bool>(),
        ) {
            let tasks = tasks.into_iter().map(|(task, s)| (task, f64::from(s) / 100.0)).collect();
            let mut line = BuildLine::new(&path, &host, u64::from(size), tasks);
            line.seconds = (line.seconds * 100.0).round() / 100.0;
            (line.cores, line.failed) = (cores, failed);
            let read = BuildLine::parse(&line.line()).unwrap();
            prop_assert!((read.seconds - line.seconds).abs() < 1e-6);
            prop_assert_eq!(BuildLine { seconds: line.seconds, ..read }, line);
        }

        #[test]
        fn any_text_is_read_or_passed_over(text in "[ -~\\n]{0,300}") {
            let history = BuildHistory::parse(&text, &HashMap::new());
            prop_assert!(history.len() + history.malformed <= text.lines().count());
        }
    }
}
