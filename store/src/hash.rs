//! Hashes and the four kinds of names made from them.

use std::collections::HashSet;
use std::fmt;
use std::hash::{BuildHasherDefault, Hasher};
use std::str::FromStr;

use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Digits of the text form: RFC 4648 base32 in lower case.
const DIGITS: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
/// Length of the text form of a hash, in bytes.
pub const TEXT_LEN: usize = 52;

/// A 256-bit BLAKE3 hash, written as 52 lower-case base32 digits.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Hash([u8; 32]);

impl Hash {
    /// Takes 32 bytes as they are.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Hash(bytes)
    }

    /// Takes a slice that must have exactly 32 bytes.
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Hash)
    }

    /// Hashes plain bytes, as blobs are hashed.
    pub fn of(bytes: &[u8]) -> Self {
        Hash(*blake3::hash(bytes).as_bytes())
    }

    /// Hashes bytes in the domain that `context` names, so that objects of two kinds never share a hash.
    ///
    /// `context` must be a constant of the program, unique to one purpose.
    pub fn derive(context: &str, bytes: &[u8]) -> Self {
        Hash(blake3::derive_key(context, bytes))
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// Tells whether the text form begins with `prefix` (letter case ignored).
    pub fn has_prefix(&self, prefix: &str) -> bool {
        let text = self.text();
        prefix.len() <= TEXT_LEN && text[..prefix.len()].eq_ignore_ascii_case(prefix.as_bytes())
    }

    /// The smallest hash whose text form begins with `prefix` (letter case ignored); none if there is no such
    /// hash.
    pub fn first_with_prefix(prefix: &str) -> Option<Hash> {
        let mut out = [0u8; 32];
        for (at, byte) in prefix.bytes().enumerate() {
            let byte = byte.to_ascii_lowercase();
            let digit = DIGITS.iter().position(|digit| *digit == byte)?;
            // The last digit carries one bit.
            let bits = (0..5).map(|bit| (5 * at + bit, digit >> (4 - bit) & 1));
            for (bit, _) in bits.filter(|(_, set)| *set == 1) {
                *out.get_mut(bit / 8)? |= 0x80 >> (bit % 8);
            }
        }
        (prefix.len() <= TEXT_LEN).then_some(Hash(out))
    }

    fn text(&self) -> [u8; TEXT_LEN] {
        let mut out = [0; TEXT_LEN];
        let (mut bits, mut held, mut at) = (0u32, 0u32, 0);
        for &byte in &self.0 {
            bits = (bits << 8) | u32::from(byte);
            held += 8;
            while held >= 5 {
                held -= 5;
                out[at] = DIGITS[(bits >> held & 31) as usize];
                at += 1;
            }
        }
        // 256 = 51 * 5 + 1: the last digit carries one bit.
        out[at] = DIGITS[(bits << (5 - held) & 31) as usize];
        out
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.text();
        let text = std::str::from_utf8(&text).map_err(|_| fmt::Error)?;
        f.pad(text)
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A set of hashes. They are spread evenly as they are: hashing them again would only take time.
pub(crate) type HashedSet = HashSet<Hash, BuildHasherDefault<Spread>>;

/// Takes eight bytes of a [`Hash`] for the place in a table.
#[derive(Debug, Default)]
pub(crate) struct Spread(u64);

impl Hasher for Spread {
    fn write(&mut self, bytes: &[u8]) {
        // The length that comes before the bytes has eight of its own, which these replace.
        if let Some(eight) = bytes.last_chunk() {
            self.0 = u64::from_le_bytes(*eight);
        }
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

/// Text that is not the text form of a hash.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a hash (52 characters a-z2-7 are expected): {text}")]
pub struct ParseHashError {
    /// The refused text, shortened.
    pub text: String,
}

impl FromStr for Hash {
    type Err = ParseHashError;

    fn from_str(text: &str) -> Result<Self, ParseHashError> {
        let refuse = || ParseHashError {
            text: text.chars().take(80).collect(),
        };
        if text.len() != TEXT_LEN {
            return Err(refuse());
        }
        let mut out = [0u8; 32];
        let (mut bits, mut held, mut at) = (0u32, 0u32, 0);
        for byte in text.bytes() {
            let digit = match byte {
                b'a'..=b'z' => byte - b'a',
                b'2'..=b'7' => byte - b'2' + 26,
                _ => return Err(refuse()),
            };
            bits = (bits << 5) | u32::from(digit);
            held += 5;
            if held >= 8 {
                held -= 8;
                out[at] = (bits >> held & 255) as u8;
                at += 1;
            }
        }
        // The four spare bits of the last digit must be zero, or one hash would have many texts.
        if bits & ((1 << held) - 1) != 0 {
            return Err(refuse());
        }
        Ok(Hash(out))
    }
}

impl Serialize for Hash {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Hash {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Hash;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("32 bytes")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Hash, E> {
                Hash::from_slice(bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
            fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Hash, E> {
                Hash::from_slice(&bytes).ok_or_else(|| E::invalid_length(bytes.len(), &self))
            }
            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Hash, E> {
                text.parse().map_err(E::custom)
            }
        }
        if deserializer.is_human_readable() {
            let text = String::deserialize(deserializer)?;
            return text.parse().map_err(D::Error::custom);
        }
        deserializer.deserialize_bytes(Bytes)
    }
}

/// Makes a type that names one kind of thing by its hash: a [`Hash`] that cannot be taken for another's.
///
/// It has the text form and the encoding of the hash alone. The crate that uses this needs `serde`.
#[macro_export]
macro_rules! named_hash {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(
            Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, ::serde::Serialize, ::serde::Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub $crate::hash::Hash);

        impl $name {
            /// The hash without its kind.
            pub const fn hash(&self) -> $crate::hash::Hash {
                self.0
            }
        }
        impl ::std::fmt::Display for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }
        impl ::std::fmt::Debug for $name {
            fn fmt(&self, f: &mut ::std::fmt::Formatter<'_>) -> ::std::fmt::Result {
                ::std::fmt::Display::fmt(&self.0, f)
            }
        }
        impl ::std::str::FromStr for $name {
            type Err = $crate::hash::ParseHashError;
            fn from_str(text: &str) -> ::std::result::Result<Self, Self::Err> {
                text.parse().map($name)
            }
        }
    };
}

named_hash! {
    /// Names the content of a file: BLAKE3 of its raw bytes.
    BlobHash
}
named_hash! {
    /// Names a manifest: one directory's entries.
    DirHash
}
named_hash! {
    /// Names a tree: a root directory, all under it, and its hard links.
    TreeHash
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_form_round_trips_and_is_unique() {
        for seed in 0..200u32 {
            let hash = Hash::of(&seed.to_le_bytes());
            let text = hash.to_string();
            assert_eq!(text.len(), TEXT_LEN);
            assert_eq!(text.parse::<Hash>().unwrap(), hash);
            assert!(hash.has_prefix(&text[..7]));
            assert!(!hash.has_prefix("!"));
        }
        let zero = Hash::from_bytes([0; 32]).to_string();
        assert_eq!(zero, "a".repeat(52));
        // One spare bit set: another text of the same 32 bytes must be refused.
        assert!(format!("{}b", &zero[..51]).parse::<Hash>().is_err());
        assert!("A".repeat(52).parse::<Hash>().is_err());
        assert!("".parse::<Hash>().is_err());
    }

    #[test]
    fn agrees_with_rfc_4648() {
        // base32 of 32 bytes 0..31, lower case, padding dropped.
        let bytes: [u8; 32] = std::array::from_fn(|i| i as u8);
        assert_eq!(
            Hash::from_bytes(bytes).to_string(),
            "aaaqeayeaudaocajbifqydiob4ibceqtcqkrmfyydenbwha5dypq"
        );
    }

    #[test]
    fn domains_are_separate() {
        assert_ne!(Hash::derive("a", b"x"), Hash::derive("b", b"x"));
        assert_ne!(Hash::derive("a", b"x"), Hash::of(b"x"));
    }
}
