//! What names a bundle: two hashes and a length.

use std::fmt;

use mstore_store::Hash;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::Digest as _;

/// A SHA-256 hash, written in hexadecimal.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sha256(pub [u8; 32]);

impl Sha256 {
    /// Hashes bytes.
    pub fn of(bytes: &[u8]) -> Sha256 {
        Sha256(sha2::Sha256::digest(bytes).into())
    }
}

impl fmt::Display for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Sha256 {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Sha256 {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Sha256 {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let bytes = mstore_store::codec::Bytes::deserialize(deserializer)?;
        let hash = bytes.0.try_into();
        hash.map(Sha256)
            .map_err(|_| D::Error::custom("a SHA-256 hash has 32 bytes"))
    }
}

/// Names bytes that travel: by the hash that a store goes by, by the one that engines know, and by their number.
///
/// The fields stand in the order of canonical CBOR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Digest {
    /// How many bytes.
    pub size: u64,
    /// BLAKE3.
    pub blake3: Hash,
    /// SHA-256.
    pub sha256: Sha256,
}

impl Digest {
    /// Names bytes.
    pub fn of(bytes: &[u8]) -> Digest {
        Digest {
            size: bytes.len() as u64,
            blake3: Hash::of(bytes),
            sha256: Sha256::of(bytes),
        }
    }
}
