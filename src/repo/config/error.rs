//! Why a configuration cannot be used.

use std::io;
use std::path::PathBuf;

use mstore_lang::{EvalError, LoadErrors};

use super::super::quote::shown;

/// A configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BuildbotError {
    /// A line of it is wrong.
    #[error("{}:{line}: {message}", shown(path))]
    At {
        /// The file.
        path: PathBuf,
        /// The line, from 1.
        line: usize,
        /// What is wrong and what to do.
        message: String,
    },
    /// It is not there.
    #[error("there is no configuration {}", shown(.0))]
    Missing(PathBuf),
    /// It cannot be read.
    #[error("cannot read {}: {source}", shown(path))]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// It is not Metro text.
    #[error(transparent)]
    Load(#[from] LoadErrors),
    /// An element has no value.
    #[error(transparent)]
    Eval(#[from] EvalError),
}
