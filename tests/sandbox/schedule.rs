//! The scheduler with this machine as its executor: steps that are listed while others build.

use std::collections::BTreeMap;
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use mstore::build::cancel::CancelToken;
use mstore::build::host;
use mstore::build::processors::Processors;
use mstore::build::sandbox::Sandbox;
use mstore::build::step::Builder;
use mstore::drv::derivation::{
    ANY_PLATFORM, Env as Variables, Input, InputSource, Network, Output, Phase, Policy,
    SANDBOX_PROFILE,
};
use mstore::drv::{Derivation, Resolved, Role, StepName, StoreFacts};
use mstore::schedule::driver::{Decision, Driver, Options, Planner, Verdict};
use mstore::schedule::growth::{Growth, Listing, feed};
use mstore::schedule::local::Local;
use mstore::schedule::{Kind, Leave, Observer, RunEvent, ScheduleError};
use mstore_store::{Cancel, ImportOptions, OpenOptions, Store, TreeHash};

use crate::support::{self, Env};

/// A step that runs a script on a tree.
pub fn step(name: &str, root: TreeHash, script: &str) -> Resolved {
    let derivation = Derivation {
        env: Variables::default(),
        name: StepName::new("stage1-one", name).unwrap(),
        root: "/".into(),
        build: "demo".into(),
        class: "stage1".into(),
        epoch: 315_532_800,
        inputs: vec![Input {
            at: "/".into(),
            role: Role::Root,
            owner: None,
            source: InputSource::Tree(root),
        }],
        output: Output::Captured,
        phases: vec![Phase {
            name: name.to_owned(),
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
            timeout: Some(60),
        },
        target: "stage1".into(),
        sandbox: SANDBOX_PROFILE.into(),
        subarch: "one".into(),
        platform: host::machine(),
        arch_desc: "pc".into(),
    };
    derivation.resolve(vec![root]).unwrap()
}

/// Steps by name: what each starts from (another step, or the seed) and runs.
struct Steps {
    seed: TreeHash,
    steps: BTreeMap<&'static str, (Option<&'static str>, &'static str)>,
    trees: BTreeMap<&'static str, TreeHash>,
}

impl Planner for Steps {
    type Node = &'static str;

    fn name(&self, node: &&'static str) -> String {
        (*node).to_owned()
    }

    fn recorded_as(&self, node: &&'static str) -> String {
        format!("demo/pc/one/stage1:{node}")
    }

    fn listed(&mut self, _: &&'static str) -> Result<(), ScheduleError> {
        Ok(())
    }

    fn decide(&mut self, node: &&'static str) -> Result<Decision, ScheduleError> {
        let (from, script) = self.steps[node];
        let root = from.map_or(self.seed, |from| self.trees[from]);
        Ok(Decision::Build(Box::new(step(node, root, script))))
    }

    fn usable(
        &mut self,
        node: &&'static str,
        tree: TreeHash,
    ) -> Result<Verdict<&'static str>, ScheduleError> {
        self.trees.insert(node, tree);
        Ok(Verdict::default())
    }
}

/// Tells the lister when something starts, and cancels when that is wanted.
struct Watcher {
    started: mpsc::Sender<String>,
    ended: usize,
    /// What was started before anything had ended.
    at_once: Vec<String>,
    cancel_on: Option<(&'static str, Cancel)>,
}

impl Observer for Watcher {
    fn event(&mut self, event: RunEvent<'_>) {
        match event {
            RunEvent::Started { name, .. } => {
                if self.ended == 0 {
                    self.at_once.push(name.to_owned());
                }
                let _ = self.started.send(name.to_owned());
            }
            RunEvent::Ended { .. } => self.ended += 1,
            RunEvent::Output { line, .. } => {
                if let Some((word, cancel)) = &self.cancel_on
                    && line == *word
                {
                    cancel.cancel();
                }
            }
            _ => {}
        }
    }
}

fn job(node: &'static str, needs: &[&'static str]) -> Listing<&'static str> {
    Listing {
        node,
        needs: needs.to_vec(),
        seconds: None,
        open: false,
        demand: Kind {
            platform: ANY_PLATFORM.into(),
            here: false,
        }
        .into(),
    }
}

/// `top` needs `late`, which is listed only when `first` runs, and starts before that is done. Then a step
/// that does not end is cancelled.
pub fn steps_are_listed_while_others_build(env: &Env) -> support::Outcome {
    let dir = env.dir("schedule");
    let store = Store::open(&dir.join("store"), &OpenOptions::create()).unwrap();
    let seed = store.import_dir(&env.base, &ImportOptions::default());
    let mut steps = Steps {
        seed: seed.unwrap().tree,
        steps: BTreeMap::from([
            ("first", (None, "sleep 3; echo first > /first\n")),
            ("late", (None, "echo late > /late\n")),
            ("top", (Some("late"), "test -e /late; echo top > /top\n")),
            ("endless", (Some("top"), "echo ready; sleep 600\n")),
        ]),
        trees: BTreeMap::new(),
    };
    let facts = StoreFacts::new(store.clone());
    let unused = CancelToken::new().unwrap();
    let builder = Builder {
        store: &store,
        facts: &facts,
        sandbox: Sandbox::new(),
        fetcher: &mstore::drv::fetcher::NoFetcher,
        cancel: &unused,
        processors: Processors::new(1),
        slots: 1,
        limits: Default::default(),
        note: &|_| (),

        raw: &|_| (),
        anew: false,
        host: "here".into(),
    };
    let cancel = Cancel::new();
    let options = Options {
        keep_going: false,
        a_site: 1,
        cancel: &cancel,
        leave: &Leave::default(),
        idle: Duration::MAX,
    };
    let (started, starts) = mpsc::channel();
    let mut watcher = Watcher {
        started,
        ended: 0,
        at_once: Vec::new(),
        cancel_on: None,
    };
    let (feed, intake) = feed();
    let list = vec![job("top", &["first", "late"]), job("first", &[])];
    feed.send(Growth::Listed(list)).unwrap();
    let lister = thread::spawn(move || {
        assert_eq!(starts.recv().unwrap(), "first");
        feed.send(Growth::Listed(vec![job("late", &[])])).unwrap();
        starts
    });
    let outcome = thread::scope(|scope| {
        let local = Local::new(scope, &builder, &|_| false, 2);
        Driver::new(&mut steps, &local, &mut watcher, intake, options).run()
    });
    assert!(outcome.infrastructure.is_none(), "{outcome:?}");
    assert_eq!(watcher.at_once, ["first", "late"]);
    assert_eq!(outcome.built.len(), 3);
    assert_eq!(outcome.built[2], "top");
    for path in ["late", "top"] {
        let entry = store.entry(steps.trees["top"], path).unwrap();
        assert!(entry.is_some(), "/{path}");
    }
    let _starts = lister.join().unwrap();

    watcher.cancel_on = Some(("ready", cancel.clone()));
    let (feed, intake) = mstore::schedule::growth::feed();
    feed.send(Growth::Listed(vec![job("endless", &[])]))
        .unwrap();
    let outcome = thread::scope(|scope| {
        let local = Local::new(scope, &builder, &|_| false, 2);
        Driver::new(&mut steps, &local, &mut watcher, intake, options).run()
    });
    assert!(
        outcome.cancelled && outcome.infrastructure.is_none(),
        "{outcome:?}"
    );
    assert!(outcome.built.is_empty() && outcome.failed.is_empty());
    Ok(())
}
