//! The floors of the program: each uses only those under it, and no command another command.
//!
//! ARCHITECTURE.md draws them. This test reads every path in the sources that leads out of its module and
//! compares it with the table below; a new floor or a new way down is a line here, and a decision.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// What each floor may use, beside itself and libraries. `lang` and `store` are the crates below.
const FLOORS: &[(&str, &[&str])] = &[
    ("dense", &[]),
    ("config", &["lang"]),
    ("drv", &["store"]),
    ("image", &["store"]),
    ("plan", &["dense", "drv", "lang", "store"]),
    ("build", &["drv", "store"]),
    ("share", &["drv", "store"]),
    ("worker", &["drv", "build", "share", "store"]),
    ("ports", &["drv", "plan", "lang", "store"]),
    ("packages", &["drv", "plan", "lang", "store"]),
    (
        "schedule",
        &["dense", "drv", "plan", "build", "share", "worker", "store"],
    ),
    ("dpb", &["build", "schedule"]),
    (
        "farm",
        &[
            "config", "dense", "drv", "build", "share", "worker", "schedule", "store",
        ],
    ),
    (
        "project",
        &[
            "config", "dense", "drv", "plan", "ports", "packages", "build", "share", "schedule",
            "dpb", "farm", "lang", "store",
        ],
    ),
    ("serve", &["drv", "share", "store", "plan", "project"]),
    (
        "repo",
        &[
            "drv", "share", "store", "plan", "schedule", "project", "lang",
        ],
    ),
    (
        "cli",
        &[
            "config", "dense", "drv", "image", "plan", "ports", "packages", "build", "share",
            "worker", "schedule", "dpb", "farm", "project", "serve", "repo", "lang", "store",
        ],
    ),
];

/// The crates of the workspace that the program stands on, and what their sources call them.
const CRATES: &[(&str, &str)] = &[("mstore_lang", "lang"), ("mstore_store", "store")];

/// Words below `cli` that speak to people or take from the surroundings. Tests may, and so may the process
/// that a sandbox becomes: it ends when its work does, and nobody is there to return to.
const FORBIDDEN: &[&str] = &[
    "println!",
    "eprintln!",
    "print!(",
    "eprint!(",
    "process::exit",
    "env::var",
    "env::current_dir",
];
/// A program of its own, which is above all floors that it uses.
const PROGRAM: &str = "src/worker/main.rs";
const MAY_EXIT: &[&str] = &["src/build/sandbox/inside.rs", "src/build/userns.rs"];

/// A source file, its module path (`["cli", "commands", "gc"]`), and its text without comments and strings.
struct Source {
    file: PathBuf,
    module: Vec<String>,
    code: String,
}

/// The sources of one crate of the workspace; `crate_folder` is relative to the top.
fn sources(crate_folder: &str) -> Vec<Source> {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let src = top.join(crate_folder).join("src");
    let mut folders = vec![src.clone()];
    let mut found = Vec::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            let path = entry.path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                let text = fs::read_to_string(&path).expect("text");
                let inside = path.strip_prefix(&src).expect("inside");
                found.push(Source {
                    module: module(inside),
                    code: code(&text),
                    file: Path::new("src").join(inside),
                });
            }
        }
    }
    assert!(found.len() > 20, "the sources are elsewhere");
    found.sort_by(|a, b| a.file.cmp(&b.file));
    found
}

/// The module that a file below `src` is.
fn module(file: &Path) -> Vec<String> {
    let mut parts: Vec<String> = file
        .with_extension("")
        .iter()
        .map(|part| part.to_string_lossy().into_owned())
        .collect();
    if parts
        .last()
        .is_some_and(|last| ["mod", "lib", "main"].contains(&last.as_str()))
    {
        parts.pop();
    }
    parts
}

/// The text without comments, strings and characters.
fn code(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let skip = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |at| at + 2)
        } else if let Some(length) = raw_string(rest).filter(|_| !ends_in_word(&out)) {
            length
        } else if c == '"' {
            string(rest, '"')
        } else if c == '\'' && is_character(rest) {
            string(rest, '\'')
        } else {
            out.push(c);
            rest = &rest[c.len_utf8()..];
            continue;
        };
        out.push(' ');
        rest = &rest[skip..];
    }
    out
}

/// The length of the raw string that a text begins with.
fn raw_string(text: &str) -> Option<usize> {
    let hashes = text.strip_prefix('r')?;
    let count = hashes.len() - hashes.trim_start_matches('#').len();
    let body = hashes[count..].strip_prefix('"')?;
    let close = format!("\"{}", "#".repeat(count));
    let end = body.find(&close).unwrap_or(body.len());
    Some((2 + count + end + close.len()).min(text.len()))
}

/// The length of the string or character that a text begins with.
fn string(text: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            c if c == quote => return at + 1,
            _ => {}
        }
    }
    text.len()
}

/// Whether a quote begins a character; else it is a lifetime.
fn is_character(text: &str) -> bool {
    let mut chars = text.chars().skip(1);
    let (first, second) = (chars.next(), chars.next());
    first == Some('\\') || second == Some('\'')
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

fn ends_in_word(text: &str) -> bool {
    text.chars().next_back().is_some_and(is_word)
}

/// All paths in the code of `module`, from the root of the crate. Those that begin elsewhere (with a library
/// or a name that is in scope) are left out, except those into the crates of the workspace, whose first part
/// is the crate's name.
fn paths(module: &[String], code: &str) -> Vec<Vec<String>> {
    let mut found = Vec::new();
    let mut before = None;
    let mut rest = code;
    while let Some(start) = rest.find(is_word) {
        let head = &rest[..start];
        before = head
            .chars()
            .next_back()
            .or(before.filter(|_| head.is_empty()));
        let at = &rest[start..];
        let word = &at[..at.find(|c| !is_word(c)).unwrap_or(at.len())];
        let base = match word {
            // After `::` it is part of a path that was begun before.
            _ if before == Some(':') => None,
            "crate" => Some(Vec::new()),
            "super" => Some(module[..module.len().saturating_sub(1)].to_vec()),
            other => CRATES
                .iter()
                .find(|(name, _)| *name == other)
                .map(|(name, _)| vec![(*name).to_owned()]),
        };
        if let Some(base) = base {
            tree(&at[word.len()..], base, &mut found);
        }
        before = word.chars().next_back();
        rest = &at[word.len()..];
    }
    found
}

/// Follows `::a::{b, c::d}` and adds each path. Gives what is left of the text.
fn tree<'a>(text: &'a str, base: Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let Some(rest) = text.trim_start().strip_prefix("::").map(str::trim_start) else {
        found.push(base);
        return text;
    };
    if let Some(mut rest) = rest.strip_prefix('{') {
        loop {
            rest = rest.trim_start();
            if let Some(after) = rest.strip_prefix('}') {
                return after;
            }
            let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
            if end == 0 {
                // A comma, a star, or the end of what is not understood.
                let Some(c) = rest.chars().next() else {
                    return rest;
                };
                rest = &rest[c.len_utf8()..];
                continue;
            }
            let inner = joined(&base, &rest[..end]);
            rest = tree(&rest[end..], inner, found);
            // `as NAME` renames and leads nowhere.
            if let Some(after) = rest.trim_start().strip_prefix("as ") {
                rest = after.trim_start().trim_start_matches(is_word);
            }
        }
    }
    let end = rest.find(|c| !is_word(c)).unwrap_or(rest.len());
    tree(&rest[end..], joined(&base, &rest[..end]), found)
}

fn joined(base: &[String], part: &str) -> Vec<String> {
    let mut path = base.to_vec();
    match part {
        "super" => {
            path.pop();
        }
        "self" | "" => {}
        part => path.push(part.to_owned()),
    }
    path
}

/// What is wrong with the paths of one file.
fn faults(module: &[String], code: &str, floors: &BTreeMap<&str, &[&str]>) -> Vec<String> {
    // The root of the crate and the program itself only put the floors together.
    let Some(own) = module.first() else {
        return Vec::new();
    };
    let Some(allowed) = floors.get(own.as_str()) else {
        return vec![format!("`{own}` is not in the table of floors")];
    };
    let mut faults = BTreeSet::new();
    for path in paths(module, code) {
        let Some(first) = path.first() else {
            continue;
        };
        let crates = CRATES.iter().find(|(name, _)| name == first);
        let floor = crates.map_or(first.as_str(), |(_, floor)| floor);
        if floor != own
            && !allowed.contains(&floor)
            && (crates.is_some() || floors.contains_key(floor))
        {
            faults.insert(format!("`{own}` may not use `{floor}`"));
        }
        if let [cli, commands, other, ..] = path.as_slice()
            && cli == "cli"
            && commands == "commands"
            && module.len() > 1
            && module.get(2) != Some(other)
            && is_command(other)
        {
            let own = module.join("::");
            faults.insert(format!(
                "`{own}` may not use the command `{}`",
                path.join("::")
            ));
        }
    }
    faults.into_iter().collect()
}

/// Whether a name within `cli::commands` is that of a command.
fn is_command(name: &str) -> bool {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/commands");
    folder.join(name).is_dir() || folder.join(format!("{name}.rs")).is_file()
}

#[test]
fn each_floor_uses_only_those_under_it() {
    let floors: BTreeMap<&str, &[&str]> = FLOORS.iter().copied().collect();
    let mut found = Vec::new();
    for source in sources("") {
        for fault in faults(&source.module, &source.code, &floors) {
            found.push(format!("{}: {fault}", source.file.display()));
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn the_table_has_no_circle() {
    for (at, (floor, allowed)) in FLOORS.iter().enumerate() {
        for below in *allowed {
            let known = CRATES.iter().any(|(_, name)| name == below);
            let earlier = FLOORS[..at].iter().any(|(name, _)| name == below);
            assert!(
                known || earlier,
                "{floor} uses {below}, which is not under it"
            );
        }
    }
}

/// The files that use each file, without the way through a folder's own `mod.rs`, which is its face.
fn uses(sources: &[Source]) -> BTreeMap<&[String], BTreeSet<&[String]>> {
    let known: BTreeSet<&[String]> = sources.iter().map(|s| s.module.as_slice()).collect();
    let mut uses: BTreeMap<&[String], BTreeSet<&[String]>> = BTreeMap::new();
    for source in sources {
        let own = source.module.as_slice();
        for path in paths(own, without_tests(&source.code)) {
            // The longest part of the path that is a file.
            let file = (1..=path.len()).rev().find_map(|n| known.get(&path[..n]));
            if let Some(file) = file.filter(|f| !f.starts_with(own) && !own.starts_with(f)) {
                uses.entry(own).or_default().insert(file);
            }
        }
    }
    uses
}

/// The code before the tests at the end of a file.
fn without_tests(code: &str) -> &str {
    code.split("#[cfg(test)]\nmod tests {")
        .next()
        .unwrap_or_default()
}

/// A circle of uses, each file with the one it uses; empty if there is none.
fn circle<'a>(uses: &BTreeMap<&'a [String], BTreeSet<&'a [String]>>) -> Vec<&'a [String]> {
    // Files are taken away that use nothing that is left: what stays has a circle in it.
    let mut left = uses.clone();
    loop {
        let before = left.len();
        let names: BTreeSet<&[String]> = left.keys().copied().collect();
        left.retain(|_, used| used.iter().any(|f| names.contains(f)));
        if left.len() == before {
            break;
        }
    }
    let Some(mut at) = left.keys().next().copied() else {
        return Vec::new();
    };
    let mut way: Vec<&[String]> = Vec::new();
    loop {
        if let Some(begin) = way.iter().position(|f| *f == at) {
            way.drain(..begin);
            return way;
        }
        way.push(at);
        let next = left[at].iter().find(|f| left.contains_key(*f));
        at = next.copied().expect("it uses one that is left");
    }
}

#[test]
fn no_files_use_each_other_in_a_circle() {
    for folder in ["", "lang", "store"] {
        let sources = sources(folder);
        let uses = uses(&sources);
        assert!(uses.len() > 20, "the paths are not understood");
        let names: Vec<String> = circle(&uses).iter().map(|f| f.join("::")).collect();
        assert!(
            names.is_empty(),
            "each uses the next: {}",
            names.join(" -> ")
        );
    }
}

#[test]
fn a_circle_is_found() {
    let source = |module: &str, code: &str| Source {
        file: PathBuf::new(),
        module: module.split("::").map(str::to_owned).collect(),
        code: code.to_owned(),
    };
    let mut all = vec![
        source("plan", "pub mod a; use a::A;"),
        source("plan::a", "use super::b::B;"),
        source("plan::b", "use crate::plan::{c, d};"),
        source("plan::c", "use super::d;"),
        source("plan::d", "use super::X;"),
    ];
    assert!(circle(&uses(&all)).is_empty());
    all.push(source("plan::d", "use super::b::B;"));
    assert!(!circle(&uses(&all)).is_empty());
}

#[test]
fn the_crates_below_know_nothing_of_each_other() {
    for (name, other) in [("lang", "mstore-store"), ("store", "mstore-lang")] {
        let file = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join(name)
            .join("Cargo.toml");
        let text = fs::read_to_string(file).expect("a manifest");
        assert!(
            text.contains("[dependencies]") && !text.contains(other),
            "{name}"
        );
    }
}

#[test]
fn nothing_below_the_command_line_prints_exits_or_looks_around() {
    let mut found = Vec::new();
    for source in sources("") {
        let path = source.file.to_string_lossy().into_owned();
        let floor = source.module.first().map(String::as_str);
        let of_tests = source.module.iter().any(|part| part == "tests");
        if matches!(floor, None | Some("cli")) || of_tests || path == PROGRAM {
            continue;
        }
        let code = without_tests(&source.code);
        for word in FORBIDDEN {
            let exits = *word == "process::exit" && MAY_EXIT.contains(&path.as_str());
            if code.contains(word) && !exits {
                found.push(format!("{path}: {word}"));
            }
        }
    }
    assert!(found.is_empty(), "{}", found.join("\n"));
}

#[test]
fn what_is_not_allowed_is_found_in_every_spelling() {
    let floors: BTreeMap<&str, &[&str]> = FLOORS.iter().copied().collect();
    let faults = |module: &str, text: &str| {
        let module: Vec<String> = module.split("::").map(str::to_owned).collect();
        faults(&module, &code(text), &floors)
    };
    for (module, text) in [
        ("build::step", "use crate::plan::Graph;"),
        (
            "build::step",
            "use crate::{drv::Key, plan::{self, Graph as G}};",
        ),
        ("build::step", "fn f() -> crate::plan::Graph { todo!() }"),
        ("build::sandbox::mounts", "use super::super::super::plan;"),
        ("build::step", "use super::super::{drv, plan::Graph};"),
        ("share::trust", "use mstore_lang::Spec;"),
        ("share::trust", "let x = mstore_lang::Spec::load();"),
        ("plan::graph", "use crate::\n    schedule::driver;"),
        ("drv::facts", "use crate::cli::output;"),
        (
            "cli::commands::gc",
            "use crate::cli::commands::store::look;",
        ),
        ("cli::commands::gc", "use super::store;"),
        ("cli::commands::store::look", "use super::super::gc;"),
        ("cli::context", "use crate::cli::commands::gc;"),
        ("attic::old", "use crate::drv;"),
    ] {
        assert_eq!(faults(module, text).len(), 1, "{module}: {text}");
    }
    for (module, text) in [
        (
            "plan::graph",
            "use crate::drv::Key; use super::lock; use mstore_store::Hash;",
        ),
        (
            "plan::graph",
            "// crate::cli\n/* crate::cli */ \"crate::cli\"; r#\"crate::cli \"\"#; '\"';",
        ),
        (
            "cli::commands::store::look",
            "use super::find; use crate::cli::commands::store;",
        ),
        ("cli::commands", "pub mod gc;"),
        ("cli", "commands::gc::run(); use crate::cli::commands::gc;"),
        (
            "build::step",
            "let plan = drv::plan(crate_plan); fn f<'a>(x: &'a str) {}",
        ),
        ("schedule", "use std::{fmt, io}; use crate::plan::Graph;"),
    ] {
        assert_eq!(
            faults(module, text),
            Vec::<String>::new(),
            "{module}: {text}"
        );
    }
}
