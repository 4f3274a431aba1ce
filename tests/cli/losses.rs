//! Exports hold everything, or say what they cannot hold and write nothing.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::Path;
use std::process::Command;

use mstore_store::{Meta, Mtime, Node, OpenOptions, Store, TreeBuilder, TreeHash};

use crate::environment::Environment;

fn has(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/sbin".into()]);
    folders.any(|folder| folder.join(program).is_file())
}

fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

fn meta(secs: i64, nanos: u32) -> Meta {
    Meta {
        mode: 0o664,
        mtime: Mtime { secs, nanos },
        ..Meta::default()
    }
}

/// Makes a tree of whatever `fill` adds, beside one plain file.
fn tree(env: &Environment, fill: impl FnOnce(&mut TreeBuilder)) -> TreeHash {
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let mut builder = store.tree_builder().unwrap();
    builder
        .file(b"plain", meta(1000, 0), &mut &b"plain\n"[..])
        .unwrap();
    fill(&mut builder);
    let tree = builder.finish().unwrap().tree;
    store.add_root("t", tree).unwrap();
    tree
}

/// user::rw-, user:1:rw-, group::r--, mask::rw-, other::r--
fn access_list() -> Vec<u8> {
    let mut list = 2u32.to_le_bytes().to_vec();
    for (tag, permissions, id) in [
        (0x01u16, 6u16, u32::MAX),
        (0x02, 6, 1),
        (0x04, 4, u32::MAX),
        (0x10, 6, u32::MAX),
        (0x20, 4, u32::MAX),
    ] {
        list.extend(tag.to_le_bytes());
        list.extend(permissions.to_le_bytes());
        list.extend(id.to_le_bytes());
    }
    list
}

/// An export that has to be refused, says so in these words, and leaves nothing.
#[track_caller]
fn refused(env: &Environment, file: &str, words: &[&str]) -> String {
    let error = env.run(&["export", "t", file]).fails(1);
    for word in words {
        assert!(error.contains(word), "{word} in {error}");
    }
    assert!(error.contains("--lossy"), "{error}");
    let left: Vec<_> = fs::read_dir(env.work()).unwrap().collect();
    assert!(left.is_empty(), "{left:?}");
    error
}

#[test]
fn sockets_are_in_no_archive() {
    let env = Environment::new();
    let tree = tree(&env, |builder| {
        builder.node(b"run/sock", meta(5, 0), Node::Socket).unwrap();
    });
    for file in ["a.tar", "a.tar.zst", "a.oci"] {
        refused(&env, file, &["cannot hold all of it: 1 socket (run/sock)"]);
    }
    let lossy = env.run(&["export", "t", "a.tar", "--lossy"]);
    assert!(
        lossy.stderr.contains("lost: 1 socket (run/sock)"),
        "{}",
        lossy.all()
    );
    let _ = lossy.ok();
    let again = env.run(&["seed", "import", "a.tar", "--name", "a"]).ok();
    let rest = env.run(&["store", "ls", "-r", again.trim()]).ok();
    assert!(rest.contains("plain") && !rest.contains("sock"), "{rest}");
    // The folder that is advised has it.
    let _ = env.run(&["export", "t", "--to", "out"]).ok();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let back = store.import_dir(&env.work().join("out"), &Default::default());
    if is_root() {
        assert_eq!(back.unwrap().tree, tree);
    }
}

#[test]
fn paths_that_no_system_call_takes_are_in_no_archive() {
    let env = Environment::new();
    let name = "n".repeat(220);
    let tree = tree(&env, |builder| {
        let path = vec![name.as_str(); 25].join("/");
        let file = format!("{path}/file");
        builder
            .file(file.as_bytes(), meta(5, 0), &mut &b"deep\n"[..])
            .unwrap();
        builder.hard_link(b"also", file.as_bytes()).unwrap();
    });
    let forms: &[&str] = match is_root() && has("mkfs.erofs") {
        true => &["a.tar", "a.oci", "a.erofs"],
        false => &["a.tar", "a.oci"],
    };
    for file in forms {
        refused(&env, file, &["1 path that is too long (nnnn"]);
    }
    for file in forms {
        let _ = env.run(&["export", "t", file, "--lossy"]).ok();
    }
    let again = env.run(&["seed", "import", "a.tar", "--name", "a"]).ok();
    let rest = env.run(&["store", "cat", &format!("{}:also", again.trim())]);
    assert_eq!(rest.ok(), "deep\n");
    let _ = env.run(&["export", "t", "--to", "out"]).ok();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let back = store.import_dir(&env.work().join("out"), &Default::default());
    if is_root() {
        assert_eq!(back.unwrap().tree, tree);
    }
    // What is as long as a path may be goes out and comes back.
    let long = vec!["m".repeat(240); 16].join("/") + "/" + &"e".repeat(239);
    assert_eq!(long.len(), 4095);
    let fits = self::tree(&env, |builder| {
        builder
            .file(long.as_bytes(), meta(5, 0), &mut &b"x"[..])
            .unwrap();
    });
    let _ = env.run(&["export", "t", "b.tar"]).ok();
    let again = env.run(&["seed", "import", "b.tar", "--name", "b"]).ok();
    assert_eq!(again.trim(), fits.to_string());
}

#[test]
fn squashfs_says_what_it_cannot_hold() {
    if !has("mksquashfs") || !has("unsquashfs") || !is_root() {
        println!("skipped: mksquashfs, unsquashfs and root are needed");
        return;
    }
    let env = Environment::new();
    let tree = tree(&env, |builder| {
        let list = Meta {
            xattrs: vec![(b"system.posix_acl_access".to_vec(), access_list())],
            ..meta(1000, 5)
        };
        builder.file(b"list", list, &mut &b"x"[..]).unwrap();
        let link = Meta {
            mode: 0o777,
            ..meta(1000, 0)
        };
        builder.symlink(b"link", link, b"plain").unwrap();
        builder.hard_link(b"same", b"link").unwrap();
        builder.file(b"old", meta(-5, 0), &mut &b"x"[..]).unwrap();
        builder
            .file(b"new", meta(5_000_000_000, 0), &mut &b"x"[..])
            .unwrap();
        builder
            .file(b"plainer", meta(5, 500), &mut &b"x"[..])
            .unwrap();
    });
    refused(
        &env,
        "a.squashfs",
        &[
            "1 access control list (list)",
            "1 symbolic link with several names (link)",
            "2 times before 1970 or after 2106 (new, old)",
        ],
    );
    let lossy = env.run(&["export", "t", "a.squashfs", "--lossy"]);
    assert!(
        lossy
            .stderr
            .contains("lost: 2 fractions of seconds (list, plainer)"),
        "{}",
        lossy.all()
    );
    let _ = lossy.ok();
    let list = Command::new("unsquashfs")
        .args(["-lln", "a.squashfs"])
        .env("TZ", "UTC")
        .current_dir(env.work())
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    for line in [
        "1970-01-01 00:00 squashfs-root/old",
        "2106-02-07 06:28 squashfs-root/new",
    ] {
        assert!(list.contains(line), "{list}");
    }
    // Without its list, a file lets its group do no more than the list did.
    assert!(
        list.contains("-rw-r--r-- 0/0                       1 1970-01-01 00:16 squashfs-root/list"),
        "{list}"
    );
    // The advice: another form holds it.
    let _ = env.run(&["export", "t", "a.tar"]).ok();
    let again = env.run(&["seed", "import", "a.tar", "--name", "a"]).ok();
    let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
    let list = store.look_up(again.trim().parse().unwrap(), "list", false);
    assert_eq!(list.unwrap().meta.xattrs[0].1, access_list());
    assert_eq!(again.trim(), tree.to_string());
    if has("mkfs.erofs") {
        let _ = env.run(&["export", "t", "a.erofs"]).ok();
    }
}

#[test]
fn fractions_of_seconds_are_told_and_no_failure() {
    if !has("mksquashfs") {
        return;
    }
    let env = Environment::new();
    tree(&env, |builder| {
        builder.file(b"f", meta(5, 500), &mut &b"x"[..]).unwrap();
    });
    let ran = env.run(&["export", "t", "a.squashfs"]);
    assert!(
        ran.stderr.contains("lost: 1 fraction of a second (f)"),
        "{}",
        ran.all()
    );
    let _ = ran.ok();
    // An archive holds them.
    let ran = env.run(&["export", "t", "a.tar"]);
    assert!(!ran.stderr.contains("lost"), "{}", ran.all());
}

/// Owners above what seven octal digits tell, in every form.
#[test]
fn large_owners_are_held() {
    let env = Environment::new();
    let tree = tree(&env, |builder| {
        let owned = Meta {
            uid: 3_000_000,
            gid: 4_294_967_000,
            ..meta(5, 0)
        };
        builder.file(b"f", owned, &mut &b"x"[..]).unwrap();
    });
    let _ = env.run(&["export", "t", "a.tar"]).ok();
    let again = env.run(&["seed", "import", "a.tar", "--name", "a"]).ok();
    assert_eq!(again.trim(), tree.to_string());
    let list = Command::new("tar")
        .args(["--numeric-owner", "-tvf", "a.tar", "f"])
        .current_dir(env.work())
        .output()
        .unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    assert!(list.contains("3000000/4294967000"), "{list}");
    if is_root() && has("mksquashfs") && has("unsquashfs") {
        let _ = env.run(&["export", "t", "a.squashfs"]).ok();
        let unpack = Command::new("unsquashfs")
            .args(["-q", "-n", "-d", "out", "a.squashfs"])
            .current_dir(env.work())
            .output();
        assert!(unpack.unwrap().status.success());
        let store = Store::open(&env.store(), &OpenOptions::create()).unwrap();
        let back = store.import_dir(&env.work().join("out"), &Default::default());
        assert_eq!(back.unwrap().tree, tree);
    }
}

#[test]
fn a_folder_that_is_not_empty_is_the_callers_mistake() {
    let env = Environment::new();
    tree(&env, |_| ());
    let kept = env.write("full/kept", "x");
    let error = env.run(&["export", "t", "--to", "full"]).fails(2);
    insta::assert_snapshot!(error, @r"
    error: full is not empty
    hint: give a folder that does not exist, or is empty
    ");
    assert_eq!(fs::read(&kept).unwrap(), b"x");
    env.write("file", "x");
    let error = env.run(&["export", "t", "--to", "file"]).fails(2);
    assert!(error.contains("file is not a folder"), "{error}");
    fs::create_dir(env.work().join("empty")).unwrap();
    let _ = env.run(&["export", "t", "--to", "empty"]).ok();
    assert!(env.work().join("empty/plain").is_file());
}

/// An ordinary user can make no devices.
#[test]
fn devices_are_not_left_out_unasked() {
    if !is_root() {
        println!("skipped: root is needed to become another user");
        return;
    }
    const USER: u32 = 54_321;
    let env = Environment::new();
    tree(&env, |builder| {
        builder
            .node(b"dev/null", meta(5, 0), Node::Char { major: 1, minor: 3 })
            .unwrap();
    });
    let give = |path: &Path| {
        let done = Command::new("chown")
            .args(["-R", "54321:54321"])
            .arg(path)
            .status();
        assert!(done.unwrap().success());
    };
    give(env.store().parent().unwrap());
    let run = |arguments: &[&str]| {
        let mut command = env.command(arguments);
        command.uid(USER).gid(USER);
        env.finish(command.output().unwrap())
    };
    let refused = run(&["--single-id", "export", "t", "--to", "out"]);
    if refused.stderr.contains("user namespace") {
        println!("skipped: {}", refused.stderr);
        return;
    }
    let error = refused.fails(1);
    assert!(
        error.contains("cannot make the character device"),
        "{error}"
    );
    assert!(error.contains("--lossy"), "{error}");
    assert!(!env.work().join("out").exists());
    let _ = run(&["--single-id", "export", "t", "--to", "out", "--lossy"]).ok();
    assert!(env.work().join("out/plain").is_file());
    // An archive needs no devices to be made.
    let _ = run(&["--single-id", "export", "t", "a.tar"]).ok();
}
