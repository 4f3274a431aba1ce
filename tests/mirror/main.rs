//! A mirror through the binary, by scripts: publishing, the keeper's runs, pushing, signing, a month of operation.
//!
//! The scripts are Python, so that what they expect comes from nothing that the program is made of. Each is a test;
//! `MSTORE=PROGRAM python3 tests/mirror/NAME.py [WORD]` runs one alone.

use std::path::Path;
use std::process::Command;

/// Whether builds can be made here: stages need namespaces.
fn can_build() -> bool {
    let probe = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "true"])
        .status();
    probe.is_ok_and(|status| status.success()) || rustix::process::geteuid().is_root()
}

fn script(name: &str, words: &[&str]) {
    if !can_build() {
        println!("skipped: no namespaces here");
        return;
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new("python3")
        .arg(top.join("tests/mirror").join(name))
        .args(words)
        .env("MSTORE", env!("CARGO_BIN_EXE_mstore"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(top)
        .status();
    assert!(status.expect("python3").success(), "{name}");
}

#[test]
fn publish() {
    script("publish.py", &[]);
}

#[test]
fn keeper() {
    script("keeper.py", &[]);
}

#[test]
fn metro() {
    script("metro.py", &[]);
}

#[test]
fn push() {
    script("push.py", &[]);
}

#[test]
fn sign() {
    script("sign.py", &[]);
}

#[test]
fn service() {
    script("service.py", &[]);
}

/// A few days of what CI runs for sixty.
#[test]
fn month() {
    script(
        "month.py",
        &["--subarches", "2", "--builds", "2", "--days", "10"],
    );
}
