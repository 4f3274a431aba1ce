//! `mstore eval` on hostile specifications: bounded time and memory.

use std::fs;
use std::os::unix::fs::symlink;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::environment::{Environment, Ran};

/// Address space that a command gets.
const MEMORY: u64 = 1 << 30;

/// What no command may take, on a slow machine with other work.
const TIME: Duration = Duration::from_secs(30);

/// Runs a command with little memory, and ends it when it takes too long.
#[track_caller]
fn bounded(env: &Environment, arguments: &[&str]) -> Ran {
    let plain = env.command(arguments);
    let mut command = Command::new("sh");
    command
        .arg("-c")
        .arg(format!("ulimit -v {}; exec \"$0\" \"$@\"", MEMORY / 1024))
        .arg(plain.get_program())
        .args(arguments)
        .current_dir(env.work())
        .env_clear()
        .stdin(Stdio::null());
    for (name, value) in plain.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    let (out, err) = (env.work().join("../out"), env.work().join("../err"));
    command
        .stdout(fs::File::create(&out).unwrap())
        .stderr(fs::File::create(&err).unwrap());
    let started = Instant::now();
    let mut child = command.spawn().unwrap();
    let status = loop {
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        if started.elapsed() > TIME {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("{arguments:?} takes more than {TIME:?}");
        }
        std::thread::sleep(Duration::from_millis(5));
    };
    env.finish(std::process::Output {
        status,
        stdout: fs::read(out).unwrap(),
        stderr: fs::read(err).unwrap(),
    })
}

/// The class of the error that a load ends with.
#[track_caller]
fn load_error(env: &Environment, arguments: &[&str]) -> String {
    let ran = bounded(env, &[&["eval", "--json"], arguments].concat());
    assert_eq!(ran.status, Some(2), "{}", ran.all());
    let json: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    json["load_error"]["class"].as_str().unwrap().to_owned()
}

#[test]
fn a_billion_laughs() {
    let env = Environment::new();
    let mut text = String::from("a0: ha ha ha ha ha ha ha ha ha ha\nb0: [\nha ha\n]\n");
    for n in 1..100 {
        let m = n - 1;
        text.push_str(&format!("a{n}: $[a{m}]$[a{m}]$[a{m}]$[a{m}]$[a{m}]\n"));
        text.push_str(&format!("b{n}: [\n$[[b{m}]]\n$[[b{m}]]\n$[[b{m}]]\n]\n"));
    }
    text.push_str("fine: yes\n");
    env.write("metro.conf", &text);
    for key in ["a99", "b99", "a40"] {
        let ran = bounded(&env, &["eval", "--key", key]);
        assert_eq!(ran.status, Some(2));
        assert!(ran.stderr.contains("error[limit]"), "{}", ran.stderr);
        assert!(ran.stderr.len() < 10_000);
    }
    assert_eq!(bounded(&env, &["eval", "--key", "fine"]).ok(), "yes\n");
    let ran = bounded(&env, &["why", "value", "a99"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let ran = bounded(&env, &["why", "value", "b99", "--json"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let _ = bounded(&env, &["fmt", "--check"]).ok();
}

#[test]
fn enormous_lines_and_deep_nesting() {
    let env = Environment::new();
    let mut text = String::from("long: ");
    text.push_str(&"x".repeat(10 << 20));
    text.push_str("\nname");
    text.push_str(&"y".repeat(1 << 20));
    text.push_str(": z\nopen: ");
    text.push_str(&"$[".repeat(1 << 19));
    text.push('\n');
    env.write("metro.conf", &text);
    let ran = bounded(&env, &["eval", "--json"]);
    assert_eq!(ran.status, Some(0), "{}", ran.stderr);
    let ran = bounded(&env, &["eval", "--key", "open"]);
    assert_eq!(ran.status, Some(2));
    assert!(ran.stderr.len() < 10_000, "{} bytes", ran.stderr.len());
    let _ = bounded(&env, &["fmt", "--check"]);
    let _ = bounded(&env, &["check"]);
    // A chain, a chain of inclusions and a circle of a hundred thousand.
    let mut text = String::from("a0: end\nb0: [\nend\n]\n");
    for n in 1..100_000 {
        text.push_str(&format!("a{n}: $[a{}]\n", n - 1));
        text.push_str(&format!("b{n}: [\n$[[b{}]]\n]\n", n - 1));
        text.push_str(&format!("c{n}: $[c{}]\n", (n + 1) % 100_000));
    }
    text.push_str("c0: $[c1]\n");
    env.write("metro.conf", &text);
    assert_eq!(bounded(&env, &["eval", "--key", "a99999"]).ok(), "end\n");
    assert_eq!(bounded(&env, &["eval", "--key", "b99999"]).ok(), "end\n");
    let ran = bounded(&env, &["eval", "--key", "c5"]);
    assert!(ran.stderr.contains("error[circular]"));
    assert!(ran.stderr.len() < 20_000, "{} bytes", ran.stderr.len());
    assert_eq!(ran.status, Some(2));
    let _ = bounded(&env, &["why", "value", "a99999"]).ok();
}

#[test]
fn collects_in_circles() {
    let env = Environment::new();
    env.write("metro.conf", "[collect a.conf]\n");
    env.write("a.conf", "[collect b.conf]\n");
    env.write("b.conf", "[collect a.conf]\n[collect metro.conf]\n");
    assert_eq!(load_error(&env, &[]), "duplicate");
    env.write("metro.conf", "[collect $[x]]\nx: $[y]\ny: $[x]\n");
    assert_eq!(load_error(&env, &[]), "circular");
    // A file that goes on collecting itself under new names.
    env.write("metro.conf", "[collect d/x.conf]\n");
    env.write("d/x.conf", "[collect e/x.conf]\n");
    symlink(".", env.work().join("d/e")).unwrap();
    let class = load_error(&env, &[]);
    assert!(class == "bad-collect" || class == "limit", "{class}");
}

#[test]
fn what_is_no_regular_file() {
    let env = Environment::new();
    let made = Command::new("mkfifo").arg(env.work().join("pipe")).status();
    assert!(made.unwrap().success());
    symlink("ring2", env.work().join("ring")).unwrap();
    symlink("ring", env.work().join("ring2")).unwrap();
    fs::create_dir(env.work().join("folder")).unwrap();
    for path in [
        "pipe",
        "ring",
        "folder",
        "/dev/zero",
        "/dev/tty",
        "/dev/stdin",
        "none",
    ] {
        assert_eq!(load_error(&env, &["-f", path]), "cannot-open", "{path}");
        env.write("metro.conf", format!("[collect {path}]\n"));
        assert_eq!(load_error(&env, &[]), "bad-collect", "{path}");
        env.write("metro.conf", format!("v: << {path}\n"));
        let ran = bounded(&env, &["eval", "--key", "v"]);
        assert!(ran.stderr.contains("error[cannot-open]"), "{}", ran.stderr);
        // Without a terminal there is not even a device.
        if !["none", "/dev/tty"].contains(&path) {
            assert!(ran.stderr.contains("= help: "), "{}", ran.stderr);
        }
    }
}

#[test]
fn files_beyond_the_limits() {
    let env = Environment::new();
    // Sparse, so that they cost no disk.
    let sparse = |name: &str, size: u64| {
        let file = fs::File::create(env.work().join(name)).unwrap();
        file.set_len(size).unwrap();
    };
    sparse("huge.conf", (256 << 20) + 1);
    sparse("value", (16 << 20) + 1);
    assert_eq!(load_error(&env, &["-f", "huge.conf"]), "cannot-open");
    env.write("metro.conf", "[collect huge.conf]\n");
    assert_eq!(load_error(&env, &[]), "bad-collect");
    env.write("metro.conf", "v: << value\n");
    let ran = bounded(&env, &["eval", "--key", "v"]);
    assert!(ran.stderr.contains("error[cannot-open]"), "{}", ran.stderr);
}

#[test]
fn a_hundred_thousand_errors() {
    let env = Environment::new();
    env.write("metro.conf", "what is this\n".repeat(100_000));
    let ran = bounded(&env, &["eval"]);
    assert_eq!(ran.status, Some(2));
    assert!(ran.stderr.ends_with("and 99000 more errors\n"));
    assert!(ran.stderr.len() < 1 << 20);
}
