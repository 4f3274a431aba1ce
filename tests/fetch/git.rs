//! Commits of git repositories elsewhere.

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use mstore_store::{OpenOptions, Store};

use crate::environment::Environment;
use crate::world::{spec, with};

/// Runs git in a folder, with an identity and no settings.
pub fn git(folder: &Path, arguments: &[&str]) -> String {
    let output = Command::new("git")
        .args(arguments)
        .current_dir(folder)
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_AUTHOR_NAME", "A")
        .env("GIT_AUTHOR_EMAIL", "a@example.org")
        .env("GIT_COMMITTER_NAME", "A")
        .env("GIT_COMMITTER_EMAIL", "a@example.org")
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap().trim().to_owned()
}

/// Makes a repository with two commits; gives both, the older first.
pub fn repository(env: &Environment) -> [String; 2] {
    let folder = env.work().join("repository");
    env.write("repository/file", "old\n");
    git(&folder, &["init", "--quiet", "--initial-branch=main"]);
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "--quiet", "-m", "one"]);
    let old = git(&folder, &["rev-parse", "HEAD"]);
    env.write("repository/file", "new\n");
    env.write("repository/more/file", "more\n");
    git(&folder, &["add", "."]);
    git(&folder, &["commit", "--quiet", "-m", "two"]);
    [old, git(&folder, &["rev-parse", "HEAD"])]
}

fn section(url: &str, commit: &str, more: &str) -> String {
    format!("[section fetch]\n: src\n[section fetch/src]\nurl: {url}\ncommit: {commit}\n{more}")
}

/// The tree that was fetched, and a file of it.
fn tree(env: &Environment) -> (String, String) {
    let shown = env.run(&["show", "t-s", "--json"]).ok();
    let shown: serde_json::Value = serde_json::from_str(&shown).unwrap();
    let target = if shown.is_array() { &shown[0] } else { &shown };
    let inputs = target["steps"][0]["inputs"].as_array().unwrap();
    let input = inputs.iter().find(|i| i["role"] == "folder").unwrap();
    assert_eq!(input["at"], "/mstore/fetch/src");
    let tree = input["tree"].as_str().unwrap().to_owned();
    let store = Store::open(&env.store(), &OpenOptions::read_only()).unwrap();
    let entry = store.entry(tree.parse().unwrap(), "file").unwrap().unwrap();
    let mstore_store::Kind::File { blob, .. } = entry.kind else {
        panic!("not a file")
    };
    let text = String::from_utf8(store.blob(blob).unwrap()).unwrap();
    (tree, text)
}

#[test]
fn a_commit_is_fetched_by_its_hash() {
    let env = with("");
    let [old, new] = repository(&env);
    let url = format!("git+file://{}/repository", env.top() + "/work");
    spec(&env, &section(&url, &new, ""));
    let _ = env.run(&["fetch", "t-s"]).ok();
    let (tree_new, text) = tree(&env);
    assert_eq!(text, "new\n");
    // One that no branch points to.
    spec(&env, &section(&url, &old, ""));
    let _ = env.run(&["fetch", "t-s"]).ok();
    assert_eq!(tree(&env).1, "old\n");
    // The same tree as an import by hand.
    let imported = env.run(&["snapshot", "import", "repository", "--rev", &new]);
    assert_eq!(imported.ok().trim(), tree_new);
    // The tree may be said as well.
    let said = format!("tree: {tree_new}\n");
    spec(&env, &section(&url, &new, &said));
    let _ = env.run(&["fetch", "t-s"]).ok();
    spec(&env, &section(&url, &old, &said));
    let told = env.run(&["fetch", "t-s"]).fails(3);
    assert!(
        told.contains(&format!("and {tree_new} was expected")),
        "{told}"
    );
    let none = "0123456789012345678901234567890123456789";
    spec(&env, &section(&url, none, ""));
    let told = env.run(&["fetch", "t-s"]).fails(3);
    assert!(told.contains(none), "{told}");
    spec(
        &env,
        &section("git+file:///nowhere/at/all", &new, "# again\n"),
    );
    let _ = env.run(&["fetch", "t-s"]).ok();
}

/// A repository's own settings and hooks, and those of whoever calls, have no say.
#[test]
fn nothing_of_a_repository_or_a_caller_is_run() {
    let env = with("");
    let [_, new] = repository(&env);
    let mark = env.work().join("ran");
    let touch = format!("touch {}", mark.display());
    let folder = env.work().join("repository");
    git(&folder, &["config", "uploadpack.packObjectsHook", &touch]);
    git(&folder, &["config", "core.fsmonitor", &touch]);
    let url = format!("git+file://{}", folder.display());
    spec(&env, &section(&url, &new, ""));
    env.write(
        "config",
        format!("[core]\n\tsshCommand = {touch}\n[uploadpack]\n\tpackObjectsHook = {touch}\n"),
    );
    let output = env
        .command(&["fetch", "t-s"])
        .env("GIT_CONFIG_GLOBAL", env.work().join("config"))
        .env("GIT_DIR", "/nowhere")
        .env("GIT_SSH_COMMAND", &touch)
        .output()
        .unwrap();
    let _ = env.finish(output).ok();
    assert!(!mark.exists());
}

struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn over_the_protocol_of_git() {
    let program = Path::new("/usr/lib/git-core/git-daemon");
    if !program.is_file() {
        eprintln!("skipped: there is no git daemon");
        return;
    }
    let env = with("");
    let [old, _] = repository(&env);
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let child = Command::new(program)
        .args(["--listen=127.0.0.1", "--export-all", "--reuseaddr"])
        .arg(format!("--port={port}"))
        .arg(format!("--base-path={}", env.work().display()))
        .arg(env.work())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let _daemon = Daemon(child);
    let until = Instant::now() + Duration::from_secs(20);
    while std::net::TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < until, "nobody listens");
        std::thread::sleep(Duration::from_millis(20));
    }
    let url = format!("git://127.0.0.1:{port}/repository");
    spec(&env, &section(&url, &old, ""));
    let told = env.run(&["--offline", "fetch", "t-s"]).fails(3);
    assert!(told.contains(&old), "{told}");
    let _ = env.run(&["fetch", "t-s"]).ok();
    assert_eq!(tree(&env).1, "old\n");
}
