//! Moving trees from one store to another.
//!
//! Whoever receives decides: it walks the tree from its root and asks a [`Source`] for what it lacks,
//! so that only missing objects travel, whatever the source is (a store in a folder, a store at the
//! other end of a connection, a binary cache). The receiver trusts nothing: each object is
//! decompressed within bounds and hashed before it goes into a pack.
//!
//! Contents become part of the store in parts while they arrive, so that an interrupted copy goes on
//! where it stopped; manifests and the tree itself become visible last and together, when all that
//! they need is there.

pub mod cache;
mod error;
mod fact;
mod known;
mod local;
mod object;
mod receive;

pub use error::TransferError;
pub use fact::{Fact, MAX_FACT, MAX_RECORD, SIGNED_CONTEXT, Vouch};
pub use local::LocalSource;
pub use object::Object;
pub use receive::{Progress, ReceiveOptions, Received};

use crate::Hash;

/// Something that objects can be got from.
pub trait Source: Send + Sync {
    /// What to call it in messages: a path or an address.
    fn name(&self) -> String;

    /// Hands over those of `wanted` that it has, each once, in any order. An error of `take` is to be
    /// returned as it is.
    fn fetch(
        &self,
        wanted: &[Hash],
        take: &mut dyn FnMut(Object) -> Result<(), TransferError>,
    ) -> Result<(), TransferError>;
}

#[cfg(test)]
mod tests;
