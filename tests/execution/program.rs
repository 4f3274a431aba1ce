//! The program itself: `mstore realise --executor`.

use std::fs;

use tonic::Code;

use crate::environment::Environment;
use crate::fake::{Fake, Fault};
use crate::place::pretend;

/// A distribution of one target with two steps over a seed, for this machine.
fn environment() -> Environment {
    let env = Environment::new();
    let machine = mstore::build::host::machine();
    env.write(
        "metro.conf",
        format!(
            "list/builds: demo\nlist/arches: home\nlist/subarches/home: a\nlist/targets: stage1\ndefault/build: demo\n\
             target/version: 1\ntarget/platform: {machine}\nsource: seed\nsource/seed: base\n\
             steps/chroot: first second\n\
             steps/chroot/first: [\ntrue\n]\nsteps/chroot/second: [\nfalse\n]\n"
        ),
    );
    let seed = env.work().join("base");
    fs::create_dir_all(seed.join("etc")).unwrap();
    fs::write(seed.join("etc/word"), "hello").unwrap();
    let packed = std::process::Command::new("tar")
        .args(["-cf", "base.tar", "-C", "base", "."])
        .current_dir(env.work())
        .status()
        .unwrap();
    assert!(packed.success());
    let _ = env.run(&["seed", "import", "base.tar"]).ok();
    // What stands for the worker's program: nobody runs it.
    env.write(
        "mstore.conf",
        format!("reapi/worker/{machine}: /bin/true\nreapi/inflight: 4\n"),
    );
    env
}

fn fake(
    env: &Environment,
    fault: impl Fn(&str, usize) -> Option<Fault> + Send + Sync + 'static,
) -> Fake {
    let worker = env.work().join("worker-store");
    Fake::start(0, move |folder| pretend(&worker, folder), fault)
}

fn realise(env: &Environment, fake: &Fake, more: &[&str]) -> crate::environment::Ran {
    let url = fake.url();
    let mut words = vec![
        "realise",
        "stage1-a",
        "--config",
        "mstore.conf",
        "--executor",
        &url,
    ];
    words.extend(more);
    env.run(&words)
}

#[test]
fn a_target_is_built_by_an_engine_and_built_again_to_compare() {
    let env = environment();
    let fake = fake(&env, |_, _| None);
    let ran = realise(&env, &fake, &["--checkout", "out"]);
    let told = ran.stderr.clone();
    let _ = ran.ok();
    assert_eq!(
        fs::read(env.work().join("out/made")).unwrap(),
        b"by a worker"
    );
    assert!(
        told.contains(&format!("host main@{}: sent", fake.address)),
        "{told}"
    );
    assert_eq!(fake.state.count("execute"), 2);
    // All is there: nobody is asked.
    let calls = fake.state.calls.lock().unwrap().len();
    let _ = realise(&env, &fake, &[]).ok();
    assert_eq!(fake.state.calls.lock().unwrap().len(), calls);
    // Compared without any cache.
    let ran = realise(&env, &fake, &["--check"]);
    assert_eq!(ran.status, Some(0), "{}", ran.all());
    assert_eq!(
        (fake.state.count("execute"), fake.state.count("cached")),
        (4, 2)
    );
}

#[test]
fn a_failed_step_is_counted_and_a_refused_property_ends_the_run_with_its_remedy() {
    let env = environment();
    let fails = fake(&env, |call, _| (call == "execute").then_some(Fault::Fails));
    let ran = realise(&env, &fails, &[]);
    assert_eq!(ran.status, Some(1), "{}", ran.all());
    assert!(ran.stderr.contains("exit status 7"), "{}", ran.all());
    let refuses = fake(&env, |call, _| {
        (call == "execute").then_some(Fault::Status(Code::InvalidArgument))
    });
    let ran = realise(&env, &refuses, &[]);
    assert_eq!(ran.status, Some(3), "{}", ran.all());
    assert!(
        ran.stderr.contains("hint:") && ran.stderr.contains("reapi/property"),
        "{}",
        ran.all()
    );
    assert!(ran.stderr.contains(&refuses.url()), "{}", ran.all());
}

/// As BuildGrid does where its longest time for an action was not raised: a step without a limit is sent with 48 hours.
#[test]
fn an_engine_whose_longest_time_is_shorter_is_told_of_with_the_remedy() {
    let env = environment();
    let fake = fake(&env, |call, _| {
        let text = "Action timeout is larger than the server's maximum execution timeout";
        (call == "execute").then_some(Fault::Refused(Code::InvalidArgument, text))
    });
    let ran = realise(&env, &fake, &[]);
    assert_eq!(ran.status, Some(3), "{}", ran.all());
    let hint = ran.stderr.lines().find(|line| line.starts_with("hint:"));
    let hint = hint.unwrap_or_else(|| panic!("{}", ran.all()));
    for word in ["max-execution-timeout", "policy/timeout", "48 hours"] {
        assert!(hint.contains(word), "{hint}");
    }
    assert!(
        ran.stderr.contains("Action timeout is larger"),
        "{}",
        ran.all()
    );
    assert_eq!(fake.state.count("execute"), 1);
}

#[test]
fn the_longest_path_comes_first() {
    let env = environment();
    let fake = fake(&env, |_, _| None);
    *fake.state.range.lock().unwrap() = Some((0, 100));
    let _ = realise(&env, &fake, &[]).ok();
    let priorities = fake.state.priorities.lock().unwrap().clone();
    let [Some(first), Some(second)] = priorities[..] else {
        panic!("{priorities:?}");
    };
    assert_eq!(first, 0);
    assert!((1..=100).contains(&second), "{second}");
}

#[test]
fn dpb_builds_on_an_engine_too() {
    let env = environment();
    let fake = fake(&env, |_, _| None);
    let url = fake.url();
    let config = ["--config", "mstore.conf"];
    let ran = env.run(
        &[
            &["dpb", "-L", "logs", "--executor", &url, "stage1-a"][..],
            &config,
        ]
        .concat(),
    );
    assert_eq!(ran.status, Some(0), "{}", ran.all());
    assert_eq!(fake.state.count("execute"), 2);
    let log = fs::read_to_string(env.work().join("logs/build.log")).unwrap();
    assert!(log.contains("stage1-a"), "{log}");
}

#[test]
fn an_engine_that_loses_a_step_three_times_is_reported() {
    let env = environment();
    let fake = fake(&env, |call, _| {
        (call == "execute").then_some(Fault::OtherKey)
    });
    let ran = realise(&env, &fake, &[]);
    assert_eq!(ran.status, Some(3), "{}", ran.all());
    assert!(ran.stderr.contains("its record is about"), "{}", ran.all());
    assert_eq!(fake.state.count("execute"), 3);
}

#[test]
fn what_is_no_address_is_a_mistake_and_plain_travel_is_refused() {
    let env = environment();
    let run = |url: &str| env.run(&["realise", "stage1-a", "--executor", url]);
    let said = run("http://farm").fails(2);
    assert!(said.contains("--executor"), "{said}");
    let ran = run("reapi://farm.example:1/x");
    assert_eq!(ran.status, Some(3), "{}", ran.all());
    assert!(ran.stderr.contains("reapi/insecure"), "{}", ran.all());
}

/// Waits until something is so.
#[track_caller]
fn until(is_so: impl Fn() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(began.elapsed().as_secs() < 60, "it is never so");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

fn send(child: &std::process::Child, signal: rustix::process::Signal) {
    let pid = rustix::process::Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap();
    rustix::process::kill_process(pid, signal).unwrap();
}

#[test]
fn a_run_that_was_killed_is_gone_on_with() {
    let env = environment();
    let fake = fake(&env, |call, count| {
        (call == "execute" && count == 0).then_some(Fault::Held)
    });
    let url = fake.url();
    let words = [
        "realise",
        "stage1-a",
        "--config",
        "mstore.conf",
        "--executor",
        &url,
    ];
    let mut first = env.command(&words).spawn().unwrap();
    until(|| !fake.state.operations.lock().unwrap().is_empty());
    // Its name is written down as soon as it is known.
    let known = || {
        let options = mstore_store::OpenOptions::read_only();
        let store = mstore_store::Store::open(&env.store(), &options).unwrap();
        let settings = mstore::schedule::reapi::Settings::new(url.parse().unwrap());
        let cache = fake.state.cache.lock().unwrap();
        // The first action is the one with an operation.
        let blobs = fake.state.blobs.lock().unwrap();
        cache.keys().any(|action| {
            let action = format!("{action}/{}", blobs[action].len());
            let engine = settings.address.to_string();
            store.operation(&engine, &action).unwrap().is_some()
        })
    };
    until(known);
    first.kill().unwrap();
    first.wait().unwrap();
    // The engine has done it by now, and nobody asks for it again.
    let ran = realise(&env, &fake, &["--checkout", "out"]);
    assert_eq!(ran.status, Some(0), "{}", ran.all());
    assert_eq!(
        fs::read(env.work().join("out/made")).unwrap(),
        b"by a worker"
    );
    assert_eq!(
        (fake.state.count("wait"), fake.state.count("execute")),
        (1, 2)
    );
    assert!(!known());
}

#[test]
fn whoever_leaves_cancels_what_runs_at_the_engine() {
    let env = environment();
    let fake = fake(&env, |call, _| (call == "execute").then_some(Fault::Queued));
    let url = fake.url();
    let words = [
        "realise",
        "stage1-a",
        "--config",
        "mstore.conf",
        "--executor",
        &url,
    ];
    let mut command = env.command(&words);
    let child = command
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    until(|| !fake.state.operations.lock().unwrap().is_empty());
    // The first asks that what runs ends in its time, the second that it ends now.
    send(&child, rustix::process::Signal::INT);
    std::thread::sleep(std::time::Duration::from_millis(300));
    send(&child, rustix::process::Signal::INT);
    let ran = env.finish(child.wait_with_output().unwrap());
    assert_eq!(ran.status, Some(130), "{}", ran.all());
    assert_eq!(fake.state.count("cancel"), 1);
    assert!(fake.state.operations.lock().unwrap().is_empty());
}

/// The worker's program itself builds what the engine is given, in its sandbox: the trees are those of this machine.
#[test]
fn an_engine_s_worker_builds_the_same_trees() {
    if !rustix::process::geteuid().is_root() {
        // The worker wants several ids.
        return;
    }
    let here = environment();
    crate::base::make_base(&here.work().join("root"));
    let packed = std::process::Command::new("tar")
        .args(["-cf", "root.tar", "-C", "root", "."])
        .current_dir(here.work())
        .status()
        .unwrap();
    assert!(packed.success());
    let archive = fs::read(here.work().join("root.tar")).unwrap();
    let ready = |env: &Environment| {
        let config = fs::read_to_string(env.work().join("metro.conf")).unwrap();
        let config = config.replace("\ntrue\n", "\necho one > /one\n");
        let config = config.replace("\nfalse\n", "\ncat /one > /two\necho said\n");
        env.write("metro.conf", config.replace("seed: base", "seed: root"));
        // The worker's program for this machine lies beside mstore.
        env.write("mstore.conf", "reapi/inflight: 4\n");
        env.write("root.tar", &archive);
        let _ = env.run(&["seed", "import", "root.tar"]).ok();
    };
    let words = ["realise", "stage1-a", "--config", "mstore.conf", "--json"];
    let tree = |ran: crate::environment::Ran| {
        let line: serde_json::Value = serde_json::from_str(&ran.ok()).unwrap();
        line["tree"].as_str().unwrap().to_owned()
    };
    ready(&here);
    let local = tree(here.run(&words));
    let fake = Fake::start(
        0,
        |folder| {
            let worker = std::process::Command::new(folder.join("mstore-worker"))
                .args(["action", "job"])
                .current_dir(folder)
                .env_clear()
                .output()
                .unwrap();
            worker.status.code().unwrap()
        },
        |_, _| None,
    );
    let other = environment();
    ready(&other);
    let url = fake.url();
    let remote = tree(other.run(&[&words[..], &["--executor", &url]].concat()));
    assert_eq!(remote, local);
    assert_eq!(fake.state.count("execute"), 2);
    assert!(other.run(&["log", "stage1-a:second"]).ok().contains("said"));
    // A third, which builds here, and looks at what both say of the steps.
    let ran = other.run(&["realise", "stage1-a", "--check"]);
    assert_eq!(ran.status, Some(0), "{}", ran.all());
}
