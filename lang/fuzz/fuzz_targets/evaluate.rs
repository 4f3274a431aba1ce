//! Any files load or fail, evaluate or fail; asking in another order changes nothing.

#![no_main]

use libfuzzer_sys::fuzz_target;
use mstore_lang_fuzz::Memory;

fuzz_target!(|bytes: &[u8]| {
    let memory = Memory::new(bytes);
    let spec = match memory.load() {
        Ok(spec) => spec,
        Err(errors) => {
            let _ = errors.render(false);
            return;
        }
    };
    let again = memory.load().expect("it loaded before");
    let mut all = spec.evaluate_all();
    assert!(all.is_sorted_by(|(one, _), (other, _)| one < other));
    all.reverse();
    for (name, found) in all {
        match (found, again.evaluate(name)) {
            (Ok(one), Ok(other)) => assert_eq!(one, other),
            (Err(one), Err(other)) => {
                assert_eq!(one.class(), other.class());
                let _ = one.diagnostic.render(false);
            }
            (one, other) => panic!("{one:?} and {other:?}"),
        }
        let _ = spec.provenance(name).expect("it has a definition").render();
    }
    let _ = (spec.taken(), spec.untaken(), spec.collected_relative());
});
