//! Failures sorted by who is to blame, and the exit status that follows.

use std::fmt::Display;
use std::process::ExitCode;

/// Exit status of a failed build, and of checks that found something.
pub const FOUND: u8 = 1;
/// Exit status of a usage or specification error.
pub const USAGE: u8 = 2;
/// Exit status when the store or the machine is at fault.
pub const MACHINE: u8 = 3;
/// Exit status after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// What ends a command, with advice for the reader.
#[derive(Debug)]
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
            eprintln!("{}", self.message.trim_end());
        } else {
            eprintln!("{} {}", style.error("error:"), self.message);
        }
        for hint in &self.hints {
            eprintln!("{} {hint}", style.note("hint:"));
        }
        ExitCode::from(self.status)
    }
}
