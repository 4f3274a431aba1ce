//! `mstore complete`: the words that can stand at the cursor of a shell. The scripts of `mstore completions` run it.

mod candidates;
mod line;

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::process::ExitCode;

use clap::FromArgMatches as _;
use clap_complete::engine::{self, CompletionCandidate};

use crate::cli::context::Context;
use crate::cli::{Failure, GlobalArgs, arguments, output, parser};
use line::Line;

/// Words that are printed at most: nobody looks at more.
const MOST: usize = 20_000;

/// Print the words that can stand at the cursor
#[derive(clap::Args)]
pub struct Args {
    #[command(subcommand)]
    shell: Shell,
}

#[derive(clap::Subcommand)]
enum Shell {
    /// For bash: the characters that break words, and the line up to the cursor
    Bash { breaks: OsString, line: OsString },
    /// For zsh: the words up to the cursor
    Zsh {
        #[arg(last = true)]
        words: Vec<OsString>,
    },
    /// For fish: the words up to the cursor
    Fish {
        #[arg(last = true)]
        words: Vec<OsString>,
    },
}

/// Prints a word a line, for zsh and fish with a tab and what it is. Says nothing where nothing is known: an error in
/// the middle of a line that is being typed helps nobody.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let mut text = Vec::new();
    match args.shell {
        Shell::Bash { breaks, line } => {
            let line = Line::split(line.as_bytes());
            for candidate in complete(line.words.clone()) {
                text.extend(line.for_bash(candidate.get_value().as_bytes(), breaks.as_bytes()));
                text.push(b'\n');
            }
        }
        Shell::Zsh { words } | Shell::Fish { words } => {
            for candidate in complete(words) {
                text.extend(candidate.get_value().as_bytes());
                if let Some(help) = candidate.get_help() {
                    let help = help.to_string();
                    let first = help.lines().next().unwrap_or_default();
                    text.push(b'\t');
                    text.extend(output::escaped(first).as_bytes());
                }
                text.push(b'\n');
            }
        }
    }
    output::bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// What can stand in the place of the last word.
fn complete(words: Vec<OsString>) -> Vec<CompletionCandidate> {
    let mut words = arguments(words.into_iter());
    let Some(current) = words.pop() else {
        return Vec::new();
    };
    // What was typed so far need not be right; what is understood of it counts.
    let typed = parser()
        .ignore_errors(true)
        .try_get_matches_from(&words)
        .ok();
    let global = typed
        .as_ref()
        .and_then(|matches| GlobalArgs::from_arg_matches(matches).ok());
    // Enters the folder of -C.
    let context = global.and_then(|global| Context::new(global).ok());
    let typed: Vec<OsString> = words.clone();
    let index = words.len();
    words.push(current.clone());
    let here = std::env::current_dir().ok();
    let mut command = candidates::attach(parser(), context, typed);
    let found = engine::complete(&mut command, words, index, here.as_deref()).unwrap_or_default();
    let dashed = |word: &OsStr| word.as_bytes().starts_with(b"-");
    let fits = |candidate: &CompletionCandidate| {
        let word = candidate.get_value();
        // Options are for those who ask for them.
        (!dashed(word) || dashed(&current)) && !candidate.is_hide_set() && is_a_line(word)
    };
    found.into_iter().filter(fits).take(MOST).collect()
}

/// Whether a word can be told in a line.
fn is_a_line(word: &OsStr) -> bool {
    !word.to_os_string().into_vec().contains(&b'\n')
}
