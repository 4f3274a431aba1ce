//! A wish to leave: what runs ends in its time, and nothing more starts.

use std::sync::atomic::{AtomicBool, Ordering};

/// Asked by whoever wants a run to end, heeded by its driver. A signal handler may ask.
#[derive(Debug, Default)]
pub struct Leave {
    heeded: AtomicBool,
    asked: AtomicBool,
}

impl Leave {
    /// Asks once. Tells whether that was the first time and a driver heeds it; otherwise more is to be done.
    pub fn ask(&self) -> bool {
        self.heeded.load(Ordering::SeqCst) && !self.asked.swap(true, Ordering::SeqCst)
    }

    /// Whether somebody asked.
    pub fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst)
    }

    /// Says whether a driver looks at it now.
    pub(super) fn heed(&self, heeded: bool) {
        self.heeded.store(heeded, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_counts_once_and_only_while_a_driver_runs() {
        let leave = Leave::default();
        assert!(!leave.ask() && !leave.is_asked());
        leave.heed(true);
        assert!(leave.ask() && leave.is_asked());
        assert!(!leave.ask());
    }
}
