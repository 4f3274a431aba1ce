//! Detached signatures by gpg, which has the keys: `NAME.gpg` beside an archive.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;
use std::process::{Command, Stdio};

/// The largest signature that is taken from gpg, in bytes.
const MAX_SIGNATURE: u64 = 1 << 20;
/// As much of what gpg says as is passed on, in bytes.
const MAX_SAID: u64 = 4096;

/// Signs by a key of gpg.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Gpg {
    /// The program.
    pub program: OsString,
    /// The key: whatever gpg takes for a user id.
    pub key: String,
    /// The folder with its keys, if it is not the usual one.
    pub home: Option<PathBuf>,
}

/// Why there is no signature.
#[derive(Debug, thiserror::Error)]
pub enum GpgError {
    /// The program cannot be run.
    #[error("cannot run {}: {source}", program.display())]
    Run {
        /// The program.
        program: OsString,
        /// What the system says.
        source: io::Error,
    },
    /// It did not sign.
    #[error("gpg does not sign with the key `{key}`: {said}")]
    Refused {
        /// The key.
        key: String,
        /// What it said.
        said: String,
    },
}

impl Gpg {
    /// Makes the detached signature of a file, which is read from its beginning.
    pub fn sign(&self, file: File) -> Result<Vec<u8>, GpgError> {
        let failed = |source| GpgError::Run {
            program: self.program.clone(),
            source,
        };
        let mut command = Command::new(&self.program);
        if let Some(home) = &self.home {
            command.arg("--homedir").arg(home);
        }
        // Nobody is there to be asked.
        let mut child = command
            .args(["--batch", "--no-tty", "--quiet", "--pinentry-mode", "error"])
            .arg("--local-user")
            .arg(OsStr::new(&self.key))
            .args(["--detach-sign", "--output", "-"])
            .stdin(file)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let said = child.stderr.take().map(|mut pipe| {
            std::thread::spawn(move || {
                let mut said = Vec::new();
                let _ = (&mut pipe).take(MAX_SAID).read_to_end(&mut said);
                // The rest is read too, so that it does not wait.
                let _ = io::copy(&mut pipe, &mut io::sink());
                said
            })
        });
        let mut signature = Vec::new();
        let read = match child.stdout.take() {
            Some(pipe) => pipe.take(MAX_SIGNATURE + 1).read_to_end(&mut signature),
            None => Ok(0),
        };
        let status = child.wait().map_err(failed)?;
        read.map_err(failed)?;
        let said = said
            .and_then(|thread| thread.join().ok())
            .unwrap_or_default();
        if status.success() && !signature.is_empty() && signature.len() as u64 <= MAX_SIGNATURE {
            return Ok(signature);
        }
        let said = String::from_utf8_lossy(&said);
        let lines: Vec<&str> = said
            .lines()
            .map(str::trim)
            .filter(|l| !l.is_empty())
            .collect();
        Err(GpgError::Refused {
            key: self.key.clone(),
            said: match lines.is_empty() {
                true => status.to_string(),
                false => lines.join("; "),
            },
        })
    }
}
