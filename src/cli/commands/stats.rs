//! `mstore stats`

use std::process::ExitCode;

use crate::cli::Failure;
use crate::cli::context::Context;
use crate::cli::output::{self, duration, escaped, plural};
use crate::project::stats::{FamilyStats, Stats, Which};
use crate::project::{Access, clock};

/// Show how long steps take, how often they fail, and what became slower
///
/// The history of the store answers: attempts on this machine and on hosts. A step became slower when the median of its
/// newest 3 builds on a host lies above that of the 5 to 50 before by more than a fifth, more than a second, and more
/// than three times as far as these usually lie apart.
#[derive(clap::Args)]
pub struct Args {
    /// Look at the last DAYS days alone
    #[arg(long, value_name = "DAYS", value_parser = days)]
    since: Option<f64>,
    /// Look at this host alone
    #[arg(long, value_name = "HOST")]
    host: Option<String>,
    /// Look at the newest N attempts
    #[arg(long, value_name = "N", default_value_t = 200_000)]
    attempts: u64,
    /// Show N lines of each table; 0 shows all
    #[arg(long, short = 'l', value_name = "N", default_value_t = 10)]
    lines: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn days(word: &str) -> Result<f64, String> {
    let days: Option<f64> = word.parse().ok();
    let days = days.filter(|days| (0.0..=100_000.0).contains(days));
    days.ok_or_else(|| "a number of days is expected".to_owned())
}

/// Builds that are listed as the slowest where all lines are wanted.
const SLOWEST: usize = 1000;

/// Runs the command.
pub fn run(context: &Context, args: Args) -> Result<ExitCode, Failure> {
    let store = context.store(Access::Read)?;
    let since = args.since.map(|days| {
        let seconds = days * clock::DAY as f64;
        clock::now() - seconds as i64
    });
    let most = match args.lines {
        0 => usize::MAX,
        n => n,
    };
    let which = Which {
        newest: args.attempts,
        since,
        host: args.host.as_deref(),
        slowest: most.min(SLOWEST),
    };
    let stats = Stats::of(&store, which)?;
    if args.json {
        output::json_pretty(&stats)?;
        return Ok(ExitCode::SUCCESS);
    }
    tell!("{}", scope(&stats, &args));
    table("durations", &DURATIONS, &durations(&stats.families), most)?;
    table("slowest", &SLOWEST_HEAD, &slowest(&stats), most)?;
    table("failures", &FAILURES, &failures(&stats.families), most)?;
    table("slower", &SLOWER, &slower(&stats), most)?;
    Ok(ExitCode::SUCCESS)
}

/// What was looked at.
fn scope(stats: &Stats, args: &Args) -> String {
    let read = usize::try_from(stats.attempts).unwrap_or(usize::MAX);
    let mut text = format!("{read} {}", plural(read, "attempt"));
    if let Some(host) = &args.host {
        text.push_str(&format!(" on {}", escaped(host)));
    }
    if let Some(days) = args.since {
        text.push_str(&format!(" of the last {days} days"));
    }
    if stats.of > args.attempts {
        text.push_str(&format!(
            ", among the newest {} of {}: --attempts N looks at more",
            args.attempts, stats.of
        ));
    }
    if stats.skipped > 0 {
        text.push_str(&format!("; {} left out that make no sense", stats.skipped));
    }
    text
}

/// Heads of columns; those with `>` before them stand at the right.
type Heads = [&'static str];

const DURATIONS: [&str; 6] = [
    ">median",
    ">quarter below",
    ">quarter above",
    ">builds",
    "step",
    "host",
];
const SLOWEST_HEAD: [&str; 4] = [">took", "began", "step", "host"];
const FAILURES: [&str; 5] = [">failed", ">of", ">rate", "step", "host"];
const SLOWER: [&str; 6] = [">now", ">before", ">times", "since", "step", "host"];

fn durations(families: &[FamilyStats]) -> Vec<Vec<String>> {
    let rows = families.iter().filter_map(|family| {
        let [low, high] = family.quartiles?;
        Some(vec![
            duration(family.median?),
            duration(low),
            duration(high),
            family.built.to_string(),
            escaped(&family.family),
            escaped(&family.host),
        ])
    });
    rows.collect()
}

fn slowest(stats: &Stats) -> Vec<Vec<String>> {
    let rows = stats.slowest.iter().map(|slow| {
        vec![
            duration(slow.seconds),
            output::time(slow.started),
            escaped(&slow.name),
            escaped(&slow.host),
        ]
    });
    rows.collect()
}

/// Those first that fail most often.
fn failures(families: &[FamilyStats]) -> Vec<Vec<String>> {
    let mut failing: Vec<&FamilyStats> = families.iter().filter(|f| f.failed > 0).collect();
    failing.sort_by(|a, b| {
        let rate = |it: &FamilyStats| it.failure_rate.unwrap_or(0.0);
        rate(b).total_cmp(&rate(a)).then(b.failed.cmp(&a.failed))
    });
    let rows = failing.iter().map(|family| {
        vec![
            family.failed.to_string(),
            (family.failed + family.built).to_string(),
            format!("{:.0}%", family.failure_rate.unwrap_or(0.0) * 100.0),
            escaped(&family.family),
            escaped(&family.host),
        ]
    });
    rows.collect()
}

fn slower(stats: &Stats) -> Vec<Vec<String>> {
    let rows = stats.slower.iter().map(|slower| {
        vec![
            duration(slower.now),
            duration(slower.before),
            format!("{:.1}", slower.now / slower.before.max(0.001)),
            clock::date(slower.since),
            escaped(&slower.name),
            escaped(&slower.host),
        ]
    });
    rows.collect()
}

/// Prints a table; nothing if it is empty.
fn table(title: &str, heads: &Heads, rows: &[Vec<String>], most: usize) -> Result<(), Failure> {
    if rows.is_empty() {
        return Ok(());
    }
    let shown = &rows[..rows.len().min(most)];
    let names: Vec<String> = heads
        .iter()
        .map(|head| head.trim_start_matches('>').to_owned())
        .collect();
    let width = |column: usize| {
        let cells = std::iter::once(&names).chain(shown).map(|row| &row[column]);
        cells.map(|cell| cell.chars().count()).max().unwrap_or(0)
    };
    let widths: Vec<usize> = (0..heads.len()).map(width).collect();
    output::line(format!("{title}:"))?;
    for row in std::iter::once(&names).chain(shown) {
        let mut text = String::new();
        for ((cell, head), width) in row.iter().zip(heads).zip(&widths) {
            text.push_str(&match head.starts_with('>') {
                true => format!("  {cell:>width$}"),
                false => format!("  {cell:<width$}"),
            });
        }
        output::line(text.trim_end())?;
    }
    if rows.len() > shown.len() {
        output::line(format!("  and {} more", rows.len() - shown.len()))?;
    }
    Ok(())
}
