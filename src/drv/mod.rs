//! The contract between planning and building: one build step as data, its two hashes, and the
//! facts that are remembered about steps.
//!
//! - [`derivation`]: derivations, and the [`DrvHash`] that names one before it is built; [`resolved`]: the
//!   same with its inputs at hand, and the [`Key`] that its realisation is stored under;
//! - [`fetch`]: content that is known by its hashes, and the addresses it is to be had from;
//!   [`fetcher`]: who brings it;
//! - [`parts`]: the parts of a derivation that decide its key, which comparisons walk as well;
//! - [`step_name`]: the names of targets and steps;
//! - [`facts`]: the traits through which a plan asks what was realised and what trees hold;
//! - [`isa`](mod@isa): what engines of remote execution call platforms;
//! - [`lineage`]: what the trees of a step's inputs lie on;
//! - [`built_on`]: which recorded results were built on which;
//! - [`store_facts`]: the answers of a real store; [`tree_diff`]: the paths in which two trees differ.
//!
//! Nothing in here knows specifications: a builder, a worker and a peer need no more than this.

pub mod built_on;
pub mod derivation;
pub mod facts;
pub mod fetch;
pub mod fetcher;
pub mod isa;
pub mod lineage;
pub mod parts;
pub mod resolved;
pub mod step_name;
pub mod store_facts;
pub mod tree_diff;

pub use built_on::Results;
pub use derivation::{Derivation, DrvHash, Role};
pub use facts::{Earlier, Facts, FactsError, Layer, NoFacts, Trees};
pub use isa::isa;
pub use lineage::Lineage;
pub use resolved::{Key, Resolved, target_key};
pub use step_name::{NodeName, NodeNameError, PackageName, StepName, TargetName};
pub use store_facts::{StoreFacts, part_key};
pub use tree_diff::{Change, PathChange, TreeChanges, tree_changes};
