//! Addresses that are given where a file or folder is expected.

use std::path::Path;

use clap::{ArgMatches, Command, ValueHint};

use super::Failure;

/// Refuses the first address among the values of a command line that are to be files or folders. Values whose name in
/// the help has URL in it may be one.
pub fn refuse(command: &Command, matches: &ArgMatches) -> Result<(), Failure> {
    for arg in command.get_arguments() {
        let is_path = matches!(
            arg.get_value_hint(),
            ValueHint::AnyPath | ValueHint::FilePath | ValueHint::DirPath
        );
        let names = arg.get_value_names().unwrap_or_default();
        if !is_path || names.iter().any(|name| name.contains("URL")) {
            continue;
        }
        let id = arg.get_id().as_str();
        let given = matches.try_get_raw(id).ok().flatten();
        for text in given.into_iter().flatten().filter_map(|v| v.to_str()) {
            if is_address(text) && !Path::new(text).exists() {
                let name = match (arg.get_long(), arg.get_short()) {
                    (Some(long), _) => format!("--{long}"),
                    (None, Some(short)) => format!("-{short}"),
                    (None, None) => names.first().map_or(id.to_owned(), |name| name.to_string()),
                };
                return Err(Failure::usage(format!(
                    "{name} takes a file or folder of this machine, and {text} is an address"
                ))
                .hint(hint(text)));
            }
        }
    }
    match matches.subcommand() {
        Some((name, below)) => match command.find_subcommand(name) {
            Some(sub) => refuse(sub, below),
            None => Ok(()),
        },
        None => Ok(()),
    }
}

/// What to do with an address.
fn hint(address: &str) -> String {
    let is_git =
        address.starts_with("git") || address.starts_with("ssh:") || address.ends_with(".git");
    match is_git {
        true => format!(
            "get it first: `git clone {}`",
            address.trim_start_matches("git+")
        ),
        false => format!(
            "get it first, for example with `curl -LO {address}`; `mstore seed import` and `mstore snapshot import` take addresses"
        ),
    }
}

/// Whether a text begins as `https://` does.
fn is_address(text: &str) -> bool {
    let Some((scheme, rest)) = text.split_once("://") else {
        return false;
    };
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"+-.".contains(&b);
    !rest.is_empty() && !scheme.is_empty() && scheme.bytes().all(plain)
}

#[cfg(test)]
mod tests {
    use clap::ValueHint;

    use super::{is_address, refuse};
    use crate::cli::parser;

    #[test]
    fn addresses_are_known() {
        for text in ["https://a/b", "git+https://a", "ftp://x", "file:///x"] {
            assert!(is_address(text), "{text}");
        }
        for text in ["a/b", "://x", "a b://c", "https://", "x:y"] {
            assert!(!is_address(text), "{text}");
        }
    }

    /// Of every command every value that is a file is looked at.
    #[test]
    fn every_file_is_looked_at() {
        fn look(command: &clap::Command, path: &[&str], seen: &mut usize) {
            for arg in command.get_arguments().filter(|arg| !arg.is_global_set()) {
                let hint = arg.get_value_hint();
                let names = arg.get_value_names().unwrap_or_default();
                let is_url = names.iter().any(|name| name.contains("URL"));
                if hint != ValueHint::AnyPath {
                    continue;
                }
                let mut words = vec!["mstore"];
                words.extend(path);
                let long = arg
                    .get_long()
                    .map(|long| format!("--{long}=https://example.org/x"));
                let short = arg.get_short();
                let short = short.map(|short| format!("-{short}https://example.org/x"));
                let long = long.or(short);
                words.push(long.as_deref().unwrap_or("https://example.org/x"));
                let program = parser();
                let matches = program.clone().ignore_errors(true).get_matches_from(&words);
                let refused = refuse(&program, &matches).is_err();
                // What needs other values before it is not reached this way.
                if refused {
                    *seen += 1;
                    assert!(!is_url, "{words:?}");
                } else {
                    assert!(is_url || arg.is_positional(), "{words:?}");
                }
            }
            for sub in command.get_subcommands() {
                let path: Vec<&str> = path.iter().copied().chain([sub.get_name()]).collect();
                look(sub, &path, seen);
            }
        }
        let mut program = parser().disable_help_subcommand(true);
        program.build();
        let mut seen = 0;
        look(&program, &[], &mut seen);
        assert!(seen > 12, "{seen}");
    }
}
