//! The kind of the next build: `map_build`, or the elements that stand for it.

use std::collections::BTreeMap;
use std::path::Path;

use super::super::dialect::{Fault, Program, Value};
use super::super::name::Place;
use super::error::BuildbotError;

/// What is known of the last complete build of a subarch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Last {
    /// Whether it was full.
    pub full: bool,
    /// The name of the newest full build's folder.
    pub full_date: Option<String>,
}

/// The kind of a build: a mode and its extras.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mode {
    /// The mode, such as `full` or `freshen`.
    pub target: String,
    /// What is built besides, such as `openvz`.
    pub extras: Vec<String>,
}

impl Mode {
    /// Reads `MODE+EXTRA+…` from words that each may have a `+`. Empty extras go; without a mode there is none.
    pub fn of_words<'a>(words: impl IntoIterator<Item = &'a str>) -> Option<Mode> {
        let mut parts = words.into_iter().flat_map(|word| word.split('+'));
        let target = parts.next().filter(|t| !t.is_empty())?.to_owned();
        let extras = parts.filter(|e| !e.is_empty()).map(str::to_owned).collect();
        Some(Mode { target, extras })
    }

    /// The extras with `+` between them.
    pub fn joined(&self) -> String {
        self.extras.join("+")
    }
}

/// Chooses modes.
pub(super) enum Chooser {
    /// Always a full build.
    Full,
    /// A function of the configuration.
    Function(Box<Program>),
    /// Elements of Metro text.
    Rules(Rules),
}

/// The elements `map/…`.
pub(super) struct Rules {
    /// After a full build.
    pub after_full: Mode,
    /// After another one, where a full build is there.
    pub after_freshen: Mode,
    /// Where no full build is there.
    pub never_built: Mode,
    /// What is built besides, by subarch.
    pub extras: BTreeMap<String, Vec<String>>,
}

impl Chooser {
    /// Chooses the mode of a subarch's next build.
    pub fn mode(&mut self, file: &Path, place: &Place, last: &Last) -> Result<Mode, BuildbotError> {
        match self {
            Chooser::Full => Ok(Mode {
                target: "full".to_owned(),
                extras: Vec::new(),
            }),
            Chooser::Rules(rules) => Ok(rules.mode(place, last)),
            Chooser::Function(program) => call(
                program,
                file,
                place.build.as_str(),
                place.subarch.as_str(),
                last,
            ),
        }
    }

    /// Takes what a function printed.
    pub fn take_printed(&mut self) -> Vec<String> {
        match self {
            Chooser::Function(program) => program.take_printed(),
            _ => Vec::new(),
        }
    }
}

impl Rules {
    fn mode(&self, place: &Place, last: &Last) -> Mode {
        let rule = match (last.full, &last.full_date) {
            (true, _) => &self.after_full,
            (false, Some(_)) => &self.after_freshen,
            (false, None) => &self.never_built,
        };
        let mut mode = rule.clone();
        let more = self.extras.get(place.subarch.as_str());
        mode.extras.extend(more.into_iter().flatten().cloned());
        mode
    }
}

/// Calls `map_build`.
pub(super) fn call(
    program: &mut Program,
    file: &Path,
    build: &str,
    subarch: &str,
    last: &Last,
) -> Result<Mode, BuildbotError> {
    let at = |fault: Fault| BuildbotError::At {
        path: file.to_owned(),
        line: fault.line,
        message: fault.message,
    };
    let Some((function, line)) = program.global("map_build").map(|(f, l)| (f.clone(), l)) else {
        return Err(at(Fault::at(1, "map_build is not defined")));
    };
    let given = vec![
        Value::text(build),
        Value::text(subarch),
        Value::Bool(last.full),
        last.full_date.as_deref().map_or(Value::None, Value::text),
    ];
    let value = program.call(&function, given).map_err(|fault| {
        at(Fault::at(
            fault.line,
            format!("map_build failed: {}", fault.message),
        ))
    })?;
    let wrong = |what: &str| {
        at(Fault::at(
            line,
            format!(
                "map_build returned {what}: return text such as \"full+openvz\", or a sequence such as (\"freshen\", \"openvz\")"
            ),
        ))
    };
    let words: Vec<String> = match &value {
        Value::Str(text) => vec![text.to_string()],
        Value::Tuple(items) | Value::List(items) => {
            let mut words = Vec::new();
            for item in items.items.borrow().iter() {
                match item {
                    Value::Str(text) => words.push(text.to_string()),
                    other => return Err(wrong(&format!("a sequence with {} in it", other.kind()))),
                }
            }
            words
        }
        other => return Err(wrong(other.kind())),
    };
    if words.iter().any(|w| w.contains('\0')) {
        return Err(wrong("text with a NUL"));
    }
    Mode::of_words(words.iter().map(String::as_str)).ok_or_else(|| wrong("no mode"))
}
