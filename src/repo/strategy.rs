//! What a subarch starts from, as people set it up in its `.control` folder: elements of a run.

use std::io;

use super::control::Control;

/// The files of control that say what a build starts from, and the elements that hold the same.
const FILES: &[&str] = &[
    "strategy/build",
    "strategy/seed",
    "remote/build",
    "remote/arch_desc",
    "remote/subarch",
];

/// A file of control cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("cannot read {}: {source}", super::quote::shown(path))]
pub struct StrategyError {
    /// The file.
    pub path: std::path::PathBuf,
    /// Why.
    pub source: io::Error,
}

/// The elements that the files of a subarch stand for, with their values: one line each, those with more say
/// nothing. `may_define` tells whether an element may be defined from outside: specifications that read these files
/// themselves (`<< FILE`) define them.
pub fn elements(
    control: &Control,
    may_define: impl Fn(&str) -> bool,
) -> Result<Vec<(&'static str, String)>, StrategyError> {
    let mut all = Vec::new();
    for file in FILES {
        let bytes = control.read(file).map_err(|source| StrategyError {
            path: control.path().join(file),
            source,
        })?;
        let text = bytes.and_then(|bytes| String::from_utf8(bytes).ok());
        let text = text.as_deref().map(str::trim).unwrap_or_default();
        if !text.is_empty() && !text.contains('\n') && may_define(file) {
            all.push((*file, text.to_owned()));
        }
    }
    Ok(all)
}
