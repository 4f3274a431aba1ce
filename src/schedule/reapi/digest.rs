//! Digests, as the Remote Execution API names blobs, and blobs themselves.

use std::fmt;

use bazel_remote_apis::build::bazel::remote::execution::v2 as re;
use prost::Message;
use sha2::{Digest as _, Sha256};

/// The function that digests of an engine are made with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Function {
    /// SHA-256, which all engines know.
    #[default]
    Sha256,
    /// BLAKE3, which few know.
    Blake3,
}

impl Function {
    /// Its number in the protocol.
    pub fn number(self) -> i32 {
        match self {
            Function::Sha256 => re::digest_function::Value::Sha256 as i32,
            Function::Blake3 => re::digest_function::Value::Blake3 as i32,
        }
    }

    /// What it is called in settings.
    pub fn name(self) -> &'static str {
        match self {
            Function::Sha256 => "sha256",
            Function::Blake3 => "blake3",
        }
    }

    /// The digest of some bytes.
    pub fn digest(self, bytes: &[u8]) -> Digest {
        let hash = match self {
            Function::Sha256 => Sha256::digest(bytes).into(),
            Function::Blake3 => *blake3::hash(bytes).as_bytes(),
        };
        Digest {
            hash,
            size: bytes.len() as u64,
        }
    }
}

/// What an engine calls a digest and is none, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoDigest(pub String);

/// Hash and size of a blob.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    /// The hash; of which function is the same for all digests of an engine.
    pub hash: [u8; 32],
    /// Bytes of the blob.
    pub size: u64,
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.hex(), self.size)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

impl Digest {
    /// The hash in hexadecimal digits, as engines want it.
    pub fn hex(&self) -> String {
        use std::fmt::Write as _;
        let mut text = String::with_capacity(64);
        for byte in self.hash {
            // Cannot fail: it goes to memory.
            let _ = write!(text, "{byte:02x}");
        }
        text
    }

    /// As the protocol writes it.
    pub fn wire(&self) -> re::Digest {
        re::Digest {
            hash: self.hex(),
            size_bytes: i64::try_from(self.size).unwrap_or(i64::MAX),
        }
    }

    /// Reads a digest that came from an engine.
    pub fn read(digest: &re::Digest) -> Result<Digest, NoDigest> {
        let hash = from_hex(&digest.hash);
        let size = u64::try_from(digest.size_bytes).ok();
        match (hash, size) {
            (Some(hash), Some(size)) => Ok(Digest { hash, size }),
            _ => Err(NoDigest(format!(
                "what it calls a digest is not one: {}/{}",
                digest
                    .hash
                    .chars()
                    .take(80)
                    .collect::<String>()
                    .escape_default(),
                digest.size_bytes
            ))),
        }
    }

    /// Reads `HASH/SIZE` at the end of the name of a resource.
    pub fn of_resource(name: &str) -> Option<Digest> {
        let (rest, size) = name.rsplit_once('/')?;
        let hash = rest.rsplit('/').next()?;
        Some(Digest {
            hash: from_hex(hash)?,
            size: size.parse().ok()?,
        })
    }
}

fn from_hex(text: &str) -> Option<[u8; 32]> {
    let text = text.as_bytes();
    if text.len() != 64 {
        return None;
    }
    let digit = |c: u8| match c {
        b'0'..=b'9' => Some(c - b'0'),
        b'a'..=b'f' => Some(c - b'a' + 10),
        _ => None,
    };
    let mut hash = [0; 32];
    for (byte, pair) in hash.iter_mut().zip(text.chunks_exact(2)) {
        *byte = digit(pair[0])? << 4 | digit(pair[1])?;
    }
    Some(hash)
}

/// A small blob at hand, with its digest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// Its digest.
    pub digest: Digest,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

impl Blob {
    /// The blob of some bytes.
    pub fn new(function: Function, bytes: Vec<u8>) -> Blob {
        Blob {
            digest: function.digest(&bytes),
            bytes,
        }
    }

    /// The blob that a message is.
    pub fn of(function: Function, message: &impl Message) -> Blob {
        Blob::new(function, message.encode_to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_come_back_and_others_are_refused() {
        let digest = Function::Sha256.digest(b"abc");
        assert_eq!(
            digest.to_string(),
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad/3"
        );
        assert_eq!(Digest::read(&digest.wire()).unwrap(), digest);
        assert_eq!(
            Digest::of_resource(&format!("blobs/{digest}")),
            Some(digest)
        );
        for (hash, size) in [
            ("", 3),
            (&*"A".repeat(64), 3),
            (&*"a".repeat(64), -1),
            (&*"a".repeat(62), 1),
        ] {
            let wire = re::Digest {
                hash: hash.to_owned(),
                size_bytes: size,
            };
            assert!(Digest::read(&wire).is_err(), "{hash}/{size}");
        }
        assert_ne!(Function::Blake3.digest(b"abc"), digest);
    }
}
