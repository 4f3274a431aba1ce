//! Tests that take minutes: `cargo test --test long -- --ignored`.
//!
//! They try at many places, or with large files, what a few cases of the other suites try every day.

mod damage;
#[path = "../cli/environment.rs"]
mod environment;
mod farm;
mod large;
mod month;
