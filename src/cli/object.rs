//! What a word on the command line means: a hash or the beginning of one, a root, a target.

use mstore_store::{Hash, ObjectKind, Store, TreeHash};

use super::place::{Place, Session};
use super::{Failure, export};

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

/// The object that a hash or the beginning of one names.
pub fn one(store: &Store, word: &str) -> Result<(Hash, ObjectKind), Failure> {
    find(store, word, |_| true)?.ok_or_else(|| {
        Failure::usage(format!(
            "the store has nothing whose hash begins with {word}"
        ))
    })
}

/// The same among objects of some kinds; `None` when there is none.
fn find(
    store: &Store,
    word: &str,
    fits: impl Fn(ObjectKind) -> bool,
) -> Result<Option<(Hash, ObjectKind)>, Failure> {
    let mut found = store.objects_with_prefix(word)?;
    found.retain(|(_, kind)| fits(*kind));
    match found.as_slice() {
        [] => Ok(None),
        [one] => Ok(Some(*one)),
        many => {
            let mut failure = Failure::usage(format!(
                "{word} is ambiguous: {} hashes begin so",
                many.len()
            ));
            for (hash, kind) in many.iter().take(NAMED) {
                failure = failure.hint(format!("{hash} ({})", kind.word()));
            }
            Err(failure)
        }
    }
}

/// The tree that the beginning of a hash names.
pub fn one_tree(store: &Store, word: &str) -> Result<TreeHash, Failure> {
    match find(store, word, |kind| kind == ObjectKind::Tree)? {
        Some((hash, _)) => Ok(TreeHash(hash)),
        None => Err(Failure::usage(format!(
            "the store has no tree whose hash begins with {word}"
        ))),
    }
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
pub fn tree(place: &Place, store: &Store, word: &str) -> Result<Named, Failure> {
    let named = |tree, name| Named {
        tree,
        name,
        platform: None,
    };
    if is_prefix(word)
        && let Some((hash, _)) = find(store, word, |kind| kind == ObjectKind::Tree)?
    {
        return Ok(named(TreeHash(hash), hash.to_string()));
    }
    if let Some(root) = store.roots()?.into_iter().find(|root| root.name == word) {
        return Ok(named(root.tree, root.name.replace('/', "-")));
    }
    if is_prefix(word) {
        return Err(Failure::usage(format!(
            "the store has no tree whose hash begins with {word}"
        )));
    }
    export::target(&Session::to_read(place)?, word)
}

/// `WHAT:PATH` in its two parts; without a path it is the root.
pub fn split(word: &str) -> (&str, &str) {
    word.split_once(':').unwrap_or((word, ""))
}
