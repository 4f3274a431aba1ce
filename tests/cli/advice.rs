//! Advice in messages, followed: what a hint says to do has to lead somewhere.

use std::fs;
use std::process::Command;

use crate::environment::Environment;

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

/// Runs a line of shell in the working folder; it must succeed.
#[track_caller]
fn sh(env: &Environment, line: &str) {
    let output = Command::new("sh")
        .args(["-ec", line])
        .current_dir(env.work())
        .output();
    let output = output.unwrap();
    assert!(
        output.status.success(),
        "{line}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

/// The command between backticks of a hint that holds a word.
#[track_caller]
fn advised(error: &str, word: &str) -> String {
    let hints = error.lines().filter(|line| line.starts_with("hint:"));
    let commands = hints.flat_map(|line| line.split('`').skip(1).step_by(2));
    let found = commands
        .map(str::to_owned)
        .find(|command| command.contains(word));
    found.unwrap_or_else(|| panic!("no advice with {word}: {error}"))
}

fn import(env: &Environment, what: &str) -> String {
    env.run(&["seed", "import", what, "--name", "s"]).ok()
}

fn refused(env: &Environment, what: &str) -> String {
    env.run(&["seed", "import", what, "--name", "s"]).fails(2)
}

#[test]
fn names_in_access_lists() {
    if !has("setfacl") || !has("bsdtar") {
        println!("skipped: acl and bsdtar are needed");
        return;
    }
    let env = Environment::new();
    sh(&env, "mkdir s; echo x >s/f; setfacl -m u:1:rw,m:r s/f");
    sh(&env, "cd s; tar --acls --format posix -cf ../names.tar .");
    let error = refused(&env, "names.tar");
    let whole = import(&env, "s");
    // The one way: unpack it, and import the folder.
    let unpack = advised(&error, "tar ");
    sh(&env, "mkdir out");
    sh(
        &env,
        &unpack.replace("ARCHIVE", "names.tar").replace("DIR", "out"),
    );
    assert_eq!(import(&env, "out"), whole);
    // The other: an archive with numbers.
    assert_eq!(advised(&error, "bsdtar"), "bsdtar");
    sh(&env, "cd s; bsdtar --format pax -cf ../numbers.tar .");
    assert_eq!(import(&env, "numbers.tar"), whole);
}

#[test]
fn a_window_larger_than_is_taken() {
    if !has("zstd") {
        println!("skipped: zstd is needed");
        return;
    }
    let env = Environment::new();
    // Noise, so that it is as long as the window that is asked for.
    sh(
        &env,
        "mkdir s; head -c 3000000 /dev/urandom >s/a; cp s/a s/b; tar -C s -cf a.tar .",
    );
    sh(&env, "zstd -q -1 --long=31 --ultra -c <a.tar >a.tar.zst");
    let whole = import(&env, "a.tar");
    let error = refused(&env, "a.tar.zst");
    assert!(error.contains("may be whole"), "{error}");
    assert!(!error.contains("damaged"), "{error}");
    fs::remove_file(env.work().join("a.tar")).unwrap();
    sh(
        &env,
        &advised(&error, "zstd").replace("ARCHIVE", "a.tar.zst"),
    );
    assert_eq!(import(&env, "a.tar"), whole);
}

#[test]
fn an_archive_of_another_kind_and_a_part_of_a_dump() {
    let env = Environment::new();
    sh(
        &env,
        "mkdir s; echo x >s/f; tar -C s -g snapshot -cf dump.tar .",
    );
    let whole = import(&env, "s");
    let error = refused(&env, "dump.tar");
    // "import a full archive without that option, or the restored folder"
    assert!(error.contains("restored folder"), "{error}");
    sh(
        &env,
        "mkdir out; tar -C out -g /dev/null -xpf dump.tar; tar -C s -cf full.tar .",
    );
    let listed = |tree: &str| env.run(&["store", "ls", "-r", tree.trim()]).ok();
    for again in ["out", "full.tar"] {
        assert_eq!(listed(&import(&env, again)), listed(&whole));
    }
    if has("bsdtar") {
        sh(&env, "bsdtar --format newc -C s -cf s.cpio .");
        let error = refused(&env, "s.cpio");
        assert!(error.contains("unpack it and import the folder"), "{error}");
        sh(&env, "mkdir un; bsdtar -C un -xpf s.cpio");
        assert_eq!(listed(&import(&env, "un")), listed(&whole));
    }
}

#[test]
fn a_root_that_was_lost_is_copied_back() {
    let env = Environment::new();
    sh(&env, "mkdir s; echo some text >s/f");
    let tree = import(&env, "s");
    let tree = tree.trim();
    let _ = env.run(&["store", "root", "add", "mine", tree]).ok();
    let _ = env.run(&["copy", "--to", "peer", tree]).ok();
    sh(
        &env,
        "for p in ../store/packs/*; do printf x | dd of=$p bs=1 seek=80 conv=notrunc status=none; done",
    );
    let verify = env.run(&["store", "verify"]);
    assert_eq!(verify.status, Some(1), "{}", verify.all());
    let repair = advised(&verify.stderr, "--repair");
    assert_eq!(repair, "mstore store verify --repair");
    let repaired = env.run(&["store", "verify", "--repair"]);
    let back = advised(&repaired.stderr, "copy --from");
    let back = back
        .replace("PLACE", "peer")
        .replace("HASH", tree)
        .replace("NAME", "mine");
    let words: Vec<&str> = back.split_whitespace().skip(1).collect();
    let _ = env.run(&words).ok();
    assert_eq!(env.run(&["store", "cat", "mine:f"]).ok(), "some text\n");
    assert!(env.run(&["store", "verify"]).ok().contains("no fault"));
}
