//! Definitions from outside that nothing reads: most often a name that is misspelt.

use std::collections::{BTreeSet, HashSet};
use std::sync::Arc;

use mstore_lang::Definition;
use mstore_lang::mentions::{Mention, Role, mentions};
use mstore_lang::syntax::File;

use super::elements::{Asked, Elements};
use super::name::suggestions;

/// Names that are made for a target and are there to be overridden.
const OURS: [&str; 5] = [
    "target",
    "target/build",
    "target/arch_desc",
    "target/subarch",
    "target/version",
];

/// A definition that nothing reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unread {
    /// The name that it defines.
    pub name: String,
    /// Names that are read and are spelt alike, best first.
    pub nearest: Vec<String>,
}

/// The search for who reads the definitions.
pub(super) struct Search {
    /// Those that nobody was found for yet.
    open: BTreeSet<String>,
    /// All names that are read.
    read: BTreeSet<String>,
    /// Files that were looked at: targets share them.
    seen: HashSet<*const File>,
    /// Kept, so that no other file comes to lie where one was.
    files: Vec<Arc<File>>,
}

impl Search {
    pub(super) fn new(given: &[Definition], asked: &Asked) -> Search {
        let names = given.iter().map(|d| d.name.clone());
        Search {
            open: names
                .filter(|name| !asked.has(name) && !OURS.contains(&name.as_str()))
                .collect(),
            read: BTreeSet::new(),
            seen: HashSet::new(),
            files: Vec::new(),
        }
    }

    /// Whether every definition is read by something.
    pub(super) fn is_over(&self) -> bool {
        self.open.is_empty()
    }

    /// Looks at the settings of a target, after what is made of them was made.
    pub(super) fn look(&mut self, elements: &Elements) {
        let asked = elements.asked();
        self.open.retain(|name| !asked.has(name));
        if !self.open.is_empty() {
            self.read.extend(asked.names().map(str::to_owned));
        }
        for file in elements.spec().files() {
            if !self.seen.insert(Arc::as_ptr(file)) {
                continue;
            }
            self.files.push(file.clone());
            let reads = |mention: &Mention| mention.role != Role::Definition;
            for mention in mentions(file).iter().filter(|mention| reads(mention)) {
                self.open.retain(|name| !mention.could_be(file, name));
                self.read.extend(mention.full(file).map(|name| name.join()));
            }
        }
    }

    /// The definitions that nothing reads.
    pub(super) fn rest(self) -> Vec<Unread> {
        let Search { open, read, .. } = self;
        let open = open.into_iter();
        open.map(|name| Unread {
            nearest: suggestions(&name, read.iter().cloned()),
            name,
        })
        .collect()
    }
}
