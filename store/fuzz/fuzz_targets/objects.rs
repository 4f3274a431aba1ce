//! Records are read from their one encoding only, whatever the bytes; streams are decompressed within bounds.
#![no_main]

use std::io::Read;

use libfuzzer_sys::fuzz_target;
use mstore_store::compress::{DecodeLimits, Decoder};
use mstore_store::transfer::Fact;
use mstore_store::{Manifest, Tree};

fuzz_target!(|data: &[u8]| {
    let Some((&choice, data)) = data.split_first() else {
        return;
    };
    match choice % 4 {
        0 => {
            if let Ok(manifest) = Manifest::decode(data) {
                assert_eq!(manifest.encode(), data);
            }
        }
        1 => {
            if let Ok(tree) = Tree::decode(data) {
                assert_eq!(tree.encode(), data);
            }
        }
        2 => {
            if let Ok(fact) = Fact::decode(data) {
                assert_eq!(Fact::decode(&fact.encode()).expect("its own encoding"), fact);
            }
        }
        _ => {
            if let Ok(decoder) = Decoder::new(data, DecodeLimits::default()) {
                let _ = std::io::copy(&mut decoder.take(16 << 20), &mut std::io::sink());
            }
        }
    }
});
