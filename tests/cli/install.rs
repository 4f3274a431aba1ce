//! `make install`, and what the packages say of themselves.

use std::fs;
use std::path::Path;
use std::process::Command;

use crate::environment::Environment;

fn make(env: &Environment, target: &str) {
    let made = Command::new("make")
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .args(["-s", target, "PREFIX=/usr"])
        .arg(format!("DESTDIR={}", env.work().display()))
        .arg(format!("MSTORE={}", env!("CARGO_BIN_EXE_mstore")))
        .output()
        .unwrap();
    assert!(made.status.success(), "{made:?}");
}

#[test]
fn the_program_its_pages_and_its_completions_are_installed() {
    let env = Environment::new();
    make(&env, "install");
    let usr = env.work().join("usr");
    let text = |path: &str| fs::read_to_string(usr.join(path)).unwrap();
    assert!(text("share/man/man1/mstore.1").contains(".TH mstore 1"));
    assert!(text("share/man/man1/mstore-realise.1").contains("mstore\\-realise"));
    assert!(text("share/bash-completion/completions/mstore").contains("mstore complete bash"));
    assert!(text("share/zsh/site-functions/_mstore").starts_with("#compdef mstore"));
    assert!(text("share/fish/vendor_completions.d/mstore.fish").contains("complete -c mstore"));
    for name in ["mstore", "buildrepo", "metro", "dpb"] {
        let program = usr.join("bin").join(name);
        assert!(
            Command::new(program)
                .arg("--version")
                .status()
                .unwrap()
                .success()
        );
    }
    make(&env, "uninstall");
    let left: Vec<_> = walk(&usr);
    assert!(left.is_empty(), "{left:?}");
}

/// All files below a folder.
fn walk(folder: &Path) -> Vec<String> {
    let mut files = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        match path.is_dir() && !path.is_symlink() {
            true => files.extend(walk(&path)),
            false => files.push(path.display().to_string()),
        }
    }
    files
}

/// The Rust that is named is in force for every package, and told to people.
#[test]
fn every_package_names_the_rust_that_it_needs() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let read = |path: &str| fs::read_to_string(top.join(path)).unwrap();
    let version = env!("CARGO_PKG_RUST_VERSION");
    assert!(!version.is_empty());
    for package in ["Cargo.toml", "lang/Cargo.toml", "store/Cargo.toml"] {
        let text = read(package);
        assert!(text.contains("rust-version.workspace = true"), "{package}");
        assert!(text.contains("keywords.workspace = true"), "{package}");
    }
    assert!(read("Cargo.toml").contains("[profile.release]\nstrip = true"));
    assert!(read("README.md").contains(&format!("Rust {version}")));
}
