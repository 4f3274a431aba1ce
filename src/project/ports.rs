//! The ports tree that specifications name.

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::path::Path;
use std::sync::Arc;

use mstore_lang::Definition;

use super::{Project, ProjectError};
use crate::build::host;
use crate::plan::{Distribution, More as _, Pins, TargetId};
use crate::ports::{Ignored, PkgPath, PortsTree, Walk, Walked};

/// Opens the ports tree of some specifications, if they have one.
pub fn open(distribution: &Distribution) -> Result<Option<Arc<PortsTree>>, ProjectError> {
    let Some(folder) = distribution.ports_tree() else {
        return Ok(None);
    };
    Ok(Some(Arc::new(PortsTree::open(folder, &host::machine())?)))
}

/// Opens specifications as [`Distribution::open`] does, with the ports of the tree that they name.
pub fn open_specifications(
    entry: Option<&Path>,
    cwd: &Path,
    definitions: Vec<Definition>,
) -> Result<Distribution, ProjectError> {
    let mut distribution = Distribution::open(entry, cwd, definitions)?;
    if let Some(tree) = open(&distribution)? {
        distribution.set_ports(tree);
    }
    Ok(distribution)
}

impl Project {
    /// The ports tree of the specifications, with what its builds see going to the store.
    pub fn ports(&self) -> Result<Option<Arc<PortsTree>>, ProjectError> {
        let tree = open(&self.distribution)?;
        if let Some(tree) = &tree {
            tree.use_store(&self.store);
        }
        Ok(tree)
    }

    /// Tells which ports among some targets are not built, and why; also those that these need.
    pub fn ignored_ports(&self, targets: &[TargetId]) -> Result<Vec<Ignored>, ProjectError> {
        let ports = targets.iter().filter(|id| id.is_port());
        let wanted: Vec<PkgPath> = ports.filter_map(|id| id.target.parse().ok()).collect();
        let Some(tree) = self.ports()?.filter(|_| !wanted.is_empty()) else {
            return Ok(Vec::new());
        };
        let mut walk = Walk::new(&tree, tree.base_of(&self.lock, Pins::Optional)?);
        let mut ignored = Vec::new();
        let _ = walk.walk(&wanted, &mut |walked| {
            if let Walked::Ignored(port) = walked {
                ignored.push(port);
            }
            ControlFlow::Continue(())
        });
        Ok(ignored)
    }
}

/// Takes ports that are not built out of a list of targets.
pub fn leave_out(targets: &mut Vec<TargetId>, ignored: &[Ignored]) {
    let names: HashSet<&str> = ignored.iter().map(|port| port.pkgpath.as_str()).collect();
    targets.retain(|id| {
        let whole = id.target.parse::<PkgPath>().map(|pkgpath| PkgPath {
            subpackage: None,
            ..pkgpath
        });
        !id.is_port() || !whole.is_ok_and(|whole| names.contains(whole.to_string().as_str()))
    });
}
