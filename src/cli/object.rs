//! What a word on the command line means: a hash or the beginning of one, a root, a target.

use std::fmt::Display;

use mstore_store::{Hash, ObjectKind, Store, TreeHash};

use super::Failure;
use super::context::{Context, Session};
use crate::cli::commands::export;
use crate::plan::{Graph, Pins, TargetId};

/// Shorter beginnings of hashes are not looked for.
const SHORTEST: usize = 4;
/// So many candidates are named.
const NAMED: usize = 10;

/// Whether a word can be (the beginning of) a hash.
pub fn is_prefix(word: &str) -> bool {
    (SHORTEST..=52).contains(&word.len())
        && word
            .bytes()
            .all(|b| b.is_ascii_lowercase() || (b'2'..=b'7').contains(&b))
}

/// What a hash is the hash of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sort {
    /// An object of the store.
    Object(ObjectKind),
    /// A derivation.
    Derivation,
    /// The resolved key of a step, or the one that a target is remembered under.
    Key,
}

/// Something whose hash begins as was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The hash.
    pub hash: Hash,
    /// What it is.
    pub sort: Sort,
    /// The step or target that a derivation or a key is of.
    pub of: String,
}

impl Display for Found {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.sort {
            Sort::Object(kind) => f.write_str(kind.word()),
            Sort::Derivation => write!(f, "derivation of {}", self.of),
            Sort::Key => write!(f, "key of {}", self.of),
        }
    }
}

/// What a command takes.
#[derive(Clone, Copy)]
pub struct Wants {
    /// The word for it.
    pub word: &'static str,
    fits: fn(Sort) -> bool,
    hint: &'static str,
}

/// A tree, or what has one: a step that was built.
pub const TREE: Wants = Wants {
    word: "tree",
    fits: |sort| !matches!(sort, Sort::Object(kind) if kind != ObjectKind::Tree),
    hint: "`mstore list` names targets, `mstore store root list` roots, and `mstore show TARGET` tells the hashes of a target",
};
/// Something that was built or can be.
pub const STEP: Wants = Wants {
    word: "derivation, key or tree",
    hint: "`mstore show TARGET` tells the hashes of a target as it is specified now, `mstore log TARGET --attempts --json` those of earlier ones",
    ..TREE
};
/// Something that can be built.
pub const DERIVATION: Wants = Wants {
    word: "derivation",
    fits: |sort| matches!(sort, Sort::Derivation | Sort::Key),
    ..STEP
};
/// Anything.
pub const ANYTHING: Wants = Wants {
    word: "object, derivation or key",
    fits: |_| true,
    ..STEP
};
/// What packs hold.
pub const OBJECT: Wants = Wants {
    word: "object",
    fits: |sort| matches!(sort, Sort::Object(_)),
    ..TREE
};

/// Everything in the store whose hash begins so.
fn all(store: &Store, word: &str) -> Result<Vec<Found>, Failure> {
    let objects = store.objects_with_prefix(word)?.into_iter();
    let mut found: Vec<Found> = objects
        .map(|(hash, kind)| Found {
            hash,
            sort: Sort::Object(kind),
            of: String::new(),
        })
        .collect();
    found.extend(
        store
            .steps_with_prefix(word)?
            .into_iter()
            .map(|step| Found {
                hash: step.hash,
                sort: match step.is_key {
                    true => Sort::Key,
                    false => Sort::Derivation,
                },
                of: step.name,
            }),
    );
    Ok(found)
}

/// The one among several that a command can take; `None` when there is none.
fn choose(word: &str, mut found: Vec<Found>, wants: Wants) -> Result<Option<Found>, Failure> {
    found.retain(|f| (wants.fits)(f.sort));
    found.sort_by_key(|f| f.hash);
    found.dedup_by_key(|f| f.hash);
    if found.len() > 1 {
        let mut failure = Failure::usage(format!(
            "{word} is ambiguous: {} hashes begin so",
            found.len()
        ));
        for one in found.iter().take(NAMED) {
            failure = failure.hint(format!("{} ({one})", one.hash));
        }
        if found.len() > NAMED {
            failure = failure.hint(format!("and {} more", found.len() - NAMED));
        }
        return Err(failure);
    }
    Ok(found.pop())
}

/// Says that there is nothing of the wanted kind, and what there is in its place.
fn nothing(word: &str, found: &[Found], wants: Wants) -> Failure {
    if let [one] = found {
        return Failure::usage(format!("{} is a {one}, not a {}", one.hash, wants.word))
            .hint(match one.sort {
                Sort::Object(ObjectKind::Tree) => {
                    "a tree is there already: `mstore store path` names its folder, `mstore show` the step that made it"
                }
                Sort::Object(_) => "`mstore store find` tells in which trees it is, and where",
                _ => wants.hint,
            });
    }
    Failure::usage(format!(
        "the store has no {} whose hash begins with {word}",
        wants.word
    ))
    .hint(wants.hint)
}

/// What the hash `word`, or the beginning of one, names; `None` when there is nothing of that kind.
pub fn find(store: &Store, word: &str, wants: Wants) -> Result<Option<Found>, Failure> {
    choose(word, all(store, word)?, wants)
}

/// The same, where it must be something.
pub fn one(store: &Store, word: &str, wants: Wants) -> Result<Found, Failure> {
    let found = all(store, word)?;
    choose(word, found.clone(), wants)?.ok_or_else(|| nothing(word, &found, wants))
}

/// The same among what the store has and all steps of the specifications, built or not. `None` when
/// nothing at all begins so.
pub fn planned(session: &Session, word: &str, wants: Wants) -> Result<Option<Found>, Failure> {
    let mut found = all(&session.store, word)?;
    for graph in plans(session) {
        let begins = graph.nodes().iter().filter(|n| n.hash.0.has_prefix(word));
        found.extend(begins.map(|node| Found {
            hash: node.hash.0,
            sort: Sort::Derivation,
            of: node.full_name.clone(),
        }));
    }
    match choose(word, found.clone(), wants)? {
        None if !found.is_empty() => Err(nothing(word, &found, wants)),
        other => Ok(other),
    }
}

/// The graphs of all builds. A build that cannot be planned has no derivations.
fn plans(session: &Session) -> impl Iterator<Item = Graph> {
    let index = session.distribution.index();
    index.builds.iter().filter_map(|build| {
        let targets: Vec<TargetId> = index.all_of(build).collect();
        let recipes = session.recipes(&targets).ok()?;
        Graph::build(&recipes, &session.lock, &session.facts, Pins::Optional).ok()
    })
}

/// The target that a derivation or a key belongs to, if its specifications still say so.
pub fn planned_target(session: &Session, word: &str, found: &Found) -> Result<TargetId, Failure> {
    let name = match found.of.split_once(':') {
        Some((target, _)) => target,
        None => found.of.as_str(),
    };
    let id = session.distribution.index().resolve(name).map_err(|e| {
        Failure::usage(format!(
            "{} is a {found}, which is specified no more: {e}",
            found.hash
        ))
        .hint(format!("`mstore show {word}` shows what it was"))
    })?;
    let graph = Graph::build(
        &session.recipes(std::slice::from_ref(&id))?,
        &session.lock,
        &session.facts,
        Pins::Optional,
    )?;
    let made = session.store.realisations_of(&found.hash)?;
    let current = graph.nodes().iter().any(|node| {
        node.hash.0 == found.hash
            || (found.sort == Sort::Key && made.iter().any(|r| r.drv == node.hash.0))
    });
    if current {
        return Ok(id);
    }
    Err(Failure::usage(format!(
        "{} is a {found}, which is specified in another way now",
        found.hash
    ))
    .hint(format!("`mstore diff {word} {name}` tells what changed"))
    .hint(format!(
        "to have it as it is specified now, give its name: {name}"
    )))
}

/// The tree that a hash, or the beginning of one, names: its own, or what was built under it.
pub fn one_tree(store: &Store, word: &str) -> Result<TreeHash, Failure> {
    tree_of(store, one(store, word, TREE)?)
}

/// The tree of what was found.
pub fn tree_of(store: &Store, found: Found) -> Result<TreeHash, Failure> {
    if let Sort::Object(ObjectKind::Tree) = found.sort {
        return Ok(TreeHash(found.hash));
    }
    for made in store.realisations_of(&found.hash)? {
        if store.has_tree(made.tree)? {
            return Ok(made.tree);
        }
    }
    Err(Failure::usage(format!(
        "{} is a {found}, of which the store has no tree",
        found.hash
    ))
    .hint(format!(
        "build it first: mstore realise {}",
        found.of.split(':').next().unwrap_or_default()
    )))
}

/// A tree that somebody named.
pub struct Named {
    /// The tree.
    pub tree: TreeHash,
    /// A name for files made of it.
    pub name: String,
    /// The machine that it is for, if that is known.
    pub platform: Option<String>,
}

/// The tree of a hash, of the beginning of one, of a root or of a target.
pub fn tree(context: &Context, store: &Store, word: &str) -> Result<Named, Failure> {
    let named = |tree, name| Named {
        tree,
        name,
        platform: None,
    };
    if is_prefix(word)
        && let Some(found) = find(store, word, TREE)?
    {
        let tree = tree_of(store, found)?;
        return Ok(named(tree, tree.to_string()));
    }
    if let Some(root) = store.roots()?.into_iter().find(|root| root.name == word) {
        return Ok(named(root.tree, root.name.replace('/', "-")));
    }
    if is_prefix(word) {
        return Err(nothing(word, &all(store, word)?, TREE));
    }
    export::target(&Session::to_read(context)?, word)
}

/// `WHAT:PATH` in its two parts; without a path it is the root.
pub fn split(word: &str) -> (&str, &str) {
    word.split_once(':').unwrap_or((word, ""))
}
