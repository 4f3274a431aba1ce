//! What an engine is believed to have, and who uploads what at the moment.

use std::collections::HashMap;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::digest::Digest;

/// For how long an engine is believed to keep what it said it had.
const BELIEVED: Duration = Duration::from_secs(300);
/// Digests beyond which those that are not believed any more are forgotten.
const MANY: usize = 100_000;
/// How often whoever waits for the upload of another looks whether it is to stop.
const LOOK: Duration = Duration::from_millis(200);

/// What an engine is believed to have.
#[derive(Default)]
pub struct Belief {
    known: Mutex<HashMap<Digest, Known>>,
    changed: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Known {
    There(Instant),
    Uploading,
}

impl Belief {
    fn lock(&self) -> MutexGuard<'_, HashMap<Digest, Known>> {
        // Only whole entries are put in.
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those of some digests that the engine is to be asked about.
    pub fn doubtful(&self, digests: &[Digest]) -> Vec<Digest> {
        let known = self.lock();
        let is_there = |digest: &&Digest| match known.get(digest) {
            Some(Known::There(since)) => since.elapsed() < BELIEVED,
            _ => false,
        };
        let mut all: Vec<Digest> = digests.iter().filter(|d| !is_there(d)).copied().collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Notes what the engine said it has.
    pub fn note(&self, digests: impl IntoIterator<Item = Digest>) {
        let mut known = self.lock();
        let now = Instant::now();
        for digest in digests {
            known.insert(digest, Known::There(now));
        }
        if known.len() > MANY {
            known.retain(|_, known| match known {
                Known::There(since) => since.elapsed() < BELIEVED,
                Known::Uploading => true,
            });
        }
        drop(known);
        self.changed.notify_all();
    }

    /// Forgets what the engine said of some digests.
    pub fn forget(&self, digests: &[Digest]) {
        let mut known = self.lock();
        for digest in digests {
            if matches!(known.get(digest), Some(Known::There(_))) {
                known.remove(digest);
            }
        }
    }

    /// Takes the upload of those digests that the engine lacks and nobody else uploads or has uploaded.
    pub fn claim(&self, digests: &[Digest]) -> Claim<'_> {
        let mut known = self.lock();
        let mut mine = Vec::new();
        for digest in digests {
            // One that is there by now was uploaded by somebody else since the engine was asked.
            let is_free = match known.get(digest) {
                Some(Known::There(since)) => since.elapsed() >= BELIEVED,
                Some(Known::Uploading) => false,
                None => true,
            };
            if is_free {
                known.insert(*digest, Known::Uploading);
                mine.push(*digest);
            }
        }
        Claim { belief: self, mine }
    }

    /// Waits until nobody uploads these, or `stopped` says that it is enough.
    pub fn wait(&self, digests: &[Digest], stopped: &dyn Fn() -> bool) {
        let mut known = self.lock();
        while !stopped()
            && digests
                .iter()
                .any(|digest| known.get(digest) == Some(&Known::Uploading))
        {
            let waited = self.changed.wait_timeout(known, LOOK);
            known = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }
}

/// Digests whose blobs one thread uploads. Those that are not there when this ends may be taken by others.
pub struct Claim<'a> {
    belief: &'a Belief,
    mine: Vec<Digest>,
}

impl Claim<'_> {
    /// The digests.
    pub fn digests(&self) -> &[Digest] {
        &self.mine
    }

    /// Says that all of them are there.
    pub fn done(mut self) {
        self.belief.note(std::mem::take(&mut self.mine));
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut known = self.belief.lock();
        for digest in &self.mine {
            known.remove(digest);
        }
        drop(known);
        self.belief.changed.notify_all();
    }
}

#[cfg(test)]
mod tests {
    use super::super::digest::Function;
    use super::*;

    #[test]
    fn one_uploads_and_others_wait() {
        let belief = Belief::default();
        let [a, b] = [b"a", b"b"].map(|text| Function::Sha256.digest(text));
        assert_eq!(belief.doubtful(&[a, b, a]).len(), 2);
        let claim = belief.claim(&[a]);
        assert_eq!(claim.digests(), [a]);
        assert_eq!(belief.claim(&[a, b]).digests(), [b]);
        std::thread::scope(|scope| {
            let waiting = scope.spawn(|| belief.wait(&[a], &|| false));
            claim.done();
            waiting.join().unwrap();
        });
        assert_eq!(belief.doubtful(&[a, b]), [b]);
        assert!(belief.claim(&[a]).digests().is_empty());
        belief.forget(&[a]);
        assert_eq!(belief.doubtful(&[a]), [a]);
        // Whoever fails lets others try.
        drop(belief.claim(&[b]));
        assert_eq!(belief.claim(&[b]).digests(), [b]);
        belief.wait(&[a], &|| true);
    }
}
