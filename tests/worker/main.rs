//! Jobs of remote execution through the program that travels with them: as root, as an ordinary user with subordinate
//! ids, and as one without, who is refused.
//!
//! This is not the usual harness: started by real root, the program runs its tests again as those users.

#[path = "../sandbox/base.rs"]
mod base;
#[path = "../sandbox/user.rs"]
mod user;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mstore::build::cancel::CancelToken;
use mstore::build::processors::Processors;
use mstore::build::sandbox::Sandbox;
use mstore::build::step::{Builder, Limits};
use mstore::drv::derivation::{
    Derivation, Env, Input, InputSource, Network, Output, Phase, Policy, SANDBOX_PROFILE,
};
use mstore::drv::fetcher::NoFetcher;
use mstore::drv::{Resolved, Role, StoreFacts};
use mstore::share::action::{Job, Outcome, Record, bundle_name, bundle_path};
use mstore::share::bundle::{Cut, Digest, Layer, join};
use mstore_store::{Meta, OpenOptions, Store, TreeHash};

const WORKER: &str = env!("CARGO_BIN_EXE_mstore-worker");
/// Tells the tests of the ordinary user what the trees of root were.
const TREES: &str = "MSTORE_TEST_TREES";

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    match args.first().map(String::as_str) {
        Some("--as-user") => return user::become_user(&args[1], &args[2..]),
        Some("--list") => {
            println!("worker: test");
            return ExitCode::SUCCESS;
        }
        _ => {}
    }
    let is_root = rustix::process::geteuid().is_root();
    let world = World::new();
    if args.first().is_some_and(|arg| arg == "single") {
        world.one_id_is_refused();
        return ExitCode::SUCCESS;
    }
    let filter: Vec<&String> = args.iter().filter(|arg| !arg.starts_with('-')).collect();
    if !filter.is_empty() && !filter.iter().any(|word| "worker".contains(word.as_str())) {
        return ExitCode::SUCCESS;
    }
    let tree = world.a_step_is_built_as_it_is_locally(is_root);
    world.what_a_step_left_is_a_layer_for_the_next();
    world.failures_have_an_owner();
    world.what_is_not_right_is_named();
    world.a_signal_ends_all();
    println!("worker: ok ({})", if is_root { "root" } else { "user" });
    let trees = format!("{} {tree}", world.base);
    drop(world);
    if !is_root || std::env::var_os("MSTORE_TEST_ROOT_ONLY").is_some() {
        return ExitCode::SUCCESS;
    }
    let mut ok = true;
    for mode in [&["ranges"][..], &["single", "single"]] {
        let again = Command::new("/proc/self/exe")
            .arg("--as-user")
            .args(mode)
            .env(TREES, &trees)
            .status();
        ok &= again.is_ok_and(|status| status.success());
    }
    match ok {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// A store with a root in it, and room for actions.
struct World {
    top: tempfile::TempDir,
    store: Store,
    base: TreeHash,
}

/// How an action ended.
struct Ended {
    code: i32,
    stderr: String,
    folder: PathBuf,
}

impl Ended {
    fn record(&self) -> Record {
        Record::decode(&fs::read(self.folder.join("result")).unwrap()).unwrap()
    }

    fn log(&self) -> String {
        let file = fs::File::open(self.folder.join("log.zst")).unwrap();
        String::from_utf8(zstd::decode_all(file).unwrap()).unwrap()
    }

    /// Nothing but what an action promises is left.
    fn check_rest(&self) {
        let names = fs::read_dir(&self.folder).unwrap().flatten();
        let mut names: Vec<String> = names
            .map(|entry| entry.file_name().into_string().unwrap())
            .collect();
        names.retain(|name| !["b", "job", "log.zst", "out", "result"].contains(&name.as_str()));
        assert_eq!(names, [""; 0], "{}", self.stderr);
    }
}

impl World {
    fn new() -> World {
        let top = tempfile::tempdir().unwrap();
        fs::set_permissions(top.path(), fs::Permissions::from_mode(0o755)).unwrap();
        base::make_base(&top.path().join("base"));
        let store = Store::open(&top.path().join("store"), &OpenOptions::create()).unwrap();
        let mut builder = store.tree_builder().unwrap();
        add(&mut builder, &top.path().join("base"), "");
        let base = builder.finish().unwrap().tree;
        World { top, store, base }
    }

    fn step(&self, root: TreeHash, script: &str, change: impl FnOnce(&mut Derivation)) -> Resolved {
        let mut derivation = Derivation {
            env: Env(Arc::new([("WORD".to_owned(), "said".to_owned())].into())),
            name: "test-any:run".parse().unwrap(),
            root: "/".into(),
            build: "b".into(),
            class: "c".into(),
            epoch: 1_000_000_000,
            inputs: vec![Input {
                at: "/".into(),
                role: Role::Root,
                owner: None,
                source: InputSource::Tree(root),
            }],
            output: Output::Captured,
            phases: vec![Phase {
                name: "run".into(),
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
                timeout: Some(600),
            },
            target: "test".into(),
            sandbox: SANDBOX_PROFILE.into(),
            subarch: "any".into(),
            platform: mstore::build::host::machine(),
            arch_desc: "any".into(),
        };
        change(&mut derivation);
        derivation.resolve(vec![root]).unwrap()
    }

    /// The base in bundles.
    fn base_layer(&self) -> Layer {
        Layer {
            on: Vec::new(),
            tree: self.base,
            bundles: Cut::digests(&self.store, self.base, &[]).unwrap(),
        }
    }

    fn job(&self, script: &str) -> Job {
        Job {
            anew: false,
            bounds: Default::default(),
            step: self.step(self.base, script, |_| ()),
            layers: vec![self.base_layer()],
        }
    }

    /// The folder of an action, with the bundles that this store can cut.
    fn action(&self, name: &str, job: &Job) -> PathBuf {
        let folder = self.top.path().join(name);
        fs::create_dir_all(folder.join("b")).unwrap();
        fs::write(folder.join("job"), job.encode()).unwrap();
        let mut number = 0;
        for layer in &job.layers {
            let cut = Cut::plan(&self.store, layer.tree, &layer.on).unwrap();
            assert_eq!(cut.len(), layer.bundles.len());
            for at in 0..cut.len() {
                let bytes = cut.bundle(&self.store, at).unwrap();
                assert_eq!(Digest::of(&bytes), layer.bundles[at]);
                fs::write(folder.join(bundle_path(number)), bytes).unwrap();
                number += 1;
            }
        }
        folder
    }

    fn command(&self, folder: &Path, more: &[&str]) -> Command {
        let mut command = Command::new(WORKER);
        command
            .args(["action", "job"])
            .args(more)
            .current_dir(folder)
            .env_clear()
            .stdin(Stdio::null());
        command
    }

    fn run(&self, folder: &Path, more: &[&str]) -> Ended {
        let output = self.command(folder, more).output().unwrap();
        assert_eq!(output.stdout, b"");
        Ended {
            code: output.status.code().unwrap_or(-1),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            folder: folder.to_owned(),
        }
    }

    fn a_step_is_built_as_it_is_locally(&self, is_root: bool) -> TreeHash {
        let job = self.job(
            "echo $WORD; mkdir new; echo x > new/file; ln new/file new/hard; ln -s /etc/passwd new/soft\n\
             chown 7:9 new/file; chmod 4755 new/file; rm data/file; echo 3 >> data/old/one\n",
        );
        let folder = self.action("built", &job);
        let ended = self.run(&folder, &[]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        ended.check_rest();
        assert_eq!(ended.log(), "said\n");
        assert!(ended.stderr.starts_with("said\n"), "{}", ended.stderr);
        let record = ended.record();
        assert_eq!(record.key, job.step.key());
        assert!(record.memory.is_some_and(|bytes| bytes > 1 << 16));
        assert!(record.times.began > 1_700_000_000);
        let Outcome::Built {
            tree,
            bundles,
            changed,
            ..
        } = record.outcome
        else {
            panic!("{record:?}");
        };
        assert!(changed >= 5, "{changed}");
        assert_eq!(bundles.len(), 1);
        // A few files, whatever the base is.
        assert!(bundles[0].size < 64 << 10, "{}", bundles[0].size);
        let out = folder.join("out");
        join(&self.store, tree, &bundles, &mut |number, _| {
            fs::read(out.join(bundle_name(number)))
        })
        .unwrap();
        assert!(self.store.has_tree(tree).unwrap());
        if is_root {
            assert_eq!(self.locally(&job.step), tree);
        } else if let Ok(roots) = std::env::var(TREES) {
            assert_eq!(
                format!("{} {tree}", self.base),
                roots,
                "root built another tree"
            );
        }
        tree
    }

    /// Builds in this process, as every executor of this machine does.
    fn locally(&self, step: &Resolved) -> TreeHash {
        let other = Store::open(&self.top.path().join("here"), &OpenOptions::create()).unwrap();
        let base = self.base_layer();
        let cut = Cut::plan(&self.store, self.base, &[]).unwrap();
        join(&other, self.base, &base.bundles, &mut |number, _| {
            Ok(cut.bundle(&self.store, number).unwrap())
        })
        .unwrap();
        let facts = StoreFacts::new(other.clone());
        let cancel = CancelToken::new().unwrap();
        let builder = Builder {
            store: &other,
            facts: &facts,
            sandbox: Sandbox::with_program(WORKER.into()),
            fetcher: &NoFetcher,
            cancel: &cancel,
            processors: Processors::new(1),
            slots: 1,
            limits: Limits::default(),
            note: &|_| (),
            raw: &|_| (),
            anew: false,
            host: "here".into(),
        };
        builder
            .build("b/a/s/t:run", step, &mut |_| ())
            .unwrap()
            .tree
    }

    fn what_a_step_left_is_a_layer_for_the_next(&self) {
        let lasting = self.top.path().join("lasting");
        let store = ["--store", lasting.to_str().unwrap()];
        let first = self.job("echo first > first\n");
        let folder = self.action("first", &first);
        let ended = self.run(&folder, &store);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        let Outcome::Built { tree, bundles, .. } = ended.record().outcome else {
            panic!("not built");
        };
        let out = folder.join("out");
        join(&self.store, tree, &bundles, &mut |number, _| {
            fs::read(out.join(bundle_name(number)))
        })
        .unwrap();
        // What came back is what would be sent.
        assert_eq!(
            Cut::digests(&self.store, tree, &[self.base]).unwrap(),
            bundles
        );
        let step = self.step(tree, "cat first; echo second > second\n", |_| ());
        assert_eq!(step.below(), [tree]);
        let second = Job {
            anew: true,
            bounds: Default::default(),
            step,
            layers: vec![
                self.base_layer(),
                Layer {
                    on: vec![self.base],
                    tree,
                    bundles,
                },
            ],
        };
        // A store that has the trees wants no bundle.
        let folder = self.action("second", &second);
        fs::remove_dir_all(folder.join("b")).unwrap();
        let kept = self.run(&folder, &store);
        assert_eq!(
            (kept.code, kept.log().as_str()),
            (0, "first\n"),
            "{}",
            kept.stderr
        );
        // One that has only what lies below wants the layer alone; one that has nothing wants all.
        let folder = self.action("third", &second);
        let ended = self.run(&folder, &[]);
        assert_eq!(ended.code, 0, "{}", ended.stderr);
        assert_eq!(ended.record().outcome, kept.record().outcome);
        ended.check_rest();
    }

    fn failures_have_an_owner(&self) {
        let folder = self.action("failed", &self.job("echo before; exit 3\n"));
        let ended = self.run(&folder, &[]);
        assert_eq!(ended.code, 1, "{}", ended.stderr);
        ended.check_rest();
        assert_eq!(ended.log(), "before\n");
        let failed = |ended: &Ended| match ended.record().outcome {
            Outcome::Failed {
                step,
                limit,
                status,
                ..
            } => (step, limit, status),
            other => panic!("{other:?}"),
        };
        assert_eq!(failed(&ended), (0, false, 3 << 8));
        let slow = Job {
            step: self.step(self.base, "sleep 600\n", |d| d.policy.timeout = Some(1)),
            ..self.job("")
        };
        let ended = self.run(&self.action("slow", &slow), &[]);
        assert_eq!(
            (ended.code, failed(&ended)),
            (1, (0, true, 9)),
            "{}",
            ended.stderr
        );
        let foreign = Job {
            step: self.step(self.base, "true\n", |d| d.platform = "s390x".into()),
            ..self.job("")
        };
        if mstore::build::host::runs("s390x").is_err() {
            let ended = self.run(&self.action("platform", &foreign), &[]);
            assert_eq!(ended.code, 106, "{}", ended.stderr);
            let record = ended.record();
            assert!(matches!(
                record.outcome,
                Outcome::Infrastructure { code: 106, .. }
            ));
        }
    }

    fn what_is_not_right_is_named(&self) {
        let job = self.job("true\n");
        let refused = |name: &str, spoil: &dyn Fn(&Path)| {
            let folder = self.action(name, &job);
            spoil(&folder);
            let ended = self.run(&folder, &[]);
            ended.check_rest();
            (ended.code, ended.stderr)
        };
        let (code, text) = refused("no-job", &|folder| {
            fs::remove_file(folder.join("job")).unwrap()
        });
        assert_eq!(code, 102, "{text}");
        let (code, text) = refused("bad-job", &|folder| {
            fs::write(folder.join("job"), b"\x82\x01\x80").unwrap()
        });
        assert_eq!(code, 102, "{text}");
        let (code, text) = refused("new-job", &|folder| {
            fs::write(folder.join("job"), b"\x82\x02\x80").unwrap()
        });
        assert!(code == 102 && text.contains("format 2"), "{text}");
        let (code, text) = refused("no-bundle", &|folder| {
            fs::remove_file(folder.join("b/0000")).unwrap()
        });
        assert!(code == 103 && text.contains("bundle 0"), "{text}");
        let (code, text) = refused("bad-bundle", &|folder| {
            let path = folder.join("b/0000");
            let mut bytes = fs::read(&path).unwrap();
            let at = bytes.len() / 2;
            bytes[at] ^= 1;
            fs::write(path, bytes).unwrap();
        });
        assert!(
            code == 103 && text.contains("is not what it is called"),
            "{text}"
        );
        // A store that cannot be one.
        let folder = self.action("no-store", &job);
        let ended = self.run(&folder, &["--store", "/dev/null/store"]);
        assert_eq!(ended.code, 105, "{}", ended.stderr);
        for wrong in [
            &["action"][..],
            &["build", "job"],
            &["action", "a", "b"],
            &["action", "--fast"],
        ] {
            let output = Command::new(WORKER).args(wrong).output().unwrap();
            assert_eq!(output.status.code(), Some(2), "{wrong:?}");
        }
    }

    fn a_signal_ends_all(&self) {
        let folder = self.action(
            "killed",
            &self.job("echo begun; (sleep 86499 &) ; sleep 86499\n"),
        );
        let mut worker = self
            .command(&folder, &[])
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        until("the script runs", || sleepers() >= 2);
        let pid = rustix::process::Pid::from_child(&worker);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        let status = worker.wait().unwrap();
        let ended = Ended {
            code: status.code().unwrap_or(-1),
            stderr: std::io::read_to_string(worker.stderr.take().unwrap()).unwrap(),
            folder,
        };
        assert_eq!(ended.code, 110, "{}", ended.stderr);
        ended.check_rest();
        assert!(matches!(
            ended.record().outcome,
            Outcome::Infrastructure { code: 110, .. }
        ));
        assert_eq!(sleepers(), 0);
    }

    /// An ordinary user without subordinate ids: there is no way to build with less.
    fn one_id_is_refused(&self) {
        let folder = self.action("single", &self.job("true\n"));
        let began = Instant::now();
        let ended = self.run(&folder, &[]);
        assert_eq!(ended.code, 101, "{}", ended.stderr);
        assert!(ended.stderr.contains("subordinate ids"), "{}", ended.stderr);
        assert!(matches!(
            ended.record().outcome,
            Outcome::Infrastructure { code: 101, .. }
        ));
        ended.check_rest();
        println!("worker: ok (single, {:?})", began.elapsed());
    }
}

/// Adds a folder of this machine's as if root owned it.
fn add(builder: &mut mstore_store::TreeBuilder, folder: &Path, path: &str) {
    let mut names: Vec<_> = fs::read_dir(folder).unwrap().flatten().collect();
    names.sort_by_key(|entry| entry.file_name());
    for entry in names {
        let name = entry.file_name().into_string().unwrap();
        let inner = format!("{path}{name}");
        let found = entry.metadata().unwrap();
        let meta = Meta {
            // What is set for others than the owner to be, copies of an ordinary user lack.
            mode: (found.permissions().mode() & 0o1777) as u16,
            ..Meta::default()
        };
        if found.is_dir() {
            builder.dir(inner.as_bytes(), meta).unwrap();
            add(builder, &entry.path(), &format!("{inner}/"));
        } else if found.is_symlink() {
            let target = fs::read_link(entry.path()).unwrap();
            let target = target.to_str().unwrap().as_bytes();
            builder.symlink(inner.as_bytes(), meta, target).unwrap();
        } else {
            let mut file = fs::File::open(entry.path()).unwrap();
            builder.file(inner.as_bytes(), meta, &mut file).unwrap();
        }
    }
}

/// How many of the processes run that only these tests start.
fn sleepers() -> usize {
    let all = fs::read_dir("/proc").unwrap().flatten();
    all.filter(|entry| {
        let line = fs::read(entry.path().join("cmdline")).unwrap_or_default();
        line == b"sleep\x0086499\0"
    })
    .count()
}

fn until(what: &str, is: impl Fn() -> bool) {
    let began = Instant::now();
    while !is() {
        assert!(began.elapsed() < Duration::from_secs(60), "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
