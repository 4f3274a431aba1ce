//! A store with a step to build, a worker that pretends to build it, and the way from one to the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Duration;

use mstore::build::cancel::CancelToken;
use mstore::build::error::StepError;
use mstore::build::processors::Processors;
use mstore::build::sandbox::Sandbox;
use mstore::build::step::{Builder, BuiltStep, Limits, Note};
use mstore::drv::derivation::{
    Input, InputSource, Network, Output, Phase, Policy, SANDBOX_PROFILE,
};
use mstore::drv::fetcher::NoFetcher;
use mstore::drv::{Derivation, Lineage, Resolved, Role, StoreFacts};
use mstore::schedule::reapi::Settings;
use mstore::schedule::reapi::errand::{Errand, Live};
use mstore::schedule::reapi::reactor::Stop;
use mstore::share::action::{Job, Outcome, Record, Times, bundle_name, bundle_path};
use mstore::share::bundle::{Cut, join};
use mstore_store::{ImportOptions, OpenOptions, Realisation, Store, TreeHash};

use crate::fake::Fake;

/// Bytes that do not compress.
pub fn noise(seed: u64, len: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut out = Vec::with_capacity(len + 8);
    while out.len() < len {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        out.extend_from_slice(&state.to_le_bytes());
    }
    out.truncate(len);
    out
}

/// A store with a tree, and a step that begins with it.
pub struct Place {
    dir: tempfile::TempDir,
    pub store: Store,
    pub facts: StoreFacts,
    pub step: Resolved,
    pub lineage: Lineage,
    pub urgency: f64,
}

pub const NAME: &str = "b/a/s/hello:run";

impl Place {
    /// A place whose tree has a file of so many bytes, beside others.
    pub fn new(bytes: usize) -> Place {
        let dir = tempfile::tempdir_in("/var/tmp").unwrap();
        let base = dir.path().join("base");
        fs::create_dir_all(base.join("etc")).unwrap();
        fs::write(base.join("etc/large"), noise(1, bytes)).unwrap();
        for at in 0..20 {
            fs::write(base.join(format!("etc/f{at}")), noise(at + 2, 2000)).unwrap();
        }
        let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
        let tree = store
            .import_dir(&base, &ImportOptions::snapshot())
            .unwrap()
            .tree;
        store.add_root("base", tree).unwrap();
        Place {
            facts: StoreFacts::new(store.clone()),
            store,
            step: step(tree),
            lineage: Lineage::default(),
            urgency: 1.0,
            dir,
        }
    }

    /// A folder for the worker's own store.
    pub fn worker(&self) -> PathBuf {
        self.dir.path().join("worker")
    }

    pub fn settings(&self, fake: &Fake) -> Settings {
        let mut settings = Settings::new(fake.url().parse().unwrap());
        settings.patience = Duration::from_secs(2);
        settings.queue_timeout = Duration::from_millis(100);
        // Any program does: nobody runs it.
        settings.workers = [("x86_64".to_owned(), "/bin/true".into())].into();
        settings
    }

    pub fn live(&self, fake: &Fake) -> Live {
        Live::new(self.settings(fake), "1").unwrap()
    }

    /// Has the step built.
    pub fn build(&self, fake: &Fake) -> Result<BuiltStep, StepError> {
        self.build_by(&self.live(fake), &Stop::default(), &Mutex::default())
    }

    pub fn build_by(
        &self,
        live: &Live,
        stop: &Stop,
        notes: &Mutex<Vec<Note>>,
    ) -> Result<BuiltStep, StepError> {
        let cancel = CancelToken::new().unwrap();
        let note = |note| notes.lock().unwrap().push(note);
        let builder = self.builder(&cancel, &note);
        let errand = Errand {
            live,
            builder: &builder,
            name: NAME,
            step: &self.step,
            lineage: &self.lineage,
            urgency: self.urgency,
            stop,
            check: false,
            full: &|| (),
        };
        builder.build_elsewhere(NAME, &self.step, live.label(), &mut |_| (), &mut |log| {
            errand.run(log)
        })
    }

    pub fn builder<'a>(
        &'a self,
        cancel: &'a CancelToken,
        note: &'a (dyn Fn(Note) + Sync),
    ) -> Builder<'a> {
        Builder {
            store: &self.store,
            facts: &self.facts,
            sandbox: Sandbox::new(),
            fetcher: &NoFetcher,
            cancel,
            processors: Processors::new(1),
            slots: 1,
            limits: Limits::default(),
            note,
            raw: &|_| (),
            anew: false,
            host: "here".to_owned(),
        }
    }

    /// What is recorded of the step.
    pub fn recorded(&self) -> Option<Realisation> {
        self.store.realisation(&self.step.key().0).unwrap()
    }

    /// Checks that the step was built as it should be: what is recorded is whole, and holds what the worker made.
    #[track_caller]
    pub fn is_built(&self) {
        let made = self.recorded().expect("a realisation");
        let out = self.dir.path().join("out");
        let _ = fs::remove_dir_all(&out);
        self.store.copy_out(made.tree, &out).unwrap();
        assert_eq!(fs::read(out.join("made")).unwrap(), b"by a worker");
        assert_eq!(fs::read(out.join("etc/f3")).unwrap(), noise(5, 2000));
        fs::remove_dir_all(&out).unwrap();
    }
}

/// A step that begins with a tree.
pub fn step(tree: TreeHash) -> Resolved {
    let derivation = Derivation {
        env: Default::default(),
        name: "hello-s:run".parse().unwrap(),
        root: "/".into(),
        build: "b".into(),
        class: "stage3".into(),
        epoch: 1_500_000_000,
        inputs: vec![Input {
            at: "/".into(),
            role: Role::Root,
            owner: None,
            source: InputSource::Tree(tree),
        }],
        output: Output::Captured,
        phases: vec![Phase {
            name: "run".into(),
            script: "make\n".into(),
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
        target: "hello".into(),
        sandbox: SANDBOX_PROFILE.into(),
        subarch: "s".into(),
        platform: "x86_64".into(),
        arch_desc: "x86-64bit".into(),
    };
    derivation.resolve(vec![tree]).unwrap()
}

/// Does a job: joins its trees in a store of its own, adds a file to the root, and leaves what a worker leaves.
pub fn pretend(store: &Path, folder: &Path) -> i32 {
    let store = Store::open(store, &OpenOptions::create()).unwrap();
    let job = Job::decode(&fs::read(folder.join("job")).unwrap()).unwrap();
    for (first, layer) in job.lacking(|tree| store.has_tree(tree)).unwrap() {
        join(&store, layer.tree, &layer.bundles, &mut |number, _| {
            fs::read(folder.join(bundle_path(first + number)))
        })
        .unwrap();
    }
    let root = folder.join("root");
    store
        .copy_out(job.step.root_tree().unwrap(), &root)
        .unwrap();
    fs::write(root.join("made"), "by a worker").unwrap();
    // What each step makes is another tree.
    let key = job.step.key().to_string();
    fs::write(root.join(format!("etc/by-{key}")), key).unwrap();
    // Too large for a message of the smallest engines.
    fs::write(root.join("more"), noise(99, 6000)).unwrap();
    let tree = store
        .import_dir(&root, &ImportOptions::snapshot())
        .unwrap()
        .tree;
    let out = folder.join("out");
    fs::create_dir(&out).unwrap();
    let cut = Cut::plan(&store, tree, &job.step.below()).unwrap();
    let keep =
        |number: usize, _: &_, bytes: Vec<u8>| fs::write(out.join(bundle_name(number)), bytes);
    let bundles = cut.make(&store, &keep).unwrap();
    let record = Record {
        key: job.step.key(),
        times: Times::default(),
        memory: None,
        outcome: Outcome::Built {
            size: None,
            tree,
            bundles,
            changed: 1,
        },
    };
    fs::write(folder.join("result"), record.encode().unwrap()).unwrap();
    let log = zstd::bulk::compress(b"it is made\n", 3).unwrap();
    fs::write(folder.join("log.zst"), log).unwrap();
    0
}
