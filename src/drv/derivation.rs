//! Derivations: one build step as data, and the two hashes that name it.
//!
//! The [`DrvHash`] covers everything, inputs by the hashes of their own derivations: it exists before
//! anything is built and names the step in logs and comparisons. The [`Key`] covers only what the
//! result can depend on, inputs by the trees they really are: realisations are stored under it. What a
//! step is called and how long it may take are in the first and not in the second, so a step that two
//! subarches share is built once, and a renamed one not again.

use std::collections::BTreeMap;
use std::fmt;

use mstore_store::codec::{self, CodecError};
use mstore_store::{Hash, TreeHash, named_hash};
use serde::{Deserialize, Serialize};

use super::parts::Parts;
use super::step_name::StepName;

/// Format number of an encoded derivation.
const DRV_FORMAT: u32 = 1;
/// Format number of an encoded resolved key.
const KEY_FORMAT: u32 = 1;
/// Format number of an encoded record.
const RECORD_FORMAT: u32 = 1;
/// Keeps derivation hashes apart from hashes of anything else.
const DRV_CONTEXT: &str = "mstore 2026 plan derivation";
/// Keeps resolved keys apart from hashes of anything else.
const KEY_CONTEXT: &str = "mstore 2026 plan resolved key";
/// Largest record that is decoded, in bytes.
const RECORD_LIMIT: usize = 64 << 20;

/// The isolation every step is built under; another one would be another name.
pub const SANDBOX_PROFILE: &str = "chroot/1";
/// `SOURCE_DATE_EPOCH` of a step that reads nothing that says otherwise.
pub const DEFAULT_EPOCH: i64 = 315_532_800;

named_hash! {
    /// Names a derivation before it is built.
    DrvHash
}
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

/// One step of one target, complete: nothing else reaches the build.
///
/// The fields stand in the order of canonical CBOR (shorter names first), which is the encoding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Derivation {
    /// The environment, beside what every build has.
    pub env: Env,
    /// `TARGET-SUBARCH:STEP`.
    pub name: StepName,
    /// The directory that the target captures in the end, `/` for all.
    pub root: String,
    /// The build, such as `funtoo-current`.
    pub build: String,
    /// The class of recipe, `target/class`.
    pub class: String,
    /// `SOURCE_DATE_EPOCH`: later time stamps are clamped to it.
    pub epoch: i64,
    /// The trees it starts from, the root first.
    pub inputs: Vec<Input>,
    /// What becomes of the root when the scripts have ended.
    pub output: Output,
    /// The scripts, in order. A step has one.
    pub phases: Vec<Phase>,
    /// What it may do.
    pub policy: Policy,
    /// The target, such as `stage3`.
    pub target: String,
    /// The isolation it is built under.
    pub sandbox: String,
    /// The subarch, such as `corei7`.
    pub subarch: String,
    /// The machine, as `uname -m` says, that must run it.
    pub platform: String,
    /// The architecture, such as `x86-64bit`.
    pub arch_desc: String,
}

/// Environment variables, sorted by name. Encoded as a list of pairs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(from = "Vec<(String, String)>", into = "Vec<(String, String)>")]
pub struct Env(pub BTreeMap<String, String>);

impl From<Vec<(String, String)>> for Env {
    fn from(pairs: Vec<(String, String)>) -> Self {
        Env(pairs.into_iter().collect())
    }
}

impl From<Env> for Vec<(String, String)> {
    fn from(env: Env) -> Self {
        env.0.into_iter().collect()
    }
}

/// A tree that a step starts from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Input {
    /// Where it appears in the build.
    pub at: String,
    /// What it is for.
    pub role: Role,
    /// Which tree.
    pub source: InputSource,
}

/// What an input is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Role {
    /// The root file system; changes to it are the result.
    Root,
    /// The snapshot, or those parts of it that the step reads; read-only.
    Snapshot,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Root => "root",
            Role::Snapshot => "snapshot",
        })
    }
}

/// Where the tree of an input comes from.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum InputSource {
    /// The output of another derivation, or the directory `path` in it (`/` for all).
    #[serde(rename_all = "kebab-case")]
    Derivation {
        /// The other derivation.
        hash: DrvHash,
        /// The directory that is used.
        path: String,
    },
    /// A tree known by its content.
    Tree(TreeHash),
    /// A seed or snapshot that the lock file does not pin yet. Enough to compare plans, not to build.
    Unpinned(String),
}

/// What becomes of the root when the scripts have ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Output {
    /// It is captured: the output is a new tree.
    Captured,
    /// Changes are thrown away and the output is the root input: a test.
    Input,
}

/// One script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// The step it is.
    pub name: String,
    /// Its text. The `#!` line is honoured; without one it is run by `/bin/sh -e`.
    pub script: String,
}

/// What a step may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// Access to a network.
    pub network: Network,
    /// Seconds after which it is ended, if any. Not part of the [`Key`].
    pub timeout: Option<u64>,
}

/// Access to a network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The loopback interface alone.
    None,
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
    /// The encoding that is hashed and stored.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&(DRV_FORMAT, self))
    }

    /// Its hash, inputs by derivation.
    pub fn hash(&self) -> DrvHash {
        DrvHash(Hash::derive(DRV_CONTEXT, &self.encode()))
    }

    /// Puts trees in the place of the inputs, in their order.
    pub fn resolve(&self, trees: Vec<TreeHash>) -> Result<Resolved, ResolveError> {
        if trees.len() != self.inputs.len() {
            return Err(ResolveError::Count {
                name: self.name.clone(),
                inputs: self.inputs.len(),
                trees: trees.len(),
            });
        }
        let key = Key(Hash::derive(KEY_CONTEXT, &self.encode_key(&trees)));
        Ok(Resolved {
            derivation: self.clone(),
            trees,
            key,
        })
    }

    fn encode_key(&self, trees: &[TreeHash]) -> Vec<u8> {
        self.encode_body(trees.iter().copied())
    }

    /// What decides the key, with inputs that other nodes produce by the number that `node` gives
    /// for an input. Two derivations of one graph with equal shapes have equal keys.
    pub(crate) fn shape(&self, node: impl Fn(usize) -> Option<usize>) -> Hash {
        let sources = self.inputs.iter().enumerate();
        let body = self.encode_body(sources.map(|(at, input)| match (&input.source, node(at)) {
            (InputSource::Derivation { path, .. }, Some(node)) => {
                Shape::Node(node as u64, path.clone())
            }
            (source, _) => Shape::Other(source.clone()),
        }));
        Hash::of(&body)
    }

    fn encode_body<T: Serialize>(&self, trees: impl Iterator<Item = T>) -> Vec<u8> {
        codec::encode(&(KEY_FORMAT, Parts::of(self, trees)))
    }

    /// The root input. Every derivation has one.
    pub fn root_input(&self) -> Option<&Input> {
        self.inputs.iter().find(|i| i.role == Role::Root)
    }
}

/// An input within a shape; never stored.
#[derive(Serialize)]
enum Shape {
    Node(u64, String),
    Other(InputSource),
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
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample() -> Derivation {
        Derivation {
            env: Env([("CFLAGS".to_owned(), "-O2".to_owned())].into()),
            name: "stage3-corei7:run".parse().unwrap(),
            root: "/".into(),
            build: "seedling".into(),
            class: "stage3".into(),
            epoch: DEFAULT_EPOCH,
            inputs: vec![
                Input {
                    at: "/".into(),
                    role: Role::Root,
                    source: InputSource::Derivation {
                        hash: DrvHash(Hash::of(b"stage2")),
                        path: "/".into(),
                    },
                },
                Input {
                    at: "/mstore/snapshot".into(),
                    role: Role::Snapshot,
                    source: InputSource::Tree(TreeHash(Hash::of(b"ports"))),
                },
            ],
            output: Output::Captured,
            phases: vec![Phase {
                name: "run".into(),
                script: "make\n".into(),
            }],
            policy: Policy {
                network: Network::None,
                timeout: Some(3600),
            },
            target: "stage3".into(),
            sandbox: SANDBOX_PROFILE.into(),
            subarch: "corei7".into(),
            platform: "x86_64".into(),
            arch_desc: "x86-64bit".into(),
        }
    }

    fn trees() -> Vec<TreeHash> {
        vec![TreeHash(Hash::of(b"a")), TreeHash(Hash::of(b"b"))]
    }

    /// Walks a decoded value and checks that the keys of every map stand in canonical order.
    fn check_order(value: &ciborium::Value) {
        match value {
            ciborium::Value::Map(pairs) => {
                let keys: Vec<Vec<u8>> = pairs
                    .iter()
                    .map(|(k, _)| {
                        let mut bytes = Vec::new();
                        ciborium::into_writer(k, &mut bytes).unwrap();
                        bytes
                    })
                    .collect();
                assert!(keys.windows(2).all(|w| w[0] < w[1]), "{pairs:?}");
                pairs.iter().for_each(|(_, v)| check_order(v));
            }
            ciborium::Value::Array(items) => items.iter().for_each(check_order),
            ciborium::Value::Float(f) => panic!("a float: {f}"),
            _ => {}
        }
    }

    #[test]
    fn the_encoding_is_canonical_in_the_eyes_of_another_library() {
        let drv = sample();
        let key = drv.encode_key(&trees());
        let record = drv.resolve(trees()).unwrap().encode();
        for bytes in [drv.encode(), key, record] {
            let value: ciborium::Value = ciborium::from_reader(bytes.as_slice()).unwrap();
            check_order(&value);
            let mut again = Vec::new();
            ciborium::into_writer(&value, &mut again).unwrap();
            assert_eq!(bytes, again);
        }
        let mut other = Vec::new();
        ciborium::into_writer(&(DRV_FORMAT, &drv), &mut other).unwrap();
        assert_eq!(drv.encode(), other);
    }

    #[test]
    fn the_hashes_are_pinned() {
        // These may change only together with a format number.
        let drv = sample();
        assert_eq!(
            drv.encode()[..2],
            [0x82, 0x01],
            "a pair, format number first"
        );
        insta::assert_snapshot!(drv.encode().len(), @"422");
        insta::assert_snapshot!(drv.hash(), @"75kj7nsq5rwceqhyt65e76ywvx4jvlnnxtufk5trm4lem32nzuma");
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

    fn arb() -> impl Strategy<Value = Derivation> {
        let word = "[ab]{0,2}";
        let source = prop_oneof![
            (any::<bool>(), "[/ab]{1,2}").prop_map(|(b, path)| InputSource::Derivation {
                hash: DrvHash(Hash::of(&[u8::from(b)])),
                path
            }),
            any::<bool>().prop_map(|b| InputSource::Tree(TreeHash(Hash::of(&[u8::from(b)])))),
            "[ab]".prop_map(InputSource::Unpinned),
        ];
        let input = ("[/a]{1,2}", any::<bool>(), source).prop_map(|(at, root, source)| Input {
            at,
            role: if root { Role::Root } else { Role::Snapshot },
            source,
        });
        let phase = (word, word).prop_map(|(name, script)| Phase { name, script });
        let name = "[ab]{1,2}:[ab]{1,2}";
        (
            (name, word, word, word, word, word, word),
            prop::collection::btree_map("[AB]{1,2}", word, 0..3),
            prop::collection::vec(input, 0..3),
            prop::collection::vec(phase, 0..3),
            (0..3i64, any::<bool>(), prop::option::of(0..2u64), "/a?"),
        )
            .prop_map(|(w, env, inputs, phases, (epoch, test, timeout, root))| {
                Derivation {
                    env: Env(env),
                    name: w.0.parse().unwrap(),
                    root,
                    build: w.1,
                    class: w.2,
                    epoch,
                    inputs,
                    output: if test {
                        Output::Input
                    } else {
                        Output::Captured
                    },
                    phases,
                    policy: Policy {
                        network: Network::None,
                        timeout,
                    },
                    target: w.3,
                    sandbox: SANDBOX_PROFILE.into(),
                    subarch: w.4,
                    platform: w.5,
                    arch_desc: w.6,
                }
            })
    }

    proptest! {
        #[test]
        fn hashes_are_equal_if_and_only_if_derivations_are(a in arb(), b in arb()) {
            prop_assert_eq!(a == b, a.hash() == b.hash());
            prop_assert_eq!(a.hash(), a.clone().hash());
        }

        #[test]
        fn one_field_more_or_less_changes_the_hash(a in arb(), b in arb()) {
            let mut mixed = a.clone();
            mixed.phases = b.phases.clone();
            mixed.env = b.env.clone();
            prop_assert_eq!(
                a.hash() == mixed.hash(),
                a.phases == b.phases && a.env == b.env
            );
        }

        #[test]
        fn records_come_back(a in arb()) {
            let trees = a.inputs.iter().map(|_| TreeHash(Hash::of(b"t"))).collect();
            let resolved = a.resolve(trees).unwrap();
            let back = Resolved::decode(&resolved.encode()).unwrap();
            prop_assert_eq!(back, resolved);
            let mut other = Vec::new();
            ciborium::into_writer(&(DRV_FORMAT, &a), &mut other).unwrap();
            prop_assert_eq!(a.encode(), other);
        }
    }
}
