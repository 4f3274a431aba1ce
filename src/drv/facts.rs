//! The traits `Trees` and `Facts`: questions about what was realised and what trees hold.

use mstore_store::TreeHash;

use super::resolved::{Key, Resolved};
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
pub enum TreePart {
    /// The tree of the part.
    Tree(TreeHash),
    /// The tree is here and has no such path; the index of the path among those asked for.
    NoSuchPath(usize),
    /// The content of the tree is not here.
    Absent,
}

/// What a file of a tree is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum FilePart {
    /// Its content.
    Content(Vec<u8>),
    /// The tree is here and has no such file, or a larger one.
    NoSuchFile,
    /// The content of the tree is not here.
    Absent,
}

/// Questions about the content of trees.
pub trait Trees {
    /// The file `path` of `tree`, if it has at most `limit` bytes.
    fn file(&self, _tree: TreeHash, _path: &str, _limit: u64) -> Result<FilePart, FactsError> {
        Ok(FilePart::Absent)
    }

    /// The directory `path` of `tree` as a tree of its own.
    fn subtree(&self, tree: TreeHash, path: &str) -> Result<TreePart, FactsError>;

    /// `tree` reduced to `paths`.
    fn pick(&self, tree: TreeHash, paths: &[String]) -> Result<TreePart, FactsError>;

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

/// A step as it was built before.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Earlier {
    /// The step, with the trees that it was built on.
    pub step: Resolved,
    /// When that began, in seconds since 1970.
    pub started: i64,
}

/// Questions about the past.
pub trait Facts: Trees {
    /// What was built for `key`, if anything.
    fn realised(&self, key: Key) -> Result<Option<Realised>, FactsError>;

    /// The steps that were built under `name` (a node's `full_name`), as far as they are remembered, newest first;
    /// at most `most`.
    fn earlier(&self, name: &StepName, most: u32) -> Result<Vec<Earlier>, FactsError>;
}

/// Facts over other facts: what a layer has no answer of its own for, it passes on to the one below.
pub trait Layer {
    /// The facts below.
    fn inner(&self) -> &dyn Facts;

    /// See [`Trees::file`].
    fn file(&self, tree: TreeHash, path: &str, limit: u64) -> Result<FilePart, FactsError> {
        self.inner().file(tree, path, limit)
    }

    /// See [`Trees::subtree`].
    fn subtree(&self, tree: TreeHash, path: &str) -> Result<TreePart, FactsError> {
        self.inner().subtree(tree, path)
    }

    /// See [`Trees::pick`].
    fn pick(&self, tree: TreeHash, paths: &[String]) -> Result<TreePart, FactsError> {
        self.inner().pick(tree, paths)
    }

    /// See [`Trees::present`].
    fn present(&self, tree: TreeHash) -> Result<bool, FactsError> {
        self.inner().present(tree)
    }

    /// See [`Trees::fetchable`].
    fn fetchable(&self, tree: TreeHash) -> Result<bool, FactsError> {
        self.inner().fetchable(tree)
    }

    /// See [`Trees::changes`].
    fn changes(
        &self,
        old: TreeHash,
        new: TreeHash,
        limit: usize,
    ) -> Result<Option<TreeChanges>, FactsError> {
        self.inner().changes(old, new, limit)
    }

    /// See [`Facts::realised`].
    fn realised(&self, key: Key) -> Result<Option<Realised>, FactsError> {
        self.inner().realised(key)
    }

    /// See [`Facts::earlier`].
    fn earlier(&self, name: &StepName, most: u32) -> Result<Vec<Earlier>, FactsError> {
        self.inner().earlier(name, most)
    }
}

impl<L: Layer> Trees for L {
    fn file(&self, tree: TreeHash, path: &str, limit: u64) -> Result<FilePart, FactsError> {
        Layer::file(self, tree, path, limit)
    }

    fn subtree(&self, tree: TreeHash, path: &str) -> Result<TreePart, FactsError> {
        Layer::subtree(self, tree, path)
    }

    fn pick(&self, tree: TreeHash, paths: &[String]) -> Result<TreePart, FactsError> {
        Layer::pick(self, tree, paths)
    }

    fn present(&self, tree: TreeHash) -> Result<bool, FactsError> {
        Layer::present(self, tree)
    }

    fn fetchable(&self, tree: TreeHash) -> Result<bool, FactsError> {
        Layer::fetchable(self, tree)
    }

    fn changes(
        &self,
        old: TreeHash,
        new: TreeHash,
        limit: usize,
    ) -> Result<Option<TreeChanges>, FactsError> {
        Layer::changes(self, old, new, limit)
    }
}

impl<L: Layer> Facts for L {
    fn realised(&self, key: Key) -> Result<Option<Realised>, FactsError> {
        Layer::realised(self, key)
    }

    fn earlier(&self, name: &StepName, most: u32) -> Result<Vec<Earlier>, FactsError> {
        Layer::earlier(self, name, most)
    }
}

/// A past in which nothing was ever built, and in which no tree can be looked into.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoFacts;

impl Trees for NoFacts {
    fn subtree(&self, tree: TreeHash, path: &str) -> Result<TreePart, FactsError> {
        Ok(if path == "/" {
            TreePart::Tree(tree)
        } else {
            TreePart::Absent
        })
    }

    fn pick(&self, _: TreeHash, _: &[String]) -> Result<TreePart, FactsError> {
        Ok(TreePart::Absent)
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

    fn earlier(&self, _: &StepName, _: u32) -> Result<Vec<Earlier>, FactsError> {
        Ok(Vec::new())
    }
}
