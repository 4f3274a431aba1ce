//! What stands on a terminal while things are built, as text: a line a running job, then the counters.

use std::time::Duration;

use super::lines::Counts;

/// A running job, as it is shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shown {
    /// Its path.
    pub path: String,
    /// The task that runs.
    pub task: String,
    /// Its process on this machine.
    pub pid: Option<u32>,
    /// Its host, where that is another machine.
    pub host: Option<String>,
    /// Cores that it uses.
    pub cores: u32,
    /// Whether it is built in memory.
    pub memory: bool,
    /// Whether it was started to fill a gap.
    pub filler: bool,
    /// Bytes of its log.
    pub size: u64,
    /// Bytes of the log of its last successful build.
    pub last: Option<u64>,
    /// How long it has printed nothing.
    pub silent: Duration,
    /// The lock that it waits for, where its log ends in that.
    pub stuck_on: Option<String>,
}

impl Shown {
    /// Its line: `devel/make(build) [4711] on yak 42% frozen for 20s`.
    pub fn line(&self) -> String {
        let mut line = String::new();
        if self.filler {
            line.push('~');
        }
        if self.cores > 1 {
            line.push_str(&format!("{}*", self.cores));
        }
        line.push_str(&self.path);
        if self.memory {
            line.push('+');
        }
        line.push_str(&format!("({})", self.task));
        if let Some(pid) = self.pid {
            line.push_str(&format!(" [{pid}]"));
        }
        if let Some(host) = &self.host {
            line.push_str(&format!(" on {host}"));
        }
        line.push_str(&format!(" {}", self.advancement()));
        match &self.stuck_on {
            Some(lock) => line.push_str(&format!(" stuck on {lock}")),
            None => {
                line.push_str(&frozen(self.silent).map_or(String::new(), |text| format!(" {text}")))
            }
        }
        line
    }

    /// How far its log is against the last one, in percent; bytes without one, or beyond four times as many.
    fn advancement(&self) -> String {
        match self.last.filter(|last| *last > 0) {
            Some(last) if self.size <= last.saturating_mul(4) => {
                format!("{}%", u128::from(self.size) * 100 / u128::from(last))
            }
            _ => self.size.to_string(),
        }
    }
}

/// What is said of a job that has printed nothing for so long: from ten seconds on.
pub fn frozen(silent: Duration) -> Option<String> {
    match silent.as_secs() {
        0..10 => None,
        seconds @ 10..300 => Some(format!("frozen for {seconds}s")),
        seconds @ 300..7200 => Some(format!("frozen for {}mn", seconds / 60)),
        seconds => Some(format!("frozen for {} HOURS!", seconds / 3600)),
    }
}

/// What stands under the running jobs.
pub fn summary(
    counts: &Counts,
    locked: &[String],
    errors: &[(String, Option<String>)],
) -> Vec<String> {
    let mut lines = vec![format!(
        "I={} B={} Q={} T={} !={}",
        counts.installable, counts.built, counts.queued, counts.to_build, counts.ignored
    )];
    if !locked.is_empty() {
        lines.push(format!("L={}", locked.join(" ")));
    }
    if !errors.is_empty() {
        lines.push(format!("E={}", error_list(errors)));
    }
    lines
}

/// Paths in error, each with the host where that is another machine.
pub fn error_list(errors: &[(String, Option<String>)]) -> String {
    let each = errors.iter().map(|(path, host)| match host {
        Some(host) => format!("{path}({host})"),
        None => path.clone(),
    });
    each.collect::<Vec<_>>().join(" ")
}

/// A line cut at the width of a terminal, with what could move its cursor made harmless.
pub fn cut(line: &str, width: usize) -> String {
    let plain = line.chars().map(|c| if c.is_control() { '?' } else { c });
    plain.take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown() -> Shown {
        Shown {
            path: "devel/make".to_owned(),
            task: "build".to_owned(),
            pid: Some(4711),
            size: 42,
            last: Some(100),
            ..Shown::default()
        }
    }

    #[test]
    fn the_lines_of_the_page() {
        assert_eq!(shown().line(), "devel/make(build) [4711] 42%");
        let far = Shown {
            path: "lang/big".to_owned(),
            task: "configure".to_owned(),
            pid: Some(4720),
            host: Some("yak".to_owned()),
            size: 13,
            silent: Duration::from_secs(20),
            ..shown()
        };
        assert_eq!(
            far.line(),
            "lang/big(configure) [4720] on yak 13% frozen for 20s"
        );
        let wide = Shown {
            path: "www/huge".to_owned(),
            pid: Some(4721),
            host: Some("yak".to_owned()),
            cores: 2,
            size: 51234,
            last: None,
            ..shown()
        };
        assert_eq!(wide.line(), "2*www/huge(build) [4721] on yak 51234");
        let memory = Shown {
            memory: true,
            filler: true,
            ..shown()
        };
        assert_eq!(memory.line(), "~devel/make+(build) [4711] 42%");
        let stuck = Shown {
            stuck_on: Some("lang.perl".to_owned()),
            ..shown()
        };
        assert_eq!(
            stuck.line(),
            "devel/make(build) [4711] 42% stuck on lang.perl"
        );
        let counts = Counts {
            installable: 12,
            built: 3,
            queued: 7,
            to_build: 120,
            ignored: 1,
            ..Counts::default()
        };
        let errors = [
            ("net/foo".to_owned(), Some("yak".to_owned())),
            ("sysutils/bar".to_owned(), None),
        ];
        assert_eq!(
            summary(&counts, &["lang/perl".to_owned()], &errors),
            [
                "I=12 B=3 Q=7 T=120 !=1",
                "L=lang/perl",
                "E=net/foo(yak) sysutils/bar"
            ]
        );
        assert_eq!(summary(&counts, &[], &[]).len(), 1);
    }

    #[test]
    fn percent_up_to_four_times_the_last_log() {
        let at = |size, last| {
            Shown {
                size,
                last,
                ..shown()
            }
            .advancement()
        };
        assert_eq!(at(400, Some(100)), "400%");
        assert_eq!(at(401, Some(100)), "401");
        assert_eq!(at(7, Some(0)), "7");
        assert_eq!(at(u64::MAX, Some(u64::MAX)), "100%");
    }

    #[test]
    fn silence_is_told_in_seconds_minutes_and_hours() {
        let told = |seconds| frozen(Duration::from_secs(seconds));
        assert_eq!(told(9), None);
        assert_eq!(told(10).unwrap(), "frozen for 10s");
        assert_eq!(told(299).unwrap(), "frozen for 299s");
        assert_eq!(told(300).unwrap(), "frozen for 5mn");
        assert_eq!(told(7199).unwrap(), "frozen for 119mn");
        assert_eq!(told(7200).unwrap(), "frozen for 2 HOURS!");
    }

    proptest! {
        #[test]
        fn a_cut_line_fits_and_moves_no_cursor(line in "\\PC{0,40}[\u{0}-\u{1f}]{0,5}", width in 0usize..60) {
            let cut = cut(&line, width);
            prop_assert!(cut.chars().count() <= width);
            prop_assert!(!cut.chars().any(char::is_control));
        }
    }
}
