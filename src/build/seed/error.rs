//! Errors of capturing a seed.

use std::fmt::Write as _;
use std::io;
use std::path::PathBuf;

/// A program that this machine lacks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MissingTool {
    /// Its name.
    pub name: String,
    /// The package that has it: Debian, Fedora, Arch, Gentoo, Alpine.
    pub packages: [&'static str; 5],
}

/// A library or interpreter that a program needs and that is not there.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct MissingLibrary {
    /// Its name.
    pub name: String,
    /// The program that needs it.
    pub needed_by: PathBuf,
}

/// Why no seed could be captured.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SeedError {
    /// Programs or parts of the compiler are missing; all of them are named.
    #[error("this machine lacks what a seed needs: {}{}", names(.tools), remedy(.tools))]
    MissingTools {
        /// Which.
        tools: Vec<MissingTool>,
    },
    /// Programs need libraries that cannot be found.
    #[error("programs of this machine need what is not there: {}", libraries.iter().map(|l| format!("{} (needed by {})", l.name, l.needed_by.display())).collect::<Vec<_>>().join(", "))]
    MissingLibraries {
        /// Which.
        libraries: Vec<MissingLibrary>,
    },
    /// Files cannot be read by this user.
    #[error("{} file(s) of this machine cannot be read by this user: {}", paths.len(), paths.iter().map(|p| p.display().to_string()).collect::<Vec<_>>().join(", "))]
    Unreadable {
        /// Which.
        paths: Vec<PathBuf>,
    },
    /// A program is damaged.
    #[error("cannot read {} as a program: {source}", path.display())]
    Elf {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The compiler cannot be asked.
    #[error("cannot ask {} ({question}): {reason}", path.display())]
    Compiler {
        /// The compiler.
        path: PathBuf,
        /// The arguments it was called with.
        question: String,
        /// What happened.
        reason: String,
    },
    /// A file or directory cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    Read {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file or directory cannot be written.
    #[error("cannot write {}: {source}", path.display())]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file changed while it was read.
    #[error("{} changed while it was read; try again when nothing is being installed", path.display())]
    Changed {
        /// Which.
        path: PathBuf,
    },
    /// The store failed.
    #[error(transparent)]
    Store(#[from] mstore_store::StoreError),
}

fn names(tools: &[MissingTool]) -> String {
    tools
        .iter()
        .map(|t| t.name.as_str())
        .collect::<Vec<_>>()
        .join(", ")
}

/// One line a distribution, each with the packages once.
fn remedy(tools: &[MissingTool]) -> String {
    const WAYS: [(&str, &str); 5] = [
        ("Debian, Ubuntu", "apt-get install"),
        ("Fedora", "dnf install"),
        ("Arch", "pacman -S"),
        ("Gentoo", "emerge"),
        ("Alpine", "apk add"),
    ];
    let mut text = String::new();
    for (index, (distribution, command)) in WAYS.iter().enumerate() {
        let mut packages: Vec<&str> = tools.iter().map(|t| t.packages[index]).collect();
        packages.sort_unstable();
        packages.dedup();
        // Writing to a string cannot fail.
        let _ = write!(text, "\n  {distribution}: {command} {}", packages.join(" "));
    }
    text
}
