//! Planning from spec text to a graph, over specs on disk and a store that is pretended.

mod arrival;
mod chain;
mod differences;
mod manual;
mod mistakes;
mod properties;
mod standard;
mod store;
mod world;
