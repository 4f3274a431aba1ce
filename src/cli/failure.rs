//! Failures that end a command: who is to blame, the error with its causes, and advice. It becomes text, and
//! an exit status, only when it is reported.

use std::error::Error;
use std::fmt::{self, Display};
use std::path::Path;
use std::process::ExitCode;

use super::output;

/// Exit status of a failed build, and of checks that found something.
pub const FOUND: u8 = 1;
/// Exit status of a usage or specification error.
pub const USAGE: u8 = 2;
/// Exit status when the store or the machine is at fault.
pub const MACHINE: u8 = 3;
/// Exit status after Ctrl-C.
pub const INTERRUPTED: u8 = 130;

/// Who has to act on a failure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A build failed, or a check found something.
    Found,
    /// The user's arguments or specifications are at fault.
    Usage,
    /// The store or the machine is at fault.
    Machine,
    /// The user pressed Ctrl-C.
    Interrupted,
    /// The reader of standard output went away (`| head`), which is nobody's fault.
    BrokenPipe,
}

impl Kind {
    /// The exit status that says so.
    pub fn status(self) -> u8 {
        match self {
            Kind::BrokenPipe => 0,
            Kind::Found => FOUND,
            Kind::Usage => USAGE,
            Kind::Machine => MACHINE,
            Kind::Interrupted => INTERRUPTED,
        }
    }
}

/// Makes the text of diagnostics with their source lines, with colours or without.
type Render = dyn Fn(bool) -> String + Send + Sync;

/// The error itself.
enum Cause {
    Message(String),
    Error(Box<dyn Error + Send + Sync>),
    Diagnostics(Box<Render>),
}

/// What ends a command, with advice for the reader.
pub struct Failure {
    kind: Kind,
    cause: Cause,
    /// The file or folder of the user's that it is about.
    about: Option<String>,
    /// The step that met it.
    step: Option<String>,
    hints: Vec<String>,
}

impl Failure {
    fn with(kind: Kind, cause: Cause) -> Self {
        Failure {
            kind,
            cause,
            about: None,
            step: None,
            hints: Vec::new(),
        }
    }

    /// An error of the library, which keeps its causes.
    pub fn new(kind: Kind, error: impl Error + Send + Sync + 'static) -> Self {
        Self::with(kind, Cause::Error(Box::new(error)))
    }

    /// The user's arguments or specifications are at fault.
    pub fn usage(message: impl Display) -> Self {
        Self::with(Kind::Usage, Cause::Message(message.to_string()))
    }

    /// The store or the machine is at fault.
    pub fn machine(message: impl Display) -> Self {
        Self::with(Kind::Machine, Cause::Message(message.to_string()))
    }

    /// A build failed, or a check found something.
    pub fn found(message: impl Display) -> Self {
        Self::with(Kind::Found, Cause::Message(message.to_string()))
    }

    /// The user pressed Ctrl-C.
    pub fn interrupted() -> Self {
        Self::with(Kind::Interrupted, Cause::Message("interrupted".to_owned()))
    }

    /// Nobody reads standard output any more.
    pub fn broken_pipe() -> Self {
        Self::with(Kind::BrokenPipe, Cause::Message("broken pipe".to_owned()))
    }

    /// Errors in specifications, which `render` writes with their source lines.
    pub fn diagnostics(render: impl Fn(bool) -> String + Send + Sync + 'static) -> Self {
        Self::with(Kind::Usage, Cause::Diagnostics(Box::new(render)))
    }

    /// Adds a line of advice.
    #[must_use]
    pub fn hint(mut self, hint: impl Display) -> Self {
        self.hints.push(hint.to_string());
        self
    }

    /// Adds lines of advice.
    #[must_use]
    pub fn hints<H: Display>(self, hints: impl IntoIterator<Item = H>) -> Self {
        hints.into_iter().fold(self, Failure::hint)
    }

    /// Says which step met it.
    #[must_use]
    pub fn at_step(mut self, step: impl Display) -> Self {
        self.step = Some(step.to_string());
        self
    }

    /// Says which file or folder of the user's it is about.
    #[must_use]
    pub fn about(mut self, path: &Path) -> Self {
        self.about = Some(path.display().to_string());
        self
    }

    /// The message in one line, except for diagnostics.
    fn message(&self, colour: bool) -> String {
        let text = match &self.cause {
            Cause::Message(text) => text.clone(),
            Cause::Diagnostics(render) => render(colour).trim_end().to_owned(),
            Cause::Error(error) => chain(&**error),
        };
        match &self.about {
            Some(path) => format!("{path}: {text}"),
            None => text,
        }
    }

    /// What it is, as every command tells it with `--json` (doc/json.md).
    pub fn json(&self) -> serde_json::Value {
        let class = match (&self.cause, self.kind) {
            (Cause::Diagnostics(_), _) => "specification",
            (_, Kind::Found) => "found",
            (_, Kind::Usage) => "usage",
            (_, Kind::Machine) => "machine",
            (_, Kind::Interrupted) => "interrupted",
            (_, Kind::BrokenPipe) => "broken-pipe",
        };
        serde_json::json!({
            "class": class,
            "reason": self.message(false),
            "step": self.step,
            "log": null,
            "hints": self.hints,
        })
    }

    /// Prints the failure to stdout as JSON, unless nobody reads that, or the command has told there already what it
    /// knows.
    pub fn answer(&self) {
        if self.kind != Kind::BrokenPipe && !output::has_answered() {
            // It is told on stderr as well.
            let _ = output::json(&serde_json::json!({ "error": self.json() }));
        }
    }

    /// Prints the failure to stderr and gives the exit status.
    pub fn report(&self) -> ExitCode {
        if self.kind != Kind::BrokenPipe {
            let style = output::Style::stderr();
            let message = self.message(output::stderr_colour());
            match self.cause {
                Cause::Diagnostics(_) => tell!("{message}"),
                _ => tell!("{} {message}", style.error("error:")),
            }
            for hint in &self.hints {
                tell!("{} {hint}", style.note("hint:"));
            }
        }
        ExitCode::from(self.kind.status())
    }
}

impl fmt::Debug for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { kind, hints, .. } = self;
        write!(f, "{kind:?}: {self} {hints:?}")
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message(false))
    }
}

/// An error with all its causes in one line.
fn chain(error: &dyn Error) -> String {
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
