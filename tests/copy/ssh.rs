//! Through a real sshd on the loopback interface, with keys and configuration of its own.

use std::fs;
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::environment::Environment;
use crate::sshd::Sshd;
use crate::substitution::{TARGET, built, config, seeds};
use crate::support::{has, import, number, skip};

/// Starts an sshd; says so where that is not possible.
fn sshd(test: &str) -> Option<Sshd> {
    let sshd = Sshd::start(Path::new(env!("CARGO_BIN_EXE_mstore")));
    if sshd.is_none() {
        skip(test, "sshd");
    }
    sshd
}

impl Sshd {
    fn command(&self, env: &Environment, arguments: &[&str]) -> Command {
        let mut command = env.command(arguments);
        command
            .env("MSTORE_SSH", format!("ssh -F {}", self.config.display()))
            .env("SHELL", "/bin/sh");
        command
    }
}

/// Arguments that name the binary under test at the other end.
const PROGRAM: [&str; 2] = ["--remote-program", env!("CARGO_BIN_EXE_mstore")];

#[test]
fn trees_travel_in_both_directions() {
    let Some(sshd) = sshd("ssh") else {
        return;
    };
    let env = Environment::new();
    let far = env.work().join("far store");
    let tree = import(&env.store(), 1);
    let text = tree.to_string();
    let place = format!("ssh://builder{}", far.display());
    let run = |arguments: &[&str]| {
        let all = [arguments, &PROGRAM[..]].concat();
        env.finish(sshd.command(&env, &all).output().unwrap())
    };
    let first = run(&["copy", "--to", &place, &text, "--root", "sent", "--json"]).ok();
    assert!(number(&first, "bytes") > 6_000_000, "{first}");
    assert!(has(&far, tree));
    let again = run(&["copy", "--to", &place, &text, "--json"]).ok();
    assert_eq!(number(&again, "objects"), 0);
    let second = import(&far, 2);
    let text = second.to_string();
    let back = run(&["copy", "--from", &place, &text, "--json"]).ok();
    assert!(number(&back, "bytes") > 6_000_000, "{back}");
    assert!(has(&env.store(), second));
    let with_port = format!("ssh://127.0.0.1:{}{}", sshd.port, far.display());
    let again = run(&["copy", "--from", &with_port, &text, "--json"]).ok();
    assert_eq!(number(&again, "objects"), 0);
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
    let far = far.display().to_string();
    assert!(
        env.run(&["store", "verify", "--store", &far])
            .ok()
            .contains("no fault")
    );
}

#[test]
fn a_forced_command_decides() {
    let Some(sshd) = sshd("forced commands") else {
        return;
    };
    let env = Environment::new();
    let tree = import(&env.store(), 1).to_string();
    let other = import(&env.work().join("there"), 2).to_string();
    let there = env.work().join("there").display().to_string();
    let top = sshd.config.parent().unwrap();
    let key = fs::read_to_string(top.join("user.pub")).unwrap();
    let force = |more: &str| {
        let program = env!("CARGO_BIN_EXE_mstore");
        let command = format!("{program} --store {there} serve --stdio {more}");
        fs::write(
            top.join("authorized"),
            format!("command=\"{command}\",restrict {key}"),
        )
        .unwrap();
    };
    let run = |arguments: &[&str]| env.finish(sshd.command(&env, arguments).output().unwrap());
    // Another store, another program, other options: nothing that the sender asks for has a say.
    let elsewhere = env.work().join("elsewhere");
    let place = format!("ssh://builder{}", elsewhere.display());
    let mark = env.work().join("mark");
    let program = format!("touch {} #", mark.display());
    force("--read-only");
    let push = [
        "copy",
        "--to",
        &place,
        &tree,
        "--root",
        "sent",
        "--remote-program",
        &program,
        "--trust-unsigned",
    ];
    let refused = run(&push).fails(3);
    assert!(refused.contains("--read-only"), "{refused}");
    let got = run(&["copy", "--from", &place, &other, "--json"]).ok();
    assert!(number(&got, "bytes") > 6_000_000, "{got}");
    force("");
    run(&push).ok();
    assert!(has(Path::new(&there), tree.parse().unwrap()));
    assert!(!elsewhere.exists() && !mark.exists());
    // Nor does a shell.
    let mut shell = Command::new("ssh");
    shell.args([
        "-F",
        &sshd.config.display().to_string(),
        "builder",
        &format!("touch {}", mark.display()),
    ]);
    let output = shell.stdin(Stdio::null()).output().unwrap();
    assert!(!mark.exists(), "{output:?}");
}

#[test]
fn what_goes_wrong_is_told() {
    let Some(sshd) = sshd("ssh") else {
        return;
    };
    let env = Environment::new();
    let tree = import(&env.store(), 1).to_string();
    let place = format!("ssh://builder{}", env.work().join("far").display());
    let run = |arguments: &[&str]| env.finish(sshd.command(&env, arguments).output().unwrap());
    let absent = run(&[
        "copy",
        "--to",
        &place,
        &tree,
        "--remote-program",
        "/nowhere/mstore",
    ]);
    assert!(absent.fails(3).contains("not installed there"));
    let other = run(&["copy", "--to", &place, &tree, "--remote-program", "echo"]);
    assert!(other.fails(3).contains("does not answer as mstore does"));
    let nobody = run(&["copy", "--to", "ssh://127.0.0.1:1/x", &tree]);
    assert!(nobody.fails(3).contains("could not connect"));
}

#[test]
fn what_comes_in_place_of_a_hello_is_told_every_time() {
    let env = Environment::new();
    let tree = import(&env.store(), 1).to_string();
    let far = env.work().join("far");
    let serve = format!(
        "exec {} serve --stdio --store {}",
        env!("CARGO_BIN_EXE_mstore"),
        far.display()
    );
    let copy = |script: &str| {
        let ssh = env.write("ssh", format!("#!/bin/sh\n{script}\n"));
        fs::set_permissions(&ssh, fs::Permissions::from_mode(0o755)).unwrap();
        let mut command = env.command(&["copy", "--to", "ssh://builder7", &tree]);
        command.env("MSTORE_SSH", &ssh).stdin(Stdio::null());
        let began = Instant::now();
        let ran = env.finish(command.output().unwrap());
        let took = began.elapsed();
        assert!(took < Duration::from_secs(20), "{script}: {took:?}");
        ran
    };
    copy(&serve).ok();
    for (script, tells) in [
        (
            format!("printf 'Welcome to builder7,\\r\\n 3 updates.\\n'; {serve}"),
            "before mstore answers; make it print nothing for sessions without a terminal; \
             it printed: Welcome to builder7, 3 updates.",
        ),
        (format!("printf '> '; {serve}"), "it printed: >"),
        ("printf '$ '; exec cat >/dev/null".into(), "it printed: $"),
        ("printf '$ '; exec sleep 60".into(), "it printed: $"),
        ("exec yes hello".into(), "it printed: hello hello hello"),
        (
            "printf '\\033]0;owned\\007x'; exit 1".into(),
            "printed: ]0;ownedx",
        ),
        ("echo not here; exit 127".into(), "not installed there"),
        ("echo not here; exit 127".into(), "it printed: not here"),
        ("exit 0".into(), "broke off"),
    ] {
        let told = copy(&script).fails(3);
        assert!(told.contains(tells), "{script}: {told}");
        assert!(!told.contains('\u{1b}'), "{script}: {told}");
    }
    // Whether our hello can still be written is a matter of luck.
    for _ in 0..15 {
        let told = copy("echo This account is currently not available.; exit 1").fails(3);
        let tells =
            "does not answer as mstore does; it printed: This account is currently not available.";
        assert!(told.contains(tells), "{told}");
    }
}

#[test]
fn a_killed_copy_goes_on_where_it_stopped() {
    let Some(sshd) = sshd("ssh") else {
        return;
    };
    let env = Environment::new();
    let far = env.work().join("far");
    // Larger than a part.
    let dir = tempfile::tempdir_in("/var/tmp").unwrap();
    for at in 0..150u64 {
        fs::write(
            dir.path().join(format!("f{at}")),
            crate::support::noise(at, 1 << 20),
        )
        .unwrap();
    }
    let store =
        mstore_store::Store::open(&env.store(), &mstore_store::OpenOptions::create()).unwrap();
    let tree = store
        .import_dir(dir.path(), &Default::default())
        .unwrap()
        .tree;
    store.add_root("sample", tree).unwrap();
    drop(store);
    let place = format!("ssh://builder{}", far.display());
    let text = tree.to_string();
    let arguments = [&["copy", "--to", &place, &text, "--json"][..], &PROGRAM[..]].concat();
    let mut child = sshd
        .command(&env, &arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let packs = || fs::read_dir(far.join("packs")).map_or(0, Iterator::count);
    let until = Instant::now() + Duration::from_secs(60);
    while packs() == 0 && child.try_wait().unwrap().is_none() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().unwrap();
    child.wait().unwrap();
    assert!(packs() > 0);
    let again = env
        .finish(sshd.command(&env, &arguments).output().unwrap())
        .ok();
    let bytes = number(&again, "bytes");
    assert!(bytes < 100 << 20, "{bytes} travelled again");
    assert!(has(&far, tree));
    let far = far.display().to_string();
    assert!(
        env.run(&["store", "verify", "--store", &far])
            .ok()
            .contains("no fault")
    );
}

#[test]
fn a_store_behind_ssh_is_a_cache() {
    let env = Environment::new();
    let Some(sshd) = sshd("a cache over ssh") else {
        return;
    };
    let Some((release, other)) = built(&env) else {
        return;
    };
    env.run(&[
        "key",
        "sign",
        "--store",
        "far",
        "--key",
        "release.key",
        TARGET,
    ])
    .ok();
    let far = env.work().join("far").display().to_string();
    let good = format!("ssh://127.0.0.1:{}{far}", sshd.port);
    let realise = |store: &str, more: &[&str]| {
        let first = [
            "realise",
            "--config",
            "mstore.conf",
            "--store",
            store,
            "--json",
            TARGET,
        ];
        let began = Instant::now();
        let ran = env.finish(
            sshd.command(&env, &[&first[..], more].concat())
                .output()
                .unwrap(),
        );
        (ran, began.elapsed())
    };
    // Both keys signed it there.
    config(&env, &[("far", &good)], &[&release, &other], 2);
    let (ran, _) = realise("one", &[]);
    assert_eq!(ran.stderr.matches("cache").count(), 0, "{}", ran.all());
    let line = ran.ok();
    assert_eq!(number(&line, "built"), 0, "{line}");
    assert!(number(&line, "substituted") > 3, "{line}");
    let tree = |json: &str| {
        let value: serde_json::Value = serde_json::from_str(json).unwrap();
        value["tree"].as_str().unwrap().to_owned()
    };
    let there = env
        .run(&["realise", "--store", "far", "--json", TARGET])
        .ok();
    assert_eq!(tree(&line), tree(&there));
    let verified = env.run(&["store", "verify", "--store", "one"]).ok();
    assert!(verified.contains("no fault"), "{verified}");
    // Where it was built is told, since its log is there.
    let log = env.run(&["log", "--store", "one", TARGET]).fails(2);
    assert!(log.contains("its log stayed there"), "{log}");
    // A stranger's key, and one signature of two.
    let third = ["key", "generate", "third", "--out", "third.key"];
    let third = env.run(&third).ok().trim().to_owned();
    let strange = format!("release:{}", other.split_once(':').unwrap().1);
    for (keys, need, says) in [
        (vec![&*strange], 1, "wrong signature of release"),
        (vec![&*release, &*third], 2, "trusted"),
    ] {
        config(&env, &[("far", &good)], &keys, need);
        seeds(&env, "two");
        let (ran, _) = realise("two", &["-n"]);
        assert!(ran.stderr.contains(says), "{}", ran.all());
        assert!(ran.ok().contains("\"substituted\":[]"));
    }
}

#[test]
fn a_cache_behind_ssh_that_fails_is_passed_over() {
    let env = Environment::new();
    let Some(sshd) = sshd("failing caches over ssh") else {
        return;
    };
    let Some((release, _)) = built(&env) else {
        return;
    };
    let good = env.work().join("cache").display().to_string();
    // What is taken for mstore at the other end fails in a way that the folder of the store names.
    let program = sshd.config.with_file_name("bin").join("mstore");
    fs::remove_file(&program).unwrap();
    let script = "#!/bin/sh\ncase \"$*\" in\n\
         *hanging) exec sleep 20 ;;\n\
         *mute) printf '\\001\\016\\000\\000\\000mstore wire 1\\n'; exec sleep 20 ;;\n\
         *babbling) exec head -c 1000000 /dev/urandom ;;\n\
         *leaving) exit 0 ;;\n*) exit 127 ;;\nesac\n";
    fs::write(&program, script).unwrap();
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
    let there = |name: &str| format!("ssh://127.0.0.1:{}/{name}", sshd.port);
    let mut caches: Vec<(&str, String)> = ["hanging", "mute", "babbling", "leaving", "absent"]
        .map(|name| (name, there(name)))
        .to_vec();
    // One that takes connections and says nothing, one that refuses them, one that knows no such user.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = silent.local_addr().unwrap().port();
    caches.push(("silent", format!("ssh://127.0.0.1:{port}/x")));
    caches.push(("refusing", "ssh://127.0.0.1:1/x".to_owned()));
    let stranger = format!("ssh://nobody-like-that@127.0.0.1:{}/x", sshd.port);
    caches.push(("stranger", stranger));
    let mut all: Vec<(&str, &str)> = caches.iter().map(|(n, u)| (*n, &**u)).collect();
    all.push(("main", &good));
    config(&env, &all, &[&release], 1);
    let arguments = [
        "realise",
        "--config",
        "mstore.conf",
        "--store",
        "one",
        "--json",
        TARGET,
    ];
    let began = Instant::now();
    let ran = env.finish(sshd.command(&env, &arguments).output().unwrap());
    let took = began.elapsed();
    for (name, _) in &caches {
        let told = format!("cache {name} is not used any more in this run");
        assert_eq!(
            ran.stderr.matches(&told).count(),
            1,
            "{name}: {}",
            ran.all()
        );
    }
    let lines = ran.stderr.lines().filter(|line| line.contains("cache"));
    assert_eq!(lines.count(), caches.len(), "{}", ran.all());
    let line = ran.ok();
    assert_eq!(number(&line, "built"), 0, "{line}");
    assert!(number(&line, "substituted") > 3, "{line}");
    assert!(took < Duration::from_secs(30), "{took:?}");
}
