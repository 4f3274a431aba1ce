//! What the history of a store says of steps: how long they take, how often they fail, what became slower.

use std::collections::{BTreeMap, HashMap};

use mstore_store::{Outcome, Past, PastQuery, Store, StoreError};
use serde::Serialize;

/// Builds that tell how long a step takes now.
const NEWEST: usize = 3;
/// The least number of earlier builds that these are compared with.
const EARLIER: usize = 5;
/// The most of them.
const MOST_EARLIER: usize = 50;
/// By how much the median must have grown: a share of what it was, and seconds.
const GROWN: (f64, f64) = (0.2, 1.0);
/// By how many standard deviations, as the median deviation of the earlier builds tells them.
const DEVIATIONS: f64 = 3.0;
/// The standard deviation of normally spread numbers by their median deviation.
const NORMAL: f64 = 1.4826;

/// What is told.
#[derive(Debug, Default, PartialEq, Serialize)]
pub struct Stats {
    /// Attempts that were read.
    pub attempts: u64,
    /// Attempts that the history has.
    pub of: u64,
    /// Rows that were left out since they make no sense.
    pub skipped: u64,
    /// Steps of one target on one host, those first that took longest in all.
    pub families: Vec<FamilyStats>,
    /// The builds that took longest.
    pub slowest: Vec<Slow>,
    /// Steps that became slower, those first that cost most.
    pub slower: Vec<Slower>,
}

/// Steps of the same name in targets of the same name, of all builds and subarchitectures, on one host.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FamilyStats {
    /// TARGET:STEP.
    pub family: String,
    /// The host.
    pub host: String,
    /// Builds that ended well.
    pub built: usize,
    /// Builds that failed.
    pub failed: usize,
    /// The share of these; nothing where neither was.
    pub failure_rate: Option<f64>,
    /// Attempts that ended because of the machine, or because somebody stopped them.
    pub interrupted: usize,
    /// Of what ended well: the median of the seconds, and those that a quarter is below and above.
    pub median: Option<f64>,
    /// See `median`.
    pub quartiles: Option<[f64; 2]>,
    /// The sum of the seconds of what ended well.
    pub total: f64,
}

/// A build that took long.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slow {
    /// The step.
    pub name: String,
    /// The host.
    pub host: String,
    /// When it began, in seconds since 1970.
    pub started: i64,
    /// How long it took.
    pub seconds: f64,
}

/// A step that takes longer than it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Slower {
    /// The step.
    pub name: String,
    /// The host.
    pub host: String,
    /// The median of the earlier builds, in seconds.
    pub before: f64,
    /// The median of the newest ones.
    pub now: f64,
    /// When the first of these began.
    pub since: i64,
}

/// Which attempts count.
#[derive(Clone, Copy, Debug, Default)]
pub struct Which<'a> {
    /// The newest N are looked at.
    pub newest: u64,
    /// Those alone that began at this second or later.
    pub since: Option<i64>,
    /// Those alone of this host.
    pub host: Option<&'a str>,
    /// Most builds that are listed as the slowest.
    pub slowest: usize,
}

/// A step on a host, in what follows.
#[derive(Default)]
struct Runs {
    /// When each build that ended well began, and its seconds.
    built: Vec<(i64, f64)>,
    failed: usize,
    interrupted: usize,
}

impl Stats {
    /// Reads the history.
    pub fn of(store: &Store, which: Which<'_>) -> Result<Stats, StoreError> {
        let mut steps: HashMap<(String, String), Runs> = HashMap::new();
        let query = PastQuery {
            newest: which.newest,
            since: which.since,
            host: which.host,
        };
        let read = store.past(&query, &mut |past: Past<'_>| {
            let key = (past.name.to_owned(), past.host.to_owned());
            let runs = steps.entry(key).or_default();
            match past.outcome {
                Outcome::Ok => runs.built.push((past.started, past.seconds)),
                Outcome::Failed => runs.failed += 1,
                Outcome::Infrastructure | Outcome::Interrupted => runs.interrupted += 1,
            }
        })?;
        // In an order that is always the same.
        let steps: BTreeMap<(String, String), Runs> = steps.into_iter().collect();
        let mut stats = Stats {
            attempts: read.read,
            of: read.of,
            skipped: read.skipped,
            families: families(&steps),
            ..Stats::default()
        };
        let mut slowest: Vec<Slow> = Vec::new();
        for ((name, host), runs) in steps {
            slowest.extend(runs.built.iter().map(|(started, seconds)| Slow {
                name: name.clone(),
                host: host.clone(),
                started: *started,
                seconds: *seconds,
            }));
            if slowest.len() > which.slowest * 2 + 1000 {
                keep_slowest(&mut slowest, which.slowest);
            }
            stats.slower.extend(slower(&name, &host, runs.built));
        }
        keep_slowest(&mut slowest, which.slowest);
        stats.slowest = slowest;
        let cost = |it: &Slower| it.now - it.before;
        stats.slower.sort_by(|a, b| cost(b).total_cmp(&cost(a)));
        Ok(stats)
    }
}

fn keep_slowest(all: &mut Vec<Slow>, most: usize) {
    all.sort_by(|a, b| {
        let (of_a, of_b) = ((&a.name, a.started), (&b.name, b.started));
        b.seconds.total_cmp(&a.seconds).then(of_a.cmp(&of_b))
    });
    all.truncate(most);
}

/// TARGET:STEP of BUILD/ARCH/SUBARCH/TARGET:STEP.
fn family(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, family)| family)
}

fn families(steps: &BTreeMap<(String, String), Runs>) -> Vec<FamilyStats> {
    let mut all: BTreeMap<(&str, &str), (Vec<f64>, usize, usize)> = BTreeMap::new();
    for ((name, host), runs) in steps {
        let (seconds, failed, interrupted) = all.entry((family(name), host)).or_default();
        seconds.extend(runs.built.iter().map(|run| run.1));
        *failed += runs.failed;
        *interrupted += runs.interrupted;
    }
    let mut found = Vec::with_capacity(all.len());
    for ((family, host), (mut seconds, failed, interrupted)) in all {
        seconds.sort_by(f64::total_cmp);
        let ended = seconds.len() + failed;
        found.push(FamilyStats {
            family: family.to_owned(),
            host: host.to_owned(),
            built: seconds.len(),
            failed,
            failure_rate: (ended > 0).then(|| failed as f64 / ended as f64),
            interrupted,
            median: part(&seconds, 0.5),
            quartiles: part(&seconds, 0.25)
                .zip(part(&seconds, 0.75))
                .map(|(low, high)| [low, high]),
            total: seconds.iter().sum(),
        });
    }
    // Stable: names decide among equals.
    found.sort_by(|a, b| b.total.total_cmp(&a.total));
    found
}

/// The number below which a share of some sorted numbers lies; between two of them where it falls there.
fn part(sorted: &[f64], share: f64) -> Option<f64> {
    let last = sorted.len().checked_sub(1)?;
    let at = last as f64 * share;
    let (low, rest) = (at.floor(), at.fract());
    let low = low as usize;
    let high = (low + 1).min(last);
    Some(sorted[low] + (sorted[high] - sorted[low]) * rest)
}

fn median(numbers: impl Iterator<Item = f64>) -> Option<f64> {
    let mut sorted: Vec<f64> = numbers.collect();
    sorted.sort_by(f64::total_cmp);
    part(&sorted, 0.5)
}

/// Tells whether a step became slower: the median of the newest builds lies above that of the earlier ones by more than
/// these spread, and by enough to matter. One slow build, or one in three, changes no median.
fn slower(name: &str, host: &str, mut built: Vec<(i64, f64)>) -> Option<Slower> {
    built.sort_by_key(|run| run.0);
    let split = built.len().checked_sub(NEWEST)?;
    let (earlier, newest) = built.split_at(split);
    let earlier = &earlier[earlier.len().saturating_sub(MOST_EARLIER)..];
    if earlier.len() < EARLIER {
        return None;
    }
    let before = median(earlier.iter().map(|run| run.1))?;
    let deviation = median(earlier.iter().map(|run| (run.1 - before).abs()))?;
    let now = median(newest.iter().map(|run| run.1))?;
    let (share, seconds) = GROWN;
    let least = (DEVIATIONS * NORMAL * deviation)
        .max(before * share)
        .max(seconds);
    (now > before + least).then(|| Slower {
        name: name.to_owned(),
        host: host.to_owned(),
        before,
        now,
        since: newest.first().map_or(0, |run| run.0),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(seconds: &[f64]) -> Option<(f64, f64)> {
        let built = (0..).zip(seconds.iter().copied());
        slower("n", "h", built.collect()).map(|it| (it.before, it.now))
    }

    #[test]
    fn what_became_slower_is_told_and_noise_is_not() {
        let steady = [10.0, 10.4, 9.8, 10.1, 9.9];
        let then = |more: &[f64]| verdict(&[&steady, more].concat());
        assert_eq!(then(&[13.0, 12.9, 13.2]), Some((10.0, 13.0)));
        // One outlier, or a build that was fast again.
        assert_eq!(then(&[10.0, 99.0, 10.1]), None);
        assert_eq!(then(&[13.0, 10.0, 10.2]), None);
        // Less than a fifth; too few to tell.
        assert_eq!(then(&[11.5, 11.6, 11.7]), None);
        assert_eq!(then(&[50.0, 50.0]), None);
        // Where builds spread as much as that nothing is said.
        assert_eq!(
            verdict(&[5.0, 10.0, 15.0, 8.0, 12.0, 14.0, 15.0, 16.0]),
            None
        );
        // Less than a second matters to nobody.
        assert_eq!(verdict(&[0.1, 0.1, 0.1, 0.1, 0.1, 0.9, 0.9, 0.9]), None);
        // What was long ago does not count.
        let long_ago = vec![100.0; 60];
        let recent = vec![10.0; 50];
        let all = [long_ago, recent, vec![20.0; 3]].concat();
        assert_eq!(verdict(&all), Some((10.0, 20.0)));
    }

    #[test]
    fn shares_fall_between_numbers() {
        assert_eq!(part(&[], 0.5), None);
        assert_eq!(part(&[3.0], 0.25), Some(3.0));
        assert_eq!(part(&[1.0, 2.0], 0.5), Some(1.5));
        assert_eq!(part(&[1.0, 2.0, 3.0, 4.0, 5.0], 0.75), Some(4.0));
    }
}
