//! What steps have fetched, as nodes of the graph: one for each file or folder, whatever steps need it.

use std::collections::BTreeMap;
use std::sync::Arc;

use mstore_store::TreeHash;

use super::{Builder, NodeId};
use crate::drv::Role;
use crate::drv::derivation::{Derivation, Input, InputSource};
use crate::drv::facts::FilePart;
use crate::drv::fetch::{Content, Fixed, Origin};
use crate::drv::step_name::StepName;
use crate::plan::error::PlanError;
use crate::plan::fetch::{Fetch, Package, Piece, What};
use crate::plan::graph::Pins;
use crate::plan::manifest::{self, MANIFEST, MANIFEST_LIMIT};
use crate::plan::pin::PinKind;
use crate::plan::recipe::{Recipe, StepRecipe};

/// Most things that one step has fetched: each is a mount of its sandbox.
const MOST: usize = 4096;

impl Builder<'_> {
    /// The inputs of a step that are fetched, each with its node; sorted by where they appear.
    pub(super) fn fetched(
        &mut self,
        recipe: &Recipe,
        step: &StepRecipe,
    ) -> Result<Vec<(Input, Option<NodeId>)>, PlanError> {
        let mut inputs: BTreeMap<String, (Input, Option<NodeId>)> = BTreeMap::new();
        for name in &step.fetches {
            let Some(fetch) = recipe.fetches.all.get(name) else {
                continue;
            };
            let Some(pieces) = self.pieces(recipe, name, fetch)? else {
                let at = format!("{}/{name}", recipe.fetches.at);
                let input = Input {
                    at: at.clone(),
                    role: Role::File,
                    owner: None,
                    source: InputSource::Unpinned(format!("what fetch/{name} lists")),
                };
                inputs.insert(at, (input, None));
                continue;
            };
            for piece in pieces {
                let at = format!("{}/{}", recipe.fetches.at, piece.fixed.name);
                let role = piece.role;
                let node = self.fetch_node(recipe, piece)?;
                let source = InputSource::Derivation {
                    hash: self.growing.graph().nodes()[node].hash,
                    path: "/".to_owned(),
                };
                let input = Input {
                    at: at.clone(),
                    role,
                    owner: None,
                    source,
                };
                let other = inputs.insert(at.clone(), (input, Some(node)));
                if let Some((_, Some(other))) = other
                    && self.growing.graph().nodes()[other]
                        .derivation
                        .policy
                        .network
                        != self.growing.graph().nodes()[node].derivation.policy.network
                {
                    return Err(bad(
                        recipe,
                        name,
                        fetch,
                        format!("another fetch of this step gives {at} too, and not the same"),
                        "give one of them another name with `file`, or leave one out",
                    ));
                }
            }
            if inputs.len() > MOST {
                let message = format!("a step has at most {MOST} things fetched");
                return Err(bad(
                    recipe,
                    name,
                    fetch,
                    message,
                    "name what is needed by patterns",
                ));
            }
        }
        Ok(inputs.into_values().collect())
    }

    /// The node that fetches `piece`.
    fn fetch_node(&mut self, recipe: &Recipe, piece: Piece) -> Result<NodeId, PlanError> {
        let derivation = Derivation::fetch(piece.fixed, piece.origin)?;
        let hash = derivation.hash();
        let full = derivation.name.clone();
        // Files of the same name may be two.
        let other = self.fetches.get(full.as_str()).copied();
        let shown = match other {
            Some(other) if other != hash => {
                StepName::new(format!("fetch-{:.8}", hash.to_string()), full.step())?
            }
            _ => full.clone(),
        };
        self.fetches.entry(full.as_str().to_owned()).or_insert(hash);
        Ok(self.growing.add(
            &Arc::new(recipe.id.clone()),
            derivation,
            Vec::new(),
            shown,
            full,
        ))
    }

    /// What a section `fetch/NAME` comes to; nothing if the snapshot has to tell and is not here.
    fn pieces(
        &mut self,
        recipe: &Recipe,
        name: &str,
        fetch: &Fetch,
    ) -> Result<Option<Vec<Piece>>, PlanError> {
        let What::Manifests(packages) = &fetch.what else {
            return Ok(fetch.piece(name).map(|piece| vec![piece]));
        };
        let mut snapshots = Vec::new();
        for snapshot in recipe.snapshot.iter().chain(&recipe.beside) {
            match self.lock.get(PinKind::Snapshot, &snapshot.name) {
                Some(pin) => snapshots.push((snapshot.name.as_str(), pin.tree)),
                None if self.pins == Pins::Optional => return Ok(None),
                None => {
                    return Err(PlanError::NotPinned {
                        kind: PinKind::Snapshot,
                        name: snapshot.name.clone(),
                        host: false,
                        target: Box::new(recipe.id.clone()),
                        lock: self.lock.path().map(Into::into),
                    });
                }
            }
        }
        if snapshots.is_empty() {
            let message = "Manifests lie in a snapshot, and the target has none".to_owned();
            return Err(bad(recipe, name, fetch, message, "define `snapshot`"));
        }
        let mut pieces = Vec::new();
        for package in packages {
            let path = format!("{}/{MANIFEST}", package.folder);
            let Some(text) = self.manifest(recipe, &snapshots, &path)? else {
                return Ok(None);
            };
            let Some(text) = text else {
                let names: Vec<&str> = snapshots.iter().map(|(name, _)| *name).collect();
                let message = format!("{} has no Manifest {path}", names.join(", "));
                let help = "correct CATEGORY/PACKAGE, or import a snapshot that has it";
                return Err(bad(recipe, name, fetch, message, help));
            };
            pieces.extend(listed(recipe, name, fetch, package, &text)?);
        }
        Ok(Some(pieces))
    }

    /// The file `path` of the first of some snapshots that has it, if one has; nothing if that cannot be told.
    fn manifest(
        &self,
        recipe: &Recipe,
        snapshots: &[(&str, TreeHash)],
        path: &str,
    ) -> Result<Option<Option<Vec<u8>>>, PlanError> {
        for (name, tree) in snapshots {
            match self.trees.file(*tree, path, MANIFEST_LIMIT)? {
                FilePart::Content(text) => return Ok(Some(Some(text))),
                FilePart::NoSuchFile => {}
                FilePart::Absent if self.pins == Pins::Optional => return Ok(None),
                FilePart::Absent => {
                    return Err(PlanError::AbsentPin {
                        kind: PinKind::Snapshot,
                        name: (*name).to_owned(),
                        host: false,
                        tree: *tree,
                        target: Box::new(recipe.id.clone()),
                    });
                }
            }
        }
        Ok(Some(None))
    }
}

/// The archives of a package that are wanted.
fn listed(
    recipe: &Recipe,
    name: &str,
    fetch: &Fetch,
    package: &Package,
    text: &[u8],
) -> Result<Vec<Piece>, PlanError> {
    let path = format!("{}/{MANIFEST}", package.folder);
    let dists =
        manifest::read(text).map_err(|e| bad(recipe, name, fetch, format!("{path}: {e}"), ""))?;
    if let Some(pattern) = package.patterns.iter().find(|pattern| {
        !dists
            .keys()
            .any(|file| crate::plan::name::glob(pattern, file))
    }) {
        let names: Vec<&str> = dists.keys().map(String::as_str).take(10).collect();
        let message = format!("{path} lists nothing called `{pattern}`");
        let help = format!("there is: {}", names.join(" "));
        return Err(bad(recipe, name, fetch, message, &help));
    }
    let wanted = dists.into_iter().filter(|(file, _)| package.wants(file));
    Ok(wanted
        .map(|(file, dist)| Piece {
            role: Role::File,
            origin: Origin {
                size: Some(dist.size),
                urls: fetch.urls_of(&file),
            },
            fixed: Fixed {
                name: file,
                content: Content::File(dist.digests),
            },
        })
        .collect())
}

fn bad(recipe: &Recipe, name: &str, fetch: &Fetch, message: String, help: &str) -> PlanError {
    PlanError::Value {
        element: format!("fetch/{name}"),
        target: recipe.id.to_string(),
        location: fetch.location.clone().map(Box::new),
        message,
        help: (!help.is_empty()).then(|| help.to_owned()),
    }
}
