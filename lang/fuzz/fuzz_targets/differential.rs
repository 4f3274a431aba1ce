//! A second evaluator, as simple as the rules, comes to the same.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mstore_lang_fuzz::Memory;

#[path = "../../tests/naive/mod.rs"]
mod naive;

fuzz_target!(|bytes: &[u8]| {
    let memory = Memory::new(bytes);
    // Values with line feeds in them are none that a file could give.
    if memory.definitions.iter().any(|given| given.value.contains(['\n', '\r'])) {
        return;
    }
    let disk = memory.files.iter().map(|(path, text)| (path.display().to_string(), text.clone()));
    let entry = memory.entry().display().to_string();
    if let Err(why) = naive::compare::compare(&memory, disk.collect(), &entry, &memory.definitions) {
        panic!("{why}");
    }
});
