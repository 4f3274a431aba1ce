//! Archives that lie. Each must be refused by name, and the message is part of the promise.

use insta::assert_snapshot;

use super::memory::Memory;
use super::{Archive, gnu, pax, seal};
use crate::StoreError;
use crate::tar::{Devices, TarLimits, TarOptions};

/// The message of an archive that must be refused.
#[track_caller]
fn refusal(archive: &[u8]) -> String {
    refusal_with(archive, &TarOptions::default())
}

#[track_caller]
fn refusal_with(archive: &[u8], options: &TarOptions) -> String {
    match Memory::read_with(archive, options) {
        Err(StoreError::Tar(error)) => error.to_string(),
        Err(other) => panic!("another error: {other}"),
        Ok(tree) => panic!("it was taken: {:?}", tree.entries.keys()),
    }
}

#[test]
fn an_absolute_name() {
    let archive = Archive::new().file("/etc/passwd", b"root::0:0").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "/etc/passwd" (header at byte 0): the name is absolute; only names below the archive's root are taken"#);
}

#[test]
fn a_name_that_climbs() {
    let archive = Archive::new().file("a/../../etc/passwd", b"x").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a/../../etc/passwd" (header at byte 0): the name climbs with ".."; only names below the archive's root are taken"#);
}

#[test]
fn a_pax_name_that_climbs_behind_a_harmless_one() {
    let archive = Archive::new()
        .pax(&[("path", b"../evil")])
        .file("good", b"x")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "../evil" (header at byte 0): the name climbs with ".."; only names below the archive's root are taken"#);
}

#[test]
fn a_gnu_long_name_that_is_absolute() {
    let archive = Archive::new()
        .extension(b'L', b"/evil\0")
        .file("good", b"x")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "/evil" (header at byte 0): the name is absolute; only names below the archive's root are taken"#);
}

#[test]
fn a_file_below_a_symlink_of_the_archive() {
    let archive = Archive::new()
        .link(b'2', "lib", "/usr/lib")
        .file("lib/evil.so", b"x")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "lib/evil.so" (header at byte 512): it lies below "lib", which the archive makes a symlink, not a folder"#);
}

#[test]
fn a_folder_below_a_chain_of_symlinks() {
    let archive = Archive::new()
        .dir("a/")
        .link(b'2', "a/up", "../..")
        .dir("a/up/etc/")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a/up/etc/" (header at byte 1024): it lies below "a/up", which the archive makes a symlink, not a folder"#);
}

#[test]
fn a_file_below_a_file() {
    let archive = Archive::new().file("a", b"x").file("a/b/c", b"x").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a/b/c" (header at byte 1024): it lies below "a", which the archive makes a file, not a folder"#);
}

#[test]
fn a_symlink_that_replaces_a_folder() {
    let archive = Archive::new()
        .dir("a/")
        .file("a/b", b"x")
        .link(b'2', "a", "/etc")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 1536): the archive already holds this path (header at byte 0); only a folder may come again, and unchanged"#);
}

#[test]
fn a_symlink_that_replaces_an_implied_folder() {
    let archive = Archive::new()
        .file("a/b", b"x")
        .link(b'2', "a", "/etc")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 1024): the archive already holds this path (header at byte 0); only a folder may come again, and unchanged"#);
}

#[test]
fn a_folder_that_replaces_a_symlink() {
    let archive = Archive::new().link(b'2', "a", "/etc").dir("a/").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a/" (header at byte 512): the archive already holds this path (header at byte 0); only a folder may come again, and unchanged"#);
}

#[test]
fn a_hard_link_to_the_outside() {
    let archive = Archive::new().link(b'1', "shadow", "/etc/shadow").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "shadow" (header at byte 0): the link target is absolute; only names below the archive's root are taken"#);
    let archive = Archive::new()
        .link(b'1', "shadow", "../../etc/shadow")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "shadow" (header at byte 0): the link target climbs with ".."; only names below the archive's root are taken"#);
}

#[test]
fn a_hard_link_to_nothing() {
    let archive = Archive::new().link(b'1', "a", "b").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): it is a hard link to "b", which the archive does not hold before it"#);
}

#[test]
fn a_hard_link_to_what_comes_later() {
    let archive = Archive::new().link(b'1', "a", "b").file("b", b"x").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): it is a hard link to "b", which the archive does not hold before it"#);
}

#[test]
fn a_hard_link_to_itself() {
    let archive = Archive::new().link(b'1', "a", "a").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): it is a hard link to "a", which the archive does not hold before it"#);
}

#[test]
fn a_hard_link_through_a_symlink() {
    let archive = Archive::new()
        .link(b'2', "s", "/etc")
        .link(b'1', "a", "s/shadow")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 512): it is a hard link to "s/shadow", which the archive does not hold before it"#);
}

#[test]
fn hard_links_that_multiply_a_device() {
    let mut archive = Archive::new().device(b'4', "sda", 8, 0);
    for name in ["a", "b", "c"] {
        archive = archive.link(b'1', name, "sda");
    }
    let options = TarOptions {
        limits: TarLimits {
            devices: 3,
            ..TarLimits::default()
        },
        ..TarOptions::default()
    };
    assert_snapshot!(refusal_with(&archive.end(), &options), @"the archive holds more than 3 device nodes");
}

#[test]
fn a_hard_link_to_a_device() {
    let archive = Archive::new()
        .device(b'4', "sda", 8, 0)
        .link(b'1', "harmless", "sda")
        .end();
    // It is what it is, under both names.
    let read = Memory::read(&archive).unwrap();
    assert_eq!(read.what("harmless"), read.what("sda"));
}

#[test]
fn attributes_that_no_file_system_takes() {
    let attribute = |flag, key, value: &[u8]| {
        let archive = Archive::new().pax(&[(key, value)]);
        match flag {
            b'2' => refusal(&archive.link(b'2', "link", "to").end()),
            b'6' => refusal(&archive.device(b'6', "pipe", 0, 0).end()),
            _ => refusal(&archive.file("file", b"x").end()),
        }
    };
    let access = "SCHILY.acl.access";
    let raw = "SCHILY.xattr.system.posix_acl_access";
    let list = b"user::rw-,user:7:r--,group::r--,mask::r--,other::r--";
    let user = attribute(b'2', "SCHILY.xattr.user.k", b"v");
    assert_snapshot!(user, @r#"archive entry "link" (header at byte 0): its extended attribute "user.k" cannot be on anything but a file or a directory"#);
    let pipe = attribute(b'6', "SCHILY.xattr.user.k", b"v");
    assert_snapshot!(pipe, @r#"archive entry "pipe" (header at byte 0): its extended attribute "user.k" cannot be on anything but a file or a directory"#);
    let link = attribute(b'2', access, list);
    assert_snapshot!(link, @r#"archive entry "link" (header at byte 0): its extended attribute "system.posix_acl_access" cannot be on a symlink"#);
    let default = attribute(b'0', "SCHILY.acl.default", list);
    assert_snapshot!(default, @r#"archive entry "file" (header at byte 0): its extended attribute "system.posix_acl_default" cannot be on anything but a directory"#);
    let nonsense = attribute(b'0', raw, b"nonsense");
    assert_snapshot!(nonsense, @r#"archive entry "file" (header at byte 0): its access control list is not usable: its bytes are not a list"#);
    let capability = attribute(b'0', "SCHILY.xattr.security.capability", b"nonsense");
    assert_snapshot!(capability, @r#"archive entry "file" (header at byte 0): its extended attribute "security.capability" is not a set of capabilities"#);
}

#[test]
fn a_device_with_numbers_that_linux_does_not_have() {
    let archive = Archive::new()
        .pax(&[("SCHILY.devminor", b"1048576")])
        .device(b'3', "far", 1, 0)
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "far" (header at byte 0): the minor device number is too large: 1048576"#);
}

#[test]
fn a_hard_link_to_a_folder() {
    let archive = Archive::new().dir("d/").link(b'1', "a", "d").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 512): it is a hard link to "d", a directory, which cannot have several names"#);
    let archive = Archive::new().link(b'1', "a", "./").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): it is a hard link to "./", a directory, which cannot have several names"#);
}

#[test]
fn a_hard_link_with_content() {
    let archive = Archive::new()
        .file("a", b"x")
        .header(b"b", b'1', 5, |b| b[157] = b'a')
        .data(b"other")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "b" (header at byte 1024): a hard link cannot have content, but its header says 5 bytes"#);
}

#[test]
fn links_without_targets() {
    let archive = Archive::new().link(b'1', "a", "").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): it is a link to nothing"#);
    let archive = Archive::new().link(b'2', "a", "").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): it is a link to nothing"#);
}

#[test]
fn a_symlink_target_longer_than_any_file_system_takes() {
    let long = vec![b'x'; 4096];
    let archive = Archive::new()
        .pax(&[("linkpath", &long)])
        .link(b'2', "a", "x")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): the link target is 4096 bytes long, more than 4095"#);
}

#[test]
fn too_many_devices() {
    let mut archive = Archive::new();
    for n in 0..5 {
        archive = archive.device(b'4', &format!("sd{n}"), 8, n);
    }
    let options = TarOptions {
        limits: TarLimits {
            devices: 4,
            ..TarLimits::default()
        },
        ..TarOptions::default()
    };
    assert_snapshot!(refusal_with(&archive.end(), &options), @"the archive holds more than 4 device nodes");
}

#[test]
fn a_device_where_none_is_wanted() {
    let archive = Archive::new().device(b'3', "mem", 1, 1).end();
    let options = TarOptions {
        devices: Devices::Refuse,
        ..TarOptions::default()
    };
    assert_snapshot!(refusal_with(&archive, &options), @r#"archive entry "mem" (header at byte 0): it is a character device, and device nodes are refused here"#);
}

#[test]
fn an_overlay_whiteout() {
    let archive = Archive::new().device(b'3', "etc", 0, 0).end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "etc" (header at byte 0): it is a character device 0/0, which overlay file systems take for a deletion mark"#);
}

#[test]
fn a_root_that_is_a_symlink() {
    let archive = Archive::new().link(b'2', "./", "/etc").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "./" (header at byte 0): the archive's root itself is given as a symlink"#);
}

#[test]
fn a_nul_byte_in_a_pax_name() {
    let archive = Archive::new()
        .pax(&[("path", b"good\0../evil")])
        .file("x", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "x" (header at byte 0): the name holds a NUL byte"#);
}

#[test]
fn a_nul_byte_in_a_gnu_long_name() {
    let archive = Archive::new()
        .extension(b'L', b"good\0../evil\0")
        .file("x", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "././@LongLink" (header at byte 0): the name holds a NUL byte"#);
}

#[test]
fn a_name_that_would_write_to_the_terminal() {
    let archive = Archive::new().file("/\x1b[2Jevil\n", b"x").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "/\u{1b}[2Jevil\n" (header at byte 0): the name is absolute; only names below the archive's root are taken"#);
}

#[test]
fn no_name_at_all() {
    let archive = Archive::new().file("", b"x").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "(no name)" (header at byte 0): it has no name"#);
}

#[test]
fn names_and_paths_beyond_all_limits() {
    let name = vec![b'n'; 256];
    let archive = Archive::new().pax(&[("path", &name)]).file("x", b"").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "nnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnnn... (256 bytes)" (header at byte 0): the file name is 256 bytes long, more than 255"#);
    let path = b"d/".repeat(2500);
    let archive = Archive::new().pax(&[("path", &path)]).dir("x/").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/... (5000 bytes)" (header at byte 0): the name is 5000 bytes long, more than 4096"#);
    let path = b"d/".repeat(1000);
    let archive = Archive::new().pax(&[("path", &path)]).dir("x/").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/d/... (2000 bytes)" (header at byte 0): it lies 1000 folders deep, more than 512"#);
}

#[test]
fn a_wrong_checksum() {
    let mut archive = Archive::new()
        .file("first", b"x")
        .file("second", b"y")
        .end();
    archive[1024] ^= 1;
    assert_snapshot!(refusal(&archive), @r#"archive entry "recond" (header at byte 1024): the header's checksum is wrong, so the archive is damaged here"#);
}

#[test]
fn something_that_is_no_archive() {
    assert_snapshot!(refusal(b""), @"the archive is empty: a tar archive has at least its end marker of 1024 zero bytes");
    assert_snapshot!(refusal(b"#!/bin/sh\necho hello\n"), @"this is not a tar archive: its first block is not a valid header (plain, gzip, bzip2, xz and zstd archives can be read)");
    assert_snapshot!(refusal(&[0x7f; 5000]), @"this is not a tar archive: its first block is not a valid header (plain, gzip, bzip2, xz and zstd archives can be read)");
}

#[test]
fn archives_of_other_kinds_are_named() {
    assert_snapshot!(refusal(b"PK\x03\x04\x14\0\0\0"), @"this is a zip archive, not a tar archive: unpack it and import the folder");
    assert_snapshot!(refusal(&[&b"7z\xbc\xaf\x27\x1c"[..], &[0; 900]].concat()), @"this is a 7z archive, not a tar archive: unpack it and import the folder");
    assert_snapshot!(refusal(&[&b"070701"[..], &[b'0'; 900]].concat()), @"this is a cpio archive, not a tar archive: unpack it and import the folder");
}

#[test]
fn a_part_of_an_incremental_dump() {
    let archive = Archive::new()
        .pax(&[("GNU.dumpdir", b"Nold\0Ynew\0\0")])
        .dir("a/")
        .file("a/new", b"x")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a/" (header at byte 0): it is part of an incremental dump (tar --listed-incremental), which lacks what did not change; import a full archive without that option, or the restored folder"#);
    // The same in the older dialect.
    let archive = Archive::new().header(b"a/", b'D', 0, gnu).end();
    assert!(refusal(&archive).contains("an incremental dump"));
}

#[test]
fn a_fault_in_a_pax_header_names_its_entry() {
    // The name stands in the header itself, before or behind the fault.
    for records in [
        [("path", &b"long name"[..]), ("uid", b"x")],
        [("uid", b"x"), ("path", b"long name")],
    ] {
        let archive = Archive::new().pax(&records).file("short", b"").end();
        assert!(refusal(&archive).starts_with(r#"archive entry "long name" (header at byte 0)"#));
    }
    // Or in the entry, if there is one.
    let archive = Archive::new().pax(&[("uid", b"x")]).file("a/b", b"").end();
    assert!(refusal(&archive).starts_with(r#"archive entry "a/b" (header at byte 0)"#));
    let archive = Archive::new().pax(&[("uid", b"x")]).end();
    assert!(refusal(&archive).starts_with(r#"archive entry "PaxHeaders/x" (header at byte 0)"#));
}

#[test]
fn an_archive_cut_short() {
    let whole = Archive::new()
        .file("first", b"x")
        .file("second", &[7; 1500])
        .end();
    assert_snapshot!(refusal(&whole[..1024]), @"the archive is truncated: it ends after 1024 bytes, the end marker is missing");
    assert_snapshot!(refusal(&whole[..1100]), @"the archive is truncated: it ends after 1100 bytes, in the middle of a block");
    assert_snapshot!(refusal(&whole[..2000]), @r#"the archive is truncated: it ends after 2000 bytes, in the middle of the content of "second""#);
    assert_snapshot!(refusal(&whole[..3072]), @"the archive is truncated: it ends after 3072 bytes, the end marker is missing");
    let long = Archive::new().extension(b'L', &[b'x'; 1000]).cut();
    assert_snapshot!(refusal(&long[..1024]), @"the archive is truncated: it ends after 1024 bytes, in the middle of the GNU long name at byte 0");
}

#[test]
fn a_compressed_archive_cut_short() {
    use std::io::Write;
    let archive = Archive::new().file("a", &[1; 3000]).end();
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(6));
    encoder.write_all(&archive).unwrap();
    let packed = encoder.finish().unwrap();
    assert_snapshot!(refusal(&packed[..packed.len() - 4]), @"the gzip stream is truncated: it ends after 91 bytes, before its own end mark");
}

#[test]
fn two_archives_in_one() {
    let archive = Archive::new().file("a", b"x").end();
    assert_snapshot!(refusal(&[archive.clone(), archive].concat()), @"data follows the end of the archive at byte 2048: tools disagree about whether to read it (joined archives must be imported one by one)");
}

#[test]
fn one_zero_block_between_entries() {
    let archive = Archive::new()
        .file("a", b"x")
        .raw(&[0; 512])
        .file("b", b"x")
        .end();
    assert_snapshot!(refusal(&archive), @"data follows the end of the archive at byte 1536: tools disagree about whether to read it (joined archives must be imported one by one)");
}

/// Writes 10^12 into the size field, which only base 256 can do.
fn tera(block: &mut [u8; 512]) {
    block[124..128].copy_from_slice(&[0x80, 0, 0, 0]);
    block[128..136].copy_from_slice(&1_000_000_000_000u64.to_be_bytes());
}

#[test]
fn a_size_of_a_terabyte() {
    let archive = Archive::new().header(b"huge", b'0', 0, tera).end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "huge" (header at byte 0): its content is 1000000000000 bytes, more than 68719476736"#);
    let size = (1u64 << 62).to_be_bytes();
    let archive = Archive::new()
        .header(b"huge", b'0', 0, |b| {
            b[124..128].copy_from_slice(&[0x80, 0, 0, 0]);
            b[128..136].copy_from_slice(&size);
        })
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "huge" (header at byte 0): its content is 4611686018427387904 bytes, more than 68719476736"#);
}

#[test]
fn more_content_than_allowed_together() {
    let options = TarOptions {
        limits: TarLimits {
            total_bytes: 1000,
            ..TarLimits::default()
        },
        ..TarOptions::default()
    };
    let archive = Archive::new()
        .file("a", &[1; 600])
        .file("b", &[1; 600])
        .end();
    assert_snapshot!(refusal_with(&archive, &options), @"the archive holds more than 1000 bytes of content");
}

#[test]
fn more_entries_than_allowed() {
    let options = TarOptions {
        limits: TarLimits {
            entries: 2,
            ..TarLimits::default()
        },
        ..TarOptions::default()
    };
    let archive = Archive::new().dir("a").dir("b").dir("c").end();
    assert_snapshot!(refusal_with(&archive, &options), @"the archive holds more than 2 entries");
}

#[test]
fn more_names_than_memory_is_granted() {
    let options = TarOptions {
        limits: TarLimits {
            metadata_bytes: 2000,
            ..TarLimits::default()
        },
        ..TarOptions::default()
    };
    let long = [&b"d/".repeat(400)[..], b"x"].concat();
    let archive = Archive::new()
        .pax(&[("path", &long)])
        .file("a", b"")
        .dir("b")
        .end();
    assert_snapshot!(refusal_with(&archive, &options), @"the archive holds more than 2000 bytes of names and attributes");
}

#[test]
fn a_negative_size() {
    let archive = Archive::new()
        .header(b"a", b'0', 0, |b| b[124..136].fill(0xff))
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): the size is negative"#);
    let archive = Archive::new().pax(&[("size", b"-1")]).file("a", b"").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): the size is negative"#);
}

#[test]
fn a_negative_owner_and_one_that_chown_would_ignore() {
    let archive = Archive::new()
        .header(b"a", b'0', 0, |b| b[108..116].fill(0xff))
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): the owner is negative"#);
    let archive = Archive::new()
        .pax(&[("uid", b"4294967295")])
        .file("a", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): the owner is too large: 4294967295"#);
    let archive = Archive::new()
        .pax(&[("gid", b"4294967296")])
        .file("a", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): the group is too large: 4294967296"#);
}

#[test]
fn a_number_that_is_none() {
    let archive = Archive::new()
        .header(b"a", b'0', 0, |b| {
            b[124..136].copy_from_slice(b"0x10\0\0\0\0\0\0\0\0")
        })
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): the size field is not a number: "0x10\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}\u{0}""#);
}

#[test]
fn a_pax_size_that_contradicts_the_header() {
    let inner = Archive::new().file("hidden", b"x").cut();
    let archive = Archive::new()
        .pax(&[("size", b"1024")])
        .header(b"a", b'0', 0, |_| {})
        .raw(&inner)
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): its PAX size is 1024 but its header says 0"#);
}

#[test]
fn a_pax_header_for_the_wrong_entry() {
    let archive = Archive::new()
        .pax(&[("path", b"x")])
        .extension(b'g', &pax(&[("comment", b"between")]))
        .file("a", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "x" (header at byte 0): its PAX header is not followed by the entry it describes"#);
    let archive = Archive::new().pax(&[("path", b"x")]).end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "x" (header at byte 0): its PAX header is not followed by the entry it describes"#);
}

#[test]
fn two_extended_headers_of_one_kind() {
    let archive = Archive::new()
        .pax(&[("path", b"x")])
        .pax(&[("path", b"y")])
        .file("a", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "x" (header at byte 0): it has a second PAX header"#);
    let archive = Archive::new()
        .extension(b'L', b"x\0")
        .extension(b'L', b"y\0")
        .file("a", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "x" (header at byte 0): it has a second GNU long name"#);
}

#[test]
fn two_extended_headers_that_disagree() {
    let archive = Archive::new()
        .extension(b'L', b"x\0")
        .pax(&[("path", b"y")])
        .file("a", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "y" (header at byte 0): two extended headers give it different names"#);
}

#[test]
fn a_gnu_long_name_of_a_terabyte() {
    let archive = Archive::new().header(b"././@LongLink", b'L', 0, tera).end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "././@LongLink" (header at byte 0): its GNU long name is 1000000000000 bytes long, more than 4097"#);
}

#[test]
fn a_pax_header_of_a_terabyte() {
    for flag in [b'x', b'g'] {
        let archive = Archive::new().header(b"PaxHeaders/a", flag, 0, tera).end();
        let message = refusal(&archive);
        assert!(message.contains("more than 4194304"), "{message}");
    }
}

#[test]
fn a_pax_header_that_is_malformed() {
    for data in [
        &b"5 a=\n99 b=c\n"[..],
        b"no records",
        b"8 path=x",
        b"9999999999999 a=b\n",
        b"5 =b\n",
    ] {
        let archive = Archive::new().extension(b'x', data).file("a", b"").end();
        let message = refusal(&archive);
        assert!(message.contains("PAX header is malformed"), "{message}");
    }
}

#[test]
fn a_global_header_that_renames_everything() {
    for (key, value) in [
        ("path", &b"x"[..]),
        ("size", b"5"),
        ("linkpath", b"x"),
        ("GNU.sparse.major", b"1"),
    ] {
        let archive = Archive::new()
            .extension(b'g', &pax(&[(key, value)]))
            .file("a", b"")
            .end();
        let message = refusal(&archive);
        assert!(message.contains("a global PAX header sets"), "{message}");
    }
}

#[test]
fn the_same_path_twice() {
    let archive = Archive::new().file("a", b"good").file("./a", b"evil").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "./a" (header at byte 1024): the archive already holds this path (header at byte 0); only a folder may come again, and unchanged"#);
    let archive = Archive::new()
        .dir("d/")
        .header(b"d", b'5', 0, |b| b[100..108].copy_from_slice(b"0004777\0"))
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "d" (header at byte 512): the archive already holds this path (header at byte 0); only a folder may come again, and unchanged"#);
}

#[test]
fn content_where_none_can_be() {
    for flag in *b"23456" {
        let archive = Archive::new()
            .header(b"a", flag, 512, |b| b[157] = b'x')
            .data(&[0; 512])
            .end();
        let message = refusal(&archive);
        assert!(message.contains("cannot have content"), "{message}");
    }
}

#[test]
fn a_file_with_the_name_of_a_folder() {
    let archive = Archive::new().file("a/", b"x").end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a/" (header at byte 0): its name ends with a slash, yet it is a regular file"#);
}

#[test]
fn types_that_no_tree_can_hold() {
    for flag in *b"AIMNVEz\x01" {
        let archive = Archive::new().header(b"a", flag, 0, |_| {}).end();
        let message = refusal(&archive);
        assert!(message.contains("cannot be imported"), "{message}");
    }
    let archive = Archive::new().header(b"a", b'M', 0, |_| {}).end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): its type is 'M' (the rest of a file from another volume), which cannot be imported"#);
}

#[test]
fn attributes_that_no_system_takes() {
    for (key, value) in [
        ("SCHILY.xattr.nonsense", &b"x"[..]),
        ("SCHILY.xattr.user.", b"x"),
        ("LIBARCHIVE.xattr.user.%00", b"eA"),
        ("SCHILY.xattr.user.a", &[0; 70_000]),
    ] {
        let archive = Archive::new().pax(&[(key, value)]).file("a", b"").end();
        let message = refusal(&archive);
        assert!(message.contains("extended attribute"), "{message}");
    }
    let archive = Archive::new()
        .pax(&[("SCHILY.xattr.a", b"x")])
        .file("a", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): its extended attribute "a" lies in no namespace such as "user.""#);
}

#[test]
fn an_access_list_that_names_a_user_without_a_number() {
    let list = b"user::rw-,user:daemon:rwx,group::r--,mask::rwx,other::r--";
    let archive = Archive::new()
        .pax(&[("SCHILY.acl.access", list)])
        .file("a", b"")
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "a" (header at byte 0): its access control list names user "daemon" without a number"#);
}

/// An old GNU sparse file with these pairs, this real size and that much stored.
fn sparse(pairs: &[(u64, u64)], real: u64, stored: u64) -> Archive {
    Archive::new()
        .header(b"sparse", b'S', stored, |b| {
            gnu(b);
            for (at, (offset, length)) in pairs.iter().enumerate() {
                let text = format!("{offset:011o}\0{length:011o}\0");
                b[386 + 24 * at..410 + 24 * at].copy_from_slice(text.as_bytes());
            }
            b[483..495].copy_from_slice(format!("{real:011o}\0").as_bytes());
        })
        .data(&vec![1; stored as usize])
}

#[test]
fn sparse_maps_that_lie() {
    assert_snapshot!(refusal(&sparse(&[(0, 512), (256, 512)], 4096, 1024).end()), @r#"archive entry "sparse" (header at byte 0): its sparse map is wrong: its runs overlap, go backwards or pass the end of the file"#);
    assert_snapshot!(refusal(&sparse(&[(8192, 512)], 4096, 512).end()), @r#"archive entry "sparse" (header at byte 0): its sparse map is wrong: its runs overlap, go backwards or pass the end of the file"#);
    assert_snapshot!(refusal(&sparse(&[(0, 512)], 4096, 1024).end()), @r#"archive entry "sparse" (header at byte 0): its sparse map is wrong: its runs need 512 bytes but 1024 are stored"#);
    assert_snapshot!(refusal(&sparse(&[], 1 << 20, 0).header(b"x", b'S', 0, |_| {}).end()), @r#"archive entry "x" (header at byte 512): its type is 'S' (a sparse file, but not in GNU tar's form), which cannot be imported"#);
}

#[test]
fn a_sparse_file_of_a_terabyte_of_nothing() {
    let archive = Archive::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.name", b"bomb"),
            ("GNU.sparse.realsize", b"1000000000000"),
        ])
        .file("GNUSparseFile.0/bomb", &[&b"0\n"[..], &[0; 510]].concat())
        .end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "bomb" (header at byte 0): its content is 1000000000000 bytes, more than 68719476736"#);
}

#[test]
fn a_sparse_map_without_end() {
    let endless = Archive::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"10"),
        ])
        .file("a", &[b'1'; 512])
        .end();
    assert_snapshot!(refusal(&endless), @r#"archive entry "a" (header at byte 0): its sparse map is wrong: a number is too large"#);
    let many = Archive::new()
        .pax(&[
            ("GNU.sparse.major", b"1"),
            ("GNU.sparse.minor", b"0"),
            ("GNU.sparse.realsize", b"10"),
        ])
        .file("a", &[&b"999999999\n"[..], &[b'1'; 502]].concat())
        .end();
    assert_snapshot!(refusal(&many), @r#"archive entry "a" (header at byte 0): its sparse map is wrong: it has more than 262144 runs"#);
    let mut block = [0u8; 512];
    block[504] = 1;
    let chain = Archive::new()
        .header(b"a", b'S', 0, |b| {
            gnu(b);
            b[482] = 1;
        })
        .raw(&block)
        .end();
    assert_snapshot!(refusal(&chain), @r#"archive entry "a" (header at byte 0): its sparse map is wrong: a block of it is empty"#);
}

#[test]
fn a_damaged_header_shows_its_name_and_place() {
    let mut block = [0u8; 512];
    block[..4].copy_from_slice(b"name");
    block[257..265].copy_from_slice(b"ustar\x0000");
    seal(&mut block);
    block[300] = 9;
    let archive = Archive::new().dir("a").raw(&block).end();
    assert_snapshot!(refusal(&archive), @r#"archive entry "name" (header at byte 512): the header's checksum is wrong, so the archive is damaged here"#);
}
