//! A pack file with any content is read or refused.
//!
//! The first byte says which of the fixed parts and checksums are put right, so that what lies behind
//! them is reached.
#![no_main]

use std::cell::RefCell;
use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;

thread_local! {
    static FILE: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// The same file each time: only its content matters.
fn file() -> PathBuf {
    FILE.with_borrow_mut(|file| {
        let new = || std::env::temp_dir().join(format!("pack-fuzz-{}", std::process::id()));
        file.get_or_insert_with(new).clone()
    })
}

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    let mut pack = data.to_vec();
    let len = pack.len();
    if len >= 16 + 1024 + 64 {
        let foot = len - 64;
        if choice & 1 != 0 {
            pack[..8].copy_from_slice(b"mstorepk");
            pack[8..12].copy_from_slice(&1u32.to_le_bytes());
            pack[foot..foot + 8].copy_from_slice(b"mstoreix");
            pack[foot + 8..foot + 12].copy_from_slice(&1u32.to_le_bytes());
        }
        if choice & 2 != 0 {
            let count = u64::from(choice >> 4).min(((foot - 16 - 1024) / 64) as u64);
            let index = foot as u64 - 1024 - count * 64;
            pack[foot + 16..foot + 24].copy_from_slice(&index.to_le_bytes());
            pack[foot + 24..foot + 32].copy_from_slice(&count.to_le_bytes());
        }
        let index = u64::from_le_bytes(pack[foot + 16..foot + 24].try_into().expect("eight bytes"));
        if choice & 4 != 0 && index <= foot as u64 {
            let sum = blake3::hash(&pack[index as usize..foot]);
            pack[foot + 32..foot + 64].copy_from_slice(sum.as_bytes());
        }
    }
    let file = file();
    std::fs::write(&file, pack).expect("the temporary folder can be written to");
    mstore_store::fuzzing::pack(&file);
});
