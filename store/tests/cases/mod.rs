//! The number of cases that a property is tried with.

use proptest::prelude::ProptestConfig;

/// `MSTORE_PROPERTY_CASES`, or so many: few enough for every run of the tests.
pub fn cases(usual: u32) -> ProptestConfig {
    let asked = std::env::var("MSTORE_PROPERTY_CASES").ok();
    let cases = asked.map(|n| n.parse().expect("MSTORE_PROPERTY_CASES is a number"));
    ProptestConfig {
        cases: cases.unwrap_or(usual),
        ..ProptestConfig::default()
    }
}
