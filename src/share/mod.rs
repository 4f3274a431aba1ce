//! Moving results between stores: peers, trust, substitution; and content from outside.

pub mod action;
pub mod address;
pub mod bundle;
pub mod cache;
pub mod fetch;
#[cfg(feature = "http")]
pub mod http_client;
pub mod parcel;
pub mod peer;
pub mod pipes;
pub mod ssh;
pub mod ssh_master;
pub mod substitute;
pub mod trust;
pub mod wire;

pub use address::{Remote, RemoteError};
pub use parcel::Parcel;
pub use peer::{Ask, LocalPeer, Offer, Peer};
pub use substitute::Substitute;
pub use trust::{PublicKey, SecretKey, Trust};
