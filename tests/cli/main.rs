//! The command line, tested by reading it: every test runs the real binary in a home of its own.

mod bad_input;
mod check;
mod damage;
mod environment;
mod eval;
mod fmt;
mod full;
mod hashes;
mod hostile;
mod lock;
mod looking;
mod read_only;
mod why;
