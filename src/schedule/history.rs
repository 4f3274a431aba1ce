//! What earlier runs tell: how long steps take, and how fast hosts are beside each other.
//!
//! A step's family is its full name: what stays the same when its inputs, its snapshot or its version change. Where hosts
//! built steps of the same families, their speeds are learnt: seconds are taken for what a step costs divided by what its
//! host is worth, and the worths are those with the least squares of the errors in logarithms. A run that is far off
//! weighs little, so that one that was disturbed does not count. A host that shares no family with others counts
//! as one of speed 1, and one that shares few is drawn towards that. A speed that people gave is not learnt.
//!
//! History comes from a file that others may have written: what makes no sense is left out, and all work is bounded.

use std::collections::{BTreeMap, HashMap};

use mstore_store::{PastRun, PastRuns};

/// Hosts whose speeds are learnt in one run, those with most runs.
const HOSTS: usize = 100;
/// Rounds in which runs that are far off lose weight.
const ROUNDS: usize = 8;
/// Runs of fewer seconds tell more of other costs than of a host's speed.
const SHORTEST: f64 = 1.0;
/// How much a host of which few runs can be compared is drawn towards speed 1, in runs.
const DOUBT: f64 = 0.1;
/// What holds hosts near speed 1 that share no family with one of known speed; nothing beside a run.
const PULL: f64 = 1e-6;
/// The least error that is usual, as a logarithm: a twentieth.
const USUAL: f64 = 0.05;
/// Speeds are learnt up to this, and down to one by this.
const MOST: f64 = 1000.0;

/// What earlier runs tell.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct History {
    seconds: HashMap<String, f64>,
    speeds: BTreeMap<String, f64>,
}

/// A run of a step of some family.
#[derive(Clone, Copy)]
struct Sample {
    /// Its place among those whose speeds are learnt.
    host: usize,
    /// The logarithm of its seconds.
    log: f64,
}

impl History {
    /// Learns from the `runs` of `names`, given in that order. `given` are the speeds that people gave, by host; `home` is
    /// this machine, which has speed 1 where none is given.
    pub fn learn(
        names: &[&str],
        runs: &PastRuns,
        given: &BTreeMap<String, f64>,
        home: &str,
    ) -> History {
        let mut families: BTreeMap<&str, Vec<PastRun>> = BTreeMap::new();
        for (name, runs) in names.iter().zip(&runs.of) {
            // The same name may be asked for twice.
            families.entry(name).or_insert_with(|| runs.clone());
        }
        for (name, run) in &runs.newest {
            let known = families.entry(name).or_default();
            if !known.contains(run) {
                known.push(*run);
            }
        }
        let learnt = speeds(&families, &runs.hosts, given, home);
        let of = |host: usize| learnt.get(host).copied().unwrap_or(1.0);
        let seconds = names.iter().zip(&runs.of).filter_map(|(name, runs)| {
            let own: Vec<f64> = runs.iter().map(|run| run.seconds * of(run.host)).collect();
            Some(((*name).to_owned(), median(own)?))
        });
        let mut all = given.clone();
        for (host, speed) in runs.hosts.iter().zip(&learnt) {
            all.entry(host.clone()).or_insert(*speed);
        }
        History {
            seconds: seconds.collect(),
            speeds: all,
        }
    }

    /// Seconds that a step of that full name usually takes on a host of speed 1: the median of its newest runs.
    pub fn seconds(&self, name: &str) -> Option<f64> {
        self.seconds.get(name).copied()
    }

    /// How fast a host is, given or learnt; 1 for one of which nothing is known.
    pub fn speed(&self, host: &str) -> f64 {
        self.speeds.get(host).copied().unwrap_or(1.0)
    }
}

/// The speed of each host.
fn speeds(
    families: &BTreeMap<&str, Vec<PastRun>>,
    hosts: &[String],
    given: &BTreeMap<String, f64>,
    home: &str,
) -> Vec<f64> {
    let mut fixed: Vec<Option<f64>> = hosts.iter().map(|host| given.get(host).copied()).collect();
    // Those that count, in the order of their runs.
    let mut runs = vec![0_usize; hosts.len()];
    let counts = |run: &&PastRun| run.seconds >= SHORTEST && run.host < hosts.len();
    for run in families.values().flatten().filter(counts) {
        runs[run.host] += 1;
    }
    let mut order: Vec<usize> = (0..hosts.len()).filter(|host| runs[*host] > 0).collect();
    order.sort_by_key(|host| (std::cmp::Reverse(runs[*host]), *host));
    order.truncate(HOSTS);
    if order.iter().all(|host| fixed[*host].is_none()) {
        // Something must be 1.
        let home = order.iter().copied().find(|host| hosts[*host] == home);
        if let Some(anchor) = home.or(order.first().copied()) {
            fixed[anchor] = Some(1.0);
        }
    }
    let mut place = vec![usize::MAX; hosts.len()];
    for (at, host) in order.iter().enumerate() {
        place[*host] = at;
    }
    let families = families.values().map(|runs| {
        let samples = runs.iter().filter(counts).map(|run| Sample {
            host: place[run.host],
            log: run.seconds.ln(),
        });
        let samples = samples.filter(|sample| sample.host != usize::MAX);
        samples.collect::<Vec<Sample>>()
    });
    let several = |family: &Vec<Sample>| family.iter().any(|s| s.host != family[0].host);
    let families: Vec<Vec<Sample>> = families.filter(several).collect();
    let known: Vec<Option<f64>> = order.iter().map(|host| fixed[*host].map(f64::ln)).collect();
    let worth = calibrate(&families, &known);
    let mut speeds: Vec<f64> = fixed.iter().map(|fixed| fixed.unwrap_or(1.0)).collect();
    for (host, worth) in order.into_iter().zip(worth) {
        if fixed[host].is_none() {
            speeds[host] = worth.exp().clamp(1.0 / MOST, MOST);
        }
    }
    speeds
}

/// The logarithms of the speeds of hosts, of which some are `known`.
fn calibrate(families: &[Vec<Sample>], known: &[Option<f64>]) -> Vec<f64> {
    let mut worth: Vec<f64> = known.iter().map(|known| known.unwrap_or(0.0)).collect();
    if families.is_empty() || known.iter().all(Option::is_some) {
        return worth;
    }
    let mut weights: Vec<Vec<f64>> = families.iter().map(|f| vec![1.0; f.len()]).collect();
    for _ in 0..ROUNDS {
        worth = solve(families, &weights, known);
        // How far each run is from what it should have taken.
        let errors: Vec<Vec<f64>> = families
            .iter()
            .map(|family| {
                let own = family.iter().map(|s| s.log + worth[s.host]).collect();
                let cost = median(own).unwrap_or(0.0);
                let error = |s: &Sample| (s.log + worth[s.host] - cost).abs();
                family.iter().map(error).collect()
            })
            .collect();
        let usual = median(errors.iter().flatten().copied().collect());
        let usual = (usual.unwrap_or(0.0) * 1.5).max(USUAL);
        for (weights, errors) in weights.iter_mut().zip(&errors) {
            for (weight, error) in weights.iter_mut().zip(errors) {
                *weight = 1.0 / (1.0 + (error / (2.4 * usual)).powi(2));
            }
        }
    }
    let mut runs = vec![0.0; known.len()];
    for sample in families.iter().flatten() {
        runs[sample.host] += 1.0;
    }
    for ((worth, runs), known) in worth.iter_mut().zip(runs).zip(known) {
        if known.is_none() {
            *worth *= runs / (runs + DOUBT);
        }
    }
    worth
}

/// The worths with the least squares of weighted errors: what each family costs is put in terms of the worths, and
/// the rest is a linear equation for each host.
fn solve(families: &[Vec<Sample>], weights: &[Vec<f64>], known: &[Option<f64>]) -> Vec<f64> {
    let n = known.len();
    let mut rows = vec![vec![0.0; n + 1]; n];
    for (family, weights) in families.iter().zip(weights) {
        let all: f64 = weights.iter().sum();
        let mut of: BTreeMap<usize, (f64, f64)> = BTreeMap::new();
        let mut mean = 0.0;
        for (sample, weight) in family.iter().zip(weights) {
            let (sum, logs) = of.entry(sample.host).or_default();
            *sum += weight;
            *logs += weight * sample.log;
            mean += weight * sample.log / all;
        }
        for (&a, &(weight, logs)) in &of {
            rows[a][a] += weight;
            rows[a][n] += weight * mean - logs;
            for (&b, &(other, _)) in &of {
                rows[a][b] -= weight * other / all;
            }
        }
    }
    for (at, row) in rows.iter_mut().enumerate() {
        row[at] += PULL;
        if let Some(known) = known[at] {
            row.fill(0.0);
            (row[at], row[n]) = (1.0, known);
        }
    }
    // Each row's own number is greater than all others in it together, so it is never 0.
    for at in 0..n {
        let pivot = rows[at].clone();
        for row in &mut rows[at + 1..] {
            let factor = row[at] / pivot[at];
            if factor != 0.0 {
                for (value, above) in row.iter_mut().zip(&pivot).skip(at) {
                    *value -= factor * above;
                }
            }
        }
    }
    let mut worth = vec![0.0; n];
    for at in (0..n).rev() {
        let rest: f64 = (at + 1..n).map(|b| rows[at][b] * worth[b]).sum();
        worth[at] = (rows[at][n] - rest) / rows[at][at];
    }
    worth
}

/// The median: of two in the middle their mean.
fn median(mut all: Vec<f64>) -> Option<f64> {
    all.sort_by(f64::total_cmp);
    let middle = all.len() / 2;
    match all.len() % 2 {
        _ if all.is_empty() => None,
        0 => Some((all[middle - 1] + all[middle]) / 2.0),
        _ => Some(all[middle]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs of `(name, host, seconds)`.
    fn learn(rows: &[(&str, &str, f64)], given: &[(&str, f64)]) -> History {
        let mut runs = PastRuns::default();
        let mut names: Vec<&str> = rows.iter().map(|row| row.0).collect();
        names.sort_unstable();
        names.dedup();
        runs.of = vec![Vec::new(); names.len()];
        for (at, &(name, host, seconds)) in rows.iter().enumerate() {
            let known = runs.hosts.iter().position(|known| known == host);
            let host = known.unwrap_or_else(|| {
                runs.hosts.push(host.to_owned());
                runs.hosts.len() - 1
            });
            let family = names.binary_search(&name).unwrap();
            runs.of[family].push(PastRun {
                started: at as i64,
                seconds,
                host,
            });
        }
        let given = given
            .iter()
            .map(|(host, speed)| ((*host).to_owned(), *speed));
        History::learn(&names, &runs, &given.collect(), "home")
    }

    fn near(is: f64, should: f64) {
        assert!((is / should - 1.0).abs() < 0.08, "{is}, not {should}");
    }

    #[test]
    fn speeds_are_learnt_from_what_several_hosts_built() {
        let mut rows = Vec::new();
        let names = ["a:run", "b:run", "c:run", "d:run", "e:run", "f:run"];
        for (name, cost) in names.iter().zip([10.0, 35.0, 100.0, 240.0, 1000.0, 5.0]) {
            // A little off, and not always the same way.
            let off = if cost > 50.0 { 1.02 } else { 0.98 };
            rows.extend([(*name, "home", cost), (name, "fast", cost / 4.0 * off)]);
        }
        // Known by way of `fast` alone.
        rows.extend([("g:run", "fast", 30.0), ("g:run", "slow", 240.0)]);
        rows.extend([("h:run", "fast", 10.0), ("h:run", "slow", 80.0)]);
        let history = learn(&rows, &[]);
        near(history.speed("home"), 1.0);
        near(history.speed("fast"), 4.0);
        near(history.speed("slow"), 0.5);
        near(history.seconds("g:run").unwrap(), 120.0);
        assert_eq!(history.speed("never heard of"), 1.0);
        assert_eq!(history.seconds("z:run"), None);
        // What people say wins, and others are reckoned by it.
        let history = learn(&rows, &[("fast", 2.0), ("new", 7.0)]);
        assert_eq!((history.speed("fast"), history.speed("new")), (2.0, 7.0));
        near(history.speed("home"), 0.5);
        near(history.speed("slow"), 0.25);
    }

    #[test]
    fn a_run_that_was_disturbed_does_not_make_a_host_slow() {
        let mut rows = Vec::new();
        for name in ["a:run", "b:run", "c:run", "d:run", "e:run"] {
            rows.extend([(name, "home", 100.0), (name, "twin", 100.0)]);
        }
        rows[1].2 = 90_000.0;
        near(learn(&rows, &[]).speed("twin"), 1.0);
    }

    #[test]
    fn what_cannot_be_compared_counts_as_equal() {
        let rows = [("a:run", "home", 50.0), ("b:run", "island", 5.0)];
        let history = learn(&rows, &[]);
        assert_eq!(history.speed("island"), 1.0);
        assert_eq!(history.seconds("b:run"), Some(5.0));
        // Very short steps say nothing of hosts.
        let rows = [("a:run", "home", 0.01), ("a:run", "other", 0.9)];
        assert_eq!(learn(&rows, &[]).speed("other"), 1.0);
        assert_eq!(learn(&[], &[]), History::default());
    }

    #[test]
    fn one_run_is_believed_and_what_is_absurd_is_bounded() {
        let rows = [("a:run", "home", 100.0), ("a:run", "other", 50.0)];
        let speed = learn(&rows, &[]).speed("other");
        assert!((1.7..=2.0).contains(&speed), "{speed}");
        let rows = [("a:run", "home", 3e8), ("a:run", "other", 1.0)];
        let speed = learn(&rows, &[]).speed("other");
        assert!(speed <= MOST, "{speed}");
    }

    #[test]
    fn many_hosts_take_no_time() {
        let names: Vec<String> = (0..400).map(|n| format!("host{n}")).collect();
        let mut rows = vec![("a:run", "home", 10.0)];
        rows.extend(names.iter().map(|name| ("a:run", &**name, 20.0)));
        let history = learn(&rows, &[]);
        near(history.speed("host0"), 0.5);
        assert_eq!(history.speed("host399"), 1.0);
    }

    #[test]
    fn a_step_takes_the_median_of_its_runs() {
        let rows = [9.0, 1.0, 8.0, 2.0].map(|seconds| ("a:run", "home", seconds));
        assert_eq!(learn(&rows, &[]).seconds("a:run"), Some(5.0));
        assert_eq!(learn(&rows[..3], &[]).seconds("a:run"), Some(8.0));
    }
}
