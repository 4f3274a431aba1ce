//! Derivations: one build step as data, and the hash that names it before it is built.
//!
//! The [`DrvHash`] covers everything, inputs by the hashes of their own derivations: it exists before
//! anything is built and names the step in logs and comparisons. What a step is called and how long it may
//! take are in it and not in the [`Key`](super::resolved::Key) that its realisation is stored under.

use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroU16;
use std::sync::Arc;

use mstore_store::codec;
use mstore_store::{Hash, TreeHash, named_hash};
use serde::{Deserialize, Serialize, Serializer};

use super::fetch::{Fixed, Origin};
use super::step_name::{FETCH, NodeNameError, StepName};

/// Format number of an encoded derivation.
const DRV_FORMAT: u32 = 1;
/// Keeps derivation hashes apart from hashes of anything else.
const DRV_CONTEXT: &str = "mstore 2026 plan derivation";

/// The isolation every step is built under; another one would be another name.
pub const SANDBOX_PROFILE: &str = "chroot/1";
/// What stands in the place of the isolation of a step where something is fetched. Another way to make a tree
/// of what came would be another name.
pub const FETCH_PROFILE: &str = "fetch/1";
/// What stands in the place of the isolation of a step that is the union of its inputs. Other rules for what becomes
/// of them would be another name.
pub const COMPOSE_PROFILE: &str = "compose/1";
/// What stands in the place of the isolation of what stands for packages that are known only when it is time: it is no
/// step, and nothing is run. Another way from a package graph to derivations would be another name.
pub const PACKAGES_PROFILE: &str = "packages/1";
/// What stands in the place of a machine where nothing is run.
pub const ANY_PLATFORM: &str = "any";
/// `SOURCE_DATE_EPOCH` of a step that reads nothing that says otherwise.
pub const DEFAULT_EPOCH: i64 = 315_532_800;

named_hash! {
    /// Names a derivation before it is built.
    DrvHash
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
    /// The directory that the target captures in the end, `/` for all; of [`Output::Folder`] the one that is the output.
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

/// Environment variables, sorted by name. Encoded as a list of pairs. The steps of a target share theirs.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(from = "Vec<(String, String)>")]
pub struct Env(pub Arc<BTreeMap<String, String>>);

impl Serialize for Env {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(&*self.0)
    }
}

impl From<Vec<(String, String)>> for Env {
    fn from(pairs: Vec<(String, String)>) -> Self {
        Env(Arc::new(pairs.into_iter().collect()))
    }
}

impl From<Env> for Vec<(String, String)> {
    fn from(env: Env) -> Self {
        Arc::unwrap_or_clone(env.0).into_iter().collect()
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
    /// Whose it is, for people: of layers, which may be in each other's way. Not part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
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
    /// A file that was fetched, which has the tree for itself; read-only.
    File,
    /// A folder that was fetched; read-only.
    Folder,
    /// What is laid over the root, in the order of the inputs.
    Layer,
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Role::Root => "root",
            Role::Snapshot => "snapshot",
            Role::File => "file",
            Role::Folder => "folder",
            Role::Layer => "layer",
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
    /// The directory [`Derivation::root`] alone is captured, as a tree of its own.
    Folder,
}

/// One script.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Phase {
    /// The step it is.
    pub name: String,
    /// Its text. The `#!` line is honoured; without one it is run by `/bin/sh -e`.
    pub script: Arc<str>,
}

/// What a step may do.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// A word: of steps with the same one, on whatever machines, one runs at a time. Not part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Where it is to be had, if it is fetched. Not part of the key: the same content from elsewhere is the
    /// same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<Box<Origin>>,
    /// How much of a machine it may have to itself, if that is more than its share. Not part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub width: Option<Width>,
    /// Folders of the machine that it may read and write, and that are no input: what it makes may depend on
    /// what others left there.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub impure: Vec<Impure>,
    /// What it may use of the machine, if there are limits. Not part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limits: Option<Box<UseLimits>>,
    /// Access to a network.
    pub network: Network,
    /// Seconds without output after which it is ended, if any. Not part of the key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub silence: Option<u64>,
    /// Seconds after which it is ended, if any. Not part of the key.
    pub timeout: Option<u64>,
}

/// How much of a machine a step may have to itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Width {
    /// The places of so many steps; all, where there are fewer.
    Slots(NonZeroU16),
    /// All of it: no other step runs there meanwhile.
    Host,
}

/// What a step may use of the machine that builds it; a step that uses more is ended.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct UseLimits {
    /// Bytes of its changes on the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<u64>,
    /// Bytes of memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// Bytes of output.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub output: Option<u64>,
    /// Processes and threads at a time.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub processes: Option<u64>,
}

/// A folder of the machine that a step works with although it is no input.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Impure {
    /// Where it appears in the build.
    pub at: String,
    /// What it is called among such folders of the store: one part of a path.
    pub folder: String,
}

/// Access to a network.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Network {
    /// The loopback interface alone.
    None,
    /// No script is run: content is fetched that is known by its hashes, from wherever it is to be had.
    FixedOutput(Box<Fixed>),
}

impl Derivation {
    /// What fetches `fixed`. Its key depends on that alone.
    pub fn fetch(fixed: Fixed, from: Origin) -> Result<Derivation, NodeNameError> {
        Ok(Derivation {
            env: Env::default(),
            name: StepName::fetch(&fixed.name)?,
            root: "/".to_owned(),
            build: String::new(),
            class: FETCH.to_owned(),
            epoch: DEFAULT_EPOCH,
            inputs: Vec::new(),
            output: Output::Captured,
            phases: Vec::new(),
            policy: Policy {
                tag: None,
                from: Some(Box::new(from)),
                width: None,
                impure: Vec::new(),
                limits: None,
                network: Network::FixedOutput(Box::new(fixed)),
                silence: None,
                timeout: None,
            },
            target: FETCH.to_owned(),
            sandbox: FETCH_PROFILE.to_owned(),
            subarch: String::new(),
            platform: ANY_PLATFORM.to_owned(),
            arch_desc: String::new(),
        })
    }

    /// The union of trees: of a root, whose files give way, and of layers over it. No script is run.
    pub fn compose(name: StepName, target: &str, inputs: Vec<Input>) -> Derivation {
        Derivation {
            env: Env::default(),
            name,
            root: "/".to_owned(),
            build: String::new(),
            class: "compose".to_owned(),
            epoch: DEFAULT_EPOCH,
            inputs,
            output: Output::Captured,
            phases: Vec::new(),
            policy: Policy {
                tag: None,
                from: None,
                width: None,
                impure: Vec::new(),
                limits: None,
                network: Network::None,
                silence: None,
                timeout: None,
            },
            target: target.to_owned(),
            sandbox: COMPOSE_PROFILE.to_owned(),
            subarch: String::new(),
            platform: ANY_PLATFORM.to_owned(),
            arch_desc: String::new(),
        }
    }

    /// Whether it is the union of its inputs, and no script is run.
    pub fn is_union(&self) -> bool {
        self.sandbox == COMPOSE_PROFILE
    }

    /// Whether it stands for packages that its inputs tell of, and so is nothing that can be built by itself.
    pub fn is_open(&self) -> bool {
        self.sandbox == PACKAGES_PROFILE
    }

    /// What is fetched, and where from, if it is not a script that is run.
    pub fn fetched(&self) -> Option<(&Fixed, &Origin)> {
        match (&self.policy.network, &self.policy.from) {
            (Network::FixedOutput(fixed), Some(from)) => Some((fixed, from)),
            _ => None,
        }
    }

    /// The encoding that is hashed and stored.
    pub fn encode(&self) -> Vec<u8> {
        codec::encode(&(DRV_FORMAT, self))
    }

    /// Its hash, inputs by derivation.
    pub fn hash(&self) -> DrvHash {
        DrvHash(Hash::derive(DRV_CONTEXT, &self.encode()))
    }

    /// The root input. Every derivation has one.
    pub fn root_input(&self) -> Option<&Input> {
        self.inputs.iter().find(|i| i.role == Role::Root)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    pub(crate) fn sample() -> Derivation {
        Derivation {
            env: Env(Arc::new([("CFLAGS".to_owned(), "-O2".to_owned())].into())),
            name: "stage3-corei7:run".parse().unwrap(),
            root: "/".into(),
            build: "seedling".into(),
            class: "stage3".into(),
            epoch: DEFAULT_EPOCH,
            inputs: vec![
                Input {
                    at: "/".into(),
                    role: Role::Root,
                    owner: None,
                    source: InputSource::Derivation {
                        hash: DrvHash(Hash::of(b"stage2")),
                        path: "/".into(),
                    },
                },
                Input {
                    at: "/mstore/snapshot".into(),
                    role: Role::Snapshot,
                    owner: None,
                    source: InputSource::Tree(TreeHash(Hash::of(b"ports"))),
                },
            ],
            output: Output::Captured,
            phases: vec![Phase {
                name: "run".into(),
                script: "make\n".into(),
            }],
            policy: Policy {
                tag: None,
                from: None,
                width: None,
                impure: Vec::new(),
                limits: None,
                network: Network::None,
                silence: None,
                timeout: Some(3600),
            },
            target: "stage3".into(),
            sandbox: SANDBOX_PROFILE.into(),
            subarch: "corei7".into(),
            platform: "x86_64".into(),
            arch_desc: "x86-64bit".into(),
        }
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

    /// Checks an encoding with another library.
    pub(crate) fn check_canonical(bytes: &[u8]) {
        let value: ciborium::Value = ciborium::from_reader(bytes).unwrap();
        check_order(&value);
        let mut again = Vec::new();
        ciborium::into_writer(&value, &mut again).unwrap();
        assert_eq!(bytes, again);
    }

    #[test]
    fn the_encoding_is_canonical_in_the_eyes_of_another_library() {
        let drv = sample();
        check_canonical(&drv.encode());
        let mut other = Vec::new();
        ciborium::into_writer(&(DRV_FORMAT, &drv), &mut other).unwrap();
        assert_eq!(drv.encode(), other);
    }

    #[test]
    fn the_hash_is_pinned() {
        // These may change only together with a format number.
        let drv = sample();
        assert_eq!(
            drv.encode()[..2],
            [0x82, 0x01],
            "a pair, format number first"
        );
        insta::assert_snapshot!(drv.encode().len(), @"422");
        insta::assert_snapshot!(drv.hash(), @"75kj7nsq5rwceqhyt65e76ywvx4jvlnnxtufk5trm4lem32nzuma");
    }

    pub(crate) fn arb() -> impl Strategy<Value = Derivation> {
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
            owner: None,
            source,
        });
        let phase = (word, word).prop_map(|(name, script)| Phase {
            name,
            script: script.into(),
        });
        let impure = ("/[ab]", "[ab]").prop_map(|(at, folder)| Impure { at, folder });
        let name = "[ab]{1,2}:[ab]{1,2}";
        (
            (name, word, word, word, word, word, word),
            prop::collection::btree_map("[AB]{1,2}", word, 0..3),
            prop::collection::vec(input, 0..3),
            prop::collection::vec(phase, 0..3),
            (0..3i64, any::<bool>(), prop::option::of(0..2u64), "/a?"),
            prop::collection::vec(impure, 0..2),
            (
                prop::option::of("[ab]"),
                prop::option::of(prop_oneof![
                    Just(Width::Host),
                    (1..3u16).prop_map(|n| Width::Slots(NonZeroU16::new(n).unwrap())),
                ]),
            ),
        )
            .prop_map(
                |(w, env, inputs, phases, (epoch, test, timeout, root), impure, (tag, width))| {
                    Derivation {
                        env: Env(Arc::new(env)),
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
                            tag,
                            from: None,
                            width,
                            impure,
                            limits: timeout.map(|disk| {
                                Box::new(UseLimits {
                                    disk: Some(disk),
                                    processes: (disk > 0).then_some(3),
                                    ..UseLimits::default()
                                })
                            }),
                            network: Network::None,
                            silence: None,
                            timeout,
                        },
                        target: w.3,
                        sandbox: SANDBOX_PROFILE.into(),
                        subarch: w.4,
                        platform: w.5,
                        arch_desc: w.6,
                    }
                },
            )
    }

    proptest! {
        #[test]
        fn hashes_are_equal_if_and_only_if_derivations_are(a in arb(), b in arb()) {
            prop_assert_eq!(a == b, a.hash() == b.hash());
            prop_assert_eq!(a.hash(), a.clone().hash());
        }

        #[test]
        fn another_library_encodes_the_same(a in arb()) {
            let mut other = Vec::new();
            ciborium::into_writer(&(DRV_FORMAT, &a), &mut other).unwrap();
            prop_assert_eq!(a.encode(), other);
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

    }
}
