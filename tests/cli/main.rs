//! The command line, tested by reading it: every test runs the real binary in a home of its own.

mod bad_input;
mod environment;
mod eval;
mod lock;
