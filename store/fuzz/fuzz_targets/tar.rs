//! No bytes may make the archive reader panic, hang or take memory without bound.
//!
//! Random bytes never have a right checksum, so the target sets it in every block that claims to be a
//! header (the first byte of the input says which), and the reader's own code is reached.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mstore_store::tar::{StripTop, TarLimits, TarOptions, check};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, archive)) = data.split_first() else {
        return;
    };
    let mut archive = archive.to_vec();
    if choice & 1 != 0 {
        for block in archive.chunks_exact_mut(512) {
            if block.iter().any(|&b| b != 0) {
                block[148..156].fill(b' ');
                let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
                block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
            }
        }
    }
    let mut options = if choice & 2 != 0 {
        TarOptions::snapshot()
    } else {
        TarOptions::seed()
    };
    options.strip_top = StripTop::No;
    options.limits = TarLimits {
        file_bytes: 1 << 20,
        total_bytes: 4 << 20,
        sparse_runs: 1 << 10,
        ..TarLimits::default()
    };
    let _ = check(&archive[..], &options);
});
