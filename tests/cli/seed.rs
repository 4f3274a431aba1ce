//! `mstore seed`: archives that are imported or refused.

use std::fs;
use std::process::Command;

use insta::assert_snapshot;

use crate::environment::Environment;
use crate::samples::{FILE, tar_archive, tar_file, tar_header, verify, with_seed};

const SYMLINK: u8 = b'2';

const CHARACTER_DEVICE: u8 = b'3';

/// Imports a bad archive, as a seed and as a snapshot: both are refused with the same text, which
/// is returned, and neither the store nor the lock file is any different afterwards.
#[track_caller]
fn refused(name: &str, bytes: &[u8]) -> String {
    let env = with_seed();
    env.write(name, bytes);
    let lock = fs::read(env.work().join("metro.lock")).unwrap();
    let before = verify(&env);
    let seed = env.run(&["seed", "import", name]).fails(2);
    let snapshot = env.run(&["snapshot", "import", name]).fails(2);
    assert_eq!(seed, snapshot);
    assert_eq!(verify(&env), before);
    assert!(before.contains("no fault"), "{before}");
    assert_eq!(fs::read(env.work().join("metro.lock")).unwrap(), lock);
    assert_eq!(fs::read_dir(env.store().join("tmp")).unwrap().count(), 0);
    assert!(!seed.contains("panicked"), "{seed}");
    seed
}

#[test]
fn a_truncated_archive() {
    let whole = tar_archive(&[tar_file("bin/a", &[b'x'; 3000])]);
    assert_snapshot!(refused("short.tar", &whole[..2000]), @r#"
    error: short.tar: the archive is truncated: it ends after 2000 bytes, in the middle of the content of "bin/a"
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    "#);
}

#[test]
fn an_empty_archive() {
    assert_snapshot!(refused("empty.tar", b""), @"
    error: empty.tar: the archive is empty: a tar archive has at least its end marker of 1024 zero bytes
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    ");
}

#[test]
fn a_truncated_compressed_archive() {
    let env = Environment::new();
    let plain = env.write("t.tar", tar_archive(&[tar_file("bin/a", &[b'x'; 3000])]));
    let packed = Command::new("gzip").arg("-nc").arg(plain).output().unwrap();
    assert!(packed.status.success());
    assert_snapshot!(refused("short.tar.gz", &packed.stdout[..40]), @"
    error: short.tar.gz: the gzip stream is truncated: it ends after 40 bytes, before its own end mark
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    ");
}

#[test]
fn something_that_is_no_archive() {
    assert_snapshot!(refused("page.tar", &b"<html>404 not found</html>\n".repeat(40)), @"
    error: page.tar: this is not a tar archive: its first block is not a valid header (plain, gzip, bzip2, xz and zstd archives can be read)
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    ");
}

#[test]
fn an_absolute_path() {
    assert_snapshot!(refused("abs.tar", &tar_archive(&[tar_file("/etc/passwd", b"x")])), @r#"
    error: abs.tar: archive entry "/etc/passwd" (header at byte 0): the name is absolute; only names below the archive's root are taken
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    "#);
}

#[test]
fn a_path_that_climbs() {
    assert_snapshot!(refused("dots.tar", &tar_archive(&[tar_file("a/../../etc/x", b"x")])), @r#"
    error: dots.tar: archive entry "a/../../etc/x" (header at byte 0): the name climbs with ".."; only names below the archive's root are taken
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    "#);
}

#[test]
fn a_file_through_a_symlink() {
    let link = tar_header("out", SYMLINK, 0, "/etc").to_vec();
    assert_snapshot!(refused("link.tar", &tar_archive(&[link, tar_file("out/x", b"x")])), @r#"
    error: link.tar: archive entry "out/x" (header at byte 512): it lies below "out", which the archive makes a symlink, not a folder
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    "#);
}

#[test]
fn devices_without_end() {
    let devices: Vec<Vec<u8>> = (0..5000)
        .map(|n| tar_header(&format!("dev/n{n}"), CHARACTER_DEVICE, 0, "").to_vec())
        .collect();
    let env = with_seed();
    env.write("bomb.tar", tar_archive(&devices));
    let lock = fs::read(env.work().join("metro.lock")).unwrap();
    let before = verify(&env);
    assert_snapshot!(env.run(&["seed", "import", "bomb.tar"]).fails(2), @"
    error: bomb.tar: the archive holds more than 4096 device nodes
    hint: nothing was imported, and the archive may be whole; unpack it and import the folder
    ");
    // A snapshot has no use for a single one.
    assert_snapshot!(env.run(&["snapshot", "import", "bomb.tar"]).fails(2), @r#"
    error: bomb.tar: archive entry "dev/n0" (header at byte 0): it is a character device, and device nodes are refused here
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    "#);
    assert_eq!(verify(&env), before);
    assert_eq!(fs::read(env.work().join("metro.lock")).unwrap(), lock);
}

#[test]
fn a_header_that_promises_a_terabyte() {
    let mut bytes = tar_header("bin/a", FILE, 1_000_000_000_000, "").to_vec();
    bytes.resize(4096, 0);
    assert_snapshot!(refused("big.tar", &bytes), @r#"
    error: big.tar: archive entry "bin/a" (header at byte 0): its content is 1000000000000 bytes, more than 68719476736
    hint: nothing was imported; make the archive without this, or unpack it and import the folder
    "#);
}

#[test]
fn an_archive_that_is_not_there() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["seed", "import", "none.tar"]).fails(2), @"error: cannot open none.tar: No such file or directory (os error 2)");
}
