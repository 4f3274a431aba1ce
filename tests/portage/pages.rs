//! doc/stages.md and doc/catalyst.md say what there is: commands with their options, configurations, elements.
//!
//! `run.sh` runs the commands of doc/stages.md (`lib/manual.sh`).

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;

use crate::support::{Asked, load};

fn page(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("doc").join(name);
    fs::read_to_string(path).unwrap()
}

/// The blocks of a page: consecutive lines with four blanks before them, without these.
fn blocks(page: &str) -> Vec<String> {
    let mut found: Vec<String> = Vec::new();
    let mut open = false;
    let mut blank = String::new();
    for line in page.lines() {
        match line.strip_prefix("    ") {
            Some(line) if open => {
                let block = found.last_mut().expect("one is open");
                *block += &format!("{blank}{line}\n");
                blank.clear();
            }
            Some(line) => {
                found.push(format!("{line}\n"));
                open = true;
            }
            None if line.is_empty() && open => blank.push('\n'),
            None => {
                open = false;
                blank.clear();
            }
        }
    }
    found
}

/// What stands between backticks on a line.
fn quoted(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The commands of a page, those in running text as well.
fn commands(page: &str) -> Vec<String> {
    let in_blocks = page.lines().filter_map(|l| l.strip_prefix("    $ "));
    let in_text = page.lines().flat_map(quoted);
    in_blocks
        .chain(in_text)
        .filter(|text| text.starts_with("mstore "))
        .map(str::to_owned)
        .collect()
}

/// The help of a command, which lists its options.
fn help(command: &[&str]) -> String {
    let ran = Command::new(env!("CARGO_BIN_EXE_mstore"))
        .args(command)
        .arg("--help")
        .output()
        .unwrap();
    assert!(ran.status.success(), "mstore {command:?}");
    String::from_utf8_lossy(&ran.stdout).into_owned()
}

#[test]
fn commands_and_options_of_the_pages_are_there() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut seen = 0;
    for command in ["stages.md", "catalyst.md"]
        .map(page)
        .iter()
        .flat_map(|p| commands(p))
    {
        // What follows `--` is for another program.
        let own = command.split(" -- ").next().unwrap();
        let words: Vec<&str> = own.split_whitespace().skip(1).collect();
        let depth = match words[0] {
            "seed" | "snapshot" | "repo" => words.len().min(2),
            _ => 1,
        };
        let key: Vec<String> = words[..depth].iter().map(|w| (*w).to_owned()).collect();
        let help = helps.entry(key).or_insert_with(|| help(&words[..depth]));
        for option in words.iter().filter(|word| word.starts_with('-')) {
            let listed = help
                .split([' ', ',', '\n', '[', '='])
                .any(|word| word == *option);
            assert!(listed, "`{command}`: {option} is not an option");
            seen += 1;
        }
    }
    assert!(
        helps.len() > 10 && seen > 20,
        "{} commands, {seen} options",
        helps.len()
    );
}

#[test]
fn configurations_of_doc_stages_can_be_loaded() {
    let own: Vec<String> = blocks(&page("stages.md"))
        .iter()
        .map(|block| {
            let lines = block.lines();
            let lines = lines.filter(|l| !l.starts_with("[collect ") && !l.starts_with("$ "));
            let text: String = lines.map(|l| format!("{l}\n")).collect();
            text.trim_start().to_owned()
        })
        .filter(|text| text.starts_with('['))
        .collect();
    assert!(own.len() >= 6, "{own:?}");
    let hooks = include_str!("../../stdlib-specs/hooks.conf");
    for own in own {
        let standard = load("", &[]);
        let index = load(&own, &[]);
        let names = index.names().iter();
        let new: Vec<&String> = names.filter(|n| !standard.is_defined(n)).collect();
        assert!(!new.is_empty(), "{own}");
        for name in new {
            assert!(
                is_known(hooks, name),
                "{name} is not an element of hooks.conf:\n{own}"
            );
        }
        for target in ["stage1", "stage3", "stage4"] {
            let spec = Asked {
                own: &own,
                target,
                ..Asked::default()
            }
            .load();
            for element in ["steps/chroot", "source", "portage/profile"] {
                spec.value(element)
                    .unwrap_or_else(|e| panic!("{}", e.diagnostic.render(false)));
            }
        }
    }
}

/// Whether hooks.conf tells of an element.
fn is_known(hooks: &str, name: &str) -> bool {
    let words: BTreeSet<&str> = hooks
        .lines()
        .filter(|line| line.starts_with('#'))
        .flat_map(|line| line.split([' ', ',', ':', ';']))
        .map(|word| word.trim_end_matches('.'))
        .collect();
    let alone = name.strip_prefix("user/").or(name.strip_prefix("stage4/"));
    words.contains(name)
        || alone.is_some_and(|name| words.contains(name))
        || name
            .strip_prefix("user/portage/")
            .is_some_and(|file| words.contains(file.trim_start_matches("profile/")))
}

/// The names in the right column of doc/catalyst.md are elements that the specifications read.
#[test]
fn elements_of_doc_catalyst_are_read() {
    let read = specifications();
    let sections = [
        "user",
        "strategy",
        "subarch",
        "target",
        "livecd",
        "diskimage",
        "metro",
        "env",
        "stage4",
    ];
    let page = page("catalyst.md");
    let mut seen = 0;
    for (heading, row) in rows(&page) {
        let right = row.rsplit(" | ").next().unwrap();
        for name in quoted(right) {
            let name = name.split([':', ' ', '=']).next().unwrap();
            let name = name.trim_end_matches("/FILE").trim_end_matches("/NAME");
            let element = match name.split_once('/') {
                Some((section, _)) if sections.contains(&section) => name.to_owned(),
                None if heading == "Keys of stage4" && is_word(name) => format!("stage4/{name}"),
                _ => continue,
            };
            // Of a build, an architecture and so on mstore itself reads these.
            if ["target/version", "env"].contains(&element.as_str()) {
                continue;
            }
            assert!(
                read.contains(&element)
                    || read.iter().any(|e| e.starts_with(&format!("{element}/"))),
                "nothing reads {element}: {row}"
            );
            seen += 1;
        }
    }
    assert!(seen > 30, "{seen}");
}

fn is_word(name: &str) -> bool {
    name.bytes()
        .all(|b| b.is_ascii_lowercase() || b == b'-' || b == b'U' || b == b'S' || b == b'E')
        && !["sshd", "ada"].contains(&name)
}

/// The rows of the tables of a page, with the heading above.
fn rows(page: &str) -> Vec<(&str, &str)> {
    let mut heading = "";
    let mut found = Vec::new();
    for line in page.lines() {
        if let Some(text) = line.strip_prefix("## ") {
            heading = text;
        } else if let Some(row) = line.strip_prefix("| ") {
            found.push((heading, row.trim_end_matches(" |")));
        }
    }
    found
}

/// The elements that the standard specifications refer to or ask for.
fn specifications() -> BTreeSet<String> {
    fn gather(folder: &Path, into: &mut BTreeSet<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                gather(&path, into);
            } else if let Ok(text) = fs::read_to_string(&path) {
                for piece in text.split("$[").skip(1) {
                    let name = piece.trim_start_matches('[').split([']', ':', '?']).next();
                    into.insert(name.unwrap_or_default().to_owned());
                }
                // A container's option is not referred to but named.
                for line in text.lines() {
                    if let Some(option) = line.strip_prefix("option: ") {
                        into.insert(format!("metro/options/{option}"));
                    }
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib-specs");
    gather(&folder, &mut found);
    found
}
