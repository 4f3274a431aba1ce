//! Whatever changes, an answer that is given again is the one that a run would work out.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::time::{Duration, SystemTime};

use mstore_store::{Cancel, GcPolicy, Meta, OpenOptions, Realisation, RealisationKind};
use proptest::prelude::*;

use super::*;
use crate::build::userns::Entered;
use crate::plan::{Distribution, Graph, NodeState, Pins, Staleness};
use crate::project::realise::{Run, Until};
use crate::project::{Access, Caches};
use crate::schedule::Leave;
use crate::share::Trust;

const SPEC: &str = "\
[section list]
builds: demo
arches: x86-64bit
subarches/x86-64bit: one two
targets: a b

[section target]
platform: x86_64

[section source]
: seed
seed: base

[collect ./extra/$[target/subarch:zap].conf]
[collect ./specs-of-$[target:zap].conf]

[section steps]
chroot: x y
";

/// Specifications, a lock file and a store in a folder.
struct World {
    dir: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let world = World {
            dir: tempfile::tempdir().unwrap(),
        };
        world.write("metro.conf", SPEC);
        world.write("extra/one.conf", "extra: 1\n");
        world.write("extra/two.conf", "extra: 2\n");
        for target in ["a", "b"] {
            world.write(&format!("specs-of-{target}.conf"), &script(target));
        }
        let store = world.store();
        let tree = tree(&store, "base");
        world.write("metro.lock", &format!("seed/base/tree: {tree}\n"));
        store.add_root("base", tree).unwrap();
        world
    }

    fn at(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        let path = self.at(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn store(&self) -> Store {
        Store::open(&self.at("store"), &OpenOptions::create()).unwrap()
    }

    fn project(&self) -> Result<Project, String> {
        let distribution = Distribution::open(None, self.dir.path(), Vec::new());
        let distribution = distribution.map_err(|e| e.to_string())?;
        let store = self.at("store");
        Project::open(&store, Access::Change, distribution).map_err(|e| e.to_string())
    }

    fn ask<R>(&self, words: &[String], ask: impl FnOnce(&Question<'_>) -> R) -> R {
        ask(&Question {
            store: &self.at("store"),
            entry: None,
            cwd: self.dir.path(),
            definitions: &[],
            words,
            program: &self.at("metro.conf"),
        })
    }

    /// What a run that remembers nothing finds, after everything was built if `build` says so; none if
    /// there is something to do. The answer is kept.
    fn run(&self, words: &[String], build: bool) -> Result<Option<Answers>, String> {
        let mut project = self.project()?;
        let text = |e: &dyn std::fmt::Display| e.to_string();
        let targets = project.targets(words).map_err(|e| text(&e))?;
        if build {
            pretend(&project, &targets).map_err(|e| text(&*e))?;
        }
        if !is_idle(&project, &targets).map_err(|e| text(&*e))? {
            return Ok(None);
        }
        let cancel = Cancel::default();
        let outside = crate::share::fetch::FetchOptions::default();
        let run = Run {
            farm: None,
            site: None,
            outside: &outside,
            jobs: 1,
            processors: 1,
            limits: Default::default(),
            until: &Until::default(),
            rebuild: false,
            read_inputs: false,
            keep_going: false,
            caches: &Caches::default(),
            trust: &Trust::blind(),
            sign: None,
            cancel: &cancel,
            leave: &Leave::default(),
            events: &(),
            random: None,
            books: None,
        };
        let mut realise = || {
            let entered = Ok(Entered::Root);
            let recipes = project.recipes(&targets).map_err(|e| text(&e))?;
            super::super::realise(&mut project, recipes, &run, entered).map_err(|e| text(&e))
        };
        // The first may write down which trees the targets are, and so change what it found.
        realise()?;
        let report = realise()?;
        assert!(report.idle);
        self.ask(words, |question| question.keep(&project, &report).unwrap());
        Ok(Some(answers(&report)))
    }

    fn recall(&self, words: &[String]) -> Option<Answers> {
        let report = self.ask(words, |question| question.recall())?;
        assert!(report.idle && report.reused == report.up_to_date);
        Some(answers(&report))
    }
}

fn script(text: &str) -> String {
    format!("[section steps/chroot]\nx: [\n{text} x\n]\ny: [\n{text} y\n]\n")
}

/// The targets of a report with their trees, and the number of steps.
type Answers = (Vec<(String, DrvHash, Option<TreeHash>)>, usize);

fn answers(report: &Report) -> Answers {
    let targets = report.targets.iter();
    let targets = targets.map(|t| (format!("{} {}", t.id, t.name), t.drv, t.tree));
    (targets.collect(), report.up_to_date)
}

fn tree(store: &Store, content: &str) -> TreeHash {
    let mut builder = store.tree_builder().unwrap();
    builder
        .file(b"f", Meta::default(), &mut content.as_bytes())
        .unwrap();
    builder.finish().unwrap().tree
}

type Anyhow = Box<dyn std::error::Error>;

fn is_idle(project: &Project, targets: &[TargetId]) -> Result<bool, Anyhow> {
    let recipes = project.recipes(targets)?;
    let graph = Graph::build(&recipes, &project.lock, &project.facts, Pins::Required)?;
    let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
    Ok(staleness.todo(&project.facts)?.is_empty())
}

/// Builds what is stale: a tree that tells its key.
fn pretend(project: &Project, targets: &[TargetId]) -> Result<(), Anyhow> {
    let recipes = project.recipes(targets)?;
    let graph = Graph::build(&recipes, &project.lock, &project.facts, Pins::Required)?;
    for _ in graph.nodes().ids() {
        let staleness = Staleness::walk(&graph, &project.facts, &mut ())?;
        for node in graph.nodes().ids() {
            let key = match staleness.state(node) {
                NodeState::Stale { key, .. }
                | NodeState::Known {
                    key,
                    present: false,
                    ..
                } => *key,
                _ => continue,
            };
            let step = &graph.nodes()[node];
            project.store.record(&Realisation {
                kind: RealisationKind::Step,
                key: key.0,
                drv: step.hash.0,
                name: step.full_name.to_string(),
                tree: tree(&project.store, &key.to_string()),
                started: clock::now(),
                seconds: 0.1,
                host: String::new(),
                log: None,
            })?;
        }
    }
    Ok(())
}

/// What may happen between two runs.
#[derive(Clone, Debug)]
enum Change {
    /// Another script of a target, perhaps with the length and the time of the one before.
    Script {
        target: usize,
        text: u8,
        same_time: bool,
    },
    /// A file that two of the targets collect.
    Extra {
        subarch: usize,
        text: u8,
    },
    /// It is not there any more, or a link to the other one.
    Gone {
        subarch: usize,
    },
    Link {
        subarch: usize,
    },
    /// A file that stands for a standard one, or for none: nobody looks for it.
    Stray(u8),
    /// The lock file pins another seed, or is not there.
    Lock(Option<u8>),
    /// The store forgets what a step produced.
    Forget(u8),
    /// Somebody else says that a target is another tree.
    Other(usize),
    /// Trees that nothing names are collected, or all.
    Collect {
        keep: usize,
    },
    /// Packs are folded together, as additions go on.
    Add(u8),
    Repack,
    /// A pack gets lost.
    Lose(u8),
    /// The database of an earlier moment is put back.
    Back,
}

fn change() -> impl Strategy<Value = Change> {
    let two = 0..2usize;
    prop_oneof![
        3 => (two.clone(), 0..4u8, any::<bool>())
            .prop_map(|(target, text, same_time)| Change::Script { target, text, same_time }),
        2 => (two.clone(), 0..3u8).prop_map(|(subarch, text)| Change::Extra { subarch, text }),
        1 => two.clone().prop_map(|subarch| Change::Gone { subarch }),
        1 => two.clone().prop_map(|subarch| Change::Link { subarch }),
        1 => any::<u8>().prop_map(Change::Stray),
        2 => prop::option::of(0..2u8).prop_map(Change::Lock),
        2 => any::<u8>().prop_map(Change::Forget),
        1 => two.clone().prop_map(Change::Other),
        1 => (0..2usize).prop_map(|keep| Change::Collect { keep }),
        1 => any::<u8>().prop_map(Change::Add),
        1 => Just(Change::Repack),
        1 => any::<u8>().prop_map(Change::Lose),
        1 => Just(Change::Back),
    ]
}

impl World {
    fn apply(&self, change: &Change) {
        let names = ["one", "two"];
        let extra = |subarch: usize| self.at(&format!("extra/{}.conf", names[subarch]));
        let database = self.at("store/db/mstore.sqlite");
        match change {
            Change::Script {
                target,
                text,
                same_time,
            } => {
                let name = format!("specs-of-{}.conf", ["a", "b"][*target]);
                let before = fs::metadata(self.at(&name)).unwrap().modified().unwrap();
                let texts = ["p", "q", "longer", "and longer"];
                self.write(&name, &script(texts[usize::from(*text)]));
                if *same_time {
                    let file = fs::File::options()
                        .write(true)
                        .open(self.at(&name))
                        .unwrap();
                    file.set_modified(before).unwrap();
                }
            }
            Change::Extra { subarch, text } => {
                let _ = fs::remove_file(extra(*subarch));
                fs::write(extra(*subarch), format!("extra: {text}\n")).unwrap();
            }
            Change::Gone { subarch } => drop(fs::remove_file(extra(*subarch))),
            Change::Link { subarch } => {
                let _ = fs::remove_file(extra(*subarch));
                symlink(extra(1 - subarch), extra(*subarch)).unwrap();
            }
            Change::Stray(n) => self.write("specs/subarch/stray.conf", &n.to_string()),
            Change::Lock(None) => drop(fs::remove_file(self.at("metro.lock"))),
            Change::Lock(Some(n)) => {
                let tree = tree(&self.store(), ["base", "another base"][usize::from(*n)]);
                self.store().add_root(&format!("base {n}"), tree).unwrap();
                self.write("metro.lock", &format!("seed/base/tree: {tree}\n"));
            }
            Change::Forget(n) => {
                let store = self.store();
                let all = store.realisations(None).unwrap();
                if let Some(r) = all.get(usize::from(*n) % all.len().max(1)) {
                    store.forget(&r.key).unwrap();
                }
            }
            Change::Other(target) => {
                let store = self.store();
                let name = format!("demo/x86-64bit/one/{}", ["a", "b"][*target]);
                let tree = tree(&store, "somebody else's");
                store
                    .record(&Realisation {
                        kind: RealisationKind::Target,
                        key: Hash::of(name.as_bytes()),
                        drv: Hash::of(b"drv"),
                        name,
                        tree,
                        started: clock::now() + 1,
                        seconds: 0.1,
                        host: String::new(),
                        log: None,
                    })
                    .unwrap();
            }
            Change::Collect { keep } => {
                let _ = self.store().gc(&GcPolicy::newest(*keep), false);
            }
            Change::Add(n) => {
                let store = self.store();
                for more in 0..20u8 {
                    tree(&store, &format!("more {n} {more}"));
                }
            }
            Change::Repack => drop(self.store().repack(&Cancel::default())),
            Change::Lose(n) => {
                let packs = fs::read_dir(self.at("store/packs")).unwrap();
                let mut packs: Vec<PathBuf> = packs.map(|p| p.unwrap().path()).collect();
                packs.sort();
                if let Some(pack) = packs.get(usize::from(*n) % packs.len().max(1)) {
                    fs::remove_file(pack).unwrap();
                }
            }
            Change::Back => {
                let kept = self.at("kept.sqlite");
                drop(self.store());
                if kept.exists() {
                    fs::rename(&kept, &database).unwrap();
                } else {
                    fs::copy(&database, &kept).unwrap();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40))]

    #[test]
    fn an_answer_is_given_again_only_if_a_run_would_find_the_same(
        changes in prop::collection::vec((change(), any::<bool>()), 1..9),
        all in any::<bool>(),
    ) {
        let world = World::new();
        let words = [if all { "*" } else { "a-one" }.to_owned()];
        let first = world.run(&words, true).unwrap();
        prop_assert!(first.is_some());
        prop_assert_eq!(world.recall(&words), first, "nothing changed");
        for (change, build) in changes {
            world.apply(&change);
            let recalled = world.recall(&words);
            // Perhaps it cannot be worked out any more: then nothing may be recalled.
            let found = world.run(&words, false).unwrap_or(None);
            if recalled.is_some() {
                prop_assert_eq!(&recalled, &found, "{:?}", change);
            }
            if found.is_some() {
                prop_assert_eq!(world.recall(&words), found, "what was worked out is kept");
            } else if build && let Ok(found) = world.run(&words, true) {
                prop_assert_eq!(world.recall(&words), found);
            }
        }
    }
}

/// Files that are old enough are told by their times alone, and a day later everything is worked out again.
#[test]
fn an_answer_is_given_for_a_day() {
    let world = World::new();
    let words = ["*".to_owned()];
    let found = world.run(&words, true).unwrap();
    assert!(found.is_some());
    let key = world.ask(&words, |question| question.hash());
    let store = world.store();
    let at = |change: &dyn Fn(&mut Answer)| {
        let (bytes, _) = Store::kept_answer(&world.at("store"), &key).unwrap();
        let (format, mut answer) = codec::decode::<(u32, Answer)>(&bytes, LIMIT).unwrap();
        change(&mut answer);
        let bytes = codec::encode(&(format, answer));
        store.keep_answer(&key, &bytes).unwrap();
        world.recall(&words)
    };
    assert_eq!(at(&|_| ()), found);
    assert_eq!(at(&|answer| answer.at -= DAY - 100), found);
    assert_eq!(at(&|answer| answer.at -= 200), None);
    assert_eq!(
        at(&|answer| answer.at += 2 * DAY),
        None,
        "the clock was wrong"
    );
    let trees: Vec<TreeHash> = found.unwrap().0.into_iter().filter_map(|t| t.2).collect();
    let used = store.last_used().unwrap();
    let soon = SystemTime::now() - Duration::from_secs(100);
    let soon = soon
        .duration_since(SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert!(trees.iter().all(|tree| used[tree] >= soon.cast_signed()));
}

#[test]
fn another_question_has_another_answer() {
    let world = World::new();
    let all = ["*".to_owned()];
    assert!(world.run(&all, true).unwrap().is_some());
    assert_eq!(world.recall(&["a-one".to_owned()]), None);
    let definitions = [Definition::new("extra", "3")];
    let store = world.at("store");
    let program = world.at("metro.conf");
    let question = Question {
        store: &store,
        entry: None,
        cwd: world.dir.path(),
        definitions: &[],
        words: &all,
        program: &program,
    };
    assert!(question.recall().is_some());
    let elsewhere = world.at("extra");
    let others = [
        Question {
            definitions: &definitions,
            ..question
        },
        Question {
            cwd: &elsewhere,
            ..question
        },
        Question {
            entry: Some(&program),
            ..question
        },
        Question {
            program: &elsewhere,
            ..question
        },
    ];
    assert!(others.iter().all(|other| other.recall().is_none()));
}
