//! What can be built beside the targets of a specification: ports. They are found and made on a floor above, and
//! become nodes of the same graph.

use std::fmt;

use mstore_store::Store;

use super::error::PlanError;
use super::lock::Lock;
use super::name::TargetId;
use super::nodes::{Growing, Pins};
use crate::drv::facts::Trees;

/// A tree of ports, as graphs are made of it.
pub trait More: fmt::Debug + Send + Sync {
    /// What a name, or a pattern with `*` and `?`, stands for, sorted; nothing where it stands for no port. Their
    /// [`TargetId`]s are [ports](TargetId::is_port).
    fn expand(&self, name: &str) -> Result<Option<Vec<TargetId>>, PlanError>;

    /// The name of the seed that ports are built in, and whether it may be captured from this machine.
    fn base(&self) -> (&str, bool);

    /// Takes in where folders go that builds see.
    fn use_store(&self, store: &Store);

    /// Adds the nodes and targets of some ports, and of all that these need.
    fn grow(
        &self,
        ids: &[TargetId],
        lock: &Lock,
        trees: &dyn Trees,
        pins: Pins,
        graph: &mut Growing,
    ) -> Result<(), PlanError>;
}
