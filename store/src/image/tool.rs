//! Runs the tools that make images: the same surroundings every time, ended when the export is.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::ImageError;
use crate::{Cancel, StoreError};

/// A program that is run once, for a file that it writes. It sees no environment of the caller's.
#[derive(Debug)]
pub struct Tool {
    command: Command,
    program: PathBuf,
    package: &'static str,
}

impl Tool {
    /// A program, and the package that has it, for hints.
    pub fn new(program: impl Into<PathBuf>, package: &'static str) -> Tool {
        let program = program.into();
        let mut command = Command::new(&program);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("LC_ALL", "C")
            .env("TZ", "UTC")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        Tool {
            command,
            program,
            package,
        }
    }

    /// Adds an argument.
    pub fn arg(&mut self, arg: impl AsRef<OsStr>) -> &mut Tool {
        self.command.arg(arg);
        self
    }

    /// Adds arguments.
    pub fn args<A: AsRef<OsStr>>(&mut self, args: impl IntoIterator<Item = A>) -> &mut Tool {
        self.command.args(args);
        self
    }

    /// Sets a variable of its environment.
    pub fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Tool {
        self.command.env(name, value);
        self
    }

    /// Sets the folder that it is started in.
    pub fn folder(&mut self, folder: &Path) -> &mut Tool {
        self.command.current_dir(folder);
        self
    }

    /// Gives it a file as standard input.
    pub fn input(&mut self, file: std::fs::File) -> &mut Tool {
        self.command.stdin(file);
        self
    }

    /// Runs it to its end. `written` is the file that it writes, for errors, and whose length goes to `progress`.
    /// Where it says that there is no room, that is the error.
    pub fn run(
        &mut self,
        written: &Path,
        cancel: &Cancel,
        progress: Option<&AtomicU64>,
    ) -> Result<(), StoreError> {
        let child = self.command.spawn();
        let child = child.map_err(|source| self.not_run(source))?;
        let made = self.finish(child, cancel, || {
            if let Some(progress) = progress
                && let Ok(meta) = std::fs::metadata(written)
            {
                progress.store(meta.len(), Ordering::Relaxed);
            }
        });
        // A signal to the whole group of processes ends the tool too.
        if cancel.is_cancelled() {
            return Err(StoreError::Interrupted);
        }
        match made {
            // These tools say it in the words of the system.
            Err(ImageError::Failed { detail, .. })
                if detail.contains("No space left on device") =>
            {
                let full = io::Error::from(rustix::io::Errno::NOSPC);
                Err(StoreError::io("write", written, full))
            }
            other => Ok(other?),
        }
    }

    fn not_run(&self, source: io::Error) -> ImageError {
        ImageError::NoProgram {
            program: self.program.clone(),
            package: self.package,
            source,
        }
    }

    /// Waits for the tool, reading whatever it says meanwhile.
    fn finish(&self, mut child: Child, cancel: &Cancel, look: impl Fn()) -> Result<(), ImageError> {
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let (status, said) = std::thread::scope(|scope| {
            let stdout = scope.spawn(|| beginning_of(stdout));
            let stderr = scope.spawn(|| beginning_of(stderr));
            let status = loop {
                if cancel.is_cancelled() {
                    // It may have ended by itself.
                    let _ = child.kill();
                    break child.wait();
                }
                match child.try_wait() {
                    Ok(None) => std::thread::sleep(Duration::from_millis(10)),
                    Ok(Some(status)) => break Ok(status),
                    Err(error) => break Err(error),
                }
                look();
            };
            let said = [stderr, stdout].map(|reader| reader.join().unwrap_or_default());
            (status, said.concat())
        });
        let status = status.map_err(|source| self.not_run(source))?;
        if status.success() {
            return Ok(());
        }
        let lines: Vec<String> = String::from_utf8_lossy(&said)
            .lines()
            .map(|line| line.trim().escape_debug().to_string())
            .filter(|line| !line.is_empty())
            .take(5)
            .collect();
        Err(ImageError::Failed {
            program: self.program.clone(),
            status,
            detail: lines.join("; "),
        })
    }
}

/// What a tool says, as far as it can be read. The rest is read too, so that the tool does not wait.
fn beginning_of(pipe: Option<impl Read>) -> Vec<u8> {
    /// Bytes that are kept.
    const KEPT: u64 = 64 << 10;
    let mut said = Vec::new();
    if let Some(mut pipe) = pipe {
        // How the tool ends counts more.
        let _ = (&mut pipe).take(KEPT).read_to_end(&mut said);
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    said
}
