//! Ports as targets: found by pkgpaths and patterns, and added to a graph beside the targets of a specification.

use std::collections::BTreeSet;
use std::ops::ControlFlow;
use std::sync::Arc;

use mstore_store::Store;

use super::chain::{Base, Chain, Job};
use super::pkgpath::PkgPath;
use super::scripts::{PACKAGES, Part};
use super::tree::PortsTree;
use super::walk::{Ignored, Reason, Walk, Walked};
use crate::drv::derivation::InputSource;
use crate::drv::facts::Trees;
use crate::plan::name::glob;
use crate::plan::{Growing, Lock, More, NodeId, PinKind, Pins, PlanError, Target, TargetId};

impl PortsTree {
    /// The root that ports are built in, as a lock file pins it.
    pub fn base_of(&self, lock: &Lock, pins: Pins) -> Result<Base, PlanError> {
        let name = &self.settings().base;
        match lock.get(PinKind::Seed, name) {
            Some(pin) => Ok(Base::Tree(pin.tree)),
            None if pins == Pins::Optional => Ok(Base::Unpinned(name.clone())),
            None => Err(PlanError::NotPinned {
                kind: PinKind::Seed,
                name: name.clone(),
                host: self.settings().from_host,
                target: Box::new(TargetId::of_port(self.folder().display().to_string())),
                lock: lock.path().map(Into::into),
            }),
        }
    }

    /// The pkgpaths of the ports that a pattern of their paths fits, sorted.
    pub fn fitting(&self, pattern: &str) -> Result<Vec<PkgPath>, PlanError> {
        let listed = self.list()?.ports.into_iter();
        let fits = listed.filter(|path| glob(pattern, path.as_str()));
        Ok(fits.map(PkgPath::of).collect())
    }
}

impl More for PortsTree {
    fn expand(&self, name: &str) -> Result<Option<Vec<TargetId>>, PlanError> {
        if name.contains(['*', '?']) {
            let [_, _] = name.split('/').collect::<Vec<_>>()[..] else {
                return Ok(None);
            };
            let found = self.fitting(name)?;
            let ids: Vec<TargetId> = found
                .iter()
                .map(|path| TargetId::of_port(path.to_string()))
                .collect();
            return Ok(Some(ids).filter(|ids| !ids.is_empty()));
        }
        let Ok(pkgpath) = name.parse::<PkgPath>() else {
            return Ok(None);
        };
        match self.has(&pkgpath.path) {
            true => Ok(Some(vec![TargetId::of_port(pkgpath.to_string())])),
            false => Ok(None),
        }
    }

    fn base(&self) -> (&str, bool) {
        (&self.settings().base, self.settings().from_host)
    }

    fn use_store(&self, store: &Store) {
        // A second one is the same one, opened again.
        let _ = self.store.set(store.clone());
    }

    fn grow(
        &self,
        ids: &[TargetId],
        lock: &Lock,
        _: &dyn Trees,
        pins: Pins,
        graph: &mut Growing,
    ) -> Result<(), PlanError> {
        if ids.is_empty() {
            return Ok(());
        }
        let base = self.base_of(lock, pins)?;
        let mut walk = Walk::new(self, base);
        let wanted: Vec<PkgPath> = ids.iter().filter_map(|id| id.target.parse().ok()).collect();
        let mut broken: Option<PlanError> = None;
        let mut see = |walked: Walked| {
            if let Walked::Chain(chain) = &walked
                && let Err(error) = add_chain(graph, chain, &self.settings().platform)
            {
                broken = Some(error);
                return ControlFlow::Break(());
            }
            ControlFlow::Continue(())
        };
        let _ = walk.walk(&wanted, &mut see);
        if let Some(error) = broken {
            return Err(error);
        }
        if let Base::Tree(tree) = self.base_of(lock, pins)? {
            graph.pinned(
                PinKind::Seed,
                &self.settings().base,
                self.settings().from_host,
                tree,
            );
        }
        for (id, pkgpath) in ids.iter().zip(&wanted) {
            match walk.of(pkgpath) {
                Some(Ok(chain)) => {
                    add_wanted(graph, id, pkgpath, chain, &self.settings().platform)?
                }
                Some(Err(ignored)) => return Err(refusal(id, ignored)),
                None => {}
            }
        }
        Ok(())
    }
}

/// The error of a port that was asked for and is not built.
pub fn refusal(id: &TargetId, ignored: &Ignored) -> PlanError {
    PlanError::Port {
        pkgpath: id.to_string(),
        reason: ignored.reason.to_string(),
        error: match &ignored.reason {
            Reason::Wrong(error) => Some(error.clone()),
            _ => None,
        },
    }
}

fn add_job(graph: &mut Growing, id: &Arc<TargetId>, job: &Job) -> NodeId {
    let producers = job
        .derivation
        .inputs
        .iter()
        .map(|input| match &input.source {
            InputSource::Derivation { hash, .. } => graph.node(*hash),
            _ => None,
        });
    let producers = producers.collect();
    graph.add(
        id,
        job.derivation.clone(),
        producers,
        job.name.clone(),
        job.name.clone(),
    )
}

/// Adds the nodes of a chain, and the port as a target that was not asked for.
fn add_chain(graph: &mut Growing, chain: &Chain, platform: &str) -> Result<(), PlanError> {
    let id = TargetId::of_port(chain.port.id.to_string());
    let owner = Arc::new(id.clone());
    for job in chain.all() {
        add_job(graph, &owner, job);
    }
    // Each subpackage is remembered by itself, and is what gc keeps.
    for sub in &chain.port.subpackages {
        let id = TargetId::of_port(chain.port.id.subpackage(&sub.name));
        let root = format!("{PACKAGES}/{}", sub.name);
        for part in [Part::Image, Part::View] {
            // What others are built on stays when what the step left as a whole goes.
            let id = TargetId::of_port(format!(
                "{}/{}",
                chain.port.id.subpackage(&sub.name),
                part.name()
            ));
            add_target(graph, id, part.folder(&sub.name), false, chain, platform);
        }
        add_target(graph, id, root, false, chain, platform);
    }
    add_target(graph, id, PACKAGES.to_owned(), false, chain, platform);
    Ok(())
}

/// Adds a target that is what the package step left in the folder `root`.
fn add_target(
    graph: &mut Growing,
    id: TargetId,
    root: String,
    requested: bool,
    chain: &Chain,
    platform: &str,
) {
    let nodes: BTreeSet<NodeId> = chain.all().filter_map(|job| graph.node(job.hash)).collect();
    // The chain was added before.
    let Some(last) = graph.node(chain.package().hash) else {
        return;
    };
    graph.add_target(Target {
        name: id.to_string(),
        id,
        requested,
        class: "port".to_owned(),
        version: chain.port.version.clone(),
        platform: platform.to_owned(),
        nodes: nodes.into_iter().collect(),
        last,
        root,
        until: last,
    });
}

/// Says that a port, or one of its subpackages, was asked for under this name.
fn add_wanted(
    graph: &mut Growing,
    id: &TargetId,
    pkgpath: &PkgPath,
    chain: &Chain,
    platform: &str,
) -> Result<(), PlanError> {
    let root = match &pkgpath.subpackage {
        None => PACKAGES.to_owned(),
        Some(sub) if chain.port.subpackage(sub).is_some() => format!("{PACKAGES}/{sub}"),
        Some(sub) => {
            return Err(PlanError::Port {
                pkgpath: id.to_string(),
                reason: format!("{} has no subpackage -{sub}", chain.port.id),
                error: None,
            });
        }
    };
    add_target(graph, id.clone(), root, true, chain, platform);
    Ok(())
}
