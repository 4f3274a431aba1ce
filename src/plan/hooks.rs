//! Hooks: elements that specifications read and leave for others to define, in the place of a definition of their own.
//!
//! A definition from outside replaces those of the entry file alone. For what a collected file defines there often is
//! an element that takes its place where it is there: that is what the error about it then names.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mstore_lang::mentions::{Role, Within, mentions};
use mstore_lang::{Class, Definition, Diagnostic, Session, Spec};

/// References that are followed one after another.
const DEEPEST: usize = 4;
/// References of one element; what has more is a script that uses much.
const WIDEST: usize = 8;
/// Hooks that are named.
const MOST: usize = 3;

/// Names the hooks of elements in errors that say that a definition from outside, one of `given`, meets one of a
/// collected file. `all` are the definitions that were loaded with.
pub fn advise(
    errors: &mut [Diagnostic],
    session: &Session<'_>,
    entry: &Path,
    given: &[Definition],
    all: &[Definition],
) {
    let meets = |error: &Diagnostic| {
        let name = &error.subject.as_ref()?.element;
        let ours = error.class == Class::Duplicate && given.iter().any(|d| d.name == *name);
        ours.then(|| name.clone())
    };
    let names: BTreeSet<String> = errors.iter().filter_map(meets).collect();
    if names.is_empty() {
        return;
    }
    // Without those definitions there is something to look at, with a version or with its own.
    let mut fewer = all.to_vec();
    fewer.retain(|d| !names.contains(&d.name));
    let mut loaded = session.load(entry, &fewer);
    if loaded.is_err() {
        fewer.retain(|d| d.name != "target/version");
        loaded = session.load(entry, &fewer);
    }
    let Ok(spec) = loaded else {
        return;
    };
    for error in errors {
        let Some(name) = meets(error) else {
            continue;
        };
        let hooks: Vec<String> = of(&spec, &name).iter().map(|h| format!("`{h}`")).collect();
        match hooks.as_slice() {
            [] => {}
            [one] => error.help.push(format!(
                "define {one}: it is there to take the place of `{name}`"
            )),
            more => error.help.push(format!(
                "define one of {}: they are there to take the place of `{name}`, or a part of it",
                more.join(", ")
            )),
        }
    }
}

/// The elements that nothing defines and that take the place of `name`, or of a part of it, where they are defined.
fn of(spec: &Spec, name: &str) -> Vec<String> {
    let definitions = Definitions::of(spec);
    let mut found: BTreeSet<&str> = BTreeSet::new();
    // What its own value is made of.
    let mut level: BTreeSet<&str> = BTreeSet::from([name]);
    for _ in 0..DEEPEST {
        let mut next = BTreeSet::new();
        for at in level {
            let read = definitions.read_by(at);
            if read.len() > WIDEST {
                continue;
            }
            for other in read {
                match definitions.0.contains_key(other) {
                    true => next.insert(other),
                    false => found.insert(other),
                };
            }
        }
        level = next;
    }
    // What stands beside it where it is chosen.
    for choices in definitions.0.values().filter(|all| all.len() > 1) {
        if choices.iter().any(|read| read.contains(name)) {
            let others = choices.iter().filter(|read| !read.contains(name)).flatten();
            found.extend(
                others
                    .map(String::as_str)
                    .filter(|other| !definitions.0.contains_key(*other)),
            );
        }
    }
    if found.len() > MOST {
        let last = |name: &str| name.rsplit('/').next().map(str::to_owned);
        found.retain(|hook| last(hook) == last(name));
    }
    found.into_iter().take(MOST).map(str::to_owned).collect()
}

/// Elements with the names that each of their definitions reads.
struct Definitions(BTreeMap<String, Vec<BTreeSet<String>>>);

impl Definitions {
    fn of(spec: &Spec) -> Definitions {
        let mut all: BTreeMap<String, Vec<BTreeSet<String>>> = BTreeMap::new();
        for file in spec.files() {
            let mut read = BTreeMap::new();
            for mention in mentions(file) {
                let Within::Definition(id) = mention.within else {
                    continue;
                };
                let own: &mut BTreeSet<String> = read.entry(id).or_default();
                if matches!(mention.role, Role::Reference(_) | Role::Inclusion(_))
                    && let Some(name) = mention.full(file)
                {
                    own.insert(name.join());
                }
            }
            for (id, read) in read {
                let name = file.name(&file.definitions[id]).join();
                all.entry(name).or_default().push(read);
            }
        }
        Definitions(all)
    }

    fn read_by(&self, name: &str) -> BTreeSet<&str> {
        let all = self.0.get(name).into_iter().flatten().flatten();
        all.map(String::as_str).collect()
    }
}
