//! Graph and machines: what to start next, and the executors that do it.

pub mod engine;
