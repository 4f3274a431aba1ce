//! What goes on in a run, in lines.

use crate::cli::output::{self, duration, escaped, size};
use crate::schedule::control::words::{Counts, FailedView, HostView, JobView, View};
use crate::schedule::silence;

/// What a line is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Item {
    /// A running job.
    Job(String),
    /// A host.
    Host(String),
    /// A job that failed, or that was stopped.
    Ended(String),
}

/// A line that cannot upset a terminal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it says.
    pub text: String,
    /// What it is about.
    pub item: Option<Item>,
}

fn plain(text: impl Into<String>) -> Line {
    Line {
        text: text.into(),
        item: None,
    }
}

/// All lines.
pub fn lines(view: &View) -> Vec<Line> {
    let mut lines = vec![plain(head(view)), plain(counters(&view.counts))];
    if let Some(ending) = &view.ending {
        lines.push(plain(format!("nothing more starts: {}", escaped(ending))));
    }
    section(&mut lines, "jobs", &view.jobs, view.more_jobs, job);
    section(&mut lines, "hosts", &view.hosts, view.more_hosts, host);
    section(
        &mut lines,
        "failed",
        &view.failures,
        view.more_failures,
        failed,
    );
    section(&mut lines, "stopped", &view.stopped, 0, |names| {
        let rows = names
            .iter()
            .map(|name| (vec![escaped(name)], Item::Ended(name.clone())));
        rows.collect()
    });
    lines
}

fn head(view: &View) -> String {
    let left = view.left.filter(|left| *left >= 1.0);
    let left = left.map(|left| format!(", about {} to go", duration(left)));
    format!(
        "process {} on {}, for {}{}",
        view.pid,
        escaped(&view.machine),
        duration(view.seconds),
        left.unwrap_or_default()
    )
}

/// The counters, under the letters of dpb where it has them.
fn counters(counts: &Counts) -> String {
    let Counts {
        usable,
        running,
        queued,
        to_build,
        failed,
        ignored,
        locked,
        stopped,
    } = counts;
    let mut text = format!("I={usable} R={running} Q={queued} T={to_build}");
    for (letter, n) in [
        ("!", ignored),
        ("L", locked),
        ("E", failed),
        ("stopped", stopped),
    ] {
        if *n > 0 {
            text.push_str(&format!(" {letter}={n}"));
        }
    }
    text
}

/// The cells of a line, and what it is about.
type Row = (Vec<String>, Item);

/// A heading, and lines with their cells below each other; nothing if there are none.
fn section<T>(
    lines: &mut Vec<Line>,
    title: &str,
    all: &[T],
    more: usize,
    rows: impl Fn(&[T]) -> Vec<Row>,
) {
    let rows = rows(all);
    if rows.is_empty() {
        return;
    }
    lines.push(plain(""));
    lines.push(plain(title));
    let columns = rows.iter().map(|(cells, _)| cells.len()).max();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|(cells, _)| cells.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..columns.unwrap_or(0)).map(width).collect();
    for (cells, item) in rows {
        let mut text = String::from(" ");
        for (cell, width) in cells.iter().zip(&widths) {
            text.push_str(&format!(" {cell:<width$} "));
        }
        lines.push(Line {
            text: text.trim_end().to_owned(),
            item: Some(item),
        });
    }
    if more > 0 {
        lines.push(plain(format!("  and {more} more")));
    }
}

fn job(jobs: &[JobView]) -> Vec<Row> {
    let rows = jobs.iter().map(|job| {
        let share = job.expected.filter(|expected| *expected > 0.5);
        let share = share.map(|expected| {
            let left = (expected - job.seconds).max(0.0);
            let done = (job.seconds / expected * 100.0).min(99.0);
            format!("{done:.0}%, {} to go", duration(left))
        });
        let silent = silence(job.silent).map(|silent| {
            let most = job
                .most_silent
                .map(|most| format!(", ended at {most:.0} s"));
            format!("silent for {silent}{}", most.unwrap_or_default())
        });
        let cells = vec![
            escaped(&job.name),
            escaped(&job.host),
            duration(job.seconds),
            share.unwrap_or_default(),
            size(job.output),
            silent.unwrap_or_default(),
        ];
        (cells, Item::Job(job.name.clone()))
    });
    rows.collect()
}

fn host(hosts: &[HostView]) -> Vec<Row> {
    let rows = hosts.iter().map(|host| {
        let cells = vec![
            escaped(&host.name),
            escaped(&host.state),
            format!("{} of {}", host.busy, host.slots),
            match host.speed == 1.0 {
                true => String::new(),
                false => format!("sf={}", host.speed),
            },
            host.why.as_deref().map(escaped).unwrap_or_default(),
        ];
        (cells, Item::Host(host.name.clone()))
    });
    rows.collect()
}

fn failed(failures: &[FailedView]) -> Vec<Row> {
    let rows = failures.iter().map(|failed| {
        let cells = vec![
            escaped(&failed.name),
            escaped(&failed.host),
            output::duration(failed.seconds),
            escaped(&failed.how),
        ];
        (cells, Item::Ended(failed.name.clone()))
    });
    rows.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_told_in_lines_that_upset_no_terminal() {
        let view = View {
            pid: 4711,
            machine: "yak".to_owned(),
            seconds: 200.0,
            left: Some(310.0),
            counts: Counts {
                usable: 12,
                running: 2,
                queued: 7,
                to_build: 120,
                failed: 1,
                ignored: 3,
                locked: 4,
                stopped: 1,
            },
            jobs: vec![
                JobView {
                    name: "t-s:configure".to_owned(),
                    host: "yak".to_owned(),
                    seconds: 60.0,
                    expected: Some(120.0),
                    silent: 9.0,
                    most_silent: Some(60.0),
                    output: 51_234,
                },
                JobView {
                    name: "t\x1b]0;x\x07:one".to_owned(),
                    host: "big".to_owned(),
                    seconds: 7300.0,
                    silent: 7200.0,
                    ..JobView::default()
                },
            ],
            more_jobs: 2,
            hosts: vec![HostView {
                name: "big".to_owned(),
                state: "down".to_owned(),
                why: Some("ssh: no\nroute".to_owned()),
                slots: 16,
                busy: 0,
                speed: 3.0,
            }],
            failures: vec![FailedView {
                name: "u-s:two".to_owned(),
                host: "yak".to_owned(),
                how: "exit status 7".to_owned(),
                seconds: 1.5,
            }],
            stopped: vec!["v-s:one".to_owned()],
            ending: Some("the run was told to stop".to_owned()),
            ..View::default()
        };
        let lines = lines(&view);
        let text: Vec<&str> = lines.iter().map(|line| &*line.text).collect();
        insta::assert_snapshot!(text.join("\n"), @r"
        process 4711 on yak, for 3 min 20 s, about 5 min 10 s to go
        I=12 R=2 Q=7 T=120 !=3 L=4 E=1 stopped=1
        nothing more starts: the run was told to stop

        jobs
          t-s:configure         yak  1 min 0 s  50%, 1 min 0 s to go  51.2 kB
          t\u{1b}]0;x\u{7}:one  big  2 h 1 min                        0 B      silent for 2 HOURS!
          and 2 more

        hosts
          big  down  0 of 16  sf=3  ssh: no\nroute

        failed
          u-s:two  yak  1.5 s  exit status 7

        stopped
          v-s:one
        ");
        let items = lines.iter().filter_map(|line| line.item.clone());
        assert_eq!(items.count(), 5);
    }
}
