//! Spec files in a temporary folder, and a pretended store in which a "build" is a hash.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

use mstore::drv::derivation::Output;
use mstore::drv::facts::{Realised, TreePart};
use mstore::drv::{Earlier, Facts, FactsError, Key, Resolved, StepName, TreeChanges, Trees};
use mstore::plan::{
    Distribution, Explainer, Graph, Lock, Pin, PinKind, Pins, PlanError, Staleness,
};
use mstore_store::{Hash, TreeHash};

/// The entry file of the three-stage chain.
pub const METRO_CONF: &str = "\
[section list]
builds: demo other
arches: x86-64bit
subarches/x86-64bit: generic_64 corei7
targets: stage1 stage2 stage3

[section default]
build: demo

[section path]
work: /var/tmp/metro/work

[section snapshot]
: ports

[section target]
platform: x86_64

[collect ./subarch/$[target/subarch:zap].conf]
[collect ./targets/$[target:zap].conf]
";

pub const STAGE1: &str = "\
[section source]
: seed
seed: debian

[section portage]
ROOT: /tmp/stage1root

[section reads]
prerun:
run: libc shell

[section steps/chroot]
prerun: [
#!/bin/sh
mkdir -p $[portage/ROOT]
]
run: [
#!/bin/sh
make -C /mstore/snapshot/libc install DESTDIR=$[portage/ROOT]
make -C /mstore/snapshot/shell install DESTDIR=$[portage/ROOT]
]
";

pub const STAGE2: &str = "\
[section source]
: stage1

[section snapshot]
reads: tools

[section steps/chroot]
run: [
make -C /mstore/snapshot/tools install
]
test: [
tools --version
]
";

pub const STAGE3: &str = "\
[section source]
: stage2

[section env]
CFLAGS: $[subarch/CFLAGS]

[section reads]
finish:
test:

[section steps]
chroot: build finish

[section steps/chroot]
build: [
make -C /mstore/snapshot/world install
]
finish: [
#!/bin/sh
echo $[target/subarch] > /etc/name
]
test: [
test -s /etc/name
]
";

/// A folder of specs, and what was built from them.
pub struct World {
    dir: tempfile::TempDir,
    /// Files of each snapshot: path to content.
    pub snapshots: RefCell<BTreeMap<TreeHash, BTreeMap<String, String>>>,
    pub realised: RefCell<BTreeMap<Key, TreeHash>>,
    /// What was built under each name, in the order of time.
    pub earlier: RefCell<BTreeMap<StepName, Vec<Earlier>>>,
    /// Trees whose content is gone.
    pub collected: RefCell<BTreeSet<TreeHash>>,
    pub lookups: Cell<usize>,
    pub lock: RefCell<Lock>,
}

pub fn tree(of: &str) -> TreeHash {
    TreeHash(Hash::of(of.as_bytes()))
}

impl World {
    /// The three-stage chain with its seed and snapshot pinned.
    pub fn new() -> World {
        let world = World::empty();
        world.write("metro.conf", METRO_CONF);
        world.write("targets/stage1.conf", STAGE1);
        world.write("targets/stage2.conf", STAGE2);
        world.write("targets/stage3.conf", STAGE3);
        world.write("subarch/generic_64.conf", "subarch/CFLAGS: -O2\n");
        world.write("subarch/corei7.conf", "subarch/CFLAGS: -O2 -march=corei7\n");
        world.pin(PinKind::Seed, "debian", tree("debian"));
        world.snapshot(&[
            ("libc/main.c", "1"),
            ("shell/main.c", "1"),
            ("tools/main.c", "1"),
            ("world/main.c", "1"),
        ]);
        world
    }

    pub fn empty() -> World {
        World {
            dir: tempfile::tempdir().expect("a temporary folder"),
            snapshots: RefCell::default(),
            realised: RefCell::default(),
            earlier: RefCell::default(),
            collected: RefCell::default(),
            lookups: Cell::new(0),
            lock: RefCell::new(Lock::in_memory()),
        }
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn write(&self, path: &str, text: &str) -> PathBuf {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        fs::write(&path, text).expect("written");
        path
    }

    /// Replaces text in a file that must have it.
    pub fn edit(&self, path: &str, from: &str, to: &str) {
        let path = self.dir.path().join(path);
        let text = fs::read_to_string(&path).expect("read");
        assert!(text.contains(from), "{from} is not in {}", path.display());
        fs::write(&path, text.replace(from, to)).expect("written");
    }

    pub fn pin(&self, kind: PinKind, name: &str, tree: TreeHash) {
        let pin = Pin::new(tree, Some("2026-11-20".into()));
        self.lock.borrow_mut().set(kind, name, pin).expect("pinned");
    }

    /// Makes a snapshot of these files and pins it as `ports`.
    pub fn snapshot(&self, files: &[(&str, &str)]) -> TreeHash {
        let hash = tree(&format!("{files:?}"));
        let files = files.iter().map(|(p, c)| (p.to_string(), c.to_string()));
        self.snapshots.borrow_mut().insert(hash, files.collect());
        self.pin(PinKind::Snapshot, "ports", hash);
        hash
    }

    pub fn open(&self) -> Result<Distribution, PlanError> {
        Distribution::open(None, self.dir.path(), Vec::new())
    }

    pub fn try_graph(&self, names: &[&str], pins: Pins) -> Result<Graph, PlanError> {
        let distribution = self.open()?;
        let ids = distribution.expand(names)?;
        let lock = self.lock.borrow();
        let recipes = distribution.recipes(&ids, &lock)?;
        Graph::build(&recipes, &lock, self, pins)
    }

    pub fn graph(&self, names: &[&str]) -> Graph {
        match self.try_graph(names, Pins::Required) {
            Ok(graph) => graph,
            Err(error) => panic!("{error}"),
        }
    }

    /// The message of the error that planning `name` gives, with the folder's name taken out.
    pub fn error(&self, name: &str) -> String {
        match self.try_graph(&[name], Pins::Required) {
            Ok(_) => "no error".to_owned(),
            Err(error) => self.clean(&with_help(&error)),
        }
    }

    pub fn clean(&self, text: &str) -> String {
        text.replace(&self.dir.path().display().to_string(), "DIR")
    }

    /// Builds what has to be built, as a scheduler does; returns the names of what was built.
    pub fn realise(&self, names: &[&str]) -> Vec<String> {
        let graph = self.graph(names);
        let mut staleness = Staleness::walk(&graph, self, &mut ()).expect("walked");
        let mut built = Vec::new();
        loop {
            let todo = staleness.todo(self).expect("known");
            let Some(node) = todo.build.first().copied() else {
                assert!(todo.is_empty(), "stuck: {todo:?}");
                break;
            };
            let step = staleness.resolved(node).expect("its inputs are known");
            let tree = self.build(graph.nodes()[node].full_name.as_str(), step);
            staleness
                .built(node, tree, self, &mut ())
                .expect("taken in");
            built.push(graph.nodes()[node].name.to_string());
        }
        for target in graph.requested() {
            let tree = staleness.target_tree(target, self).expect("asked");
            assert!(tree.is_some(), "{} has no tree", target.name);
        }
        built
    }

    /// Pretends to build a step and records it, as an executor does.
    pub fn build(&self, name: &str, step: Resolved) -> TreeHash {
        let tree = self.run(&step);
        self.realised.borrow_mut().insert(step.key(), tree);
        let name = name.parse().expect("the name of a step");
        let mut earlier = self.earlier.borrow_mut();
        let builds = earlier.entry(name).or_default();
        // Built again, it is the last.
        builds.retain(|build| build.step.key() != step.key());
        let started = builds.last().map_or(0, |last| last.started) + 1;
        builds.push(Earlier { step, started });
        drop(earlier);
        // With a tree its parts are there again.
        let cut = crate::world::tree(&format!("{tree} /tmp/stage1root"));
        self.collected
            .borrow_mut()
            .retain(|t| *t != tree && *t != cut);
        tree
    }

    /// Pretends to run the scripts: comments have no effect on the outcome.
    fn run(&self, step: &Resolved) -> TreeHash {
        let root = step.root_tree().expect("a root");
        assert!(
            !self.collected.borrow().contains(&root),
            "{} starts from a tree that is gone",
            step.derivation().name
        );
        if step.derivation().output == Output::Input {
            return root;
        }
        let mut text = format!("{:?}{:?}", step.trees(), step.derivation().env);
        for phase in &step.derivation().phases {
            for line in phase.script.lines().filter(|l| !l.starts_with('#')) {
                text.push_str(line);
                text.push('\n');
            }
        }
        tree(&text)
    }

    /// Why each step that is not up to date is not.
    pub fn why(&self, names: &[&str]) -> String {
        let graph = self.graph(names);
        let mut explainer = Explainer::new();
        Staleness::walk(&graph, self, &mut explainer).expect("walked");
        let mut text = String::new();
        for (node, reasons) in explainer.reasons() {
            text.push_str(&format!("{}\n", graph.nodes()[*node].name));
            for line in reasons.iter().flat_map(|r| {
                let lines: Vec<String> = r.to_string().lines().map(str::to_owned).collect();
                lines
            }) {
                text.push_str(&format!("  {line}\n"));
            }
        }
        text
    }
}

impl Trees for World {
    fn subtree(&self, from: TreeHash, path: &str) -> Result<TreePart, FactsError> {
        Ok(match path {
            "/" => TreePart::Tree(from),
            _ => TreePart::Tree(tree(&format!("{from} {path}"))),
        })
    }

    fn pick(&self, from: TreeHash, paths: &[String]) -> Result<TreePart, FactsError> {
        let snapshots = self.snapshots.borrow();
        let Some(files) = snapshots.get(&from) else {
            return Ok(TreePart::Absent);
        };
        let mut picked = BTreeMap::new();
        for (at, path) in paths.iter().enumerate() {
            let below = format!("{path}/");
            let found: Vec<_> = files
                .iter()
                .filter(|(p, _)| *p == path || p.starts_with(&below))
                .collect();
            if found.is_empty() {
                return Ok(TreePart::NoSuchPath(at));
            }
            picked.extend(found);
        }
        Ok(TreePart::Tree(tree(&format!("{picked:?}"))))
    }

    fn present(&self, tree: TreeHash) -> Result<bool, FactsError> {
        Ok(!self.collected.borrow().contains(&tree))
    }

    fn changes(
        &self,
        _: TreeHash,
        _: TreeHash,
        _: usize,
    ) -> Result<Option<TreeChanges>, FactsError> {
        Ok(None)
    }
}

impl Facts for World {
    fn realised(&self, key: Key) -> Result<Option<Realised>, FactsError> {
        self.lookups.set(self.lookups.get() + 1);
        let found = self.realised.borrow().get(&key).copied();
        Ok(found.map(|tree| Realised {
            tree,
            present: !self.collected.borrow().contains(&tree),
        }))
    }

    fn earlier(&self, name: &StepName, most: u32) -> Result<Vec<Earlier>, FactsError> {
        let earlier = self.earlier.borrow();
        let newest = earlier.get(name).into_iter().flatten().rev();
        Ok(newest.take(most as usize).cloned().collect())
    }
}

/// An error with the help that comes with it.
pub fn with_help(error: &PlanError) -> String {
    match error.help() {
        Some(help) => format!("{error}\nhelp: {help}"),
        None => error.to_string(),
    }
}
