//! The one encoding of records: canonical CBOR, bounded on the way in.
//!
//! What is hashed must have one encoding only. CBOR decoders accept several, so [`decode`] encodes
//! what it decoded again and refuses input that differs. Types given to this module use sorted maps
//! or vectors, no floats and no `HashMap`. The CBOR library is private to this file: replacing it
//! changes no hash, and a test against a second library keeps that true.

use serde::Serialize;
use serde::de::DeserializeOwned;

/// Input that is not the canonical encoding of the expected record.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum CodecError {
    /// More bytes than the caller allows for this record.
    #[error("record of {size} bytes is larger than the limit of {limit}")]
    TooLarge {
        /// Bytes given.
        size: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not CBOR, or not this record.
    #[error("record cannot be read: {detail}")]
    Malformed {
        /// What the decoder says.
        detail: String,
    },
    /// Readable, but not the one encoding that is allowed.
    #[error("record is not in canonical form")]
    NotCanonical,
}

/// Bytes that most records fit in, so that encoding one asks for memory once.
const USUAL: usize = 1 << 10;

/// Encodes a record in canonical form.
///
/// # Panics
/// Only when `T`'s own `Serialize` reports an error; derived implementations never do.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(USUAL);
    serde_cbor::to_writer(&mut bytes, value)
        .expect("writing to memory cannot fail, and records have no failing Serialize");
    bytes
}

/// Decodes a record of at most `limit` bytes, and only from its canonical form.
pub fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
) -> Result<T, CodecError> {
    if bytes.len() > limit {
        return Err(CodecError::TooLarge {
            size: bytes.len(),
            limit,
        });
    }
    // serde_cbor refuses trailing bytes and nesting deeper than 128.
    let value: T = serde_cbor::from_slice(bytes).map_err(|error| CodecError::Malformed {
        detail: error.to_string(),
    })?;
    let again = serde_cbor::to_vec(&value).map_err(|error| CodecError::Malformed {
        detail: error.to_string(),
    })?;
    if again != bytes {
        return Err(CodecError::NotCanonical);
    }
    Ok(value)
}

/// A byte string inside a record (plain `Vec<u8>` would become an array of numbers).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Bytes {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Take;
        impl serde::de::Visitor<'_> for Take {
            type Value = Bytes;
            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a byte string")
            }
            fn visit_bytes<E>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
            fn visit_byte_buf<E>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
                Ok(Bytes(bytes))
            }
        }
        deserializer.deserialize_byte_buf(Take)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[derive(Debug, PartialEq, Serialize, serde::Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        format: u32,
        name: String,
        data: Bytes,
        env: BTreeMap<String, i64>,
        list: Vec<(u8, Option<String>)>,
    }

    fn sample() -> Sample {
        Sample {
            format: 1,
            name: "stage3".into(),
            data: Bytes(vec![0, 255]),
            env: [("A".to_string(), -1), ("B".to_string(), i64::MAX)].into(),
            list: vec![(1, None), (2, Some("x".into()))],
        }
    }

    #[test]
    fn bytes_are_pinned_and_agree_with_another_library() {
        let bytes = encode(&sample());
        let mut other = Vec::new();
        ciborium::into_writer(&sample(), &mut other).unwrap();
        assert_eq!(bytes, other);
        assert_eq!(decode::<Sample>(&bytes, 1000).unwrap(), sample());
    }
    #[test]
    fn refuses_all_but_the_one_form() {
        let bytes = encode(&sample());
        assert!(matches!(
            decode::<Sample>(&bytes, bytes.len() - 1),
            Err(CodecError::TooLarge { .. })
        ));
        let mut longer = bytes.clone();
        longer.push(0);
        assert!(decode::<Sample>(&longer, 1000).is_err());
        for end in 0..bytes.len() {
            assert!(decode::<Sample>(&bytes[..end], 1000).is_err());
        }
        // 1 written in two bytes instead of one.
        assert_eq!(
            decode::<u32>(&[0x18, 0x01], 10),
            Err(CodecError::NotCanonical)
        );
        // A list of unknown length.
        assert_eq!(
            decode::<Vec<u32>>(&[0x9f, 0x01, 0xff], 10),
            Err(CodecError::NotCanonical)
        );
        // A length prefix far beyond the input, and deep nesting.
        assert!(
            decode::<Bytes>(&[0x5b, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff], 10).is_err()
        );
        assert!(decode::<Vec<u32>>(&[0x81; 100_000], 1 << 20).is_err());
    }
}
