//! Failures sorted by who is to blame, and the exit status that follows.

use std::fmt::Display;
use std::process::ExitCode;

use mstore_store::{ErrorKind, StoreError};

use crate::build::error::Infrastructure;
use crate::build::seed::SeedError;
use crate::build::step_log::StepLogError;
use crate::config::ConfigError;
use crate::drv::FactsError;
use crate::plan::git::GitError;
use crate::plan::{LockError, PlanError, WalkError};

/// Exit status of a failed build, and of checks that found something.
pub const FOUND: u8 = 1;
/// Exit status of a usage or specification error.
pub const USAGE: u8 = 2;
/// Exit status when the store or the machine is at fault.
pub const MACHINE: u8 = 3;
/// Exit status after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// What to do about a store that may not be written.
pub const READ_ONLY: &str = "run it as the user that the store belongs to, and where it is mounted for writing; `mstore export TREE --to DIR` needs neither";

/// What ends a command, with advice for the reader.
#[derive(Clone, Debug)]
pub struct Failure {
    status: u8,
    message: String,
    hints: Vec<String>,
    /// The message is rendered text (a diagnostic with its source line), printed as it is.
    rendered: bool,
}

impl Failure {
    fn new(status: u8, message: impl Display) -> Self {
        Failure {
            status,
            message: message.to_string(),
            hints: Vec::new(),
            rendered: false,
        }
    }

    /// The user's arguments or specifications are at fault.
    pub fn usage(message: impl Display) -> Self {
        Self::new(USAGE, message)
    }

    /// The store or the machine is at fault.
    pub fn machine(message: impl Display) -> Self {
        Self::new(MACHINE, message)
    }

    /// A build failed, or a check found something.
    pub fn found(message: impl Display) -> Self {
        Self::new(FOUND, message)
    }

    /// The user pressed Ctrl-C.
    pub fn interrupted() -> Self {
        Self::new(INTERRUPTED, "interrupted")
    }

    /// A specification error that has been rendered with its source line.
    pub fn rendered(text: String) -> Self {
        Failure {
            rendered: true,
            ..Self::new(USAGE, text)
        }
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// Prints the failure to stderr and gives the exit status.
    pub fn report(&self) -> ExitCode {
        let style = super::output::Style::stderr();
        if self.rendered {
            tell!("{}", self.message.trim_end());
        } else {
            tell!("{} {}", style.error("error:"), self.message);
        }
        for hint in &self.hints {
            tell!("{} {hint}", style.note("hint:"));
        }
        ExitCode::from(self.status)
    }
}

/// For the other end of a connection.
impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure {
    /// Says which file or folder of the user's it is about.
    #[must_use]
    pub fn about(mut self, path: &std::path::Path) -> Self {
        self.message = format!("{}: {}", path.display(), self.message);
        self
    }

    /// A message whose later lines are advice (`help: …`), as the library's errors have it.
    fn with_help(status: u8, message: impl Display) -> Self {
        let text = message.to_string();
        match text.split_once("\nhelp: ") {
            None => Self::new(status, text),
            Some((message, help)) => Self::new(status, message).hint(help),
        }
    }
}

/// An error with all its causes in one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let more = cause.to_string();
        // Many errors repeat their cause in their own words.
        if !text.contains(&more) {
            text = format!("{text}: {more}");
        }
        source = cause.source();
    }
    text
}

/// What can be done about a full file system.
fn no_space_hint(e: &StoreError) -> &'static str {
    match e {
        StoreError::NoSpace {
            room: Some(room), ..
        } if room.store.is_none() => {
            "nothing in the store is lost; free some space there, or write to another file system, then try again"
        }
        _ => IN_STORE,
    }
}

/// What can be done about a store that is full.
pub const IN_STORE: &str = "nothing in the store is lost; `mstore gc` frees what nobody needs any more, --store DIR uses a store on another file system";

impl From<StoreError> for Failure {
    fn from(e: StoreError) -> Self {
        let text = chain(&e);
        match e.kind() {
            ErrorKind::Input => Self::usage(text),
            ErrorKind::Interrupted => {
                Self::interrupted().hint("what is done stays done; run it again to go on")
            }
            ErrorKind::Corrupt => Self::machine(text).hint(
                "`mstore store verify` tells everything that is damaged, and with --repair forgets it, so that `mstore realise` builds it anew",
            ),
            ErrorKind::NoSpace => Self::machine(text).hint(no_space_hint(&e)),
            ErrorKind::Owner => Self::machine(text).hint(
                "files of other owners need ranges of ids: as root, run `usermod --add-subuids 100000-165535 --add-subgids 100000-165535 USER` and install newuidmap (package uidmap)",
            ),
            // Trees come and go; an object within one is there as long as the tree is.
            ErrorKind::Missing if !matches!(e, StoreError::Missing { what: "tree", .. }) => {
                Self::machine(text).hint(
                    "`mstore store verify` tells everything that is missing, and with --repair fetches or forgets it",
                )
            }
            _ => match e {
                StoreError::Database { .. } => Self::machine(text).hint(
                    "`mstore store verify` tells whether the database is damaged, and with --repair writes it anew",
                ),
                StoreError::NewerFormat { .. } => Self::machine(text)
                    .hint("use the release of mstore that made it, or a later one, or another store: --store DIR"),
                StoreError::ReadOnly { .. } => Self::machine(text).hint(READ_ONLY),
                // The store's own; other files may be somebody else's.
                StoreError::Io {
                    action: "write to the database",
                    ..
                } => Self::machine(text).hint(READ_ONLY),
                StoreError::LostFormat { .. } => Self::machine(text).hint(
                    "`mstore store verify --repair` writes it anew if the database is sound; nothing else of the store is touched",
                ),
                StoreError::NotAStore { .. } => Self::machine(text)
                    .hint("give the folder of a store, or one that is empty or absent: --store DIR"),
                StoreError::Unreadable { .. } => Self::machine(text).hint(
                    "the disk may be failing: save what you can; `mstore store verify` tells what is affected, and with --repair gets it again or forgets it",
                ),
                _ => Self::machine(text),
            },
        }
    }
}

impl From<PlanError> for Failure {
    fn from(e: PlanError) -> Self {
        match &e {
            PlanError::Spec(spec) => Self::rendered(spec.render(super::output::stderr_colour())),
            PlanError::Lock(lock) => lock_failure(lock),
            PlanError::Facts(_) => Self::machine(chain(&e)),
            PlanError::AbsentPin { .. } => Self::with_help(MACHINE, chain(&e)),
            _ => Self::with_help(USAGE, chain(&e)),
        }
    }
}

fn lock_failure(e: &LockError) -> Failure {
    match e {
        LockError::Load(spec) => Failure::rendered(spec.render(super::output::stderr_colour())),
        LockError::Io { .. } => Failure::machine(chain(e)),
        _ => Failure::with_help(USAGE, chain(e)),
    }
}

impl From<LockError> for Failure {
    fn from(e: LockError) -> Self {
        lock_failure(&e)
    }
}

impl From<FactsError> for Failure {
    fn from(e: FactsError) -> Self {
        Self::machine(chain(&e))
    }
}

impl From<WalkError> for Failure {
    fn from(e: WalkError) -> Self {
        match e {
            WalkError::Facts(e) => e.into(),
            WalkError::NoRoot { .. } => Self::usage(e),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(e: ConfigError) -> Self {
        let colour = super::output::stderr_colour();
        match e {
            ConfigError::Load(errors) => Self::rendered(errors.render(colour)),
            ConfigError::Eval(error) => Self::rendered(error.diagnostic.render(colour)),
            other => Self::usage(other),
        }
    }
}

impl From<GitError> for Failure {
    fn from(e: GitError) -> Self {
        Self::usage(chain(&e))
    }
}

impl From<Infrastructure> for Failure {
    fn from(e: Infrastructure) -> Self {
        Self::machine(chain(&e))
    }
}

impl From<StepLogError> for Failure {
    fn from(e: StepLogError) -> Self {
        Self::machine(chain(&e))
    }
}

impl From<SeedError> for Failure {
    fn from(e: SeedError) -> Self {
        let failure = Self::with_help(MACHINE, chain(&e));
        match e {
            SeedError::Unreadable { .. } => {
                failure.hint("run `mstore seed host` as root once, or make them readable")
            }
            _ => failure,
        }
    }
}
