//! What is published beside an export: hashes, the list of what is in it, signatures.

use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use blake2::{Blake2b512, Digest as _};
use mstore_store::compress::{Compression, Encoder};
use mstore_store::{Store, TreeHash};
use sha2::{Sha256, Sha512};

use super::Args;
use crate::cli::context::Context;
use crate::cli::site::gpg;
use crate::cli::whole_file::WholeFile;
use crate::cli::{Failure, output};
use crate::image;
use crate::repo::gpg::Gpg;

/// What is wanted.
pub struct Release {
    digests: bool,
    contents: bool,
    gpg: Option<Gpg>,
}

impl Release {
    /// Takes the options in.
    pub fn of(context: &Context, args: &Args) -> Result<Release, Failure> {
        let signs = args.sign || args.gpg_key.is_some();
        let mut key = None;
        if signs {
            let config = context.config()?;
            key = match &args.gpg_key {
                Some(key) => Some(Gpg {
                    program: "gpg".into(),
                    key: key.clone(),
                    home: config.gpg_home.clone(),
                }),
                None => Some(gpg(&config).ok_or_else(|| {
                    Failure::usage("--sign: the configuration file names no key")
                        .hint("name one: --gpg-key KEY, or repo/gpg-key in the configuration file")
                })?),
            };
        }
        Ok(Release {
            digests: args.digests,
            contents: args.contents,
            gpg: key,
        })
    }

    /// Whether anything is.
    pub fn is_wanted(&self) -> bool {
        self.digests || self.contents || self.gpg.is_some()
    }

    /// The files that go beside one.
    pub fn names(&self, file: &Path) -> Vec<PathBuf> {
        let mut names = Vec::new();
        if self.contents {
            names.push(with_end(file, ".CONTENTS.gz"));
        }
        if self.digests {
            names.push(with_end(file, ".DIGESTS"));
        }
        if self.gpg.is_some() {
            names.push(with_end(file, ".gpg"));
            names.extend(self.digests.then(|| with_end(file, ".DIGESTS.gpg")));
        }
        names
    }

    /// Tells of what lies beside a file, and is neither made with it nor known to be of it.
    pub fn tell_of_others(&self, file: &Path, known: &[String]) {
        let made = self.names(file);
        let is_known = |other: &Path| {
            let name = other.file_name().unwrap_or_default().to_string_lossy();
            known.iter().any(|known| *known == name)
        };
        for end in [".CONTENTS.gz", ".DIGESTS", ".gpg", ".DIGESTS.gpg"] {
            let other = with_end(file, end);
            if other.is_file() && !made.contains(&other) && !is_known(&other) {
                tell!(
                    "{} {} may be of an earlier export",
                    output::Style::stderr().note("note:"),
                    other.display()
                );
            }
        }
    }

    /// Makes them.
    pub fn make(&self, store: &Store, tree: TreeHash, file: &Path) -> Result<(), Failure> {
        let contents = with_end(file, ".CONTENTS.gz");
        if self.contents {
            write(&contents, |out| list(store, tree, out))?;
        }
        let digests = with_end(file, ".DIGESTS");
        if self.digests {
            let mut files = vec![file];
            files.extend(self.contents.then_some(&*contents));
            let text = text_of(&files)?;
            write(&digests, |out| out.write_all(text.as_bytes()))?;
        }
        if let Some(gpg) = &self.gpg {
            sign(gpg, file)?;
            if self.digests {
                sign(gpg, &digests)?;
            }
        }
        Ok(())
    }
}

fn with_end(file: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(file);
    name.push(end);
    name.into()
}

/// Writes a file, which is there whole or not at all.
fn write(
    place: &Path,
    content: impl FnOnce(&mut BufWriter<&File>) -> io::Result<()>,
) -> Result<(), Failure> {
    let written = WholeFile::begin(place.to_path_buf()).and_then(|whole| {
        let mut out = BufWriter::new(whole.file());
        content(&mut out)?;
        out.flush()?;
        drop(out);
        whole.finish()
    });
    written.map_err(|e| {
        Failure::from(mstore_store::StoreError::io("write", place, e).writing_to(place))
    })
}

fn list(store: &Store, tree: TreeHash, out: &mut impl Write) -> io::Result<()> {
    let mut out = Encoder::new(out, Compression::Gzip(9), 1)?;
    image::contents(store, tree, &mut out).map_err(|error| match error {
        image::ContentsError::Write(error) => error,
        image::ContentsError::Store(error) => io::Error::other(error),
    })?;
    out.finish().map(drop)
}

/// Hashes in the form that Gentoo's mirrors have.
fn text_of(files: &[&Path]) -> Result<String, Failure> {
    const BLOCK: usize = 1 << 20;
    let mut text = String::new();
    for file in files {
        let failed = |e| Failure::from(mstore_store::StoreError::io("read", file, e));
        let mut input = File::open(file).map_err(failed)?;
        let (mut blake2, mut sha256, mut sha512) =
            (Blake2b512::new(), Sha256::new(), Sha512::new());
        let mut block = vec![0; BLOCK];
        loop {
            let n = input.read(&mut block).map_err(failed)?;
            if n == 0 {
                break;
            }
            blake2.update(&block[..n]);
            sha256.update(&block[..n]);
            sha512.update(&block[..n]);
        }
        let name = file.file_name().unwrap_or_default().to_string_lossy();
        for (kind, hex) in [
            ("BLAKE2B", hex(&blake2.finalize())),
            ("SHA256", hex(&sha256.finalize())),
            ("SHA512", hex(&sha512.finalize())),
        ] {
            text.push_str(&format!("# {kind} HASH\n{hex}  {name}\n"));
        }
    }
    Ok(text)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn sign(gpg: &Gpg, file: &Path) -> Result<(), Failure> {
    let opened = File::open(file);
    let opened = opened.map_err(|e| mstore_store::StoreError::io("read", file, e))?;
    let signature = gpg.sign(opened).map_err(|error| {
        Failure::machine(error)
            .hint("gpg has to sign without asking anybody: see repo/gpg-key in doc/config.md")
    })?;
    let place = with_end(file, ".gpg");
    // A signature of what was there before is worse than none.
    let _ = fs::remove_file(&place);
    write(&place, |out| out.write_all(&signature))
}
