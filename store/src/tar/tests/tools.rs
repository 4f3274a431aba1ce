//! The tools that people use must read what is written here, and be read.

use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use super::memory::{Memory, What};
use crate::Node;
use crate::compress::Compression;
use crate::manifest::{Meta, Mtime};
use crate::tar::{ExportOptions, acl};

/// Runs a command with some input and a plain environment; `None` if there is no such program.
#[track_caller]
fn run(folder: &Path, command: &[&str], input: &[u8]) -> Option<Vec<u8>> {
    let child = Command::new(command[0])
        .args(&command[1..])
        .current_dir(folder)
        .env("LC_ALL", "C.UTF-8")
        .env("TZ", "UTC")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn();
    let mut child = match child {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            println!("skipped: {} is not installed", command[0]);
            return None;
        }
        other => other.unwrap(),
    };
    let mut stdin = child.stdin.take().unwrap();
    let input = input.to_vec();
    let feed = std::thread::spawn(move || drop(stdin.write_all(&input)));
    let output = child.wait_with_output().unwrap();
    feed.join().unwrap();
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && errors.is_empty(),
        "{command:?}: {errors}"
    );
    Some(output.stdout)
}

/// Whether a program is there and says that it is the right one.
fn has(program: &str, word: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    let found = version.is_ok_and(|o| String::from_utf8_lossy(&o.stdout).contains(word));
    if !found {
        println!("skipped: {program} is not {word}, or not installed");
    }
    found
}

/// What this user and this file system can make.
struct Able {
    root: bool,
    xattrs: bool,
}

fn able(folder: &Path) -> Able {
    let probe = folder.join("probe");
    fs::write(&probe, "").unwrap();
    let set = |name: &str, value: &[u8]| {
        rustix::fs::setxattr(&probe, name, value, rustix::fs::XattrFlags::empty()).is_ok()
    };
    let list = acl::from_text(ACL, false).unwrap().unwrap();
    let xattrs = set("user.probe", b"x") && set("system.posix_acl_access", &list);
    fs::remove_file(&probe).unwrap();
    // Root of a user namespace cannot make devices.
    let node = rustix::fs::mknodat(
        rustix::fs::CWD,
        &probe,
        rustix::fs::FileType::CharacterDevice,
        0o600.into(),
        rustix::fs::makedev(1, 3),
    );
    let root = node.is_ok();
    if root {
        fs::remove_file(&probe).unwrap();
    } else {
        println!("not root: without devices, foreign owners and attributes of the system");
    }
    if !xattrs {
        println!("the file system has no attributes: without them");
    }
    Able { root, xattrs }
}

const ACL: &[u8] = b"user::rw-,user:54321:r-x,group::r-x,mask::r-x,other::r--";

/// A tree with everything that a file system can hold.
fn sample(able: &Able) -> Memory {
    let mut tree = Memory::default();
    let (uid, gid) = match able.root {
        true => (54_321, 65_432),
        false => (
            rustix::process::getuid().as_raw(),
            rustix::process::getgid().as_raw(),
        ),
    };
    let meta = |mode: u16, secs: i64, nanos: u32| Meta {
        mode,
        uid,
        gid,
        mtime: Mtime { secs, nanos },
        xattrs: Vec::new(),
    };
    let mut add = |path: &str, meta: Meta, what: What| {
        tree.entries.insert(path.as_bytes().to_vec(), (meta, what));
    };
    let file = |text: &str| What::File(text.as_bytes().to_vec());
    add("", meta(0o755, 1_000_000_000, 0), What::Dir);
    add("bin", meta(0o2755, 1_000_000_001, 5), What::Dir);
    add(
        "bin/su",
        meta(0o4711, 1_234_567_890, 123_456_789),
        file("#!/bin/sh\n"),
    );
    add(
        "bin/link",
        meta(0o777, 1_000_000_002, 0),
        What::Symlink(b"su".to_vec()),
    );
    add("tmp", meta(0o1777, 4_000_000_000, 999_999_999), What::Dir);
    // Whole seconds: some versions of bsdtar are a second off with fractions before 1970.
    add("tmp/old", meta(0o644, -86_400, 0), file("before 1970"));
    add("empty", meta(0, 0, 0), file(""));
    add(
        "grün und weiß",
        meta(0o644, 7, 0),
        file("umlauts and spaces"),
    );
    let long = format!("long/{}", "n".repeat(200));
    add("long", meta(0o700, 8, 0), What::Dir);
    add(&long, meta(0o600, 9, 0), file("long name"));
    let target = "t/".repeat(80);
    add(
        "long/target",
        meta(0o777, 10, 1),
        What::Symlink(target.into_bytes()),
    );
    let mut deep = String::from("deep");
    for n in 0..60 {
        add(&deep, meta(0o755, 11 + n, 0), What::Dir);
        deep.push_str("/folder");
    }
    add(&deep, meta(0o640, 12, 0), file("deep down"));
    let mut holes = vec![0; 3 << 20];
    holes[1 << 20..(1 << 20) + 3].copy_from_slice(b"abc");
    add("holes", meta(0o644, 13, 0), What::File(holes));
    add("pipe", meta(0o622, 14, 0), What::Node(Node::Fifo));
    // With a second name, as a pipe may have too; but GNU tar writes those apart.
    let link = What::Symlink(b"su".to_vec());
    add("tmp/link", meta(0o777, 1_000_000_002, 0), link);
    let shared = (meta(0o644, 15, 15), file("one file with three names"));
    for path in ["bin/three", "one", "tmp/two"] {
        add(path, shared.0.clone(), shared.1.clone());
    }
    if able.root {
        let (major, minor) = (1, 3);
        add(
            "null",
            meta(0o666, 16, 0),
            What::Node(Node::Char { major, minor }),
        );
        let (major, minor) = (259, 70_000);
        add(
            "disk",
            meta(0o660, 17, 0),
            What::Node(Node::Block { major, minor }),
        );
        let mut huge = meta(0o644, 18, 0);
        huge.uid = 3_000_000_000;
        huge.gid = 2_097_152;
        add("foreign", huge, file("large numbers"));
    }
    if able.xattrs {
        let mut xattrs = vec![(b"user.text".to_vec(), b"value\n".to_vec())];
        if able.root {
            let capability = b"\x01\0\0\x02\0\x04\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
            xattrs.insert(0, (b"security.capability".to_vec(), capability.to_vec()));
        }
        let with = |meta: Meta| Meta { xattrs, ..meta };
        add("attributes", with(meta(0o755, 19, 0)), file("attributes"));
        let list = |is_default| acl::from_text(ACL, is_default).unwrap().unwrap();
        let lists = Meta {
            xattrs: vec![
                (acl::ACCESS.to_vec(), list(false)),
                (acl::DEFAULT.to_vec(), list(true)),
            ],
            ..meta(0o654, 20, 0)
        };
        add("lists", lists, What::Dir);
    }
    for (path, first) in [
        ("one", "bin/three"),
        ("tmp/two", "bin/three"),
        ("tmp/link", "bin/link"),
    ] {
        tree.links.insert(path.into(), first.into());
    }
    tree
}

#[track_caller]
fn same(found: &Memory, wanted: &Memory) {
    for (path, entry) in &wanted.entries {
        let shown = String::from_utf8_lossy(path);
        let other = found.entries.get(path);
        assert!(other.is_some(), "{shown} is missing");
        assert!(
            other == Some(entry),
            "{shown}: {:?} and not {:?}",
            other.map(|o| &o.0),
            entry.0
        );
    }
    assert_eq!(found.entries.len(), wanted.entries.len());
    assert_eq!(found.groups(), wanted.groups());
}

fn options(compression: Compression) -> ExportOptions {
    ExportOptions::new(compression)
}

/// Extracts with GNU tar, then lets GNU tar read the folder again.
#[test]
fn gnu_tar_extracts_everything() {
    let folder = tempfile::tempdir().unwrap();
    if !has("tar", "GNU tar") {
        return;
    }
    let able = able(folder.path());
    let tree = sample(&able);
    let mut flags = vec!["--numeric-owner", "--warning=no-timestamp"];
    if able.xattrs {
        flags.extend(["--xattrs", "--xattrs-include=*", "--acls"]);
    }
    for compression in [
        Compression::None,
        Compression::Zstd(3),
        Compression::Xz(1),
        Compression::Gzip(6),
    ] {
        let archive = tree.write(&options(compression));
        let name = format!("a.tar{}", compression.suffix());
        fs::write(folder.path().join(&name), archive).unwrap();
        let out = folder.path().join(name.replace('.', "-"));
        fs::create_dir(&out).unwrap();
        let file = format!("../{name}");
        let command = [&["tar", "-xpf", &file][..], &flags].concat();
        if run(&out, &command, b"").is_none() {
            continue;
        }
        let command = [&["tar", "-c", "--format=posix"][..], &flags, &["."]].concat();
        let again = run(&out, &command, b"").unwrap();
        same(&Memory::read(&again).unwrap(), &tree);
    }
}

/// Lets bsdtar turn the archive into another, which also shows what it made of attributes.
#[test]
fn bsdtar_reads_everything() {
    let folder = tempfile::tempdir().unwrap();
    if !has("bsdtar", "bsdtar") {
        return;
    }
    let all = Able {
        root: true,
        xattrs: true,
    };
    let tree = sample(&all);
    for compression in [Compression::None, Compression::Zstd(3), Compression::Xz(1)] {
        fs::write(
            folder.path().join("a.tar"),
            tree.write(&options(compression)),
        )
        .unwrap();
        let command = ["bsdtar", "-cf", "-", "--format=pax", "@a.tar"];
        let again = run(folder.path(), &command, b"").unwrap();
        same(&Memory::read(&again).unwrap(), &tree);
    }
}

/// Prints what Python's tarfile knows about each member, one line each.
const PYTHON: &str = r#"
import hashlib, sys, tarfile
tar = tarfile.open(fileobj=sys.stdin.buffer, mode="r|")
for m in tar:
    link = m.linkname if m.islnk() or m.issym() else ""
    data = tar.extractfile(m).read() if m.isreg() else b""
    fields = [m.name, m.type.decode(), oct(m.mode), m.uid, m.gid, m.pax_headers.get("mtime", str(int(m.mtime))),
              link, m.devmajor, m.devminor, len(data), hashlib.sha256(data).hexdigest()]
    fields += sorted("%s=%s" % (k, v) for k, v in m.pax_headers.items() if k.startswith("SCHILY."))
    sys.stdout.buffer.write("\t".join(map(str, fields)).encode("utf-8", "surrogateescape").hex().encode() + b"\n")
"#;

#[test]
fn python_reads_everything() {
    let folder = tempfile::tempdir().unwrap();
    let all = Able {
        root: true,
        xattrs: true,
    };
    let tree = sample(&all);
    let archive = tree.write(&options(Compression::None));
    let Some(output) = run(folder.path(), &["python3", "-c", PYTHON], &archive) else {
        return;
    };
    let lines: Vec<String> = String::from_utf8(output)
        .unwrap()
        .lines()
        .map(|line| {
            let bytes: Vec<u8> = (0..line.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&line[at..at + 2], 16).unwrap())
                .collect();
            String::from_utf8_lossy(&bytes).into_owned()
        })
        .collect();
    assert_eq!(lines.len(), tree.entries.len());
    for line in &lines {
        let fields: Vec<&str> = line.split('\t').collect();
        let path = fields[0].trim_start_matches("./").trim_start_matches('.');
        let (meta, what) = &tree.entries[path.as_bytes()];
        assert_eq!(fields[2], format!("0o{:o}", meta.mode), "{path}");
        assert_eq!(
            fields[3..5],
            [meta.uid.to_string(), meta.gid.to_string()],
            "{path}"
        );
        let time = crate::tar::pax::time_text(meta.mtime.secs, meta.mtime.nanos);
        assert_eq!(fields[5], time, "{path}");
        let first = tree.links.get(path.as_bytes());
        let kind = match what {
            _ if first.is_some() => "1",
            What::File(_) => "0",
            What::Symlink(_) => "2",
            What::Dir => "5",
            What::Node(Node::Char { .. }) => "3",
            What::Node(Node::Block { .. }) => "4",
            What::Node(_) => "6",
        };
        assert_eq!(fields[1], kind, "{path}");
        match what {
            _ if first.is_some() => {
                assert_eq!(
                    Some(fields[6].as_bytes()),
                    first.map(Vec::as_slice),
                    "{path}"
                );
            }
            What::Symlink(target) => assert_eq!(fields[6].as_bytes(), target, "{path}"),
            What::Node(Node::Block { major, minor }) => {
                assert_eq!(
                    fields[7..9],
                    [major.to_string(), minor.to_string()],
                    "{path}"
                );
            }
            What::File(data) => assert_eq!(fields[9], data.len().to_string(), "{path}"),
            _ => {}
        }
        let attributes = fields.len() - 11;
        assert_eq!(attributes, meta.xattrs.len(), "{path}");
    }
}

/// Makes a folder with GNU tar, then lets each tool archive it in each of its formats.
#[test]
fn what_tools_write_is_understood() {
    let folder = tempfile::tempdir().unwrap();
    if !has("tar", "GNU tar") {
        return;
    }
    let able = able(folder.path());
    let tree = sample(&able);
    let inside = folder.path().join("tree");
    fs::create_dir(&inside).unwrap();
    let mut flags = vec!["--numeric-owner", "--warning=no-timestamp"];
    if able.xattrs {
        flags.extend(["--xattrs", "--xattrs-include=*", "--acls"]);
    }
    let archive = tree.write(&options(Compression::None));
    run(&inside, &[&["tar", "-xp"][..], &flags].concat(), &archive).unwrap();

    for packer in ["--gzip", "--bzip2", "--xz", "--zstd"] {
        let command = [&["tar", "-c", "--format=posix", packer][..], &flags, &["."]].concat();
        let made = run(&inside, &command, b"").unwrap();
        same(&Memory::read(&made).unwrap(), &tree);
    }
    // Holes are found by the numbers of blocks, so force the file to have some.
    let punched = fs::File::create(inside.join("holes")).unwrap();
    punched.set_len(3 << 20).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&punched, b"abc", 1 << 20).unwrap();
    drop(punched);
    for version in ["0.0", "0.1", "1.0"] {
        let version = format!("--sparse-version={version}");
        let command = [
            "tar",
            "-c",
            "--format=posix",
            "-S",
            &version,
            "holes",
            "one",
        ];
        let made = run(&inside, &command, b"").unwrap();
        assert!(made.len() < 1 << 20, "GNU tar made no sparse archive");
        let found = Memory::read(&made).unwrap();
        assert!(found.what("holes") == tree.what("holes"), "{version}");
        assert!(found.what("one") == tree.what("one"), "{version}");
    }
    let made = run(
        &inside,
        &["tar", "-c", "--format=gnu", "-S", "--numeric-owner", "."],
        b"",
    )
    .unwrap();
    let found = Memory::read(&made).unwrap();
    assert_eq!(found.entries.len(), tree.entries.len());
    assert_eq!(found.groups(), tree.groups());
    for (path, (meta, what)) in &tree.entries {
        let other = &found.entries[path];
        assert!(other.1 == *what, "{}", String::from_utf8_lossy(path));
        if path != b"holes" {
            assert_eq!(
                (other.0.mode, other.0.uid, other.0.mtime.secs),
                (meta.mode, meta.uid, meta.mtime.secs)
            );
        }
    }
    // These two cannot hold everything, but what they hold must come through.
    for format in ["--format=ustar", "--format=v7"] {
        let made = run(
            &inside,
            &[
                "tar",
                "-c",
                format,
                "--numeric-owner",
                "bin",
                "holes",
                "one",
            ],
            b"",
        )
        .unwrap();
        let found = Memory::read(&made).unwrap();
        assert!(found.what("holes") == tree.what("holes"), "{format}");
        assert_eq!(found.meta(b"bin/su").mode, 0o4711, "{format}");
        assert_eq!(
            found.groups(),
            [[b"bin/three".to_vec(), b"one".to_vec()]],
            "{format}"
        );
    }
    if has("bsdtar", "bsdtar") {
        let made = run(&inside, &["bsdtar", "-cf", "-", "--format=pax", "."], b"").unwrap();
        let found = Memory::read(&made).unwrap();
        assert_eq!(found.entries.len(), tree.entries.len());
        assert_eq!(found.groups(), tree.groups());
        for (path, (meta, what)) in &tree.entries {
            let other = &found.entries[path];
            let shown = String::from_utf8_lossy(path);
            assert!(other.1 == *what, "{shown}");
            if path != b"holes" {
                assert_eq!(other.0, *meta, "{shown}");
            }
        }
    }
    let script = "import sys, tarfile\n\
        with tarfile.open(fileobj=sys.stdout.buffer, mode='w|', format=int(sys.argv[1])) as t: t.add('.')";
    for format in ["0", "1", "2"] {
        let names = match format {
            // ustar cannot hold this tree's names.
            "0" => script.replace("'.'", "'bin'"),
            _ => script.to_string(),
        };
        let Some(made) = run(&inside, &["python3", "-c", &names, format], b"") else {
            break;
        };
        let found = Memory::read(&made).unwrap();
        assert_eq!(found.meta(b"bin/su").mode, 0o4711);
        if format != "0" {
            assert_eq!(found.entries.len(), tree.entries.len());
        }
    }
}
