//! Any bytes may be a package graph: they are refused, or are the one way in which it is written. What was read has
//! layers, or is refused for what it says.
#![no_main]

use libfuzzer_sys::fuzz_target;
use mstore::packages::expand::{Layers, Options};
use mstore::packages::read;

/// A graph in which every member has something, to begin with.
const START: &str = include_str!("packages.json");

fuzz_target!(|changes: Vec<(u16, u8, Vec<u8>)>| {
    let mut bytes = START.trim_end().as_bytes().to_vec();
    bytes.push(b'\n');
    for (at, gone, put) in changes {
        let at = usize::from(at) % bytes.len().max(1);
        let end = bytes.len().min(at + usize::from(gone % 8));
        bytes.splice(at..end, put);
    }
    if let Ok(graph) = read::read(&bytes) {
        assert_eq!(read::write(&graph), bytes);
        let _ = Layers::of(&graph, &Options::default());
    }
});
