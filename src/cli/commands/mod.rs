//! The commands: one file or folder each, none imports another. A command is its arguments and one
//! function over the [`Context`](super::context::Context).

pub mod check;
pub mod complete;
pub mod completions;
pub mod config;
pub mod copy;
pub mod diff;
pub mod doctor;
pub mod dpb;
pub mod eval;
pub mod export;
pub mod fetch;
pub mod fmt;
pub mod forget;
pub mod gc;
pub mod graph;
pub mod init;
pub mod key;
pub mod list;
pub mod lock;
pub mod log;
#[cfg(feature = "lsp")]
pub mod lsp;
pub mod man;
pub mod metro;
pub mod realise;
pub mod repo;
pub mod seed;
pub mod serve;
pub mod shell;
pub mod show;
pub mod snapshot;
pub mod specs;
pub mod store;
pub mod why;
pub mod worker;
