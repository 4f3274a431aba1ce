//! Random order: jobs start in no order at all, so that a need that nobody wrote down shows some day.

use super::{Engine, JobId};
use crate::dense::Id;

impl Engine {
    /// Lets jobs start in random order, without any heuristics; the same `seed` gives the same order. Before any job
    /// is listed.
    pub fn set_random(&mut self, seed: u64) {
        self.random = Some(seed);
    }

    /// By what the jobs that could start are sorted: the greatest starts first.
    pub(super) fn urgency(&self, job: JobId) -> f64 {
        let Some(seed) = self.random else {
            return self.remaining.of(job);
        };
        // splitmix64 of seed and number.
        let mut z = seed ^ (Id::index(job) as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = z.wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) as f64
    }
}
