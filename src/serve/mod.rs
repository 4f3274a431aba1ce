//! Serving over HTTP: a store as a binary cache.

#[cfg(feature = "http")]
pub mod cache;

#[cfg(feature = "http")]
pub mod folder;

#[cfg(feature = "http")]
mod gate;
