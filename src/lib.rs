//! Builds Linux distribution stages from Metro specifications, once, and remembers them.
//!
//! The floors, each using only those under it: `cli`; `serve`, `repo`; `project`; `farm`, `dpb`; `schedule`; `share`; `build`;
//! `packages`, `ports`; `plan`; `drv`; below them the crates `mstore-lang` and `mstore-store`.

#![deny(unsafe_code)]

pub mod build;
pub mod cli;
pub mod config;
pub mod dense;
pub mod dpb;
pub mod drv;
pub mod farm;
pub mod image;
pub mod packages;
pub mod plan;
pub mod ports;
pub mod project;
pub mod repo;
pub mod schedule;
pub mod serve;
pub mod share;
pub mod worker;
