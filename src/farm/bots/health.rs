//! Whether a worker may be given anything: one whose machine fails is left alone for a while, else it would fail job after
//! job faster than any other could build them.

use std::time::{Duration, Instant};

use super::table::Finished;

/// How long a machine is left alone that failed, at first and at most.
pub const RESTS: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(300));

/// How a machine is.
#[derive(Clone, Debug)]
pub struct Health {
    rests: (Duration, Duration),
    next: Duration,
    until: Option<Instant>,
}

impl Health {
    /// A machine of which nothing is known. It is left alone that long, at first and at most.
    pub fn new(rests: (Duration, Duration)) -> Health {
        Health {
            rests,
            next: rests.0,
            until: None,
        }
    }

    /// Hears how work ended. Gives the time that the machine rests, if it has to.
    pub fn hear(&mut self, finished: &Finished) -> Option<Duration> {
        if !finished.rests {
            // Work that was ended from outside says nothing.
            if finished.status.code == 0 {
                *self = Health::new(self.rests);
            }
            return None;
        }
        let rest = self.next;
        self.until = Some(Instant::now() + rest);
        self.next = self.rests.1.min(rest * 2);
        Some(rest)
    }

    /// For how long it rests from now on.
    pub fn left(&self) -> Option<Duration> {
        let left = self.until?.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }
}

#[cfg(test)]
mod tests {
    use tonic::Code;

    use super::*;

    #[test]
    fn each_failure_in_a_row_doubles_the_rest() {
        let second = Duration::from_secs(1);
        let mut health = Health::new((second * 10, second * 30));
        let failed = Finished::failed(Code::Unavailable, "");
        assert_eq!(health.hear(&failed), None);
        let full = Finished {
            rests: true,
            ..failed.clone()
        };
        let rests: Vec<_> = (0..3).map(|_| health.hear(&full).unwrap()).collect();
        assert_eq!(rests, [second * 10, second * 20, second * 30]);
        assert!(health.left().is_some());
        // Somebody ended it: it is not well for that.
        assert_eq!(
            (health.hear(&failed), health.left().is_some()),
            (None, true)
        );
        assert_eq!(health.hear(&Finished::failed(Code::Ok, "")), None);
        assert_eq!(health.left(), None);
        assert_eq!(health.hear(&full), Some(second * 10));
    }
}
