//! The control socket of a run: another process looks at what goes on, and tells the driver what to do.
//!
//! A run listens on a socket in the folder `running` of its store, which is the owner's alone. Whoever connects asks
//! a [`Question`] and gets an [`Answer`], each a line of JSON of bounded length, as often as they like. Threads of
//! the socket only carry messages: the driver answers, between two turns of its loop, so nobody else ever sees its
//! state. A client that reads slowly, or says nothing for a while, is dropped; it can hold up neither the run nor
//! others.

mod client;
mod serve;
pub mod words;

pub use client::{ControlError, Instance, instances};
pub use serve::Server;

use serde::{Deserialize, Serialize};
use words::Question;

/// What is said here, as a number: ends of different numbers do not understand each other.
pub const FORMAT: u32 = 1;
/// Folder of the sockets in a store.
pub const FOLDER: &str = "running";
/// Longest question, in bytes.
const MOST_QUESTION: usize = 64 << 10;
/// Longest answer, in bytes.
const MOST_ANSWER: usize = 8 << 20;

/// A question as it travels.
#[derive(Debug, Serialize, Deserialize)]
struct Envelope {
    format: u32,
    question: Question,
}

#[cfg(test)]
mod tests;
