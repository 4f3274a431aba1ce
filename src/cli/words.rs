//! Words that people try as commands, and the commands that do what they mean.

use super::Failure;

/// The words, and what is said to them.
const WORDS: &[(&[&str], &str)] = &[
    (
        &["build", "make", "run", "install"],
        "`mstore realise TARGET` builds a target, `mstore list` shows what there is",
    ),
    (
        &["status", "state", "st"],
        "`mstore realise -n TARGET` shows what would be built, `mstore log --attempts TARGET` what was tried, `mstore store info` what the store has",
    ),
    (
        &["update", "upgrade", "sync"],
        "`mstore lock --update NAME` takes the newest seed or snapshot, `mstore realise TARGET` then builds what is stale",
    ),
    (
        &["clean", "prune", "collect", "vacuum"],
        "`mstore gc` removes what nothing needs, `mstore gc -n` shows what that is",
    ),
    (
        &["remove", "rm", "delete"],
        "`mstore forget TARGET` forgets a result, `mstore store root remove NAME` a gc root; `mstore gc` then frees their space",
    ),
    (
        &["import", "add"],
        "`mstore seed import FILE` imports a root file system, `mstore snapshot import DIR` a ports tree",
    ),
    (
        &["verify", "fsck"],
        "`mstore store verify` reads the store again, `mstore check` looks at the specifications",
    ),
    (
        &["ls", "targets", "search"],
        "`mstore list` lists targets, `mstore store ls TARGET` the files of one, `mstore store find NAME` trees with a file",
    ),
    (
        &["cat"],
        "`mstore store cat TARGET:PATH` prints a file of a target, `mstore specs cat PATH` a standard specification",
    ),
    (
        &["info"],
        "`mstore show TARGET` tells of a target, `mstore store info` of the store",
    ),
    (
        &["path"],
        "`mstore store path TARGET` prints a folder with a target's files",
    ),
    (
        &["push", "pull", "upload", "download", "send"],
        "`mstore copy TARGET --to PLACE` and `mstore copy TARGET --from PLACE` move results, `mstore repo push ADDRESS` a mirror",
    ),
    (
        &["enter", "chroot", "sh", "exec"],
        "`mstore shell TARGET` opens a shell in a target",
    ),
    (
        &["settings", "configuration", "env"],
        "`mstore config show` prints what is in force",
    ),
    (
        &["explain"],
        "`mstore why rebuild TARGET`, `mstore why alive NAME` and `mstore why value ELEMENT` explain",
    ),
    (
        &["lint", "validate", "test"],
        "`mstore check` checks the specifications, `mstore realise --check TARGET` builds a target twice",
    ),
    (&["format"], "`mstore fmt` formats the specifications"),
    (
        &["roots", "root", "pin"],
        "`mstore store root list` shows what is kept, `mstore lock` what is pinned",
    ),
    (&["sign"], "`mstore key sign TARGET` signs results"),
    (
        &["history", "logs"],
        "`mstore log TARGET` prints the log, `mstore log --attempts TARGET` what was tried",
    ),
    (
        &["archive", "tar", "image"],
        "`mstore export TARGET` writes an archive or an image",
    ),
    (
        &["new", "create"],
        "`mstore init` writes a metro.conf to begin with",
    ),
    (&["version"], "`mstore --version` prints it"),
];

/// What is said to a word that is no command.
pub fn advice(word: &str) -> Option<Failure> {
    let (_, advice) = WORDS.iter().find(|(words, _)| words.contains(&word))?;
    Some(Failure::usage(format!("there is no command `{word}`")).hint(advice))
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::WORDS;
    use crate::cli::Cli;

    /// What is advised can be typed; what is no command is none.
    #[test]
    fn every_word_is_answered_by_commands_that_exist() {
        let program = Cli::command();
        let mut seen = std::collections::BTreeSet::new();
        for (words, advice) in WORDS {
            for word in *words {
                assert!(seen.insert(word), "{word} is listed twice");
                assert!(program.find_subcommand(word).is_none(), "{word}");
            }
            let named: Vec<&str> = advice.split('`').skip(1).step_by(2).collect();
            assert!(!named.is_empty());
            for line in named.into_iter().filter(|line| *line != "mstore --version") {
                if let Err(error) = Cli::try_parse_from(line.split(' ')) {
                    panic!("{line}: {error}");
                }
            }
        }
    }
}
