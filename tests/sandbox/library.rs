//! Targets brought up to date through the library alone: no command line, no output, no environment.

use std::fs;
use std::sync::Mutex;

use mstore::build::host;
use mstore::build::step::Limits;
use mstore::build::userns::Entered;
use mstore::plan::{Distribution, Pin, PinKind, TargetId};
use mstore::project::realise::{Preview, Run, check, preview, realise};
use mstore::project::{Access, Caches, Event, Events, Project, Retention};
use mstore::schedule::Leave;
use mstore::share::Trust;
use mstore_store::{Cancel, ImportOptions};

use crate::support::{Env, Outcome};

/// Notes the names of what happens.
#[derive(Default)]
struct Notes(Mutex<Vec<&'static str>>);

impl Notes {
    fn take(&self) -> Vec<&'static str> {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
}

impl Events for Notes {
    fn event(&self, event: Event<'_>) {
        let name = match event {
            Event::BuildStarted(_) => "build started",
            Event::BuildEnded => "build ended",
            Event::Checked { .. } => "checked",
            Event::Step(_) => return,
            _ => "other",
        };
        self.0.lock().unwrap().push(name);
    }
}

pub fn a_target_is_realised_without_the_command_line(env: &Env) -> Outcome {
    let dir = env.dir("library");
    let specs = format!(
        "[section list]\nbuilds: demo\narches: pc\nsubarches/pc: one\ntargets: stage1\n\
         [section default]\nbuild: demo\n[section path]\nwork: /x\n[section target]\nplatform: {}\n\
         version: 1\n[section source]\n: seed\nseed: base\n[section steps]\nchroot: one two\n\
         [section steps/chroot]\none: [\n#!/bin/sh\necho 1 > /made\n]\ntwo: [\n#!/bin/sh\necho 2 >> /made\n]\n",
        host::machine()
    );
    fs::write(dir.join("metro.conf"), specs).unwrap();
    let distribution = Distribution::open(None, &dir, Vec::new()).unwrap();
    let mut project = Project::open(&dir.join("store"), Access::Change, distribution).unwrap();
    let seed = project
        .store
        .import_dir(&env.base, &ImportOptions::default())
        .unwrap();
    project
        .set_pin(PinKind::Seed, "base", Pin::new(seed.tree, None))
        .unwrap();
    let targets: Vec<TargetId> = project.targets(&["stage1-one".to_owned()]).unwrap();
    let (caches, trust, cancel, notes) = (
        Caches::default(),
        Trust::blind(),
        Cancel::new(),
        Notes::default(),
    );
    let outside = mstore::share::fetch::FetchOptions::default();
    let run = Run {
        farm: None,
        site: None,
        outside: &outside,
        jobs: 2,
        processors: 1,
        limits: Limits::default(),
        keep_going: false,
        until: &Default::default(),
        rebuild: false,
        read_inputs: false,
        caches: &caches,
        trust: &trust,
        sign: None,
        cancel: &cancel,
        leave: &Leave::default(),
        events: &notes,
        random: None,
        books: None,
    };
    let Preview::Steps(steps) =
        preview(&project, project.recipes(&targets).unwrap(), &run).unwrap()
    else {
        panic!("everything is pinned");
    };
    assert_eq!((steps.build.len(), steps.maybe.len()), (1, 1));

    // This process is in its namespace already.
    let recipes = project.recipes(&targets).unwrap();
    let report = realise(&mut project, recipes, &run, Ok(Entered::Root)).unwrap();
    assert!(report.outcome.failed.is_empty(), "{:?}", report.outcome);
    assert_eq!(report.outcome.built.len(), 2);
    assert_eq!(notes.take(), ["build started", "build ended"]);
    let tree = report.targets[0].tree.unwrap();
    let folder = project.store.view(tree, &cancel).unwrap();
    let made = folder.path().join("made");
    assert_eq!(fs::read_to_string(made).unwrap(), "1\n2\n");
    drop(folder);

    // It is remembered as a target, found by its name, and kept.
    assert_eq!(project.built_tree("stage1-one").unwrap().tree, tree);
    let gc = mstore::config::Config::default().gc;
    let policy = Retention::default()
        .policy(&project.store, &gc, &cancel)
        .unwrap();
    let why = project.store.why_alive(&policy, &tree.0).unwrap();
    assert_eq!(why.keepers.len(), 1);

    let recipes = project.recipes(&targets).unwrap();
    let again = realise(&mut project, recipes, &run, Ok(Entered::Root)).unwrap();
    assert!(again.idle);
    assert_eq!((again.reused, again.targets[0].tree), (2, Some(tree)));
    assert_eq!(notes.take(), Vec::<&str>::new());
    assert_eq!(check(&project, &targets, false, &run).unwrap(), 0);
    assert_eq!(notes.take(), ["checked", "checked"]);
    Ok(())
}
