//! Ports through the real binary: a tree of tiny ports, built in what is captured from this machine.

mod bad;
mod place;
mod small;
