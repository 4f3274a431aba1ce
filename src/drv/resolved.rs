//! Resolved derivations: steps whose inputs are at hand, and the [`Key`] that a result is stored under.
//!
//! The key covers only what the result can depend on, inputs by the trees they really are: so a step that
//! two subarches share is built once, a renamed one not again, and one whose inputs came out as before
//! neither.

use mstore_store::codec::{self, CodecError};
use mstore_store::{Hash, TreeHash, named_hash};
use serde::Serialize;

use super::derivation::{Derivation, Input, InputSource, Role};
use super::parts::Parts;
use super::step_name::StepName;

/// Format number of an encoded resolved key.
const KEY_FORMAT: u32 = 1;
/// Format number of an encoded record.
const RECORD_FORMAT: u32 = 1;
/// Keeps resolved keys apart from hashes of anything else.
const KEY_CONTEXT: &str = "mstore 2026 plan resolved key";
/// Largest record that is decoded, in bytes.
const RECORD_LIMIT: usize = 64 << 20;

named_hash! {
    /// Names what a derivation builds, given the trees its inputs really are.
    Key
}

/// Keeps keys of "this target is this tree" apart from all others.
const TARGET_CONTEXT: &str = "mstore 2026 cli target";

/// What the fact that a target is a tree is recorded under. `name` is the target's full name.
pub fn target_key(name: &str, tree: TreeHash) -> Hash {
    let mut text = name.as_bytes().to_vec();
    text.extend_from_slice(tree.0.as_bytes());
    Hash::derive(TARGET_CONTEXT, &text)
}

/// Why a derivation has no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ResolveError {
    /// A tree too few or too many.
    #[error("`{name}` has {inputs} inputs, but {trees} trees were given")]
    Count {
        /// The derivation.
        name: StepName,
        /// How many inputs it has.
        inputs: usize,
        /// How many trees came.
        trees: usize,
    },
}

impl Derivation {
    /// Puts trees in the place of the inputs, in their order.
    pub fn resolve(&self, trees: Vec<TreeHash>) -> Result<Resolved, ResolveError> {
        let key = self.key(&trees)?;
        Ok(Resolved {
            derivation: self.clone(),
            trees,
            key,
        })
    }

    /// What a realisation is stored under when the inputs are these trees, in their order.
    pub fn key(&self, trees: &[TreeHash]) -> Result<Key, ResolveError> {
        if trees.len() != self.inputs.len() {
            return Err(ResolveError::Count {
                name: self.name.clone(),
                inputs: self.inputs.len(),
                trees: trees.len(),
            });
        }
        Ok(Key(Hash::derive(KEY_CONTEXT, &self.encode_key(trees))))
    }

    fn encode_key(&self, trees: &[TreeHash]) -> Vec<u8> {
        self.encode_body(trees.iter().copied())
    }

    /// What decides the key, with inputs that other nodes produce by the number that `node` gives
    /// for an input. Two derivations of one graph with equal shapes have equal keys.
    pub(crate) fn shape(&self, node: impl Fn(usize) -> Option<usize>) -> Hash {
        let sources = self.inputs.iter().enumerate();
        let body = self.encode_body(sources.map(|(at, input)| match (&input.source, node(at)) {
            (InputSource::Derivation { path, .. }, Some(node)) => Shape::Node(node as u64, path),
            (source, _) => Shape::Other(source),
        }));
        Hash::of(&body)
    }

    fn encode_body<T: Serialize>(&self, trees: impl Iterator<Item = T>) -> Vec<u8> {
        codec::encode(&(KEY_FORMAT, Parts::of(self, trees)))
    }
}

/// An input within a shape; never stored.
#[derive(Serialize)]
enum Shape<'a> {
    Node(u64, &'a str),
    Other(&'a InputSource),
}

/// A derivation whose inputs are at hand: what a builder gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resolved {
    derivation: Derivation,
    trees: Vec<TreeHash>,
    key: Key,
}

impl Resolved {
    /// The derivation.
    pub fn derivation(&self) -> &Derivation {
        &self.derivation
    }

    /// The trees of its inputs, in their order.
    pub fn trees(&self) -> &[TreeHash] {
        &self.trees
    }

    /// What its realisation is stored under.
    pub fn key(&self) -> Key {
        self.key
    }

    /// Its inputs, each with its tree.
    pub fn inputs(&self) -> impl Iterator<Item = (&Input, TreeHash)> {
        self.derivation
            .inputs
            .iter()
            .zip(self.trees.iter().copied())
    }

    /// The tree that the scripts start in.
    pub fn root_tree(&self) -> Option<TreeHash> {
        self.inputs()
            .find(|(i, _)| i.role == Role::Root)
            .map(|(_, t)| t)
    }

    /// The trees that its result is a layer on: the root that it began in and what was laid over that, each once.
    pub fn below(&self) -> Vec<TreeHash> {
        let mut below: Vec<TreeHash> = Vec::new();
        for (input, tree) in self.inputs() {
            if matches!(input.role, Role::Root | Role::Layer) && !below.contains(&tree) {
                below.push(tree);
            }
        }
        below
    }

    /// The form in which a realised step is remembered, so that later ones can be compared with it.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&(RECORD_FORMAT, &self.derivation, &self.trees))
    }

    /// Reads what [`Resolved::encode`] wrote.
    pub fn decode(bytes: &[u8]) -> Result<Resolved, RecordError> {
        let (format, derivation, trees) =
            codec::decode::<(u32, Derivation, Vec<TreeHash>)>(bytes, RECORD_LIMIT)?;
        if format != RECORD_FORMAT {
            return Err(RecordError::Format { found: format });
        }
        Ok(derivation.resolve(trees)?)
    }
}

/// A record of a realised step that cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It is not such a record.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// It comes from another version of mstore.
    #[error("record has format {found}, this mstore reads {RECORD_FORMAT}")]
    Format {
        /// The number it has.
        found: u32,
    },
    /// Its parts do not fit together.
    #[error(transparent)]
    Resolve(#[from] ResolveError),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::drv::derivation::Width;
    use crate::drv::derivation::tests::{arb, check_canonical, sample};
    use proptest::prelude::*;

    fn trees() -> Vec<TreeHash> {
        vec![TreeHash(Hash::of(b"a")), TreeHash(Hash::of(b"b"))]
    }

    #[test]
    fn the_encodings_are_canonical_in_the_eyes_of_another_library() {
        let drv = sample();
        check_canonical(&drv.encode_key(&trees()));
        check_canonical(&drv.resolve(trees()).unwrap().encode());
    }

    #[test]
    fn the_keys_are_pinned() {
        // These may change only together with a format number.
        let drv = sample();
        insta::assert_snapshot!(drv.resolve(trees()).unwrap().key(), @"fymartet6ja4gdtbdogetk73kpokrcj4lvphc3iyaweco46lqdbq");
        insta::assert_snapshot!(Hash::of(&drv.resolve(trees()).unwrap().encode()), @"kqqenliuobwjezxgg4mesdpfxxllegoxjbynnndcamxqm3dyutnq");
    }

    #[test]
    fn names_and_time_limits_leave_the_key_alone() {
        let key = |d: &Derivation| d.resolve(trees()).unwrap().key();
        let drv = sample();
        let mut other = drv.clone();
        other.name = "stage3-core2_64:run".parse().unwrap();
        other.subarch = "core2_64".into();
        other.arch_desc = "pure64".into();
        other.build = "funtoo".into();
        other.target = "stage3-quick".into();
        other.class = "quick".into();
        other.policy.timeout = None;
        other.policy.tag = Some("database".into());
        other.policy.width = Some(Width::Host);
        other.policy.limits = Some(Box::default());
        other.policy.silence = Some(60);
        assert_eq!(key(&drv), key(&other));
        assert_ne!(drv.hash(), other.hash());
    }

    #[test]
    fn a_key_needs_one_tree_for_each_input() {
        assert!(matches!(
            sample().resolve(vec![]),
            Err(ResolveError::Count {
                inputs: 2,
                trees: 0,
                ..
            })
        ));
    }

    #[test]
    fn damaged_records_are_refused() {
        let bytes = sample().resolve(trees()).unwrap().encode();
        assert_eq!(
            Resolved::decode(&bytes).unwrap(),
            sample().resolve(trees()).unwrap()
        );
        for at in 0..bytes.len() {
            assert!(Resolved::decode(&bytes[..at]).is_err());
        }
        let mut later = bytes;
        later[1] = 2;
        assert!(matches!(
            Resolved::decode(&later),
            Err(RecordError::Format { found: 2 })
        ));
    }

    proptest! {
        #[test]
        fn records_come_back(a in arb()) {
            let trees = a.inputs.iter().map(|_| TreeHash(Hash::of(b"t"))).collect();
            let resolved = a.resolve(trees).unwrap();
            let back = Resolved::decode(&resolved.encode()).unwrap();
            prop_assert_eq!(back, resolved);
        }
    }
}
