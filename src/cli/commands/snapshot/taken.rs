//! What is taken in of a folder though people may not think of it, and what is left out.

use std::path::Path;

use mstore_store::{Kind, Store, TreeHash, git};

use crate::cli::output::{Style, plural};
use crate::cli::{Failure, bytes};

/// Names that are told at most.
const NAMED: usize = 4;

/// Tells of hidden files, and of those that git does not have.
pub fn tell(store: &Store, tree: TreeHash, folder: &Path) -> Result<(), Failure> {
    let style = Style::stderr();
    let mut hidden = Vec::new();
    let top = store.tree(tree)?.dir;
    let mut open = vec![(Vec::new(), top)];
    while let Some((path, dir)) = open.pop() {
        for entry in store.manifest(dir)?.entries() {
            let path = [&path[..], &entry.name].concat();
            match entry.kind {
                // What is in a hidden folder is hidden with it.
                _ if entry.name.starts_with(b".") => hidden.push(path),
                Kind::Dir { manifest } => open.push(([&path[..], b"/"].concat(), manifest)),
                _ => {}
            }
        }
    }
    hidden.sort_unstable();
    let has_git = folder.join(".git").symlink_metadata().is_ok();
    let ignored = match has_git {
        true => others(folder, &["--ignored"]),
        false => Vec::new(),
    };
    let untracked = match has_git {
        true => others(folder, &[]),
        false => Vec::new(),
    };
    for (all, what) in [
        (&hidden, "hidden"),
        (&ignored, "named by .gitignore"),
        (&untracked, "not known to git"),
    ] {
        if !all.is_empty() {
            tell!(
                "{} taken in too: {} {what}: {}",
                style.note("note:"),
                all.len(),
                named(all)
            );
        }
    }
    if has_git {
        tell!("{} left out: .git", style.note("note:"));
    }
    if !(ignored.is_empty() && untracked.is_empty()) {
        tell!(
            "{} --rev HEAD takes what git has, and nothing else",
            style.note("hint:")
        );
    }
    Ok(())
}

/// What is in a work tree and not in the index; nothing where git cannot tell.
fn others(folder: &Path, more: &[&str]) -> Vec<Vec<u8>> {
    let mut command = git::command(Path::new("git"), &[]);
    command
        .arg("-C")
        .arg(folder)
        .args([
            "ls-files",
            "-z",
            "--others",
            "--exclude-standard",
            "--directory",
        ])
        .args(more);
    let Ok(answer) = git::finish(command) else {
        return Vec::new();
    };
    if !answer.status.success() {
        return Vec::new();
    }
    let paths = answer
        .out
        .split(|b| *b == 0)
        .filter(|path| !path.is_empty());
    let paths = paths.map(|path| path.strip_suffix(b"/").unwrap_or(path));
    paths.map(<[u8]>::to_vec).collect()
}

fn named(paths: &[Vec<u8>]) -> String {
    let mut names: Vec<String> = paths
        .iter()
        .take(NAMED)
        .map(|path| bytes::shown(path))
        .collect();
    if paths.len() > NAMED {
        let more = paths.len() - NAMED;
        names.push(format!("{more} more {}", plural(more, "path")));
    }
    names.join(", ")
}
