//! Pushing builds to the mirror that people download from: a folder, or the same program over ssh.
//!
//! A conversation over two pipes. The sender lists the files of a build with their digests; the receiver says from
//! which byte on it wants each, and gets the bytes. What it has lies in a hidden folder that is named by the digests,
//! so that a push which was interrupted goes on where it ended. When all is there and verified, the receiver takes
//! the lock of the subarch and publishes as every run does. Lines are JSON, of at most [`MAX_LINE`] bytes.

mod receive;
mod send;

use std::collections::BTreeMap;
use std::io::{self, BufRead, Read, Write};
use std::path::Path;

use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::date::Date;
use super::name::{Name, Place};
use super::publish::is_plain;

pub use receive::{Receiver, receive};
pub use send::{Pushed, SendError, send};

/// The longest line, in bytes.
const MAX_LINE: u64 = 4 << 20;
/// The most files of a build.
const MAX_FILES: usize = 10_000;
/// Format number of the conversation.
const FORMAT: u32 = 1;
/// The hidden file that is pushed too: the targets of the run.
const TARGETS: &str = ".targets";

/// What the sender says first: the files of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Manifest {
    format: u32,
    build: String,
    arch_desc: String,
    subarch: String,
    version: String,
    files: Vec<Listed>,
    /// Links in the folder of the subarch to archives of this build.
    links: BTreeMap<String, String>,
    /// Files below `.control/version` that name this build.
    versions: Vec<String>,
}

/// A file of a build.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Listed {
    /// The path in the build folder, of one or two parts.
    path: String,
    bytes: u64,
    /// Of all of it, in hexadecimal digits.
    blake3: String,
}

/// What the receiver answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Answer {
    /// These are wanted, by their number in the manifest, from these bytes on.
    Want(Vec<(usize, u64)>),
    /// It is published now.
    Published,
    /// It was there already.
    There,
    /// It is not taken, and why; what is there stays as it is.
    Refused(String),
}

impl Manifest {
    fn place(&self) -> Option<Place> {
        Some(Place {
            build: Name::new(&self.build).ok()?,
            arch: Name::new(&self.arch_desc).ok()?,
            subarch: Name::new(&self.subarch).ok()?,
        })
    }

    /// Says what is wrong with it, if something is. Whoever sends it may be anybody.
    fn fault(&self) -> Option<&'static str> {
        let is_digest =
            |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
        let mut paths: Vec<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        paths.sort_unstable();
        if self.format != FORMAT {
            Some("it is of another release of this program")
        } else if self.place().is_none() || Date::of_folder(&self.version).is_none() {
            Some("it does not name a build")
        } else if self.files.len() > MAX_FILES {
            Some("it has too many files")
        } else if !paths.iter().all(|path| is_path(path)) {
            Some("it names a file that builds do not have")
        } else if paths.windows(2).any(|two| two[0] == two[1]) {
            Some("it names a file twice")
        } else if !self.files.iter().all(|file| is_digest(&file.blake3)) {
            Some("it has a digest that is none")
        } else {
            None
        }
    }

    /// The name of the hidden folder: the same for the same files.
    fn nonce(&self) -> String {
        let mut hasher = blake3::Hasher::new_derive_key("mstore 2026 repo push");
        for file in &self.files {
            hasher.update(format!("{} {}\n", file.blake3, file.path).as_bytes());
        }
        hasher.finalize().to_hex()[..16].to_owned()
    }
}

/// Whether a path in a build folder may be pushed.
fn is_path(path: &str) -> bool {
    if path == TARGETS {
        return true;
    }
    let parts: Vec<&str> = path.split('/').collect();
    parts.len() <= 2 && parts.iter().all(|part| is_plain(part)) && path != super::layout::STATUS
}

/// Writes a line, and lets it go.
fn say(pipe: &mut dyn Write, value: &impl Serialize) -> io::Result<()> {
    let mut line = serde_json::to_vec(value).map_err(io::Error::other)?;
    line.push(b'\n');
    if line.len() as u64 > MAX_LINE {
        return Err(io::Error::other("a build has too many files to list them"));
    }
    pipe.write_all(&line)?;
    pipe.flush()
}

/// Reads a line; nothing where the other end has ended.
fn hear<T: DeserializeOwned>(pipe: &mut dyn BufRead) -> io::Result<Option<T>> {
    let mut line = Vec::new();
    pipe.take(MAX_LINE).read_until(b'\n', &mut line)?;
    if line.is_empty() {
        return Ok(None);
    }
    if line.last() != Some(&b'\n') {
        return Err(io::Error::other("the other end broke off"));
    }
    serde_json::from_slice(&line).map(Some).map_err(|_| {
        let text =
            super::quote::shown(String::from_utf8_lossy(&line[..line.len().min(200)]).trim());
        io::Error::other(format!(
            "the other end does not speak as this program does: {text}"
        ))
    })
}

/// The digest of a file, in hexadecimal digits.
fn digest(mut file: impl Read) -> io::Result<String> {
    let mut hasher = blake3::Hasher::new();
    io::copy(&mut file, &mut hasher)?;
    Ok(hasher.finalize().to_hex().to_string())
}

/// The folder and the name of a path of one or two parts.
fn parts(path: &str) -> (&Path, &str) {
    match path.split_once('/') {
        Some((folder, name)) => (Path::new(folder), name),
        None => (Path::new(""), path),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest() -> Manifest {
        Manifest {
            format: FORMAT,
            build: "b".into(),
            arch_desc: "a".into(),
            subarch: "s".into(),
            version: "2015-02-18".into(),
            files: vec![Listed {
                path: "log/stage3.txt".into(),
                bytes: 1,
                blake3: "0".repeat(64),
            }],
            links: BTreeMap::new(),
            versions: Vec::new(),
        }
    }

    #[test]
    fn a_manifest_names_nothing_but_files_of_a_build() {
        assert_eq!(manifest().fault(), None);
        for path in [
            "../x",
            "/etc/passwd",
            "a/b/c",
            ".x",
            "status",
            "a//b",
            "",
            ".incoming/x",
            "a\0",
        ] {
            let mut bad = manifest();
            bad.files[0].path = path.into();
            assert!(bad.fault().is_some(), "{path:?}");
        }
        let mut bad = manifest();
        bad.files.push(bad.files[0].clone());
        assert!(bad.fault().is_some());
        for (place, version) in [("..", "2015-02-18"), ("s", "latest"), ("s/x", "2015-02-18")] {
            let mut bad = manifest();
            bad.subarch = place.into();
            bad.version = version.into();
            assert!(bad.fault().is_some());
        }
    }

    #[test]
    fn lines_are_bounded_and_whole() {
        let mut said = Vec::new();
        say(&mut said, &Answer::Want(vec![(0, 5)])).unwrap();
        let mut pipe = said.as_slice();
        assert_eq!(hear(&mut pipe).unwrap(), Some(Answer::Want(vec![(0, 5)])));
        assert_eq!(hear::<Answer>(&mut pipe).unwrap(), None);
        assert!(hear::<Answer>(&mut &said[..said.len() - 1]).is_err());
        assert!(hear::<Answer>(&mut &b"welcome to this machine\n"[..]).is_err());
    }
}
