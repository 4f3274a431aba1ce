//! What planning asks of a store, as two small traits.

use mstore_store::TreeHash;

use super::derivation::{Key, Resolved};
use super::step_name::StepName;
use super::tree_diff::TreeChanges;

/// A store that did not answer.
#[derive(Debug, thiserror::Error)]
#[error("{context}: {source}")]
pub struct FactsError {
    /// What was asked.
    pub context: String,
    /// What went wrong.
    #[source]
    pub source: Box<dyn std::error::Error + Send + Sync>,
}

impl FactsError {
    /// An error while asking for `context`.
    pub fn new(
        context: impl Into<String>,
        source: impl Into<Box<dyn std::error::Error + Send + Sync>>,
    ) -> Self {
        FactsError {
            context: context.into(),
            source: source.into(),
        }
    }
}

/// A path that a tree does not have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// The tree of the part.
    Tree(TreeHash),
    /// The tree is here and has no such path; the index of the path among those asked for.
    NoSuchPath(usize),
    /// The content of the tree is not here.
    Absent,
}

/// Questions about the content of trees.
pub trait Trees {
    /// The directory `path` of `tree` as a tree of its own.
    fn subtree(&self, tree: TreeHash, path: &str) -> Result<Part, FactsError>;

    /// `tree` reduced to `paths`.
    fn pick(&self, tree: TreeHash, paths: &[String]) -> Result<Part, FactsError>;

    /// Whether the content of `tree` is here.
    fn present(&self, tree: TreeHash) -> Result<bool, FactsError>;

    /// Whether the content of `tree` is not here, but can be fetched from elsewhere.
    fn fetchable(&self, _tree: TreeHash) -> Result<bool, FactsError> {
        Ok(false)
    }

    /// What differs from `old` to `new`, at most `limit` paths; `None` when a tree is not here.
    fn changes(
        &self,
        old: TreeHash,
        new: TreeHash,
        limit: usize,
    ) -> Result<Option<TreeChanges>, FactsError>;
}

/// What was built for a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Realised {
    /// The tree that came out.
    pub tree: TreeHash,
    /// Whether its content is still here. An absent tree still decides the keys of later steps; it is
    /// built again only when a later step has to start from it.
    pub present: bool,
}

/// Questions about the past.
pub trait Facts: Trees {
    /// What was built for `key`, if anything.
    fn realised(&self, key: Key) -> Result<Option<Realised>, FactsError>;

    /// The step that was last built under `name` (a node's `full_name`), if it is remembered.
    fn last(&self, name: &StepName) -> Result<Option<Resolved>, FactsError>;
}

/// A past in which nothing was ever built, and in which no tree can be looked into.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFacts;

impl Trees for NoFacts {
    fn subtree(&self, tree: TreeHash, path: &str) -> Result<Part, FactsError> {
        Ok(if path == "/" {
            Part::Tree(tree)
        } else {
            Part::Absent
        })
    }

    fn pick(&self, _: TreeHash, _: &[String]) -> Result<Part, FactsError> {
        Ok(Part::Absent)
    }

    fn present(&self, _: TreeHash) -> Result<bool, FactsError> {
        Ok(false)
    }

    fn changes(
        &self,
        _: TreeHash,
        _: TreeHash,
        _: usize,
    ) -> Result<Option<TreeChanges>, FactsError> {
        Ok(None)
    }
}

impl Facts for NoFacts {
    fn realised(&self, _: Key) -> Result<Option<Realised>, FactsError> {
        Ok(None)
    }

    fn last(&self, _: &StepName) -> Result<Option<Resolved>, FactsError> {
        Ok(None)
    }
}
