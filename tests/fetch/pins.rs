//! Seeds and snapshots from outside: the lock file says from where, and brings them again and anew.

use std::fs;
use std::process::Command;

use crate::environment::Environment;
use crate::git::{git, repository};
use crate::server::{Answer, Server};
use crate::world::{sha256, spec, with};

fn lock(env: &Environment) -> String {
    fs::read_to_string(env.work().join("metro.lock")).unwrap()
}

/// An archive with one file.
fn archive(env: &Environment, text: &str) -> Vec<u8> {
    env.write("stage/etc/motd", text);
    let made = Command::new("tar")
        .args(["--sort=name", "--mtime=@1", "--owner=0", "--group=0", "-cf"])
        .args(["stage.tar", "-C", "stage", "."])
        .current_dir(env.work())
        .status();
    assert!(made.unwrap().success());
    fs::read(env.work().join("stage.tar")).unwrap()
}

#[test]
fn a_seed_by_its_address_and_hash() {
    let env = with("");
    let (one, two) = (archive(&env, "one\n"), archive(&env, "two\n"));
    let files = [one.clone(), two.clone()];
    let now = std::sync::Arc::new(std::sync::atomic::AtomicUsize::new(0));
    let which = now.clone();
    let server = Server::new(move |_, _| {
        Answer::ok(&files[which.load(std::sync::atomic::Ordering::SeqCst)])
    });
    let url = format!("{}/stage3.tar?x=y", server.url);
    let import = |hash: &str| env.run(&["seed", "import", &url, "--hash", hash]);
    let told = env.run(&["seed", "import", &url]).fails(2);
    assert!(told.contains("--hash sha256:HEX"), "{told}");
    let told = import(&sha256(&two)).fails(3);
    assert!(
        told.contains(&format!(
            "wrong hash: {} was expected, it has {}",
            sha256(&two),
            sha256(&one)
        )),
        "{told}"
    );
    assert!(!lock(&env).contains("stage3"));
    let tree = import(&sha256(&one)).ok().trim().to_owned();
    let text = lock(&env);
    assert!(
        text.contains(&format!("[section seed/stage3]\ntree: {tree}\ndate: "))
            && text.contains(&format!("url: {url}\nhash: {}\n", sha256(&one))),
        "{text}"
    );
    // The same as by hand.
    let by_hand = {
        env.write("one.tar", &one);
        env.run(&["seed", "import", "one.tar"]).ok()
    };
    assert_eq!(by_hand.trim(), tree);
    // What is there now, told and not taken, then taken.
    now.store(1, std::sync::atomic::Ordering::SeqCst);
    let before = lock(&env);
    let ran = env.run(&["lock", "--update", "stage3", "--dry-run"]);
    assert!(ran.stderr.contains("seed stage3: sha256:"), "{}", ran.all());
    assert!(ran.stderr.contains("would be sha256:"), "{}", ran.all());
    assert!(ran.stderr.contains("~ etc/motd"), "{}", ran.all());
    let _ = ran.ok();
    assert_eq!(lock(&env), before);
    let told = env.run(&["lock", "--update", "stage3", "--json"]).ok();
    let told: serde_json::Value = serde_json::from_str(&told).unwrap();
    let pin = told
        .as_array()
        .unwrap()
        .iter()
        .find(|p| p["name"] == "stage3");
    let pin = pin.unwrap();
    assert_eq!(pin["hash"], sha256(&two));
    assert_eq!(pin["update"]["before"]["hash"], sha256(&one));
    assert_eq!(pin["update"]["changes"]["paths"][0]["path"], "etc/motd");
    assert!(lock(&env).contains(&sha256(&two)));
    let ran = env.run(&["lock", "--update", "stage3"]);
    assert!(
        ran.stderr.contains("seed stage3: unchanged"),
        "{}",
        ran.all()
    );
    let _ = ran.ok();
    let seen = server.seen().len();
    let told = env
        .run(&["--offline", "lock", "--update", "stage3"])
        .fails(3);
    assert!(told.contains("the network is not to be used"), "{told}");
    assert_eq!(server.seen().len(), seen);
}

#[test]
fn a_snapshot_of_a_repository_elsewhere() {
    let env = with("");
    let [old, new] = repository(&env);
    let folder = env.work().join("repository");
    git(&folder, &["branch", "release/1", &old]);
    let url = format!("git+file://{}", folder.display());
    let import = |name: &str, more: &[&str]| {
        let words = [&["snapshot", "import", &url, "--name", name], more].concat();
        env.run(&words).ok().trim().to_owned()
    };
    let tree = import("ports", &[]);
    let released = import("released", &["--rev", "release/1", "--epoch", "1700000000"]);
    let fixed = import("fixed", &["--rev", &old]);
    let text = lock(&env);
    for section in [
        format!("[section snapshot/ports]\ntree: {tree}\n"),
        format!("url: {url}\ncommit: {new}\n"),
        format!("url: {url}\nbranch: release/1\ncommit: {old}\n"),
        format!("[section snapshot/fixed]\ntree: {fixed}\n"),
        format!("[section snapshot/released]\ntree: {released}\n"),
        "epoch: 1700000000\n".to_owned(),
    ] {
        assert!(text.contains(&section), "{section}\n{text}");
    }
    assert_ne!(released, fixed);
    // The branch goes on.
    env.write("repository/file", "newer\n");
    git(&folder, &["commit", "--quiet", "-am", "three"]);
    let newest = git(&folder, &["rev-parse", "HEAD"]);
    let ran = env.run(&["lock", "--update", "ports", "released"]);
    let expected = format!(
        "snapshot ports: commit {} before, now commit {}",
        &new[..12],
        &newest[..12]
    );
    assert!(ran.stderr.contains(&expected), "{}", ran.all());
    assert!(ran.stderr.contains("  ~ file\n"), "{}", ran.all());
    assert!(
        ran.stderr.contains("snapshot released: unchanged"),
        "{}",
        ran.all()
    );
    let _ = ran.ok();
    assert!(lock(&env).contains(&newest));
    for (words, why) in [
        (&["--rev=--upload-pack=x"][..], "neither a branch nor"),
        (&["--rev", "nosuch"], "it has no refs/heads/nosuch"),
        (&["--hash", "sha256:00"], "give one with --rev"),
    ] {
        let ran = env.run(&[&["snapshot", "import", &url], words].concat());
        assert!(ran.stderr.contains(why), "{why}: {}", ran.all());
        assert_ne!(ran.status, Some(0));
    }
}

/// On another machine with the same lock file, everything is brought from where that says.
#[test]
fn what_the_lock_file_names_is_brought_where_it_is_lacking() {
    let env = with("");
    let _ = repository(&env);
    let folder = env.work().join("repository");
    let content = archive(&env, "seed\n");
    let body = content.clone();
    let server = Server::new(move |_, _| Answer::ok(&body));
    let seed = format!("{}/base.tar", server.url);
    let _ = env
        .run(&[
            "seed",
            "import",
            &seed,
            "--name",
            "base",
            "--hash",
            &sha256(&content),
        ])
        .ok();
    let url = format!("git+file://{}", folder.display());
    let _ = env
        .run(&["snapshot", "import", &url, "--name", "ports"])
        .ok();
    let path = env.write("it.tar", "it");
    spec(
        &env,
        &format!(
            "[section snapshot]\n: ports\nreads: more\n[section fetch]\n: it\n[section fetch/it]\n\
             url: file://{}\nhash: {}\n",
            path.display(),
            sha256(b"it")
        ),
    );
    let _ = env.run(&["fetch", "t-s"]).ok();
    // Another store.
    let told = env
        .run(&["--store", "other", "fetch", "t-s", "--json"])
        .ok();
    assert!(told.contains(r#""fetched":1"#), "{told}");
    assert_eq!(server.seen().len(), 1, "a fetch needs no seed");
    let ran = env.run(&["--store", "third", "realise", "t-s"]);
    // The seed has no shell, so that the step fails; what it needs has come before.
    assert_eq!(server.seen().len(), 2, "{}", ran.all());
    assert!(ran.stderr.contains("seed base is "), "{}", ran.all());
    assert!(ran.stderr.contains("snapshot ports is "), "{}", ran.all());
    // What comes is not what the lock file has.
    let text = lock(&env);
    let other = "a".repeat(52);
    let tree = text
        .split("[section snapshot/ports]\ntree: ")
        .nth(1)
        .unwrap();
    env.write("metro.lock", text.replace(&tree[..52], &other));
    let told = env.run(&["--store", "fourth", "fetch", "t-s"]).fails(3);
    assert!(
        told.contains(&format!("the lock file has {other}")),
        "{told}"
    );
    assert!(told.contains("`mstore lock --update ports`"), "{told}");
}
