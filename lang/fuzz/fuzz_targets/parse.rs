//! Any bytes parse, and every span lies in the text.
//!
//! `cargo +nightly fuzz run parse` in this directory's parent.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mstore_lang::syntax::{File, Parts, block_lines, inclusion};

fuzz_target!(|bytes: &[u8]| {
    let file = File::parse_bytes("/fuzz".into(), bytes.to_vec(), 100);
    let source = file.source();
    for definition in &file.definitions {
        let _ = file.name(definition).join();
        for line in block_lines(source, definition.value) {
            let _ = inclusion(source, line);
            assert!(Parts::new(source, line).count() <= line.len());
        }
        let _ = (file.line(definition.name.start), file.column(definition.name.start));
    }
    for collect in &file.collects {
        let _ = (file.text(collect.path), file.section_of_collect(collect));
    }
    for error in &file.errors {
        let _ = file.text(error.span);
    }
});
