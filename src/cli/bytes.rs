//! Names that need not be UTF-8, in JSON and on the command line.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;

use base64::prelude::{BASE64_STANDARD, Engine as _};
use serde_json::Value;

use super::Failure;
use super::output::escaped;

/// Bytes as text; those that are not UTF-8 are replaced.
pub fn plain(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Bytes as text for people: what is not UTF-8, and what could harm a terminal, is escaped.
pub fn shown(bytes: &[u8]) -> String {
    let chunks = bytes.utf8_chunks();
    chunks
        .map(|chunk| {
            format!(
                "{}{}",
                escaped(chunk.valid()),
                chunk.invalid().escape_ascii()
            )
        })
        .collect()
}

/// Adds bytes to an object. Where they are not UTF-8 the text has replacements, and a field of the same
/// name with `_base64` behind it has the bytes.
pub fn put(object: &mut Value, key: &str, bytes: &[u8]) {
    object[key] = plain(bytes).into();
    if std::str::from_utf8(bytes).is_err() {
        object[format!("{key}_base64")] = BASE64_STANDARD.encode(bytes).into();
    }
}

/// Adds several at once; all of them are in the second field if one of them is not UTF-8.
pub fn put_all(object: &mut Value, key: &str, all: &[Vec<u8>]) {
    object[key] = all.iter().map(|bytes| plain(bytes)).collect();
    if all.iter().any(|bytes| std::str::from_utf8(bytes).is_err()) {
        object[format!("{key}_base64")] = all
            .iter()
            .map(|bytes| BASE64_STANDARD.encode(bytes))
            .collect();
    }
}

/// Splits `TREE:PATH`. The path may be any bytes; it is empty where there is none.
pub fn tree_and_path(word: &OsStr) -> Result<(&str, &[u8]), Failure> {
    let bytes = word.as_bytes();
    let (what, path) = match bytes.iter().position(|b| *b == b':') {
        Some(at) => (&bytes[..at], &bytes[at + 1..]),
        None => (bytes, &[][..]),
    };
    match std::str::from_utf8(what) {
        Ok(what) => Ok((what, path)),
        Err(_) => Err(Failure::usage(format!(
            "`{}` is not the name of a target or root, nor a hash",
            what.escape_ascii()
        ))
        .hint("a path, which may be any bytes, stands behind a colon: TREE:PATH")),
    }
}
