//! Both digests of a file in one read.

use std::io::{self, Read};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;

use sha2::{Digest, Sha256};

/// Read at once where one thread does all: it stays in the cache of a processor while it is hashed twice.
const BLOCK: usize = 256 << 10;
/// Handed from thread to thread.
const LARGE_BLOCK: usize = 1 << 20;

/// The digests of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Digests {
    /// The sha256.
    pub sha256: [u8; 32],
    /// The blake3.
    pub blake3: [u8; 32],
    /// How many bytes were read.
    pub bytes: u64,
}

impl Digests {
    /// What `NAME.hash.txt` says.
    pub fn lines(&self) -> String {
        let hex = |bytes: &[u8; 32]| blake3::Hash::from_bytes(*bytes).to_hex();
        format!(
            "sha256 {}\nblake3 {}\n",
            hex(&self.sha256),
            hex(&self.blake3)
        )
    }
}

/// Reads a file to its end. `split`: a second thread makes one of the digests, for when this is the last file and a
/// processor would be idle.
pub fn digests(file: &mut impl Read, split: bool) -> io::Result<Digests> {
    match split {
        true => by_two(file),
        false => by_one(file),
    }
}

fn by_one(file: &mut impl Read) -> io::Result<Digests> {
    let (mut sha256, mut blake3) = (Sha256::new(), blake3::Hasher::new());
    let mut block = vec![0; BLOCK];
    let mut bytes = 0;
    loop {
        let n = fill(file, &mut block)?;
        sha256.update(&block[..n]);
        blake3.update(&block[..n]);
        bytes += n as u64;
        if n < block.len() {
            break;
        }
    }
    Ok(Digests {
        sha256: sha256.finalize().into(),
        blake3: blake3.finalize().into(),
        bytes,
    })
}

fn by_two(file: &mut impl Read) -> io::Result<Digests> {
    std::thread::scope(|scope| {
        let (send, receive) = sync_channel::<Arc<Vec<u8>>>(4);
        let other = scope.spawn(move || {
            let mut blake3 = blake3::Hasher::new();
            while let Ok(block) = receive.recv() {
                blake3.update(&block);
            }
            blake3.finalize()
        });
        let mut sha256 = Sha256::new();
        let mut bytes = 0;
        loop {
            let mut block = vec![0; LARGE_BLOCK];
            let n = fill(file, &mut block)?;
            block.truncate(n);
            bytes += n as u64;
            let block = Arc::new(block);
            // The other one ends only when this end of the channel is gone.
            let _ = send.send(block.clone());
            sha256.update(&*block);
            if n < LARGE_BLOCK {
                break;
            }
        }
        drop(send);
        let blake3 = other
            .join()
            .map_err(|_| io::Error::other("a thread ended"))?;
        Ok(Digests {
            sha256: sha256.finalize().into(),
            blake3: blake3.into(),
            bytes,
        })
    })
}

/// Fills a block, unless the file ends.
fn fill(file: &mut impl Read, block: &mut [u8]) -> io::Result<usize> {
    let mut filled = 0;
    while filled < block.len() {
        match file.read(&mut block[filled..]) {
            Ok(0) => break,
            Ok(n) => filled += n,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    Ok(filled)
}

/// Whether a text holds a hash: a line of an algorithm and hexadecimal digits.
pub fn holds_hash(text: &[u8]) -> bool {
    let is_hash = |line: &[u8]| {
        let mut words = line.split(|b| *b == b' ');
        let (algorithm, digest) = (words.next(), words.next());
        let algorithm =
            algorithm.is_some_and(|a| !a.is_empty() && a.iter().all(u8::is_ascii_alphanumeric));
        algorithm
            && words.next().is_none()
            && digest.is_some_and(|d| {
                d.len() >= 32 && d.len() % 2 == 0 && d.iter().all(u8::is_ascii_hexdigit)
            })
    };
    text.split(|b| *b == b'\n')
        .any(|line| is_hash(line.trim_ascii_end()))
}

/// The sha256 that a hash file gives.
pub fn sha256_of(text: &[u8]) -> Option<&str> {
    let text = std::str::from_utf8(text).ok()?;
    let digest = text
        .lines()
        .find_map(|line| line.strip_prefix("sha256 "))?
        .trim_end();
    (digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit())).then_some(digest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn known_digests() {
        let digests = digests(&mut &b"abc"[..], false).unwrap();
        assert_eq!(
            digests.lines(),
            "sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\
             blake3 6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85\n"
        );
        assert!(holds_hash(digests.lines().as_bytes()));
        assert_eq!(
            sha256_of(digests.lines().as_bytes()).map(str::len),
            Some(64)
        );
    }

    #[test]
    fn a_hash_file_holds_a_hash() {
        for text in [
            "",
            "\n",
            "sha256 x\n",
            "sha256 00\n",
            "hello",
            "sha256  0123456789abcdef0123456789abcdef\n",
        ] {
            assert!(!holds_hash(text.as_bytes()), "{text:?}");
        }
        assert!(holds_hash(b"md5 0123456789abcdef0123456789abcdef\n"));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20))]
        #[test]
        fn one_and_two_threads_agree(size in 0usize..3_000_000, seed: u8) {
            let data: Vec<u8> = (0..size).map(|n| (n * 31) as u8 ^ seed).collect();
            let one = digests(&mut &data[..], false).unwrap();
            prop_assert_eq!(&one, &digests(&mut &data[..], true).unwrap());
            prop_assert_eq!(one.bytes, size as u64);
            prop_assert_eq!(one.sha256, <[u8; 32]>::from(Sha256::digest(&data)));
            prop_assert_eq!(one.blake3, *blake3::hash(&data).as_bytes());
        }
    }
}
