//! What was tried and what held.

use std::fmt::{self, Display};
use std::sync::atomic::{AtomicUsize, Ordering};

/// The count of one part of the table.
pub struct Tally {
    part: &'static str,
    tried: AtomicUsize,
    held: AtomicUsize,
}

impl Tally {
    pub fn new(part: &'static str) -> Tally {
        Tally {
            part,
            tried: AtomicUsize::new(0),
            held: AtomicUsize::new(0),
        }
    }

    /// Counts one thing that was tried; panics, telling it, if it did not hold.
    #[track_caller]
    pub fn held(&self, what: impl Display, held: bool, told: impl Display) {
        self.tried.fetch_add(1, Ordering::Relaxed);
        assert!(held, "{what}: {told}");
        self.held.fetch_add(1, Ordering::Relaxed);
    }
}

impl Display for Tally {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (tried, held) = (&self.tried, &self.held);
        let (tried, held) = (tried.load(Ordering::Relaxed), held.load(Ordering::Relaxed));
        write!(f, "{:24} tried {tried:4}  held {held:4}", self.part)
    }
}
