//! Moving results between stores: peers, trust, substitution.

pub mod parcel;
pub mod peer;
pub mod place;
pub mod ssh;
pub mod substitute;
pub mod trust;
pub mod wire;

pub use parcel::Parcel;
pub use peer::{Ask, LocalPeer, Offer, Peer};
pub use place::{Remote, RemoteError};
pub use substitute::Substitute;
pub use trust::{PublicKey, SecretKey, Trust};
