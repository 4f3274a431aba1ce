//! Dialects: archives of honest tools are understood.

use super::memory::{Memory, What};
use super::{Archive, gnu, pax};
use crate::Node;
use crate::manifest::Mtime;
use crate::tar::TarOptions;

fn file(data: &[u8]) -> What {
    What::File(data.to_vec())
}

#[test]
fn before_posix_a_slash_makes_the_folder() {
    let v7 = |b: &mut [u8; 512]| b[257..265].fill(0);
    let archive = Archive::new()
        .header(b"d/", 0, 0, v7)
        .header(b"d/f", 0, 1, v7)
        .data(b"x")
        .end();
    let tree = Memory::read(&archive).unwrap();
    assert_eq!(*tree.what("d"), What::Dir);
    assert_eq!(*tree.what("d/f"), file(b"x"));
}

#[test]
fn ustar_prefixes_and_those_of_star() {
    let archive = Archive::new()
        .header(b"name", b'0', 0, |b| b[345..351].copy_from_slice(b"some/d"))
        .header(b"other", b'0', 0, |b| {
            b[345..351].copy_from_slice(b"some/d");
            b[476..500].copy_from_slice(b"00000000000\x0000000000000\0");
            b[508..512].copy_from_slice(b"tar\0");
        })
        .header(b"third", b'0', 0, |b| {
            gnu(b);
            b[345..357].copy_from_slice(b"00000000000\0");
        })
        .end();
    let tree = Memory::read(&archive).unwrap();
    let names: Vec<_> = tree
        .entries
        .keys()
        .map(|k| String::from_utf8_lossy(k))
        .collect();
    assert_eq!(names, ["some/d/name", "some/d/other", "third"]);
}

#[test]
fn gnu_long_names_and_targets() {
    let long = "d/".repeat(200);
    let name = format!("{long}file");
    let archive = Archive::new()
        .extension(b'K', format!("{long}target\0").as_bytes())
        .extension(b'L', format!("{name}\0").as_bytes())
        .link(b'2', "d/d/d", "d/d")
        .end();
    let tree = Memory::read(&archive).unwrap();
    assert_eq!(
        *tree.what(&name),
        What::Symlink(format!("{long}target").into_bytes())
    );
}

#[test]
fn pax_replaces_what_the_header_says() {
    let archive = Archive::new()
        .pax(&[
            ("path", "grün".as_bytes()),
            ("uid", b"3000000000"),
            ("gid", b"70000"),
            ("mtime", b"-1.25"),
            ("atime", b"5"),
            ("uname", b"somebody"),
            ("SCHILY.xattr.user.k", b"a\0b\n"),
            (
                "SCHILY.acl.access",
                b"user::rw-,user:5:rwx,group::r--,mask::rwx,other::---",
            ),
            ("VENDOR.unknown", b"ignored"),
            ("SCHILY.xattr.security.selinux", b"of that machine\0"),
            ("RHT.security.selinux", b"of that machine\0"),
            ("SCHILY.xattr.trusted.x", b"of that machine"),
        ])
        .file("x", b"content")
        .file("y", b"")
        .end();
    let tree = Memory::read(&archive).unwrap();
    let (meta, what) = &tree.entries["grün".as_bytes()];
    assert_eq!(*what, file(b"content"));
    assert_eq!((meta.uid, meta.gid), (3_000_000_000, 70_000));
    let mtime = Mtime {
        secs: -2,
        nanos: 750_000_000,
    };
    assert_eq!(meta.mtime, mtime);
    let names: Vec<&[u8]> = meta.xattrs.iter().map(|(n, _)| &n[..]).collect();
    assert_eq!(names, [&b"system.posix_acl_access"[..], b"user.k"]);
    assert_eq!(meta.xattrs[1].1, b"a\0b\n");
    // Nothing of it reaches the next entry.
    let other = tree.meta(b"y");
    assert_eq!(
        (other.uid, other.mtime.secs, other.xattrs.len()),
        (0, 100, 0)
    );
}

#[test]
fn a_global_header_holds_until_the_next() {
    let archive = Archive::new()
        .extension(
            b'g',
            &pax(&[("comment", b"0123"), ("mtime", b"7"), ("uid", b"9")]),
        )
        .file("a", b"")
        .pax(&[("mtime", b"8")])
        .file("b", b"")
        .extension(b'g', &pax(&[("mtime", b"11")]))
        .file("c", b"")
        .end();
    let tree = Memory::read(&archive).unwrap();
    let seen: Vec<_> = ["a", "b", "c"]
        .map(|name| tree.meta(name.as_bytes()))
        .map(|meta| (meta.mtime.secs, meta.uid))
        .into();
    assert_eq!(seen, [(7, 9), (8, 9), (11, 9)]);
}

#[test]
fn large_numbers_in_base_256() {
    let archive = Archive::new()
        .header(b"a", b'0', 0, |b| {
            gnu(b);
            b[108..116].copy_from_slice(&[0x80, 0, 0, 0, 0xee, 0x6b, 0x28, 0]);
            b[136..148].fill(0xff);
        })
        .end();
    let meta = Memory::read(&archive).unwrap().meta(b"a");
    assert_eq!((meta.uid, meta.mtime.secs), (4_000_000_000, -1));
}

#[test]
fn everything_that_is_no_file() {
    let archive = Archive::new()
        .device(b'3', "null", 1, 3)
        .device(b'4', "disk", 259, 70_000)
        .device(b'6', "pipe", 0, 0)
        .pax(&[
            ("SCHILY.devmajor", b"4000"),
            ("SCHILY.devminor", b"1000000"),
        ])
        .device(b'3', "far", 0, 0)
        .link(b'2', "link", "/proc/self/../anything")
        .end();
    let tree = Memory::read(&archive).unwrap();
    assert_eq!(
        *tree.what("null"),
        What::Node(Node::Char { major: 1, minor: 3 })
    );
    let block = Node::Block {
        major: 259,
        minor: 70_000,
    };
    assert_eq!(*tree.what("disk"), What::Node(block));
    let far = Node::Char {
        major: 4000,
        minor: 1_000_000,
    };
    assert_eq!(*tree.what("far"), What::Node(far));
    assert_eq!(*tree.what("pipe"), What::Node(Node::Fifo));
    assert_eq!(
        *tree.what("link"),
        What::Symlink(b"/proc/self/../anything".to_vec())
    );
    assert_eq!(tree.meta(b"link").mode, 0o777);
}

#[test]
fn whatever_is_no_folder_may_have_further_names() {
    let archive = Archive::new()
        .link(b'2', "link", "to")
        .device(b'6', "pipe", 0, 0)
        .device(b'3', "null", 1, 3)
        .link(b'1', "link2", "link")
        .link(b'1', "pipe2", "./pipe")
        .link(b'1', "null2", "null")
        .link(b'1', "link3", "link2")
        .end();
    let tree = Memory::read(&archive).unwrap();
    for (name, first) in [
        ("link2", "link"),
        ("link3", "link"),
        ("pipe2", "pipe"),
        ("null2", "null"),
    ] {
        assert_eq!(tree.what(name), tree.what(first), "{name}");
    }
    assert_eq!(tree.links.len(), 4);
}

#[test]
fn of_an_access_list_and_a_mode_the_list_counts() {
    let archive = |list: &[u8]| {
        let archive = Archive::new().pax(&[("SCHILY.acl.access", list)]);
        Memory::read(&archive.file("file", b"x").end()).unwrap()
    };
    let tree = archive(b"user::rwx,user:7:r--,group::r--,mask::rw-,other::--x");
    let meta = tree.meta(b"file");
    assert_eq!((meta.mode, meta.xattrs.len()), (0o761, 1));

    // Three entries are a mode in other words, and no file system keeps them.
    let raw = b"\x02\0\0\0\x01\0\x07\0\xff\xff\xff\xff\x04\0\x05\0\xff\xff\xff\xff\x20\0\x01\0\xff\xff\xff\xff";
    let archive = Archive::new()
        .pax(&[("SCHILY.xattr.system.posix_acl_access", raw)])
        .file("file", b"x")
        .end();
    let tree = Memory::read(&archive).unwrap();
    let meta = tree.meta(b"file");
    assert_eq!((meta.mode, meta.xattrs.len()), (0o751, 0));
}

#[test]
fn folders_may_come_late_and_again() {
    let archive = Archive::new()
        .file("./a/b/c", b"x")
        .dir("./a/")
        .dir("a")
        .header(b"./", b'5', 0, |b| {
            b[100..108].copy_from_slice(b"0001777\0")
        })
        .end();
    let tree = Memory::read(&archive).unwrap();
    assert_eq!(tree.meta(b"a").mode, 0o755);
    assert_eq!(tree.meta(b"").mode, 0o1777);
    // Nobody described a/b: it is left to the builder, which has rules for that.
    assert!(!tree.entries.contains_key(&b"a/b"[..]));
}

#[test]
fn hard_links_in_any_spelling() {
    let archive = Archive::new()
        .file("./a/one", b"x")
        .link(b'1', "two", "./a/one")
        .link(
            b'1',
            "three",
            "a//two/../../two".split('/').next_back().unwrap(),
        )
        .end();
    let tree = Memory::read(&archive).unwrap();
    assert_eq!(*tree.what("three"), file(b"x"));
    assert_eq!(
        tree.groups(),
        [[b"a/one".to_vec(), b"three".to_vec(), b"two".to_vec()]]
    );
}

#[test]
fn normalised_trees_keep_content_alone() {
    let archive = Archive::new()
        .pax(&[("SCHILY.xattr.user.k", b"v"), ("uid", b"5")])
        .header(b"script", b'0', 1, |b| {
            b[100..108].copy_from_slice(b"0006711\0")
        })
        .data(b"x")
        .header(b"text", b'0', 1, |b| {
            b[100..108].copy_from_slice(b"0000666\0")
        })
        .data(b"y")
        .link(b'1', "again", "text")
        .file("implied/folder/file", b"")
        .dir("implied")
        .header(b"d", b'5', 0, |b| b[100..108].copy_from_slice(b"0001777\0"))
        .end();
    let tree = Memory::read_with(&archive, &TarOptions::snapshot()).unwrap();
    let modes: Vec<_> = tree
        .entries
        .iter()
        .map(|(path, (meta, _))| (String::from_utf8_lossy(path), meta.mode))
        .collect();
    // The root and a folder without entries of their own are normalised too.
    let wanted = [
        ("", 0o755),
        ("again", 0o644),
        ("d", 0o755),
        ("implied", 0o755),
        ("implied/folder", 0o755),
        ("implied/folder/file", 0o644),
        ("script", 0o755),
        ("text", 0o644),
    ];
    assert_eq!(modes, wanted.map(|(path, mode)| (path.into(), mode)));
    for (meta, _) in tree.entries.values() {
        assert_eq!(
            (meta.uid, meta.mtime.secs, meta.xattrs.len()),
            (0, 315_532_800, 0)
        );
    }
    assert!(tree.links.is_empty());
    assert_eq!(*tree.what("again"), file(b"y"));
}

#[test]
fn a_missing_second_end_block_and_long_padding_are_usual() {
    let entry = Archive::new().file("a", b"x").cut();
    for zeros in [512, 1024, 10_240 - 1024, 1 << 20] {
        let archive = [&entry[..], &vec![0; zeros]].concat();
        assert!(Memory::read(&archive).is_ok(), "{zeros}");
    }
}

/// The content of the sparse files below: "ab" in a block, a hole, "cd" in a block, a hole.
fn holes() -> (Vec<u8>, Vec<u8>) {
    let mut stored = vec![0; 1024];
    stored[..2].copy_from_slice(b"ab");
    stored[512..514].copy_from_slice(b"cd");
    let mut whole = vec![0; 10_000];
    whole[..512].copy_from_slice(&stored[..512]);
    whole[4096..4608].copy_from_slice(&stored[512..]);
    (stored, whole)
}

#[test]
fn sparse_files_of_old_gnu_tar() {
    let (stored, whole) = holes();
    let slot = |offset: u64, length: u64| format!("{offset:011o}\0{length:011o}\0").into_bytes();
    let archive = Archive::new()
        .header(b"s", b'S', 1024, |b| {
            gnu(b);
            b[386..410].copy_from_slice(&slot(0, 512));
            b[410..434].copy_from_slice(&slot(4096, 512));
            b[434..458].copy_from_slice(&slot(10_000, 0));
            b[483..495].copy_from_slice(format!("{:011o}\0", 10_000).as_bytes());
        })
        .data(&stored)
        .file("after", b"x")
        .end();
    let tree = Memory::read(&archive).unwrap();
    assert_eq!(*tree.what("s"), What::File(whole));
    assert_eq!(*tree.what("after"), file(b"x"));
}

#[test]
fn sparse_files_of_old_gnu_tar_with_more_blocks_of_map() {
    // 4 + 21 + 5 runs of one byte, each at the head of its kilobyte.
    let slot = |n: u64| format!("{:011o}\0{:011o}\0", n * 1024, 1).into_bytes();
    let mut second = [0u8; 512];
    let mut third = [0u8; 512];
    for n in 0..21 {
        second[24 * n..24 * n + 24].copy_from_slice(&slot(4 + n as u64));
    }
    second[504] = 1;
    for n in 0..5 {
        third[24 * n..24 * n + 24].copy_from_slice(&slot(25 + n as u64));
    }
    let stored: Vec<u8> = (1..=30).collect();
    let archive = Archive::new()
        .header(b"s", b'S', 30, |b| {
            gnu(b);
            for n in 0..4 {
                b[386 + 24 * n..410 + 24 * n].copy_from_slice(&slot(n as u64));
            }
            b[482] = 1;
            b[483..495].copy_from_slice(format!("{:011o}\0", 30 * 1024).as_bytes());
        })
        .raw(&second)
        .raw(&third)
        .data(&stored)
        .end();
    let tree = Memory::read(&archive).unwrap();
    let mut whole = vec![0; 30 * 1024];
    for n in 0..30 {
        whole[n * 1024] = n as u8 + 1;
    }
    assert_eq!(*tree.what("s"), What::File(whole));
}

#[test]
fn sparse_files_of_all_three_pax_forms() {
    let (stored, whole) = holes();
    let offset = |text: &'static [u8]| ("GNU.sparse.offset", text);
    let length = |text: &'static [u8]| ("GNU.sparse.numbytes", text);
    let zero = Archive::new().pax(&[
        ("GNU.sparse.size", b"10000"),
        ("GNU.sparse.numblocks", b"3"),
        offset(b"0"),
        length(b"512"),
        offset(b"4096"),
        length(b"512"),
        offset(b"10000"),
        length(b"0"),
    ]);
    let zero = zero.file("s", &stored);
    let one = Archive::new().pax(&[
        ("GNU.sparse.size", b"10000"),
        ("GNU.sparse.numblocks", b"3"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.map", b"0,512,4096,512,10000,0"),
    ]);
    let one = one.file("GNUSparseFile.1/s", &stored);
    let mut content = b"3\n0\n512\n4096\n512\n10000\n0\n".to_vec();
    content.resize(512, 0);
    content.extend(&stored);
    let two = Archive::new().pax(&[
        ("GNU.sparse.major", b"1"),
        ("GNU.sparse.minor", b"0"),
        ("GNU.sparse.name", b"s"),
        ("GNU.sparse.realsize", b"10000"),
    ]);
    let two = two.file("GNUSparseFile.1/s", &content);
    for (form, archive) in [("0.0", zero), ("0.1", one), ("1.0", two)] {
        let tree = Memory::read(&archive.file("after", b"x").end()).unwrap();
        assert_eq!(*tree.what("s"), What::File(whole.clone()), "{form}");
        assert_eq!(*tree.what("after"), file(b"x"), "{form}");
        assert_eq!(tree.entries.len(), 2, "{form}");
    }
}
