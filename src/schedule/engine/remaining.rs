//! The longest remaining path: the time from the start of a job to the end of all that need it: the longest remaining
//! path, by which the engine orders what can start.
//!
//! A job that is listed above others makes them more urgent, all the way down. To follow every such
//! change at once would cost O(n) for each of n jobs in a long chain. So:
//!
//! - a raise goes down a queue, of which every event works off a bounded part;
//! - when the graph has doubled since the last time, and when the walk is over, one sweep over all
//!   that is not finished computes everything anew.
//!
//! The sweeps cost O(1) an edge in all (each is paid for by the edges that came since the last). The
//! values are exact after a sweep and whenever the queue is empty, and in between too small at most: a
//! job may start later than its due, never wrongly.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use super::graph::JobGraph;
use super::model::JobId;
use crate::dense::DenseMap;

/// Edges that an event follows down for each job or edge that came with it, and at least.
const CREDIT: i64 = 16;

/// The remaining paths of all jobs.
#[derive(Debug, Default)]
pub(super) struct Remaining {
    /// Seconds that a job takes; 0 until it is listed.
    own: DenseMap<JobId, f64>,
    /// Whether `own` is a guess.
    guessed: DenseMap<JobId, bool>,
    /// The longest remaining path of a job that needs it.
    above: DenseMap<JobId, f64>,
    median: Median,
    /// Jobs whose needs have not heard of a raise.
    raised: VecDeque<JobId>,
    in_queue: DenseMap<JobId, bool>,
    /// Jobs and edges at the last sweep.
    swept: usize,
    /// Whether a guess was made or became better since.
    guesses: bool,
    longest: f64,
    /// Seconds of all that is listed and not finished.
    left: f64,
    /// Edges that may be followed; less than nothing after a job with many needs.
    credit: i64,
    steps: u64,
}

impl Remaining {
    /// Adds a job of which nothing is known.
    pub fn push(&mut self) {
        self.own.push(0.0);
        self.guessed.push(false);
        self.above.push(0.0);
        self.in_queue.push(false);
    }

    /// Seconds from the start of a job to the end of the longest chain of jobs above it.
    pub fn of(&self, job: JobId) -> f64 {
        self.above[job] + self.own[job]
    }

    /// Seconds that a job takes, or is guessed to take.
    pub fn own(&self, job: JobId) -> f64 {
        self.own[job]
    }

    /// Seconds of all that is listed and not finished.
    pub fn left(&self) -> f64 {
        self.left.max(0.0)
    }

    /// Whether the duration of any job is known.
    pub fn knows_any(&self) -> bool {
        self.median.is_known()
    }

    /// Takes in that a listed job is finished.
    pub fn finish(&mut self, job: JobId) {
        self.left -= self.own[job];
    }

    /// Takes in that a finished job is to be built after all. A sweep has to follow.
    pub fn revive(&mut self, job: JobId) {
        self.left += self.own[job];
    }

    /// The longest of all, so far.
    pub fn longest(&self) -> f64 {
        self.longest
    }

    /// The number of edges followed so far: the measure of the cost.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes in a duration, so that it counts for the guesses about others.
    pub fn learn(&mut self, seconds: Option<f64>) {
        if let Some(seconds) = usable(seconds) {
            self.median.add(seconds);
            self.guesses = true;
        }
    }

    /// Takes in how long a listed job takes. Unknown ones count as the median of the known ones.
    pub fn list(&mut self, job: JobId, seconds: Option<f64>) {
        let seconds = usable(seconds);
        self.own[job] = seconds.unwrap_or_else(|| self.median.get());
        self.guessed[job] = seconds.is_none();
        self.guesses |= seconds.is_none();
        self.longest = self.longest.max(self.of(job));
        self.left += self.own[job];
        self.enqueue(job);
    }

    /// Takes in that `job` needs `need`. Tells whether this makes `need` more urgent.
    pub fn edge(&mut self, job: JobId, need: JobId) -> bool {
        let through = self.of(job);
        if through <= self.above[need] {
            return false;
        }
        self.above[need] = through;
        self.longest = self.longest.max(self.of(need));
        self.enqueue(need);
        true
    }

    fn enqueue(&mut self, job: JobId) {
        if !std::mem::replace(&mut self.in_queue[job], true) {
            self.raised.push_back(job);
        }
    }

    /// Works off a part of the queue after an event that brought `came` jobs and edges. `told` takes
    /// every job that became more urgent; those that are `finished` do not matter any more.
    pub fn work(
        &mut self,
        graph: &JobGraph,
        came: usize,
        finished: impl Fn(JobId) -> bool,
        mut told: impl FnMut(JobId),
    ) {
        self.credit += CREDIT * (came as i64 + 1);
        while self.credit > 0
            && let Some(job) = self.raised.pop_front()
        {
            self.in_queue[job] = false;
            self.credit -= 1 + graph.needs(job).len() as i64;
            for &need in graph.needs(job) {
                self.steps += 1;
                if !finished(need) && self.edge(job, need) {
                    told(need);
                }
            }
        }
        // What is not used is not saved up.
        self.credit = self.credit.min(0);
    }

    /// Whether the graph has doubled since the last sweep.
    pub fn is_sweep_due(&self, graph: &JobGraph) -> bool {
        self.own.len() + graph.edges() >= 2 * self.swept.max(1)
    }

    /// Whether a sweep would change anything.
    pub fn is_behind(&self) -> bool {
        self.guesses || !self.raised.is_empty()
    }

    /// Computes all paths of what is not finished anew. Values may become smaller too.
    pub fn sweep(&mut self, graph: &JobGraph, finished: impl Fn(JobId) -> bool) {
        while let Some(job) = self.raised.pop_front() {
            self.in_queue[job] = false;
        }
        self.left = 0.0;
        let mut waiting = DenseMap::new();
        let mut todo = Vec::new();
        for job in self.own.ids() {
            if self.guessed[job] {
                self.own[job] = self.median.get();
            }
            let left = match finished(job) {
                true => 0,
                false => {
                    self.left += self.own[job];
                    self.unfinished_above(graph, job, &finished)
                }
            };
            waiting.push(left);
            self.above[job] = 0.0;
            if left == 0 && !finished(job) {
                todo.push(job);
            }
        }
        // Every job comes after all that need it.
        while let Some(job) = todo.pop() {
            let through = self.of(job);
            self.longest = self.longest.max(through);
            for &need in graph.needs(job) {
                self.steps += 1;
                if finished(need) {
                    continue;
                }
                self.above[need] = self.above[need].max(through);
                waiting[need] -= 1;
                if waiting[need] == 0 {
                    todo.push(need);
                }
            }
        }
        self.swept = self.own.len() + graph.edges();
        self.guesses = false;
    }

    fn unfinished_above(
        &self,
        graph: &JobGraph,
        job: JobId,
        finished: impl Fn(JobId) -> bool,
    ) -> usize {
        let above = graph.needed_by(job).iter();
        above.filter(|&&job| !finished(job)).count()
    }
}

/// A duration that can be reckoned with: sums of millions of them are numbers too.
fn usable(seconds: Option<f64>) -> Option<f64> {
    seconds.filter(|seconds| (0.0..1e12).contains(seconds))
}

/// The median of a growing list of durations: the upper one of two.
#[derive(Debug, Default)]
struct Median {
    // Bits of numbers that are not negative sort as the numbers do.
    lower: BinaryHeap<u64>,
    upper: BinaryHeap<Reverse<u64>>,
}

impl Median {
    fn add(&mut self, seconds: f64) {
        // The upper half has as many as the lower, or one more.
        let bits = (seconds + 0.0).to_bits();
        if self.upper.len() > self.lower.len() {
            self.upper.push(Reverse(bits));
            if let Some(Reverse(least)) = self.upper.pop() {
                self.lower.push(least);
            }
        } else {
            self.lower.push(bits);
            if let Some(greatest) = self.lower.pop() {
                self.upper.push(Reverse(greatest));
            }
        }
    }

    fn is_known(&self) -> bool {
        !self.upper.is_empty()
    }

    /// 1 if nothing is known: then the number of jobs in a row decides.
    fn get(&self) -> f64 {
        self.upper.peek().map_or(1.0, |r| f64::from_bits(r.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_that_of_the_sorted_list() {
        let mut median = Median::default();
        assert_eq!(median.get(), 1.0);
        let mut all: Vec<f64> = Vec::new();
        for i in 0..200_u32 {
            let seconds = f64::from(i.wrapping_mul(2_654_435_761) % 97);
            all.push(seconds);
            all.sort_by(f64::total_cmp);
            median.add(seconds);
            assert_eq!(median.get(), all[all.len() / 2]);
        }
    }
}
