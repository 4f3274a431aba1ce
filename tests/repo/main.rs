//! The keeper of a mirror, through the binary.

mod cases;
mod upkeep;
mod verbs;
mod world;
