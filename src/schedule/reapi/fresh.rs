//! Bundles that were made when their tree was cut, until they are uploaded: nobody makes them twice.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::share::bundle;

/// Most bytes that are kept; what is beyond is made again.
const MOST: u64 = 256 << 20;

/// Bundles that were made and not asked for yet.
#[derive(Default)]
pub struct Fresh(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    bytes: u64,
    bundles: HashMap<bundle::Digest, Vec<u8>>,
}

impl Fresh {
    fn lock(&self) -> MutexGuard<'_, Kept> {
        // What is counted wrongly is counted too high, and then less is kept.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Keeps a bundle, if there is room.
    pub fn put(&self, digest: &bundle::Digest, bytes: Vec<u8>) {
        let mut kept = self.lock();
        let size = bytes.len() as u64;
        if kept.bytes + size <= MOST && !kept.bundles.contains_key(digest) {
            kept.bytes += size;
            kept.bundles.insert(*digest, bytes);
        }
    }

    /// Takes a bundle, if it was kept.
    pub fn take(&self, digest: &bundle::Digest) -> Option<Vec<u8>> {
        let mut kept = self.lock();
        let bytes = kept.bundles.remove(digest)?;
        kept.bytes = kept.bytes.saturating_sub(bytes.len() as u64);
        Some(bytes)
    }

    /// Gives up those that nobody has taken.
    pub fn drop_all<'a>(&self, digests: impl Iterator<Item = &'a bundle::Digest>) {
        for digest in digests {
            drop(self.take(digest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bundle_is_taken_once_and_room_is_bounded() {
        let fresh = Fresh::default();
        let bytes = vec![7; 1000];
        let digest = bundle::Digest::of(&bytes);
        fresh.put(&digest, bytes.clone());
        fresh.put(&digest, bytes.clone());
        assert_eq!(fresh.take(&digest), Some(bytes.clone()));
        assert_eq!((fresh.take(&digest), fresh.lock().bytes), (None, 0));
        fresh.lock().bytes = MOST - 999;
        fresh.put(&digest, bytes);
        assert_eq!(fresh.take(&digest), None);
    }
}
