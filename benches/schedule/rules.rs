//! Two other rules for the order of jobs, for comparison: plain list scheduling by the longest path, and dpb's own.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::graph::{Graph, Park};

/// A rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// What can start with the longest remaining path starts on the fastest free host.
    LongestPath,
    /// The weight of a job is its own seconds and those of all jobs that need it, directly or not; the heaviest starts
    /// first, and ties go by name. A host takes part in the order of speeds, the fastest first; one that is not the
    /// fastest sees only the lightest bins of the queue, as many as are its share of the speed.
    Dpb,
}

/// Bins of the queue under dpb's rule.
const BINS: usize = 10;

/// Seconds that a graph takes on a set of hosts under a rule.
pub fn makespan(graph: &Graph, park: &Park, rule: Rule) -> f64 {
    let (weight, bins) = match rule {
        Rule::LongestPath => (graph.longest_paths(), vec![0; graph.len()]),
        Rule::Dpb => {
            let weights = weights(graph);
            let bins = bins(&weights);
            (weights, bins)
        }
    };
    let sees = match rule {
        Rule::LongestPath => vec![0; park.hosts.len()],
        Rule::Dpb => sees(park, &weight, &bins),
    };
    // Ties: by name under dpb's rule, by age under the other.
    let mut by_name: Vec<usize> = (0..graph.len()).collect();
    if rule == Rule::Dpb {
        by_name.sort_by(|a, b| graph.names[*a].cmp(&graph.names[*b]));
    }
    let mut place = vec![0; graph.len()];
    for (at, job) in by_name.iter().enumerate() {
        place[*job] = at;
    }
    let needed_by = graph.needed_by();
    let mut lacks: Vec<usize> = graph.needs.iter().map(Vec::len).collect();
    let mut queues: Vec<BTreeSet<(Reverse<u64>, usize, usize)>> = vec![BTreeSet::new(); BINS];
    let entry = |job: usize| (Reverse(weight[job].to_bits()), place[job], job);
    for job in 0..graph.len() {
        if lacks[job] == 0 {
            queues[bins[job]].insert(entry(job));
        }
    }
    // Free slots: the fastest host first, then the one with the most free slots.
    let mut order: Vec<usize> = (0..park.hosts.len()).collect();
    order.sort_by(|a, b| park.hosts[*b].1.total_cmp(&park.hosts[*a].1));
    let mut free: Vec<usize> = park.hosts.iter().map(|host| host.0).collect();
    let mut going: BinaryHeap<Reverse<(u64, usize, usize)>> = BinaryHeap::new();
    let mut clock = 0.0;
    loop {
        // Hosts of one speed in the order of their free slots.
        order.sort_by(|a, b| {
            let speed = park.hosts[*b].1.total_cmp(&park.hosts[*a].1);
            speed.then(free[*b].cmp(&free[*a])).then(a.cmp(b))
        });
        for &host in &order {
            while free[host] > 0 {
                let seen = queues[..=sees[host]].iter();
                let Some(&first) = seen.filter_map(|queue| queue.first()).min() else {
                    break;
                };
                let job = first.2;
                queues[bins[job]].remove(&first);
                free[host] -= 1;
                let end: f64 = clock + graph.seconds[job] / park.hosts[host].1;
                going.push(Reverse((end.to_bits(), job, host)));
            }
        }
        let Some(Reverse((end, job, host))) = going.pop() else {
            break;
        };
        clock = f64::from_bits(end);
        let mut ended = vec![(job, host)];
        while let Some(&Reverse((also, job, host))) = going.peek()
            && also == end
        {
            going.pop();
            ended.push((job, host));
        }
        for (job, host) in ended {
            free[host] += 1;
            for &above in &needed_by[job] {
                lacks[above] -= 1;
                if lacks[above] == 0 {
                    queues[bins[above]].insert(entry(above));
                }
            }
        }
    }
    assert!(lacks.iter().all(|n| *n == 0), "some were never built");
    clock
}

/// The seconds of each job and of all jobs that need it, directly or not.
fn weights(graph: &Graph) -> Vec<f64> {
    let mut weight = vec![0.0; graph.len()];
    // Of each job which of 64 others need it: a bit each.
    let mut above = vec![0_u64; graph.len()];
    for first in (0..graph.len()).step_by(64) {
        above.fill(0);
        let last = (first + 64).min(graph.len());
        for job in (0..last).rev() {
            if job >= first {
                above[job] |= 1 << (job - first);
            }
            let mut bits = above[job];
            if bits == 0 {
                continue;
            }
            for &need in &graph.needs[job] {
                above[need] |= bits;
            }
            while bits != 0 {
                weight[job] += graph.seconds[first + bits.trailing_zeros() as usize];
                bits &= bits - 1;
            }
        }
    }
    weight
}

/// The bin of each job: the lightest jobs lie in the first, as many in each.
fn bins(weight: &[f64]) -> Vec<usize> {
    let mut order: Vec<usize> = (0..weight.len()).collect();
    order.sort_by(|a, b| weight[*a].total_cmp(&weight[*b]));
    let mut bins = vec![0; weight.len()];
    for (at, job) in order.into_iter().enumerate() {
        bins[job] = at * BINS / weight.len();
    }
    bins
}

/// The last bin that each host sees.
fn sees(park: &Park, weight: &[f64], bins: &[usize]) -> Vec<usize> {
    let mut heavy = [0.0; BINS];
    for (weight, bin) in weight.iter().zip(bins) {
        heavy[*bin] += weight;
    }
    let all: f64 = heavy.iter().sum();
    let speed = |up_to: f64| -> f64 {
        let hosts = park.hosts.iter().filter(|host| host.1 <= up_to);
        hosts.map(|(slots, speed)| *slots as f64 * speed).sum()
    };
    let fastest = park.hosts.iter().map(|host| host.1).fold(0.0, f64::max);
    let last = |host: &(usize, f64)| {
        if host.1 >= fastest {
            return BINS - 1;
        }
        let share = all * speed(host.1) / speed(fastest);
        let (mut sum, mut at) = (heavy[0], 0);
        while at + 1 < BINS && sum <= share {
            at += 1;
            sum += heavy[at];
        }
        at
    };
    park.hosts.iter().map(last).collect()
}
