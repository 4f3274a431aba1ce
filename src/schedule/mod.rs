//! Graph and machines: what to start next, and the executors that do it.

pub mod engine;
pub mod realise;
pub mod run;

pub use run::{Event, NodeEnd, Observer};
