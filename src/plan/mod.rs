//! From settings to a graph of derivations: names, recipes, the lock file, what is stale and why.
//!
//! The way through: [`Distribution::open`] reads the entry file; [`Distribution::expand`] turns names
//! into targets; [`Distribution::recipes`] loads these and all they start from; [`Recipes::needs`]
//! says which seeds and snapshots have to be made first; [`Graph::build`] makes the graph;
//! [`Staleness::walk`] finds out what has to be built, and tells an [`Explainer`] why.

mod compare;
mod control;
mod elements;
mod estimate;
mod families;
mod fetch;
mod files;
mod hooks;
mod line_diff;
mod looked;
mod more;
mod nodes;
mod own_files;
mod packages;
mod pin;
mod recipe;
mod recipes;
mod script;
mod unread;

pub mod diff;
pub mod distribution;
pub mod embedded;
pub mod entry;
pub mod error;
pub mod explain;
pub mod git;
pub mod graph;
pub mod lock;
pub mod manifest;
pub mod metro;
pub mod mistakes;
pub mod mode;
pub mod name;
pub mod staleness;
pub mod targets;
pub mod view;

pub use compare::Reason;
pub use diff::{OneStep, Pairing, PlanDiff, diff, diff_steps};
pub use distribution::Distribution;
pub use elements::{Asked, Elements, Location, SpecError};
pub use entry::{Entry, above};
pub use error::PlanError;
pub use estimate::{Crew, Estimate};
pub use explain::{Explainer, Nearest};
pub use families::Family;
pub use files::SpecFiles;
pub use git::GitFiles;
pub use graph::{Graph, Growing, Node, NodeId, NodeMap, PackageId, PackageNode, Pins, Target};
pub use hooks::advise as advise_hooks;
pub use line_diff::{LineChange, line_diff};
pub use lock::{Lock, LockError};
pub use looked::{Looked, Sights};
pub use more::More;
pub use name::{Index, NameError, TargetId};
pub use own_files::{OWN_FILES, OwnFiles};
pub use packages::{Open, RESOLVE, Unfold};
pub use pin::{Pin, PinFrom, PinKind};
pub use recipe::{PackageLimits, Packages, Reads, Recipe, Seed, SnapshotUse, Start, StepRecipe};
pub use recipes::{MissingPin, PinOrigin, Recipes};
pub use script::script_lines;
pub use staleness::{NodeState, Staleness, Todo, Visitor, WalkError};
pub use unread::Unread;
