//! Moving results between stores: peers, trust, substitution.

pub mod cache;
#[cfg(feature = "http")]
pub mod http;
pub mod parcel;
pub mod peer;
pub mod place;
pub mod ssh;
pub mod substitute;
pub mod trust;
#[cfg(feature = "http")]
pub mod web;
pub mod wire;

pub use parcel::Parcel;
pub use peer::{Ask, LocalPeer, Offer, Peer};
pub use place::{Remote, RemoteError};
pub use substitute::Substitute;
pub use trust::{PublicKey, SecretKey, Trust};
