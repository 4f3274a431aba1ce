//! The command line, tested by reading it: every test runs the real binary in a home of its own.

mod advice;
mod check;
mod collect;
mod copy;
mod diff;
mod doors;
mod environment;
mod eval;
mod export;
mod fmt;
mod gc;
mod hashes;
mod log;
mod losses;
mod names;
mod places;
mod read_only;
mod realise;
mod remembered;
mod samples;
mod seed;
mod snapshot;
mod specs;
mod store;
mod why;
