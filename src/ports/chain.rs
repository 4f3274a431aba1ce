//! One port as derivations: what is fetched, the root that it is built in, its steps, and its test.
//!
//! The layers of a root are folders of what the package steps of other ports left, so that who needs `-main` does
//! not see `-doc`, and a change to that alone builds nothing again.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mstore_store::TreeHash;

use super::read::Port;
use super::scripts::{self, FETCHED, FILES, PATCHES, Part, Task};
use super::tree::Settings;
use crate::drv::derivation::{
    DEFAULT_EPOCH, Derivation, DrvHash, Env, Input, InputSource, Network, Output, Phase, Policy,
    Role, SANDBOX_PROFILE,
};
use crate::drv::step_name::{NodeNameError, StepName};

/// The root that ports are built in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Base {
    /// A tree.
    Tree(TreeHash),
    /// A seed that nothing pins yet: enough to look at what there is to do.
    Unpinned(String),
}

impl Base {
    fn source(&self) -> InputSource {
        match self {
            Base::Tree(tree) => InputSource::Tree(*tree),
            Base::Unpinned(name) => InputSource::Unpinned(name.clone()),
        }
    }
}

/// One task of a port as a node of the graph.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Job {
    /// Which task.
    pub task: Task,
    /// The pkgpath and the task, `shells/dash:build`; of a fetch `fetch:FILE`.
    pub name: StepName,
    /// What is done.
    pub derivation: Derivation,
    /// Its hash.
    pub hash: DrvHash,
}

impl Job {
    fn new(task: Task, derivation: Derivation) -> Job {
        Job {
            task,
            name: derivation.name.clone(),
            hash: derivation.hash(),
            derivation,
        }
    }

    /// The derivations whose results it uses, each once.
    pub fn needs(&self) -> BTreeSet<DrvHash> {
        let sources = self.derivation.inputs.iter().map(|input| &input.source);
        let needs = sources.filter_map(|source| match source {
            InputSource::Derivation { hash, .. } => Some(*hash),
            _ => None,
        });
        needs.collect()
    }
}

/// A subpackage that is laid into a root.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layer {
    /// Its pkgpath.
    pub pkgpath: String,
    /// Its name.
    pub subpackage: String,
    /// The package step that cut it.
    pub package: DrvHash,
    /// Whether something is to be run where it is installed.
    pub has_hook: bool,
}

/// Layers, each after those it needs.
pub type Closure = Vec<Arc<Layer>>;

/// A port in one flavor, ready to be built.
#[derive(Debug)]
pub struct Chain {
    /// The port.
    pub port: Arc<Port>,
    /// What is done, each after what it needs of this port; what it needs of others comes from their chains. The last is the
    /// package step.
    pub jobs: Vec<Job>,
    /// The test, and the root for it; nothing if it has none.
    pub test: Vec<Job>,
    /// The pkgpath of the port through which the walk came to it, if it did through one.
    pub parent: Option<String>,
    /// The pkgpaths of the ports that it needs by itself, sorted.
    pub needs: Vec<String>,
    /// Of each subpackage what is installed with it: itself last.
    pub closures: BTreeMap<String, Closure>,
}

impl Chain {
    /// The package step.
    pub fn package(&self) -> &Job {
        // `make` puts it there.
        &self.jobs[self.jobs.len() - 1]
    }

    /// All that is done, in order.
    pub fn all(&self) -> impl Iterator<Item = &Job> {
        self.jobs.iter().chain(&self.test)
    }
}

/// Adds what is not there yet.
pub(super) fn extend(closure: &mut Closure, more: &[Arc<Layer>]) {
    for layer in more {
        if !closure.iter().any(|known| known.pkgpath == layer.pkgpath) {
            closure.push(layer.clone());
        }
    }
}

/// Makes the derivations of a port.
pub(super) struct Maker<'a> {
    pub port: &'a Port,
    pub settings: &'a Settings,
    pub base: &'a Base,
}

impl Maker<'_> {
    /// The jobs up to the package step, in a root with `layers`.
    pub fn jobs(&self, layers: &[Arc<Layer>]) -> Result<Vec<Job>, NodeNameError> {
        let mut jobs = Vec::new();
        let mut fetched = Vec::new();
        for (fixed, origin) in &self.port.distfiles {
            let at = format!("{FETCHED}/{}", fixed.name);
            let job = Job::new(
                Task::Fetch,
                Derivation::fetch(fixed.clone(), origin.clone())?,
            );
            fetched.push(Input {
                at,
                role: Role::File,
                owner: None,
                source: result(job.hash, "/"),
            });
            jobs.push(job);
        }
        fetched.sort_by(|a, b| a.at.cmp(&b.at));
        let mut root = self.root(layers, (Task::Layers, Task::Depends), &mut jobs)?;
        for task in Task::STEPS.into_iter().filter(|task| *task != Task::Test) {
            let Some(script) = self.port.scripts.get(&task) else {
                continue;
            };
            let job = Job::new(
                task,
                self.step(task, script, root, &fetched, Output::Captured)?,
            );
            root = result(job.hash, "/");
            jobs.push(job);
        }
        Ok(jobs)
    }

    /// The test, in a root with `layers`; nothing if there is none.
    pub fn test(&self, layers: &[Arc<Layer>]) -> Result<Vec<Job>, NodeNameError> {
        let mut jobs = Vec::new();
        if let Some(script) = self.port.scripts.get(&Task::Test) {
            let root = self.root(layers, (Task::TestLayers, Task::TestDepends), &mut jobs)?;
            let step = self.step(Task::Test, script, root, &[], Output::Input)?;
            jobs.push(Job::new(Task::Test, step));
        }
        Ok(jobs)
    }

    /// The root with `layers`: the base, or what the added jobs make of it.
    fn root(
        &self,
        layers: &[Arc<Layer>],
        (compose, ready): (Task, Task),
        jobs: &mut Vec<Job>,
    ) -> Result<InputSource, NodeNameError> {
        if layers.is_empty() {
            return Ok(self.base.source());
        }
        let mut inputs = vec![Input {
            at: "/".to_owned(),
            role: Role::Root,
            owner: Some("the base".to_owned()),
            source: self.base.source(),
        }];
        // In the order of their names, so that equal roots are equal.
        let mut sorted: Vec<&Arc<Layer>> = layers.iter().collect();
        sorted.sort_by(|a, b| a.pkgpath.cmp(&b.pkgpath));
        for layer in sorted {
            for part in [Part::Image, Part::View] {
                inputs.push(Input {
                    at: "/".to_owned(),
                    role: Role::Layer,
                    owner: Some(layer.pkgpath.clone()),
                    source: result(layer.package, &part.folder(&layer.subpackage)),
                });
            }
        }
        let id = self.port.id.to_string();
        let name = StepName::new(&id, compose.name())?;
        let composed = Job::new(compose, Derivation::compose(name, &id, inputs));
        let hooks = layers.iter().filter(|layer| layer.has_hook);
        let hooks: Vec<String> = hooks.map(|layer| layer.pkgpath.clone()).collect();
        let script = scripts::depends(&self.settings.prefix, &hooks);
        let source = result(composed.hash, "/");
        let step = self.step(ready, &script, source, &[], Output::Captured)?;
        jobs.push(composed);
        let job = Job::new(ready, step);
        let source = result(job.hash, "/");
        jobs.push(job);
        Ok(source)
    }

    fn step(
        &self,
        task: Task,
        script: &str,
        root: InputSource,
        fetched: &[Input],
        output: Output,
    ) -> Result<Derivation, NodeNameError> {
        let mut inputs = vec![Input {
            at: "/".to_owned(),
            role: Role::Root,
            owner: None,
            source: root,
        }];
        // A step sees what its script names.
        if script.contains(FETCHED) {
            inputs.extend(fetched.iter().cloned());
        }
        for (at, folder) in [(FILES, &self.port.files), (PATCHES, &self.port.patches)] {
            if let Some(folder) = folder.as_ref().filter(|_| script.contains(at)) {
                inputs.push(Input {
                    at: at.to_owned(),
                    role: Role::Snapshot,
                    owner: None,
                    source: InputSource::Tree(folder.tree),
                });
            }
        }
        let is_ours = matches!(task, Task::Depends | Task::TestDepends);
        let id = self.port.id.to_string();
        Ok(Derivation {
            env: match is_ours {
                // Equal roots are made ready once.
                true => Env::default(),
                false => Env(self.port.env.clone()),
            },
            name: StepName::new(&id, task.name())?,
            root: "/".to_owned(),
            build: String::new(),
            class: "port".to_owned(),
            epoch: DEFAULT_EPOCH,
            inputs,
            output,
            phases: vec![Phase {
                name: match is_ours {
                    true => Task::Depends.name().to_owned(),
                    false => task.name().to_owned(),
                },
                script: script.into(),
            }],
            policy: Policy {
                tag: None,
                from: None,
                width: None,
                impure: Vec::new(),
                limits: None,
                network: Network::None,
                silence: None,
                timeout: self.port.timeout,
            },
            target: id,
            sandbox: SANDBOX_PROFILE.to_owned(),
            subarch: String::new(),
            platform: self.settings.platform.clone(),
            arch_desc: String::new(),
        })
    }
}

fn result(hash: DrvHash, path: &str) -> InputSource {
    InputSource::Derivation {
        hash,
        path: path.to_owned(),
    }
}
