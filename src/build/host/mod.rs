//! This machine: the platforms it runs, remedies for what it lacks, and a check of both.

mod check;
mod platform;
mod remedy;

pub use check::{HostCapabilities, check};
pub use platform::{PlatformError, Runs, is_32_bit_of, machine, platforms, runs};
pub(crate) use remedy::hint;
