//! Errors of a project: the objects concerned, without advice.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use mstore_store::transfer::TransferError;
use mstore_store::{Hash, Realisation, StoreError, TreeHash};

use super::find::{Found, Wants};
use super::repair::VitalFile;
use crate::build::error::Infrastructure;
use crate::build::seed::SeedError;
use crate::build::userns::UsernsError;
use crate::drv::fetch::FetchError;
use crate::drv::{FactsError, StepName};
use crate::packages::binary::BinaryError;
use crate::plan::{LockError, MissingPin, NameError, PinKind, PlanError, WalkError};
use crate::share::RemoteError;
use crate::share::trust::Untrusted;

/// Why something with a project could not be done.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProjectError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no plan.
    #[error(transparent)]
    Plan(#[from] PlanError),
    /// The facts of the store failed.
    #[error(transparent)]
    Facts(#[from] FactsError),
    /// The state of the steps cannot be found out.
    #[error(transparent)]
    Walk(#[from] WalkError),
    /// Something could not be copied.
    #[error(transparent)]
    Transfer(#[from] TransferError),
    /// A package cannot be taken for one.
    #[error(transparent)]
    Binary(#[from] BinaryError),
    /// A word names nothing that can be used.
    #[error(transparent)]
    Find(Box<FindError>),
    /// The folder has no store.
    #[error("no store at {}", path.display())]
    NoStore {
        /// The folder.
        path: PathBuf,
    },
    /// The folder holds something else.
    #[error("{} is neither a store nor a cache", path.display())]
    NeitherStoreNorCache {
        /// The folder.
        path: PathBuf,
    },
    /// The folder has neither a store nor a cache.
    #[error("{}: there is no store and no cache", path.display())]
    NothingThere {
        /// The folder.
        path: PathBuf,
    },
    /// The address of a cache in the configuration cannot be used.
    #[error("cache/{cache}/url: {error}")]
    CacheUrl {
        /// The name of the cache.
        cache: String,
        /// What is wrong.
        error: RemoteError,
    },
    /// A step cannot be checked, since what it makes may depend on more than its inputs.
    #[error(
        "{step} cannot be checked: it works with a folder of this machine that is no input ({folder} at {at})"
    )]
    Impure {
        /// The step.
        step: StepName,
        /// Where it sees the folder.
        at: String,
        /// What the folder is called.
        folder: String,
    },
    /// The store may not be written, and something has to be.
    #[error("the store {} may not be written, and {what}", store.display())]
    Unwritable {
        /// The store's folder.
        store: PathBuf,
        /// What has to be written.
        what: Blocked,
    },
    /// No user namespace can be entered, so nothing can be built.
    #[error(transparent)]
    Namespace(#[from] UsernsError),
    /// This machine cannot be captured as a seed.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The lock file lacks what only people can give.
    #[error("{} has no {}", lock.display(), lacking(needs))]
    Lacking {
        /// The lock file.
        lock: PathBuf,
        /// What is lacking, one thing at least.
        needs: Vec<MissingPin>,
    },
    /// The seed that targets start from would have to be of another machine.
    #[error(
        "{target} is built for {platform}, and this {machine} machine cannot give a seed for that"
    )]
    ForeignSeed {
        /// A target that needs it.
        target: String,
        /// The machine that the target is built for.
        platform: String,
        /// This machine.
        machine: String,
        /// The name of the seed.
        seed: String,
    },
    /// A snapshot that should come with the program does not.
    #[error("no snapshot called `{name}` comes with mstore")]
    NoBuiltin {
        /// Its name.
        name: String,
    },
    /// The lock file has no such name.
    #[error("the lock file has no `{name}`")]
    NoPin {
        /// The name.
        name: String,
    },
    /// A name of the lock file means nothing to any target.
    #[error("no target uses a seed or snapshot called `{name}`")]
    UnusedPin {
        /// The name.
        name: String,
    },
    /// A seed or snapshot cannot be had without somebody's help.
    #[error("mstore cannot get `{}` by itself", need.name)]
    OnlyImport {
        /// What is wanted.
        need: Box<MissingPin>,
    },
    /// The network must not be used, and something is not here.
    #[error("the network is not to be used, and {}", not_here(.0))]
    Offline(Vec<Absent>),
    /// What is at the address that the lock file names is not what it pins.
    #[error(
        "{kind} `{name}`: what {url} gives is the tree {got} by this mstore, and the lock file has {expected}"
    )]
    OtherTree {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name.
        name: String,
        /// The address.
        url: String,
        /// The tree in the lock file.
        expected: TreeHash,
        /// The tree that came.
        got: TreeHash,
    },
    /// Something could not be fetched.
    #[error(transparent)]
    Fetch(#[from] FetchError),
    /// The machine or the store failed while a step was built.
    #[error("{step}: {error}")]
    Step {
        /// The step.
        step: StepName,
        /// What failed.
        error: Box<Infrastructure>,
    },
    /// The system gives no descriptor to wake waiting builds by.
    #[error("cannot make what stops builds: {0}")]
    Token(#[source] io::Error),
    /// Somebody asked to stop.
    #[error("interrupted")]
    Interrupted,
    /// A fact that was pushed is not believed.
    #[error(transparent)]
    Untrusted(#[from] Untrusted),
    /// A tree that was to be copied was collected meanwhile.
    #[error("tree {tree} is not in the store any more")]
    Gone {
        /// The tree.
        tree: TreeHash,
    },
    /// A cache was to be made in the folder of a store.
    #[error("{} is a store", path.display())]
    IsStore {
        /// The folder.
        path: PathBuf,
    },
    /// The store that something would be copied to was not made yet.
    #[error("{}: there is no store yet; everything would be copied", path.display())]
    NoStoreYet {
        /// The folder.
        path: PathBuf,
    },
    /// A store was to be copied to itself.
    #[error("{} is the store itself", path.display())]
    SameStore {
        /// The folder.
        path: PathBuf,
    },
    /// Something was to be copied to a web server.
    #[error("a web server cannot be copied to")]
    ToWebServer,
    /// A peer does not have a tree.
    #[error("{peer} has no tree {tree}")]
    NotOffered {
        /// Its name.
        peer: String,
        /// The tree.
        tree: TreeHash,
    },
    /// A peer does not have the result of a target, or none that is believed.
    #[error("{}", no_result(peer, target, *refused))]
    NoResult {
        /// The target.
        target: String,
        /// The name of the peer.
        peer: String,
        /// Whether something of the peer was refused.
        refused: bool,
        /// Whether no key is trusted.
        trusts_nobody: bool,
    },
    /// A file of a store is damaged without which nothing else can be looked at.
    #[error("{}: {detail}", file.name())]
    Unusable {
        /// The file.
        file: VitalFile,
        /// What is wrong with it.
        detail: String,
    },
    /// The file system failed.
    #[error("cannot {action} {}: {source}", path.display())]
    Io {
        /// What was tried, in the infinitive.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// Something that would have to be fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Absent {
    /// What it is, with its hashes.
    pub what: String,
    /// Where it is to be had.
    pub urls: Vec<String>,
}

/// Things that are named at most.
const ABSENT_NAMED: usize = 20;

fn not_here(all: &[Absent]) -> String {
    let mut text = match all.len() {
        1 => "this is not here:".to_owned(),
        n => format!("these {n} things are not here:"),
    };
    for Absent { what, urls } in all.iter().take(ABSENT_NAMED) {
        text.push_str(&format!("\n  {what}"));
        for url in urls.iter().take(2) {
            text.push_str(&format!("\n    {url}"));
        }
    }
    if all.len() > ABSENT_NAMED {
        text.push_str(&format!("\n  and {} more", all.len() - ABSENT_NAMED));
    }
    text
}

impl ProjectError {
    /// The file system failed.
    pub(super) fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        ProjectError::Io {
            action,
            path: path.to_owned(),
            source,
        }
    }
}

impl From<FindError> for ProjectError {
    fn from(error: FindError) -> Self {
        ProjectError::Find(Box::new(error))
    }
}

impl From<LockError> for ProjectError {
    fn from(error: LockError) -> Self {
        ProjectError::Plan(error.into())
    }
}

fn no_result(peer: &str, target: &str, refused: bool) -> String {
    match refused {
        true => format!("{peer} has no result for {target} that a trusted key signed"),
        false => format!("{peer} has not built {target} as it is specified here"),
    }
}

/// Names with spaces between them.
/// Targets that a message names at most for each thing that they need.
const WANTED_BY: usize = 4;

/// Says what is lacking and who needs it.
fn lacking(needs: &[MissingPin]) -> String {
    let one = |need: &MissingPin| {
        let (first, rest) = need.wanted_by.split_at(need.wanted_by.len().min(WANTED_BY));
        let more = match rest.len() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let need_it = match need.wanted_by.len() {
            1 => "needs",
            _ => "need",
        };
        let (kind, name) = (need.kind, &need.name);
        format!("{kind} `{name}`, which {}{more} {need_it}", joined(first))
    };
    let all: Vec<String> = needs.iter().map(one).collect();
    all.join("\n  and no ")
}

fn joined(names: &[impl ToString]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(" ")
}

/// Steps that a message names at most.
const STEPS_NAMED: usize = 6;

/// What cannot go on in a store that may not be written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Blocked {
    /// Everything is to be built a second time.
    Check,
    /// Seeds and snapshots of these names are to be stored.
    Pins(Vec<String>),
    /// The part of a snapshot that steps read is to be stored.
    Part {
        /// The name of the snapshot.
        snapshot: String,
    },
    /// Trees are to be fetched.
    Fetch {
        /// How many.
        trees: usize,
    },
    /// Steps are to be built.
    Build {
        /// Their names.
        steps: Vec<StepName>,
    },
}

impl fmt::Display for Blocked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Blocked::Check => f.write_str("a check builds everything a second time"),
            Blocked::Pins(names) => {
                write!(
                    f,
                    "seeds and snapshots are to be imported: {}",
                    names.join(" ")
                )
            }
            Blocked::Part { snapshot } => {
                write!(f, "a part of the snapshot {snapshot} has to be stored")
            }
            Blocked::Fetch { trees: 1 } => f.write_str("1 tree has to be fetched"),
            Blocked::Fetch { trees } => write!(f, "{trees} trees have to be fetched"),
            Blocked::Build { steps } => {
                let (first, more) = steps.split_at(steps.len().min(STEPS_NAMED));
                write!(f, "this has to be built: {}", joined(first))?;
                match more.len() {
                    0 => Ok(()),
                    n => write!(f, " and {n} more"),
                }
            }
        }
    }
}

/// Why a word names nothing that can be used.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FindError {
    /// Several hashes begin with it.
    #[error("{word} is ambiguous: {} hashes begin so", found.len())]
    Ambiguous {
        /// The word.
        word: String,
        /// What could be meant, by hash.
        found: Vec<Found>,
    },
    /// It is the hash of something else.
    #[error("{} is a {found}, not a {wants}", found.hash)]
    OtherKind {
        /// What it is.
        found: Found,
        /// What was wanted.
        wants: Wants,
    },
    /// The store has nothing of the wanted kind.
    #[error("the store has no {wants} whose hash begins with {word}")]
    NoHash {
        /// The beginning of the hash.
        word: String,
        /// What was wanted.
        wants: Wants,
    },
    /// It is neither the name of a target nor the hash of anything.
    #[error("{unknown}")]
    NeitherNameNorHash {
        /// Why it is not a name.
        unknown: Box<PlanError>,
        /// The word.
        word: String,
        /// What was wanted of a hash.
        wants: Wants,
    },
    /// The target of a derivation or key is gone from the specifications.
    #[error("{} is a {found}, which is no longer in the specifications: {unknown}", found.hash)]
    NotSpecified {
        /// The hash as it was given.
        word: String,
        /// What it is.
        found: Found,
        /// What the name of the target is now.
        unknown: Box<NameError>,
    },
    /// The specifications say something else of the step now.
    #[error("{} is a {found}, which is specified in another way now", found.hash)]
    SpecifiedOtherwise {
        /// The hash as it was given.
        word: String,
        /// What it is.
        found: Found,
    },
    /// A derivation or key without a tree in the store.
    #[error("{} is a {found}, of which the store has no tree", found.hash)]
    NoTree {
        /// What it is.
        found: Found,
    },
    /// Several steps made a tree.
    #[error("{tree} is a tree that several steps made")]
    SeveralMakers {
        /// The tree.
        tree: Hash,
        /// How it was made each time.
        makers: Vec<Realisation>,
    },
    /// The step that made a tree is not remembered.
    #[error("{tree} is a tree, and which step made it is not remembered here")]
    NoMaker {
        /// The tree.
        tree: Hash,
    },
    /// The step of a hash is not remembered.
    #[error("{} is a {found}; what it was is not remembered here", found.hash)]
    NotRemembered {
        /// What it is.
        found: Found,
    },
    /// A name stands for no target.
    #[error("`{name}` names no target")]
    NoTarget {
        /// The name.
        name: String,
    },
    /// A name stands for more than one target.
    #[error("`{name}` names several targets; one is expected")]
    SeveralTargets {
        /// The name.
        name: String,
    },
    /// A target has no such step.
    #[error("{target} has no step `{step}`")]
    NoStep {
        /// The target.
        target: String,
        /// The name of the step.
        step: String,
        /// The names of the steps that it has.
        steps: Vec<String>,
    },
    /// A target has no such package, as far as its packages are known.
    #[error("{target} has no package `{package}`{}", if *.known { "" } else { " that is known" })]
    NoPackage {
        /// The target.
        target: String,
        /// `CATEGORY/NAME[:SLOT]`.
        package: String,
        /// Whether its packages are known.
        known: bool,
    },
    /// The lock file has no such seed or snapshot.
    #[error("{} has no {kind} `{name}`", lock.display())]
    NoPin {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name.
        name: String,
        /// The lock file.
        lock: PathBuf,
    },
    /// The lock file has a seed and a snapshot of this name.
    #[error("`{name}` is the name of a seed and of a snapshot")]
    SeedAndSnapshot {
        /// The name.
        name: String,
    },
    /// The tree of a seed or snapshot is not here.
    #[error("the {kind} `{name}` is not in the store: {tree}")]
    AbsentPin {
        /// Seed or snapshot.
        kind: PinKind,
        /// Its name.
        name: String,
        /// Its tree.
        tree: TreeHash,
    },
    /// A target has no tree.
    #[error("{target} is not built, or not up to date")]
    NotBuilt {
        /// The target.
        target: String,
    },
}
