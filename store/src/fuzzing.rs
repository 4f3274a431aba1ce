//! Doors for the fuzz targets to what is private; compiled for them alone.

use std::path::Path;

use crate::Hash;
use crate::disk::RealDisk;
use crate::pack::{Pack, Room};

/// Reads all there is in a file as a pack, in every way there is, whatever it holds.
pub fn pack(path: &Path) {
    let Ok(pack) = Pack::open(&RealDisk, "fuzz", path) else {
        return;
    };
    let sound = pack.check_index().is_ok();
    let _ = (pack.is_meta(), pack.effort(), pack.len());
    let mut room = Room::default();
    for at in 0..pack.count().min(32) {
        let Ok(place) = pack.place(at) else {
            assert!(!sound, "a sound index has an unsound entry");
            continue;
        };
        let found = pack.position(&place.hash).ok().flatten();
        assert!(
            !sound || found == Some(at),
            "a sound index does not find an entry"
        );
        let _ = pack.with_stored(&place, |_| Ok(()));
        let _ = pack.plain(&place);
        let mut out = Vec::new();
        let read = pack.read_into(&place, &mut out);
        match (pack.load(&place, &mut room), read) {
            (Ok(loaded), Ok(())) => assert_eq!(loaded, out),
            (loaded, read) => assert_eq!(loaded.is_ok(), read.is_ok()),
        }
    }
    for first in 0..=255 {
        if let Some(hash) = Hash::from_slice(&[first; 32]) {
            let _ = pack.position(&hash);
        }
    }
}
