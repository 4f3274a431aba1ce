//! Several digests of a file, from one reading.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use mstore_store::Cancel;
use sha2::Digest as _;

use super::{CHUNK, failed_to};
use crate::drv::fetch::{Algorithm, Digest, FetchError};

/// A digest in the making.
enum Hasher {
    Blake2b(Box<blake2::Blake2b512>),
    Blake3(Box<blake3::Hasher>),
    Sha256(sha2::Sha256),
    Sha512(sha2::Sha512),
}

impl Hasher {
    fn new(algorithm: Algorithm) -> Hasher {
        match algorithm {
            Algorithm::Blake2b => Hasher::Blake2b(Box::default()),
            Algorithm::Blake3 => Hasher::Blake3(Box::default()),
            Algorithm::Sha256 => Hasher::Sha256(sha2::Sha256::new()),
            Algorithm::Sha512 => Hasher::Sha512(sha2::Sha512::new()),
        }
    }

    fn update(&mut self, bytes: &[u8]) {
        match self {
            Hasher::Blake2b(hasher) => hasher.update(bytes),
            Hasher::Blake3(hasher) => {
                hasher.update(bytes);
            }
            Hasher::Sha256(hasher) => hasher.update(bytes),
            Hasher::Sha512(hasher) => hasher.update(bytes),
        }
    }

    fn finish(self) -> Vec<u8> {
        match self {
            Hasher::Blake2b(hasher) => hasher.finalize().to_vec(),
            Hasher::Blake3(hasher) => hasher.finalize().as_bytes().to_vec(),
            Hasher::Sha256(hasher) => hasher.finalize().to_vec(),
            Hasher::Sha512(hasher) => hasher.finalize().to_vec(),
        }
    }
}

/// Digests of the file at `path`, one for each of `algorithms`, in their order.
pub fn digests_of(
    path: &Path,
    algorithms: &[Algorithm],
    cancel: &Cancel,
) -> Result<Vec<Digest>, FetchError> {
    let mut file = File::open(path).map_err(failed_to("open", path))?;
    let mut hashers: Vec<Hasher> = algorithms.iter().map(|a| Hasher::new(*a)).collect();
    let mut buffer = vec![0; CHUNK];
    loop {
        if cancel.is_cancelled() {
            return Err(FetchError::Cancelled);
        }
        let n = file.read(&mut buffer).map_err(failed_to("read", path))?;
        if n == 0 {
            break;
        }
        for hasher in &mut hashers {
            hasher.update(&buffer[..n]);
        }
    }
    let all = algorithms.iter().zip(hashers);
    Ok(all
        .map(|(algorithm, hasher)| {
            let hex: String = hasher.finish().iter().map(|b| format!("{b:02x}")).collect();
            // Every algorithm gives as many bytes as it says.
            Digest::new(*algorithm, &hex).expect("a digest has its length")
        })
        .collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_as_other_programs_make_them() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("abc");
        std::fs::write(&path, "abc").unwrap();
        let found = digests_of(&path, &Algorithm::ALL, &Cancel::new()).unwrap();
        let found: Vec<String> = found.iter().map(ToString::to_string).collect();
        assert_eq!(
            found,
            [
                "blake2b:ba80a53f981c4d0d6a2797b69f12f6e94c212f14685ac4b74b12bb6fdbffa2d17d87c5392aab792dc252d5de4533cc9518d38aa8dbf1925ab92386edd4009923",
                "blake3:6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85",
                "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
                "sha512:ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f",
            ]
        );
    }
}
