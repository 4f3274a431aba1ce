//! The edges between jobs, which may come in any order, and the circles they must not close.
//!
//! An edge leads from a job to one it *needs*. Every job has a *level*, and no job needs one of a
//! higher level. A new edge between different levels in the right order therefore closes no circle.
//! For any other edge a search looks for a way back: first among the needs on the same level, for a
//! limited number of edges, then among the dependents below the level that the job is lifted to. This
//! is the two-way search of Bender, Fineman, Gilbert and Tarjan ("A new approach to incremental cycle
//! detection and related problems", section 2). Its cost over m edges is O(m * sqrt(m)) at worst,
//! whatever the order of arrival. Where jobs are listed after all they need, or before all they need,
//! an edge costs O(1): the job has no dependents yet, or what it needs has no needs yet.

use super::model::JobId;
use crate::dense::DenseMap;

/// Fewest edges that the first search follows before it gives up.
const PATIENCE: usize = 8;

/// The jobs and what they need. Free of circles: an edge that would close one is refused.
#[derive(Debug, Default)]
pub struct JobGraph {
    needs: DenseMap<JobId, Vec<JobId>>,
    needed_by: DenseMap<JobId, Vec<JobId>>,
    edges: usize,
    level: DenseMap<JobId, u32>,
    /// The needs of a job that are on its own level.
    same: DenseMap<JobId, Vec<JobId>>,
    /// The search that saw a job last, and the job it came from.
    seen: DenseMap<JobId, (u64, JobId)>,
    search: u64,
    steps: u64,
    /// How many edges the first search follows before it gives up, in the place of what is usual.
    /// Small graphs need a small number to come to more than one level.
    pub(super) patience: Option<usize>,
}

impl JobGraph {
    /// Adds a job without edges.
    pub fn push(&mut self) -> JobId {
        let id = self.needs.push(Vec::new());
        self.needed_by.push(Vec::new());
        self.level.push(0);
        self.same.push(Vec::new());
        self.seen.push((0, id));
        id
    }

    /// What a job needs, as far as it is known. An edge that closed a circle is left out.
    pub fn needs(&self, job: JobId) -> &[JobId] {
        &self.needs[job]
    }

    /// The jobs that need it and came before it was usable.
    pub fn needed_by(&self, job: JobId) -> &[JobId] {
        &self.needed_by[job]
    }

    /// The number of edges.
    pub fn edges(&self) -> usize {
        self.edges
    }

    /// The number of edges that searches for circles followed so far: the measure of their cost.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Takes in that `job` needs `need`, which is usable or will never be: such a need closes no
    /// circle and keeps nobody waiting.
    pub(super) fn add_settled(&mut self, job: JobId, need: JobId) {
        self.edges += 1;
        self.needs[job].push(need);
    }

    /// Takes in that `job` needs `need`.
    ///
    /// Searches pass over jobs that are `dead`: those that cannot be part of a circle, or are part of
    /// one that is known.
    ///
    /// # Errors
    /// The circle that the edge would close: `job`, `need`, what that needs, and so on; the last one
    /// needs `job`. The edge is not added.
    pub(super) fn add(
        &mut self,
        job: JobId,
        need: JobId,
        dead: impl Fn(JobId) -> bool,
    ) -> Result<(), Vec<JobId>> {
        if job == need {
            return Err(vec![job]);
        }
        self.order(job, need, dead)?;
        self.edges += 1;
        self.needs[job].push(need);
        self.needed_by[need].push(job);
        if self.level[job] == self.level[need] {
            self.same[job].push(need);
        }
        Ok(())
    }

    /// Lifts `job` to the level of `need` at least, and what needs it with it.
    fn order(
        &mut self,
        job: JobId,
        need: JobId,
        dead: impl Fn(JobId) -> bool,
    ) -> Result<(), Vec<JobId>> {
        let level = self.level[need];
        if level < self.level[job] {
            return Ok(());
        }
        if self.needed_by[job].is_empty() {
            // Nobody is above it, so there is no way back.
            if level > self.level[job] {
                self.level[job] = level;
                self.same[job].clear();
            }
            return Ok(());
        }
        self.search += 2;
        let (below, above) = (self.search, self.search + 1);
        let complete = self.search_below(job, need, below, &dead)?;
        if complete && level == self.level[job] {
            return Ok(());
        }
        // After a search that gave up, only `need` itself counts as seen.
        let target = if complete { level } else { level + 1 };
        let met = |graph: &Self, at: JobId| match complete {
            true => graph.seen[at].0 == below,
            false => at == need,
        };
        let lifted = self.search_above(job, need, (target, above), met, &dead)?;
        self.lift(&lifted, target, dead);
        Ok(())
    }

    /// Follows needs on one level from `need`, in search of `job`. Tells whether it saw them all.
    fn search_below(
        &mut self,
        job: JobId,
        need: JobId,
        mark: u64,
        dead: impl Fn(JobId) -> bool,
    ) -> Result<bool, Vec<JobId>> {
        let usual = PATIENCE.max(self.level[need] as usize);
        let mut left = self.patience.unwrap_or(usual);
        let mut todo = vec![need];
        self.seen[need] = (mark, need);
        while let Some(at) = todo.pop() {
            if dead(at) {
                continue;
            }
            for &next in &self.same[at] {
                if next == job {
                    let mut circle = vec![job];
                    circle.extend(self.way(at, need).into_iter().rev());
                    return Err(circle);
                }
                if left == 0 {
                    return Ok(false);
                }
                left -= 1;
                self.steps += 1;
                if self.seen[next].0 != mark {
                    self.seen[next] = (mark, at);
                    todo.push(next);
                }
            }
        }
        Ok(true)
    }

    /// Follows dependents below the level `target` from `job`, in search of what `met` knows. Gives
    /// all it saw.
    fn search_above(
        &mut self,
        job: JobId,
        need: JobId,
        (target, mark): (u32, u64),
        met: impl Fn(&Self, JobId) -> bool,
        dead: impl Fn(JobId) -> bool,
    ) -> Result<Vec<JobId>, Vec<JobId>> {
        let mut lifted = vec![job];
        self.seen[job] = (mark, job);
        let mut done = 0;
        while let Some(&at) = lifted.get(done) {
            done += 1;
            for &next in &self.needed_by[at] {
                self.steps += 1;
                if dead(next) {
                    continue;
                }
                if met(self, next) {
                    // need .. next as the first search came, then down to job.
                    let mut circle = vec![job];
                    circle.extend(self.way(next, need).into_iter().rev());
                    let mut down = self.way(at, job);
                    down.pop();
                    circle.extend(down);
                    return Err(circle);
                }
                if self.level[next] < target && self.seen[next].0 != mark {
                    self.seen[next] = (mark, at);
                    lifted.push(next);
                }
            }
        }
        Ok(lifted)
    }

    /// The way of a search back from `at` to where it began, both included.
    fn way(&self, mut at: JobId, start: JobId) -> Vec<JobId> {
        let mut way = vec![at];
        while at != start {
            at = self.seen[at].1;
            way.push(at);
        }
        way
    }

    fn lift(&mut self, jobs: &[JobId], target: u32, dead: impl Fn(JobId) -> bool) {
        for &job in jobs {
            self.level[job] = target;
            self.same[job].clear();
        }
        for &job in jobs {
            for at in 0..self.needed_by[job].len() {
                let above = self.needed_by[job][at];
                if self.level[above] == target && !dead(above) {
                    self.same[above].push(job);
                }
            }
        }
    }
}
