//! The dialect of Python that `~/.buildbot` is written in, evaluated without side effects.
//!
//! A small evaluator of our own rather than the `starlark` crate: that one brings 158 crates, refuses tabs, a second
//! assignment and comparisons in a chain, all of which are Python, and bounds neither time nor memory. This one
//! has no files, clock, modules, classes, exceptions or closures to begin with; whatever else Python has is
//! refused with its line. What is accepted means what it means in Python.

mod ast;
mod budget;
mod builtins;
mod error;
mod lexer;
mod machine;
mod methods;
mod operators;
mod parser;
mod shape;
mod text;
mod value;

pub use error::Fault;
pub use lexer::MAX_SOURCE;
pub use machine::Program;
pub use shape::reads_date;
pub use value::Value;

#[cfg(test)]
mod tests;
