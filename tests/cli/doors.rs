//! Who may reach what of a store: modes whatever the umask, groups, links in the place of folders.

use std::fs;
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use crate::environment::{Environment, Ran};

/// Users and a group that need no entry anywhere.
const USER: u32 = 54_321;
const MEMBER: u32 = 54_322;
const GROUP: u32 = 54_323;

const CLOSED: [&str; 6] = ["checkouts", "layers", "links", "views", "failed", "tmp"];

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
}

/// A store with a tree that was imported, exported as links and collected around.
fn sample(env: &Environment, umask: &str) -> String {
    env.write("in/secret", "SECRET\n");
    chmod(&env.work().join("in/secret"), 0o600);
    let script = "umask $UMASK; tree=$(\"$0\" seed import in --name s) && \
                  \"$0\" export $tree --to out --mode link && \"$0\" store path $tree >&2 && \
                  \"$0\" gc >&2 && echo $tree";
    let plain = env.command(&[]);
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(plain.get_program());
    command.current_dir(env.work()).env_clear();
    for (name, value) in plain.get_envs() {
        command.env(name, value.unwrap());
    }
    command.env("UMASK", umask);
    let ran = env.finish(command.output().unwrap());
    let text = ran.ok();
    text.lines().last().unwrap().to_owned()
}

#[test]
fn modes_do_not_depend_on_the_umask() {
    for umask in ["000", "022", "027"] {
        let env = Environment::new();
        sample(&env, umask);
        let store = env.store();
        assert_eq!(mode(&store) & 0o022, 0, "{umask}");
        for folder in CLOSED {
            let path = store.join(folder);
            if path.exists() {
                assert_eq!(mode(&path), 0o700, "{umask}: {folder}");
            }
        }
        for folder in ["packs", "db", "logs", "sessions", "cache"] {
            assert_eq!(mode(&store.join(folder)), 0o750, "{umask}: {folder}");
        }
        for pack in fs::read_dir(store.join("packs")).unwrap() {
            assert_eq!(mode(&pack.unwrap().path()) & 0o137, 0, "{umask}");
        }
        // Nothing outside of what builds left may be written by others.
        let mut open = vec![store.clone()];
        while let Some(folder) = open.pop() {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                assert_eq!(mode(&path) & 0o002, 0, "{umask}: {}", path.display());
                if path.is_dir() && mode(&path) != 0o700 {
                    open.push(path);
                }
            }
        }
    }
}

#[test]
fn a_store_of_an_older_release_is_closed_and_that_is_told_once() {
    let env = Environment::new();
    sample(&env, "022");
    let store = env.store();
    for folder in ["checkouts", "layers", "tmp", "packs", "db"] {
        chmod(&store.join(folder), 0o755);
    }
    chmod(&store, 0o777);
    // Whoever only looks, at a store that they may not write, changes nothing.
    let first = env.run(&["store", "info"]);
    let told = "note: other users had more access to the store than they should, and have it no more: \
                $TEST/store: packs, db, tmp, checkouts, layers, .\n";
    assert!(first.stderr.contains(told), "{}", first.all());
    let _ = first.ok();
    assert_eq!(mode(&store), 0o775);
    assert_eq!(mode(&store.join("layers")), 0o700);
    assert_eq!(mode(&store.join("db")), 0o750);
    let again = env.run(&["store", "info"]);
    assert!(!again.stderr.contains("access"), "{}", again.all());
    // A folder that is closed further stays so.
    chmod(&store.join("logs"), 0o700);
    let _ = env.run(&["store", "info"]).ok();
    assert_eq!(mode(&store.join("logs")), 0o700);
}

/// Runs mstore as another user, of a group.
fn as_user(env: &Environment, user: u32, group: u32, arguments: &[&str]) -> Ran {
    let mut command = env.command(arguments);
    command.uid(user).gid(group).env("HOME", "/nonexistent");
    env.finish(command.output().unwrap())
}

#[test]
fn others_read_through_the_group_or_get_a_clear_error() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: root is needed to become other users");
        return;
    }
    let env = Environment::new();
    let tree = sample(&env, "022");
    let store = env.store();
    chmod(store.parent().unwrap(), 0o755);
    chmod(&env.work(), 0o755);
    let cat = format!("{tree}:secret");
    for arguments in [
        &["store", "info"][..],
        &["store", "cat", &cat],
        &["gc", "-n"],
        &["store", "verify"],
    ] {
        let ran = as_user(&env, USER, USER, arguments);
        assert!(!ran.all().contains("SECRET"), "{}", ran.all());
        let error = ran.fails(3);
        assert!(error.contains("Permission denied"), "{error}");
        assert!(error.contains("its group"), "{error}");
        assert!(!error.contains("damaged"), "{error}");
    }
    // As doc/security.md says.
    let share = "chgrp -R 54323 \"$1\" && find \"$1\" -type d -exec chmod g+s {} +";
    let done = Command::new("sh")
        .args(["-c", share, "sh"])
        .arg(&store)
        .status();
    assert!(done.unwrap().success());
    // What comes later belongs to the group too.
    env.write("more/file", "more\n");
    let later = env.run(&["seed", "import", "more", "--name", "m"]).ok();
    let later = format!("{}:file", later.trim());
    for (what, content) in [(&cat, "SECRET\n"), (&later, "more\n")] {
        let read = as_user(&env, MEMBER, GROUP, &["store", "cat", what]);
        assert_eq!(read.ok(), content);
    }
    let verified = as_user(&env, MEMBER, GROUP, &["store", "verify"]);
    assert!(verified.ok().contains("no fault"));
    // What is written out is for the owner alone, and nobody else writes.
    for folder in CLOSED {
        let path = store.join(folder);
        if path.exists() {
            assert_eq!(mode(&path) & 0o077, 0, "{folder}");
            assert_eq!(fs::metadata(&path).unwrap().uid(), 0);
        }
    }
    let _ = as_user(&env, MEMBER, GROUP, &["store", "root", "add", "x", &tree]).fails(3);
    let _ = as_user(&env, USER, USER, &["store", "cat", &later]).fails(3);
}

#[test]
fn a_link_in_the_place_of_a_folder_is_refused() {
    let folders = [
        "packs",
        "db",
        "sessions",
        "tmp",
        "checkouts",
        "layers",
        "links",
        "views",
        "logs",
        "cache",
        "failed",
    ];
    for folder in folders {
        let env = Environment::new();
        sample(&env, "022");
        let outside = env.work().join("outside");
        let path = env.store().join(folder);
        match path.exists() {
            true => fs::rename(&path, &outside).unwrap(),
            false => fs::create_dir(&outside).unwrap(),
        }
        fs::create_dir_all(outside.join("precious")).unwrap();
        let list = || {
            let entries = fs::read_dir(&outside).unwrap();
            let mut names: Vec<_> = entries.map(|e| e.unwrap().file_name()).collect();
            names.sort();
            names
        };
        let before = list();
        symlink(&outside, &path).unwrap();
        for arguments in [
            &["gc"][..],
            &["store", "info"],
            &["store", "verify", "--repair"],
            &["seed", "import", "in", "--name", "again"],
        ] {
            let ran = env.run(arguments);
            let error = ran.all();
            assert!(ran.status == Some(3), "{folder}: {error}");
            let tells = format!("in the place of a folder of the store: $TEST/store/{folder}");
            assert!(error.contains(&tells), "{folder}: {error}");
            assert_eq!(list(), before, "{folder}");
        }
    }
}
