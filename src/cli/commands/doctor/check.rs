//! Something that was tried, and how it stands.

use std::fmt::{self, Display};

use serde::Serialize;

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    /// It works.
    Good,
    /// It does not work, and targets can be built all the same.
    Lacking,
    /// It was not looked at, since something before it does not work.
    Unknown,
    /// It does not work, and nothing can be built without it.
    Missing,
}

impl Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            State::Good => "good",
            State::Lacking => "lacking",
            State::Unknown => "unknown",
            State::Missing => "missing",
        })
    }
}

/// Something that was tried.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name.
    pub check: &'static str,
    /// How it stands.
    pub state: State,
    /// What was found.
    pub found: String,
    /// What would help.
    pub remedy: Option<String>,
}

impl Check {
    /// Something that works.
    pub fn good(check: &'static str, found: impl Into<String>) -> Check {
        Check {
            check,
            state: State::Good,
            found: found.into(),
            remedy: None,
        }
    }

    /// Something that does not.
    pub fn bad(check: &'static str, state: State, found: impl Display) -> Check {
        Check {
            check,
            state,
            found: found.to_string(),
            remedy: None,
        }
    }

    /// Adds what would help.
    pub fn remedy(mut self, remedy: impl Into<String>) -> Check {
        self.remedy = Some(remedy.into());
        self
    }
}
