//! Copying trees and facts to another place and from there.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mstore_store::transfer::{Progress, ReceiveOptions, Received, TransferError};
use mstore_store::{Cancel, OpenOptions, Store, TreeHash};

use super::events::{Event, Events, Transfer};
use super::open::Folder;
use super::receive::settle;
use super::{Project, ProjectError, Reach};
use crate::plan::{Graph, Pins, Staleness, TargetId};
use crate::share::address::SshAddress;
use crate::share::wire::Push;
use crate::share::{LocalPeer, Parcel, Peer, Remote, Substitute, Trust};

/// How to copy.
pub struct CopyOptions<'a> {
    /// Keep the trees at the place that they are copied to, under this name.
    pub root: Option<&'a str>,
    /// Only find out what would be copied.
    pub dry_run: bool,
    /// Ends the copy.
    pub cancel: &'a Cancel,
    /// Is told how far it is.
    pub events: &'a dyn Events,
}

impl CopyOptions<'_> {
    /// Runs one transfer, which ends when it is told to and whose progress is told.
    fn run<R>(
        &self,
        transfer: impl FnOnce(&ReceiveOptions<'_>) -> Result<R, TransferError>,
    ) -> Result<R, ProjectError> {
        let progress = |p: &Progress| self.progress(p);
        let result = transfer(&ReceiveOptions {
            cancel: self.cancel,
            progress: &progress,
            dry_run: self.dry_run,
        });
        self.events.event(Event::TransferEnded);
        if self.cancel.is_cancelled() {
            return Err(TransferError::Cancelled.into());
        }
        Ok(result?)
    }

    fn progress(&self, progress: &Progress) {
        self.events.event(Event::Progress(Transfer::Copy, progress));
    }
}

/// What is particular to copying to another place.
pub struct SendOptions<'a> {
    /// How that place is reached.
    pub reach: &'a Reach,
    /// Make a binary cache if the folder is empty.
    pub cache: bool,
    /// Ask the other end to believe facts, signed or not.
    pub blind: bool,
}

/// Copies a parcel out of `store` to another place.
pub fn send(
    store: &Store,
    parcel: &Parcel,
    to: &Remote,
    options: &SendOptions<'_>,
    copy: &CopyOptions<'_>,
) -> Result<Received, ProjectError> {
    let trees: Vec<TreeHash> = parcel.trees.iter().copied().collect();
    let peer = LocalPeer::new(store);
    for (tree, offer) in trees.iter().zip(peer.offer(&trees)?) {
        if offer.is_none() {
            return Err(ProjectError::Gone { tree: *tree });
        }
    }
    match to {
        Remote::Folder(path) => match (Folder::of(path)?, options.cache) {
            (Folder::Store | Folder::BegunStore, true) => {
                Err(ProjectError::IsStore { path: path.clone() })
            }
            (Folder::Cache | Folder::BegunCache, _) | (Folder::Empty, true) => {
                let mut facts = parcel.facts.values();
                copy.run(|o| store.write_cache(path, &trees, &mut facts, o))
            }
            (Folder::BegunStore | Folder::Empty, _) if copy.dry_run => {
                Err(ProjectError::NoStoreYet { path: path.clone() })
            }
            _ => send_to_store(store, &peer, parcel, &trees, path, copy),
        },
        Remote::Ssh(address) => send_over_ssh(&peer, parcel, trees, address, options, copy),
        Remote::Http(_) => Err(ProjectError::ToWebServer),
    }
}

fn send_to_store(
    store: &Store,
    peer: &LocalPeer,
    parcel: &Parcel,
    trees: &[TreeHash],
    path: &Path,
    copy: &CopyOptions<'_>,
) -> Result<Received, ProjectError> {
    let options = OpenOptions {
        create: !copy.dry_run,
        read_only: false,
    };
    let other = Store::open(path, &options)?;
    // Copying a store to itself would wait for itself.
    if store.path() == other.path() {
        return Err(ProjectError::SameStore {
            path: other.path().to_owned(),
        });
    }
    let received = copy.run(|o| other.receive(peer, trees, o))?;
    if !copy.dry_run {
        settle(&other, parcel, trees, copy.root)?;
    }
    Ok(received)
}

fn send_over_ssh(
    peer: &LocalPeer,
    parcel: &Parcel,
    trees: Vec<TreeHash>,
    address: &SshAddress,
    options: &SendOptions<'_>,
    copy: &CopyOptions<'_>,
) -> Result<Received, ProjectError> {
    let other = options.reach.ssh_to(address, options.blind)?;
    let push = Push {
        trees,
        root: copy.root.map(str::to_owned),
        dry_run: copy.dry_run,
        blind: options.blind,
    };
    let wire = other.wire()?;
    let pushed = copy.run(|_| {
        wire.push(peer, &mut parcel.facts.values(), &push, &mut |progress| {
            copy.progress(&progress);
            !copy.cancel.is_cancelled()
        })
    })?;
    Ok(Received {
        objects: pushed.objects,
        bytes: pushed.bytes,
        content: pushed.content,
    })
}

/// Copies trees from a peer into `store`. Those that are here need not be there.
pub fn take(
    store: &Store,
    peer: &dyn Peer,
    trees: &[TreeHash],
    copy: &CopyOptions<'_>,
) -> Result<Received, ProjectError> {
    for (tree, offer) in trees.iter().zip(peer.offer(trees)?) {
        if offer.is_none() && !store.has_tree(*tree)? {
            return Err(ProjectError::NotOffered {
                peer: peer.name(),
                tree: *tree,
            });
        }
    }
    let received = copy.run(|o| store.receive(peer, trees, o))?;
    if !copy.dry_run {
        settle(store, &Parcel::default(), trees, copy.root)?;
    }
    Ok(received)
}

/// What a peer knows of some targets.
#[derive(Debug, Default)]
pub struct Results {
    /// Their trees, and those of their steps if these were asked for.
    pub trees: Vec<TreeHash>,
    /// Facts that were taken over.
    pub facts: usize,
}

impl Project {
    /// Takes over what a peer knows of some targets, as far as it is believed, and finds their trees.
    pub fn results_of(
        &self,
        targets: &[TargetId],
        peer: Arc<dyn Peer>,
        trust: Trust,
        steps: bool,
        copy: &CopyOptions<'_>,
    ) -> Result<Results, ProjectError> {
        let name = peer.name();
        let trusts_nobody = trust.is_empty();
        let refused = AtomicBool::new(false);
        let facts = Substitute::new(
            self.facts.clone(),
            self.store.clone(),
            vec![(name.clone(), Box::new(move || Ok(peer.clone())))],
            trust,
            copy.dry_run,
            |notice| {
                refused.store(true, Ordering::Relaxed);
                copy.events.event(Event::Cache(notice));
            },
        );
        let recipes = self.recipes(targets)?;
        let graph = Graph::build(&recipes, &self.lock, &&facts, Pins::Optional)?;
        facts.prepare(graph.nodes().values().map(|node| node.hash))?;
        let staleness = Staleness::walk(&graph, &&facts, &mut ())?;
        let mut found = BTreeMap::new();
        for target in graph.requested() {
            let tree = staleness.tree_of(target, &&facts)?;
            found.insert(target.name.clone(), tree);
        }
        if let Some((target, _)) = found.iter().find(|(_, tree)| tree.is_none()) {
            return Err(ProjectError::NoResult {
                target: target.clone(),
                peer: name,
                refused: refused.load(Ordering::Relaxed),
                trusts_nobody,
            });
        }
        let mut trees: Vec<TreeHash> = found.into_values().flatten().collect();
        if steps {
            let steps = graph.nodes().ids();
            trees.extend(steps.filter_map(|node| staleness.state(node).tree()));
        }
        if !copy.dry_run {
            self.keep_pins()?;
        }
        Ok(Results {
            trees,
            facts: facts.taken().len(),
        })
    }
}
