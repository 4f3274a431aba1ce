//! `mstore man`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Command;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::cli::manual::{self, Page};
use crate::cli::{Failure, output, parser};

/// Write the manual pages
#[derive(clap::Args)]
pub struct Args {
    /// Folder for one page a command; without it the main page goes to stdout
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

/// Writes the pages.
pub fn run(args: Args) -> Result<ExitCode, Failure> {
    let Some(dir) = args.dir else {
        if let Some((_, text)) = pages().into_iter().next() {
            output::bytes(text.as_bytes())?;
        }
        return Ok(ExitCode::SUCCESS);
    };
    let failed = |e| Failure::machine(format!("cannot write to {}: {e}", dir.display()));
    std::fs::create_dir_all(&dir).map_err(failed)?;
    for (name, text) in pages() {
        std::fs::write(dir.join(name), text).map_err(failed)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// The pages by the names of their files, the program's own first.
fn pages() -> Vec<(String, String)> {
    // Pages that only say how `help` is called help nobody.
    let mut program = parser().disable_help_subcommand(true);
    program.build();
    let mut all = Vec::new();
    collect(&program, "", "", &mut all);
    all
}

/// Makes the page of a command and of those below it. `path` is its name without the program's, `parent` the page
/// above.
fn collect(command: &Command, path: &str, parent: &str, all: &mut Vec<(String, String)>) {
    let name = page_name(path);
    let below = command.get_subcommands().filter(|c| !c.is_hide_set());
    let below: Vec<&Command> = below.collect();
    let mut also: Vec<String> = Vec::new();
    also.extend((!parent.is_empty()).then(|| parent.to_owned()));
    also.extend(below.iter().map(|c| page_name(&join(path, c.get_name()))));
    let page = manual::of(path);
    also.extend(
        page.iter()
            .flat_map(|page| page.also)
            .map(|c| format!("mstore-{c}")),
    );
    all.push((format!("{name}.1"), text(command, page, &also)));
    for command in below {
        collect(command, &join(path, command.get_name()), &name, all);
    }
}

fn join(path: &str, name: &str) -> String {
    format!("{path} {name}").trim_start().to_owned()
}

fn page_name(path: &str) -> String {
    format!("mstore {path}").trim_end().replace(' ', "-")
}

/// The text of one page.
fn text(command: &Command, page: Option<&Page>, also: &[String]) -> String {
    let version = command.get_version().unwrap_or_default();
    let man = Man::new(command.clone())
        .source(format!("mstore {version}"))
        .manual("mstore");
    let mut bytes = Vec::new();
    // Writing to memory does not fail.
    let _ = man.render(&mut bytes);
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let own = sections(page, also).render();
    // What the library begins every text with stands there already.
    let own = own.find(".SH").map_or("", |at| &own[at..]);
    match text.find(".SH VERSION") {
        Some(at) => format!("{}{own}{}", &text[..at], &text[at..]),
        None => text + own,
    }
}

/// The sections that the library does not make.
fn sections(page: Option<&Page>, also: &[String]) -> Roff {
    let mut roff = Roff::new();
    let uses = page.map_or(&[][..], |page| page.uses);
    if let Some(page) = page {
        roff.control("SH", ["EXAMPLES"]);
        for (what, line) in page.examples {
            roff.control("TP", []).text([roman(*what)]);
            roff.text([bold(*line)]);
        }
        if page.command.is_empty() {
            internal(&mut roff);
        }
    }
    let files = uses.iter().flat_map(|uses| uses.files());
    list(&mut roff, "FILES", files.copied());
    let mut variables: Vec<_> = uses.iter().flat_map(|uses| uses.environment()).collect();
    variables.extend(manual::ENVIRONMENT);
    let mut seen = Vec::new();
    variables.retain(|(name, _)| !seen.contains(name) && (seen.push(*name), true).1);
    list(&mut roff, "ENVIRONMENT", variables.into_iter().copied());
    let mut statuses = manual::STATUS.to_vec();
    statuses.extend(page.and_then(|page| page.found).map(|text| (1, text)));
    statuses.sort_unstable();
    let statuses: Vec<(String, &str)> = statuses
        .into_iter()
        .map(|(n, text)| (n.to_string(), text))
        .collect();
    let statuses = statuses.iter().map(|(n, text)| (n.as_str(), *text));
    list(&mut roff, "EXIT STATUS", statuses);
    roff.control("SH", ["SEE ALSO"]);
    let doc = page.map_or(&[][..], |page| page.doc);
    let mut line = Vec::new();
    for name in also {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.extend([bold(name), roman("(1)")]);
    }
    for file in doc {
        if !line.is_empty() {
            line.push(roman(", "));
        }
        line.push(roman(*file));
    }
    roff.text(line);
    roff
}

/// Words that mstore says to itself and to other programs, and people need not.
fn internal(roff: &mut Roff) {
    roff.control("SH", ["INTERNAL WORDS"]);
    roff.text([roman(
        "No help lists these; they are there for programs, and change without notice.",
    )]);
    for (word, what) in [
        (
            "mstore complete",
            "What the scripts of mstore-completions(1) ask for words.",
        ),
        (
            "mstore repo receive",
            "The other end of mstore-repo-push(1).",
        ),
        (
            "mstore lsp --stdio",
            "Accepted since some editors give it: there is no other way to talk.",
        ),
        ("mstore __sandbox", "The process in which a step is set up."),
        (
            "mstore __user",
            "Runs ssh as the user who started mstore, where mstore itself is root of a user namespace.",
        ),
    ] {
        roff.control("TP", []).text([bold(word)]);
        roff.text([roman(what)]);
    }
}

fn list<'a>(roff: &mut Roff, title: &str, items: impl Iterator<Item = (&'a str, &'a str)>) {
    let mut items = items.peekable();
    if items.peek().is_none() {
        return;
    }
    roff.control("SH", [title]);
    for (name, what) in items {
        roff.control("TP", []).text([bold(name)]);
        roff.text([roman(what)]);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::pages;
    use crate::cli::{manual, parser};

    /// All commands that people see, without the program's name.
    fn commands() -> Vec<String> {
        fn look(command: &clap::Command, path: &str, all: &mut Vec<String>) {
            for sub in command.get_subcommands().filter(|c| !c.is_hide_set()) {
                let path = super::join(path, sub.get_name());
                look(sub, &path, all);
                all.push(path);
            }
        }
        let mut all = vec![String::new()];
        look(&parser(), "", &mut all);
        all
    }

    #[test]
    fn every_command_has_a_page_with_all_sections() {
        let expected: BTreeSet<String> = commands()
            .iter()
            .map(|c| format!("{}.1", super::page_name(c)))
            .collect();
        let pages = pages();
        let made: BTreeSet<String> = pages.iter().map(|(name, _)| name.clone()).collect();
        assert_eq!(made, expected);
        for (name, text) in &pages {
            for section in ["EXAMPLES", "ENVIRONMENT", "\"EXIT STATUS\"", "\"SEE ALSO\""] {
                assert!(
                    text.contains(&format!(".SH {section}")),
                    "{name}: {section}"
                );
            }
        }
        let listed: Vec<&str> = manual::PAGES.iter().map(|page| page.command).collect();
        let commands: BTreeSet<String> = commands().into_iter().collect();
        assert_eq!(
            listed
                .iter()
                .map(|c| (*c).to_owned())
                .collect::<BTreeSet<_>>(),
            commands
        );
    }

    #[test]
    fn every_page_that_is_named_exists() {
        let pages: BTreeSet<String> = pages().into_iter().map(|(name, _)| name).collect();
        for page in manual::PAGES {
            for other in page.also {
                assert!(pages.contains(&format!("mstore-{other}.1")), "{page:?}");
            }
            for file in page.doc {
                let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
                assert!(path.is_file(), "{page:?}");
            }
        }
    }

    /// Examples are lines that this program takes.
    #[test]
    fn every_example_can_be_typed() {
        for page in manual::PAGES {
            assert!(!page.examples.is_empty(), "{page:?}");
            for (_, line) in page.examples {
                let line = line.strip_prefix("source <(").unwrap_or(line);
                let line = line.trim_end_matches(')').split(" | ").next().unwrap();
                let words = line.split(' ').map(|word| word.trim_matches('\''));
                if let Err(error) = parser().try_get_matches_from(words) {
                    panic!("{line}: {error}");
                }
                let own = format!("mstore {}", page.command);
                let program = page.command.is_empty() || page.command.contains("completions");
                let group = !page.command.contains(' ');
                assert!(program || group || line.starts_with(&own), "{line}");
            }
        }
    }

    /// What the sources read of the environment is what pages tell, and nothing else.
    #[test]
    fn every_variable_is_told() {
        use manual::Uses::*;
        let told = [
            Specs,
            Lock,
            Store,
            Config,
            Others,
            Keys,
            Mirror,
            EditorCache,
        ];
        let told = told.into_iter().flat_map(manual::Uses::environment);
        let told: BTreeSet<String> = told
            .chain(manual::ENVIRONMENT)
            .flat_map(|(name, _)| name.split(", ").map(str::to_owned))
            // A library looks at these.
            .filter(|name| !name.starts_with("SSL_CERT"))
            .collect();
        let mut read = BTreeSet::new();
        let mut folders = vec![std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli")];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap().flatten() {
                let path = entry.path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let text = std::fs::read_to_string(&path).unwrap();
                for part in text.split("env::var").skip(1) {
                    let word = part.trim_start_matches("_os").strip_prefix("(\"");
                    if let Some(name) = word.and_then(|rest| rest.split('"').next()) {
                        read.insert(name.to_owned());
                    }
                }
            }
        }
        assert_eq!(read, told);
    }
}
