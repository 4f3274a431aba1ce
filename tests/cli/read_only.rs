//! Commands that only ask: none makes a store, or needs none that can be written.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::Command;

use super::environment::{Environment, Ran};
use super::hashes;

const ASKING: &[&[&str]] = &[
    &["list", "targets"],
    &["eval", "target"],
    &["show", "seedling/x86-64bit/generic_64/stage1"],
    &["graph", "seedling/x86-64bit/generic_64/stage1"],
    &["lock"],
    &[
        "realise",
        "--dry-run",
        "seedling/x86-64bit/generic_64/stage1",
    ],
    &["log", "seedling/x86-64bit/generic_64/stage1"],
    &["store", "verify"],
];

#[test]
fn asking_makes_no_store() {
    let env = Environment::new();
    for command in ASKING {
        let ran = env.run(command);
        assert!(
            !ran.stderr.contains("read-only") && !ran.stderr.contains("database"),
            "{command:?}: {}",
            ran.all()
        );
        assert!(!env.store().exists(), "{command:?}");
    }
    let text = env.run(&["store", "verify"]).fails(2);
    assert_eq!(
        text,
        "error: no store at $TEST/store\n\
         hint: `mstore realise` makes it; another one is given by --store DIR\n"
    );
}

/// Runs commands on a store that cannot be written: as root in a mount namespace in which it is bound
/// read-only, as others after its folders were made read-only.
struct Locked<'a> {
    env: &'a Environment,
    folders: Vec<std::path::PathBuf>,
}

impl Locked<'_> {
    fn new(env: &Environment) -> Locked<'_> {
        let mut folders = Vec::new();
        if !rustix::process::geteuid().is_root() {
            fn gather(path: &Path, folders: &mut Vec<std::path::PathBuf>) {
                for entry in fs::read_dir(path).unwrap().flatten() {
                    if entry.file_type().unwrap().is_dir() {
                        gather(&entry.path(), folders);
                    }
                }
                folders.push(path.to_owned());
            }
            gather(&env.store(), &mut folders);
            for folder in &folders {
                fs::set_permissions(folder, fs::Permissions::from_mode(0o555)).unwrap();
            }
        }
        Locked { env, folders }
    }

    /// `None` where root may not make a mount namespace.
    fn run(&self, arguments: &[&str]) -> Option<Ran> {
        if !rustix::process::geteuid().is_root() {
            return Some(self.env.run(arguments));
        }
        let plain = self.env.command(arguments);
        let store = self.env.store();
        let mut command = Command::new("unshare");
        command
            .args(["-m", "sh", "-c"])
            .arg("mount --bind \"$0\" \"$0\" && mount -o remount,bind,ro \"$0\" || exit 99\nexec \"$@\"")
            .arg(&store)
            .arg(plain.get_program())
            .args(plain.get_args())
            .current_dir(self.env.work())
            .env_clear();
        for (name, value) in plain.get_envs() {
            command.env(name, value.unwrap_or_default());
        }
        let output = command.output().ok()?;
        if output.status.code() == Some(99) {
            println!(
                "skipped: no mounts here: {}",
                String::from_utf8_lossy(&output.stderr)
            );
            return None;
        }
        Some(self.env.finish(output))
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        for folder in self.folders.iter().rev() {
            let _ = fs::set_permissions(folder, fs::Permissions::from_mode(0o755));
        }
    }
}

/// Every file of a folder with what a change of it would change.
fn snapshot(folder: &Path) -> Vec<(String, u64, i64)> {
    let mut all = Vec::new();
    let mut todo = vec![folder.to_owned()];
    while let Some(path) = todo.pop() {
        for entry in fs::read_dir(&path).unwrap().flatten() {
            let meta = entry.metadata().unwrap();
            let name = entry.path().display().to_string();
            // SQLite keeps these beside a database that is open.
            if name.ends_with("-shm") || name.ends_with("-wal") {
                continue;
            }
            let time = std::os::unix::fs::MetadataExt::mtime_nsec(&meta);
            all.push((name, meta.len(), time));
            if meta.is_dir() {
                todo.push(entry.path());
            }
        }
    }
    all.sort();
    all
}

#[test]
fn a_store_that_cannot_be_written_can_be_used() {
    let hashes::World { env, steps } = hashes::world();
    let target = "stage1-one";
    let tree = &steps[1].2;
    let before = snapshot(&env.store());
    let store = Locked::new(&env);
    let Some(first) = store.run(&["realise", target]) else {
        return;
    };
    // Nothing is to be built.
    assert_eq!(first.status, Some(0), "{}", first.all());
    assert_eq!(first.stdout, format!("{target} {tree}\n"));
    assert!(
        first.stderr.contains("nothing to do: 2 steps up to date"),
        "{}",
        first.stderr
    );
    let run = |arguments: &[&str]| store.run(arguments).unwrap();
    let json = run(&["realise", "--json", target]).ok();
    let json: serde_json::Value = serde_json::from_str(&json).unwrap();
    assert_eq!(
        (&json["tree"], &json["built"]),
        (&tree.as_str().into(), &0.into())
    );
    assert!(json.get("path").is_none());
    assert_eq!(
        run(&["realise", "-n", target]).ok(),
        "would reuse 2 steps\n"
    );
    // What asks is answered.
    for command in [
        &["list"][..],
        &["show", target],
        &["show", &steps[0].1[..6]],
        &["graph", target],
        &["why", "rebuild", target],
        &["why", "alive", &tree[..6]],
        &["log", target],
        &["log", "--attempts", target],
        &["lock"],
        &["gc", "--dry-run"],
        &["store", "ls", target],
        &["store", "cat", &format!("{target}:made/by")],
        &["store", "stat", &format!("{target}:made/by")],
        &["store", "du", target],
        &["store", "find", "by"],
        &["store", "info"],
        &["store", "root", "list"],
        &["store", "verify"],
        &["export", target, "-o", "x.tar"],
        &["copy", "--to", "other", target],
        &["copy", "--to", "cache", "--cache", target],
    ] {
        let ran = run(command);
        assert_eq!(ran.status, Some(0), "{command:?}: {}", ran.all());
    }
    let ran = run(&["diff", target, "stage1-two"]);
    assert_eq!(ran.status, Some(1), "{}", ran.all());
    // What has to write says so.
    for (command, says) in [
        (
            &["realise", "stage1-two"][..],
            "this has to be built: stage1-two:run",
        ),
        (
            &["realise", "--check", target],
            "a check builds everything a second time",
        ),
        (&["gc"], "read-only"),
        (&["store", "path", target], "read-only"),
        (&["store", "root", "add", "x", target], "read-only"),
        (&["store", "repack"], "cannot write"),
    ] {
        let ran = run(command);
        assert!(
            ran.stderr
                .contains("hint: run it as the user that the store belongs to"),
            "{command:?} {}",
            ran.all()
        );
        assert!(ran.fails(3).contains(says), "{command:?}");
    }
    let error = run(&["realise", "stage1-two"]).fails(3);
    insta::assert_snapshot!(error, @r"
    error: the store $TEST/store may not be written, and this has to be built: stage1-two:run
    hint: run it as the user that the store belongs to, and where it is mounted for writing
    hint: or use a store of your own, --store DIR, with $TEST/store among its caches (doc/caches.md)
    ");
    drop(store);
    assert_eq!(snapshot(&env.store()), before, "something was written");
    // Once somebody had it written out its folder is named.
    let out = env.run(&["store", "path", target]).ok();
    let store = Locked::new(&env);
    let ran = store.run(&["store", "path", target]).unwrap();
    assert_eq!(ran.ok(), out);
    assert!(out.contains("/views/"), "{out}");
}
