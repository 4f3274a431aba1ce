//! Finding: from words to hashes, trees and targets; a word is a hash or its beginning, a gc root or a name.

use std::fmt::{self, Display};

use mstore_store::{Hash, ObjectKind, RealisationKind, Store, TreeHash};

use super::{FindError, Project, ProjectError};
use crate::drv::NodeName;
use crate::plan::{Graph, Pin, PinKind, Pins, Staleness, TargetId};

/// Shorter beginnings of hashes are not looked for.
const SHORTEST: usize = 4;
/// Characters of a whole hash.
const WHOLE: usize = 52;

/// Tells whether a word can be a hash or the beginning of one.
pub fn is_prefix(word: &str) -> bool {
    (SHORTEST..=WHOLE).contains(&word.len())
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
}

/// What a hash is the hash of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HashKind {
    /// An object of the store.
    Object(ObjectKind),
    /// A derivation.
    Derivation,
    /// What something is remembered under: the resolved key of a step, or the key of a target.
    Key(RealisationKind),
}

/// Something whose hash begins as was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The hash.
    pub hash: Hash,
    /// What it is.
    pub kind: HashKind,
    /// The step or target that a derivation or a key is of, where that is known.
    pub of: Option<NodeName>,
}

impl Found {
    /// Tells whether it is a tree.
    pub fn is_tree(&self) -> bool {
        self.kind == HashKind::Object(ObjectKind::Tree)
    }

    /// The full name of the target that it is of, or whose step it is of.
    pub fn target(&self) -> &str {
        self.of.as_ref().map(NodeName::target).unwrap_or_default()
    }
}

impl Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.kind {
            HashKind::Object(kind) => kind.word(),
            HashKind::Derivation => "derivation",
            HashKind::Key(_) => "key",
        })?;
        match &self.of {
            Some(name) => write!(f, " of {name}"),
            None => Ok(()),
        }
    }
}

/// The kinds of hashes that a caller can take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wants {
    /// A tree, or what has one: a step that was built.
    Tree,
    /// Something that was built or can be.
    Step,
    /// Something that can be built.
    Derivation,
    /// Anything.
    Anything,
    /// An object of the store.
    Object,
}

impl Wants {
    fn takes(self, kind: HashKind) -> bool {
        match self {
            Wants::Tree | Wants::Step => {
                !matches!(kind, HashKind::Object(kind) if kind != ObjectKind::Tree)
            }
            Wants::Derivation => matches!(kind, HashKind::Derivation | HashKind::Key(_)),
            Wants::Anything => true,
            Wants::Object => matches!(kind, HashKind::Object(_)),
        }
    }
}

impl Display for Wants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Wants::Tree => "tree",
            Wants::Step => "derivation, key or tree",
            Wants::Derivation => "derivation",
            Wants::Anything => "object, derivation or key",
            Wants::Object => "object",
        })
    }
}

/// Everything in the store whose hash begins with `word`.
fn all(store: &Store, word: &str) -> Result<Vec<Found>, ProjectError> {
    let objects = store.objects_with_prefix(word)?.into_iter();
    let mut found: Vec<Found> = objects
        .map(|(hash, kind)| Found {
            hash,
            kind: HashKind::Object(kind),
            of: None,
        })
        .collect();
    found.extend(
        store
            .steps_with_prefix(word)?
            .into_iter()
            .map(|step| Found {
                hash: step.hash,
                kind: match step.is_key {
                    true => HashKind::Key(step.kind),
                    false => HashKind::Derivation,
                },
                of: NodeName::recorded(step.kind, &step.name),
            }),
    );
    Ok(found)
}

/// The one among several that the caller can take; `None` when there is none.
fn choose(word: &str, mut found: Vec<Found>, wants: Wants) -> Result<Option<Found>, FindError> {
    found.retain(|f| wants.takes(f.kind));
    found.sort_by_key(|f| f.hash);
    found.dedup_by_key(|f| f.hash);
    if found.len() > 1 {
        return Err(FindError::Ambiguous {
            word: word.to_owned(),
            found,
        });
    }
    Ok(found.pop())
}

/// Says that there is nothing of the wanted kind, and what there is in its place.
fn nothing(word: &str, mut found: Vec<Found>, wants: Wants) -> FindError {
    match (found.pop(), found.is_empty()) {
        (Some(found), true) => FindError::OtherKind { found, wants },
        _ => FindError::NoHash {
            word: word.to_owned(),
            wants,
        },
    }
}

/// Finds what the hash `word`, or the beginning of one, names; `None` when there is nothing of that
/// kind.
pub fn find(store: &Store, word: &str, wants: Wants) -> Result<Option<Found>, ProjectError> {
    Ok(choose(word, all(store, word)?, wants)?)
}

/// Finds the same, where it must be something.
pub fn one(store: &Store, word: &str, wants: Wants) -> Result<Found, ProjectError> {
    let found = all(store, word)?;
    Ok(choose(word, found.clone(), wants)?.ok_or_else(|| nothing(word, found, wants))?)
}

/// Finds the tree that a hash, or the beginning of one, names: its own, or what was built under it.
pub fn one_tree(store: &Store, word: &str) -> Result<TreeHash, ProjectError> {
    tree_of(store, one(store, word, Wants::Tree)?)
}

/// Returns the tree of what was found.
pub fn tree_of(store: &Store, found: Found) -> Result<TreeHash, ProjectError> {
    if found.is_tree() {
        return Ok(TreeHash(found.hash));
    }
    for made in store.realisations_of(&found.hash)? {
        if store.has_tree(made.tree)? {
            return Ok(made.tree);
        }
    }
    Err(FindError::NoTree { found }.into())
}

/// A tree that somebody named.
#[derive(Clone, Debug)]
pub struct NamedTree {
    /// The tree.
    pub tree: TreeHash,
    /// A name for files made of it.
    pub name: String,
    /// The machine that it is for, if that is known.
    pub platform: Option<String>,
}

/// Finds the tree of a hash, of the beginning of one or of a root. `None` where the word can only be
/// the name of a target; [`Project::built_tree`] knows those.
pub fn tree_by_hash_or_root(store: &Store, word: &str) -> Result<Option<NamedTree>, ProjectError> {
    let named = |tree, name| NamedTree {
        tree,
        name,
        platform: None,
    };
    if is_prefix(word)
        && let Some(found) = find(store, word, Wants::Tree)?
    {
        let tree = tree_of(store, found)?;
        return Ok(Some(named(tree, tree.to_string())));
    }
    if let Some(root) = store.roots()?.into_iter().find(|root| root.name == word) {
        return Ok(Some(named(root.tree, root.name.replace('/', "-"))));
    }
    if is_prefix(word) {
        return Err(nothing(word, all(store, word)?, Wants::Tree).into());
    }
    Ok(None)
}

impl Project {
    /// Finds the seed or snapshot that a word names: `seed/NAME` and `snapshot/NAME`, or NAME alone where that is
    /// neither a target nor both. `None` where the word may be something else.
    pub fn pinned(&self, word: &str) -> Result<Option<(PinKind, &str, &Pin)>, ProjectError> {
        let named = |kind: PinKind, name: &str| {
            let mut pins = self.lock.pins();
            pins.find(|(k, n, _)| *k == kind && *n == name)
        };
        if self.distribution.expand(&[word]).is_ok() {
            return Ok(None);
        }
        for kind in [PinKind::Seed, PinKind::Snapshot] {
            let name = word.strip_prefix(&*kind.to_string());
            if let Some(name) = name.and_then(|rest| rest.strip_prefix('/')) {
                let none = || FindError::NoPin {
                    kind,
                    name: name.to_owned(),
                    lock: self.lock_path(),
                };
                return Ok(Some(named(kind, name).ok_or_else(none)?));
            }
        }
        match (named(PinKind::Seed, word), named(PinKind::Snapshot, word)) {
            (Some(_), Some(_)) => Err(FindError::SeedAndSnapshot {
                name: word.to_owned(),
            }
            .into()),
            (seed, snapshot) => Ok(seed.or(snapshot)),
        }
    }

    /// Returns the tree of the seed or snapshot that a word names; see [`Project::pinned`].
    pub fn pinned_tree(&self, word: &str) -> Result<Option<NamedTree>, ProjectError> {
        let Some((kind, name, pin)) = self.pinned(word)? else {
            return Ok(None);
        };
        if !self.store.has_tree(pin.tree)? {
            return Err(FindError::AbsentPin {
                kind,
                name: name.to_owned(),
                tree: pin.tree,
            }
            .into());
        }
        Ok(Some(NamedTree {
            tree: pin.tree,
            name: name.replace('/', "-"),
            platform: None,
        }))
    }

    /// Returns the tree that a word names, which is neither a hash nor a gc root: that of a target, a seed or a
    /// snapshot.
    pub fn named_tree(&self, word: &str) -> Result<NamedTree, ProjectError> {
        match self.pinned_tree(word)? {
            Some(found) => Ok(found),
            None => self.built_tree(word),
        }
    }

    /// Returns the targets that names stand for; for the hash of a derivation, or its beginning, the
    /// target that it is a step of.
    pub fn targets(&self, names: &[String]) -> Result<Vec<TargetId>, ProjectError> {
        let mut plain = Vec::with_capacity(names.len());
        for name in names {
            plain.push(match self.hash(name, Wants::Derivation)? {
                Some(found) => self.planned_target(name, &found)?.to_string(),
                None => name.clone(),
            });
        }
        Ok(self.distribution.expand(&plain)?)
    }

    /// Finds what the hash `word`, or the beginning of one, names, in the store and among the steps of
    /// the specifications. `None` where it is the name of a target or cannot be a hash.
    pub fn hash(&self, word: &str, wants: Wants) -> Result<Option<Found>, ProjectError> {
        if !is_prefix(word) {
            return Ok(None);
        }
        let Err(unknown) = self.distribution.expand(&[word]) else {
            return Ok(None);
        };
        match self.planned_hash(word, wants)? {
            None => Err(FindError::NeitherNameNorHash {
                unknown: Box::new(unknown),
                word: word.to_owned(),
                wants,
            }
            .into()),
            found => Ok(found),
        }
    }

    /// What a hash names among what the store has and all steps of the specifications, built or not.
    /// `None` when nothing at all begins so.
    fn planned_hash(&self, word: &str, wants: Wants) -> Result<Option<Found>, ProjectError> {
        let mut found = all(&self.store, word)?;
        // No step has the whole hash of an object: it need not be planned what there could be.
        let object = |found: &Found| matches!(found.kind, HashKind::Object(_));
        if word.len() < WHOLE || !found.iter().any(object) {
            for graph in self.plans() {
                let begins = graph.nodes().values().filter(|n| n.hash.0.has_prefix(word));
                found.extend(begins.map(|node| Found {
                    hash: node.hash.0,
                    kind: HashKind::Derivation,
                    of: Some(NodeName::Step(node.full_name.clone())),
                }));
            }
        }
        match choose(word, found.clone(), wants)? {
            None if !found.is_empty() => Err(nothing(word, found, wants).into()),
            other => Ok(other),
        }
    }

    /// The graphs of all builds. A build that cannot be planned has no derivations.
    fn plans(&self) -> impl Iterator<Item = Graph> {
        let index = self.distribution.index();
        index.builds.iter().filter_map(|build| {
            let targets: Vec<TargetId> = index.all_of(build).collect();
            let recipes = self.recipes(&targets).ok()?;
            Graph::build(&recipes, &self.lock, &self.facts, Pins::Optional).ok()
        })
    }

    /// The target that a derivation or a key belongs to, if its specifications still say so.
    fn planned_target(&self, word: &str, found: &Found) -> Result<TargetId, ProjectError> {
        let name = found.target();
        let id =
            self.distribution
                .index()
                .resolve(name)
                .map_err(|unknown| FindError::NotSpecified {
                    word: word.to_owned(),
                    found: found.clone(),
                    unknown: Box::new(unknown),
                })?;
        let recipes = self.recipes(std::slice::from_ref(&id))?;
        let graph = Graph::build(&recipes, &self.lock, &self.facts, Pins::Optional)?;
        let made = self.store.realisations_of(&found.hash)?;
        let current = graph.nodes().values().any(|node| {
            node.hash.0 == found.hash
                || (matches!(found.kind, HashKind::Key(_))
                    && made.iter().any(|r| r.drv == node.hash.0))
        });
        match current {
            true => Ok(id),
            false => Err(FindError::SpecifiedOtherwise {
                word: word.to_owned(),
                found: found.clone(),
            }
            .into()),
        }
    }

    /// Returns the tree of a target that is built and up to date.
    pub fn built_tree(&self, name: &str) -> Result<NamedTree, ProjectError> {
        let graph = self.graph(&[name.to_owned()], Pins::Optional)?;
        let staleness = Staleness::walk(&graph, &self.facts, &mut ())?;
        let mut requested = graph.requested();
        let (Some(target), None) = (requested.next(), requested.next()) else {
            return Err(FindError::SeveralTargets {
                name: name.to_owned(),
            }
            .into());
        };
        match staleness.target_tree(target, &self.facts)? {
            Some(tree) => Ok(NamedTree {
                tree,
                name: format!("{}-{}", target.name.replace('/', "-"), target.version),
                platform: Some(target.platform.clone()),
            }),
            None => Err(FindError::NotBuilt {
                target: name.to_owned(),
            }
            .into()),
        }
    }
}
