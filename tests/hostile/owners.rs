//! Other users of the machine: whose store is used, and what they reach of one.

use std::fs;
use std::os::unix::fs::{FileTypeExt as _, MetadataExt as _, PermissionsExt as _, chown, symlink};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::Test;
use crate::place::{Place, Ran};
use crate::tally::Tally;

pub const ALL: &[Test] = &[
    ("a_store_of_somebody_else", a_store_of_somebody_else),
    (
        "set_id_programs_and_devices_are_out_of_reach",
        set_id_programs_and_devices_are_out_of_reach,
    ),
    ("two_users_and_a_group", two_users_and_a_group),
    (
        "links_in_the_place_of_folders",
        links_in_the_place_of_folders,
    ),
];

/// Users and a group that need no entry anywhere.
const OWNER: u32 = 54_330;
const MEMBER: u32 = 54_331;
const STRANGER: u32 = 54_332;
const GROUP: u32 = 54_333;

/// Runs mstore as another user, of a group.
fn as_user(place: &Place, user: u32, group: u32, arguments: &[&str]) -> Ran {
    let mut command = place.command(arguments);
    command.uid(user).gid(group).env("HOME", "/nonexistent");
    ran(command)
}

fn ran(mut command: Command) -> Ran {
    let output = command.output().unwrap();
    Ran {
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        status: output.status.code(),
    }
}

fn give(path: &Path, user: u32, group: u32) {
    let owner = format!("{user}:{group}");
    let done = Command::new("chown")
        .args(["-R", "-h", &owner])
        .arg(path)
        .status();
    assert!(done.unwrap().success());
}

/// Everything below a folder.
fn all(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut open = vec![folder.to_owned()];
    while let Some(folder) = open.pop() {
        for entry in fs::read_dir(folder).into_iter().flatten() {
            let path = entry.unwrap().path();
            if fs::symlink_metadata(&path).unwrap().is_dir() {
                open.push(path.clone());
            }
            found.push(path);
        }
    }
    found
}

fn a_store_of_somebody_else(place: &Place, tally: &Tally) -> Option<&'static str> {
    if !place.is_root() {
        return Some("root is needed to become other users");
    }
    let store = place.store();
    let commands: [&[&str]; 8] = [
        &["realise", "none-s"],
        &["store", "info"],
        &["store", "verify"],
        &["gc"],
        &["gc", "-n"],
        &["log", "none-s"],
        &["seed", "import", "metro.conf", "--name", "x"],
        &["serve", "--stdio"],
    ];
    give(&store, OWNER, OWNER);
    // What the owner could do: send what is written to where they may not write.
    let target = place.path("root-only");
    fs::create_dir(&target).unwrap();
    fs::remove_dir_all(store.join("logs")).unwrap();
    symlink(&target, store.join("logs")).unwrap();
    for arguments in commands {
        for (who, refused) in [
            ("root", place.run(arguments)),
            ("a stranger", as_user(place, STRANGER, STRANGER, arguments)),
        ] {
            let told = format!("{} {}", refused.stdout, refused.stderr);
            let tells = told.contains("belongs to another user (user id 54330)")
                && told.contains("--foreign-store");
            tally.held(
                format!("{who}: {}", arguments.join(" ")),
                refused.status == Some(3) && tells,
                &told,
            );
        }
    }
    fs::remove_file(store.join("logs")).unwrap();
    tally.held(
        "nothing was written",
        fs::read_dir(&target).unwrap().count() == 0,
        "it was",
    );
    // The other end of a copy is looked at as well. What is copied is not needed to tell.
    let (theirs, mine) = (store.display().to_string(), place.path("mine"));
    let mine = mine.display().to_string();
    let cache = place.path("their-cache");
    fs::create_dir(&cache).unwrap();
    give(&cache, OWNER, OWNER);
    let lock = fs::read_to_string(place.path("metro.lock")).unwrap();
    let seed = lock.lines().find_map(|line| line.strip_prefix("tree: "));
    let seed = seed.unwrap();
    for (what, arguments) in [
        (
            "from a store",
            ["copy", "--from", &*theirs, seed, "--store", &*mine].to_vec(),
        ),
        (
            "to a store",
            ["copy", "--to", &theirs, "--all", "--store", &mine].to_vec(),
        ),
        (
            "to a cache",
            [
                "copy",
                "--to",
                "their-cache",
                "--cache",
                "--all",
                "--store",
                &mine,
            ]
            .to_vec(),
        ),
    ] {
        let ran = place.run(&arguments);
        let held = ran.status == Some(3) && ran.stderr.contains("belongs to another user");
        tally.held(what, held, &ran.stderr);
        let empty = fs::read_dir(&cache).unwrap().count() == 0;
        tally.held("nothing is made there", empty, "it is");
    }
    let from = [
        "--foreign-store",
        "copy",
        "--from",
        &theirs,
        seed,
        "--store",
        &mine,
    ];
    let copied = place.run(&from);
    tally.held(
        "who says so may copy",
        copied.status == Some(0),
        copied.stderr,
    );
    let said = place.run(&["--foreign-store", "store", "info"]);
    tally.held("who says so may", said.status == Some(0), said.stderr);
    let mut command = place.command(&["store", "info"]);
    command.env("MSTORE_FOREIGN_STORE", "yes");
    let said = ran(command);
    tally.held("by a variable too", said.status == Some(0), said.stderr);
    give(&store, 0, 0);
    let own = place.run(&["store", "info"]);
    tally.held("one's own is used", own.status == Some(0), own.stderr);
    None
}

fn set_id_programs_and_devices_are_out_of_reach(
    place: &Place,
    tally: &Tally,
) -> Option<&'static str> {
    let script = "cp /bin/sh /suid; chmod 4755 /suid; cp /bin/sh /sgid; chmod 2755 /sgid; \
                  echo SECRET > /secret; chmod 600 /secret; echo 0 > /open; chmod 666 /open; exit \"$1\"";
    place.targets(&[
        ("good", "base", &[("one", &script.replace("\"$1\"", "0"))]),
        ("bad", "base", &[("one", &script.replace("\"$1\"", "1"))]),
    ]);
    let tree = place.tree("good");
    let _ = place.run(&["realise", "bad-s"]).fails(1);
    if place.is_root() {
        // A seed with a block device: an archive of one entry.
        let mut head = vec![0u8; 1024 + 512];
        head[..4].copy_from_slice(b"disk");
        head[100..107].copy_from_slice(b"0000666");
        for at in [108, 116] {
            head[at..at + 7].copy_from_slice(b"0000000");
        }
        head[124..135].copy_from_slice(b"00000000000");
        head[136..147].copy_from_slice(b"00000000000");
        head[156] = b'4';
        head[257..265].copy_from_slice(b"ustar\x0000");
        head[329..336].copy_from_slice(b"0000010");
        head[337..344].copy_from_slice(b"0000000");
        head[148..156].copy_from_slice(b"        ");
        let sum: u32 = head[..512].iter().map(|b| u32::from(*b)).sum();
        head[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        fs::write(place.path("disk.tar"), head).unwrap();
        let disk = place
            .run(&["seed", "import", "disk.tar", "--name", "disk"])
            .ok();
        let disk = disk.trim().lines().last().unwrap().to_owned();
        // Whether it is refused or leaves the device out.
        let _ = place.run(&["store", "path", &disk]);
        let nodes = all(&place.store()).into_iter().filter(|path| {
            fs::symlink_metadata(path).is_ok_and(|meta| meta.file_type().is_block_device())
        });
        tally.held("no device in the store", nodes.count() == 0, "there is one");
        place.run(&["export", &disk, "--to", "exported"]).ok();
        let made = fs::symlink_metadata(place.path("exported/disk"));
        let made = made.is_ok_and(|meta| meta.file_type().is_block_device());
        tally.held("export --to makes it", made, "it does not");
    }
    place.run(&["store", "path", &tree]).ok();
    let view = place.run(&["realise", "good-s", "--out-link", "out"]);
    let _ = view.ok();
    let (mut seen, store) = (0, place.store());
    for path in all(&store) {
        let meta = fs::symlink_metadata(&path).unwrap();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if !["suid", "sgid", "secret", "open"].contains(&&*name) || meta.is_dir() {
            continue;
        }
        seen += 1;
        // Somewhere on the way others cannot enter.
        let mut above = path.parent().unwrap();
        let mut shut = false;
        while above.starts_with(&store) {
            shut |= fs::metadata(above).unwrap().mode() & 0o001 == 0;
            above = above.parent().unwrap();
        }
        tally.held(path.display(), shut, "anybody can reach it");
        if place.is_root() {
            let tried = Command::new("/bin/cat")
                .arg(&path)
                .uid(STRANGER)
                .gid(STRANGER)
                .output()
                .unwrap();
            tally.held(
                path.display(),
                !tried.status.success(),
                "a stranger reads it",
            );
        }
    }
    assert!(seen >= 8, "only {seen} files were written out");
    for path in all(&store.join("packs")) {
        let mode = fs::metadata(&path).unwrap().mode();
        tally.held(path.display(), mode & 0o007 == 0, format!("{mode:o}"));
    }
    None
}

fn two_users_and_a_group(place: &Place, tally: &Tally) -> Option<&'static str> {
    if !place.is_root() {
        return Some("root is needed to become other users");
    }
    place.targets(&[(
        "a",
        "base",
        &[("one", "echo SECRET > /secret; chmod 600 /secret")],
    )]);
    let tree = place.tree("a");
    let store = place.store();
    // As doc/security.md says, for a store of root and for one of a user.
    for owner in [0, OWNER] {
        give(&store, owner, GROUP);
        let share = "find \"$1\" -type d -exec chmod g+s {} +";
        let done = Command::new("sh")
            .args(["-c", share, "sh"])
            .arg(&store)
            .status();
        assert!(done.unwrap().success());
        let foreign = if owner == 0 {
            "--color=never"
        } else {
            "--foreign-store"
        };
        let cat = format!("{tree}:secret");
        let member =
            |arguments: &[&str]| as_user(place, MEMBER, GROUP, &[&[foreign], arguments].concat());
        let stranger = |arguments: &[&str]| {
            as_user(place, STRANGER, STRANGER, &[&[foreign], arguments].concat())
        };
        for reads in [
            &["store", "cat", &cat][..],
            &["store", "verify"],
            &["log", "a-s"],
            &["gc", "-n"],
        ] {
            let got = member(reads);
            tally.held(
                format!("{owner}: a member: {}", reads.join(" ")),
                got.status == Some(0),
                &got.stderr,
            );
            let got = stranger(reads);
            let told = format!("{}{}", got.stdout, got.stderr);
            let held = got.status == Some(3)
                && !told.contains("SECRET")
                && told.contains("ermission denied");
            tally.held(
                format!("{owner}: a stranger: {}", reads.join(" ")),
                held,
                told,
            );
        }
        for writes in [
            &["store", "root", "add", "x", &tree][..],
            &["gc"],
            &["realise", "none-s", "--rebuild"],
            &["store", "verify", "--repair"],
            &["store", "path", &tree],
            &["shell", &tree, "--", "/bin/cat", "/secret"],
        ] {
            for (who, got) in [
                ("a member", member(writes)),
                ("a stranger", stranger(writes)),
            ] {
                let told = format!("{}{}", got.stdout, got.stderr);
                let held =
                    got.status != Some(0) && !told.contains("SECRET") && !told.contains("panicked");
                tally.held(format!("{owner}: {who}: {}", writes.join(" ")), held, told);
            }
        }
    }
    // The owner goes on working, and what they add belongs to the group.
    let more = as_user(place, OWNER, OWNER, &["store", "root", "add", "x", &tree]);
    tally.held("the owner writes", more.status == Some(0), &more.stderr);
    for path in all(&store.join("packs")) {
        let meta = fs::metadata(&path).unwrap();
        tally.held(
            path.display(),
            meta.gid() == GROUP && meta.mode() & 0o007 == 0,
            "not the group's",
        );
    }
    chown(&store, Some(0), Some(0)).unwrap();
    give(&store, 0, 0);
    None
}

fn links_in_the_place_of_folders(place: &Place, tally: &Tally) -> Option<&'static str> {
    place.targets(&[("a", "base", &[("one", "echo a > /a")])]);
    place.tree("a");
    let store = place.store();
    for folder in [
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
    ] {
        let (path, aside) = (store.join(folder), place.path("aside"));
        let was = path.exists();
        if was {
            fs::rename(&path, &aside).unwrap();
        }
        let outside = place.path("outside");
        fs::create_dir(&outside).unwrap();
        for name in ["precious", "precious.pack", "a.1.log"] {
            fs::write(outside.join(name), "precious\n").unwrap();
        }
        fs::create_dir(outside.join("0123456789abcdef0123456789abcdef")).unwrap();
        symlink(&outside, &path).unwrap();
        let before = all(&outside);
        for arguments in [
            &["gc"][..],
            &["realise", "a-s", "--rebuild"],
            &["store", "verify", "--repair"],
            &["realise", "a-s", "--out-link", "link"],
        ] {
            let ran = place.run(arguments);
            let refused = ran.status == Some(3) && ran.stderr.contains("in the place of a folder");
            tally.held(
                format!("{folder}: {}", arguments.join(" ")),
                refused && all(&outside) == before,
                &ran.stderr,
            );
        }
        fs::remove_file(&path).unwrap();
        fs::remove_dir_all(&outside).unwrap();
        if was {
            fs::rename(&aside, &path).unwrap();
        }
    }
    let modes: Vec<String> = all(&store)
        .iter()
        .filter(|path| {
            fs::symlink_metadata(path)
                .is_ok_and(|meta| !meta.is_symlink() && meta.permissions().mode() & 0o002 != 0)
        })
        .filter(|path| {
            !["checkouts", "layers", "links", "views", "failed", "tmp"]
                .iter()
                .any(|f| path.starts_with(store.join(f)))
        })
        .map(|path| path.display().to_string())
        .collect();
    tally.held(
        "nothing that others may write",
        modes.is_empty(),
        modes.join(" "),
    );
    None
}
