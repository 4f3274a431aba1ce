//! Every kind of bad input gets one clear message, the right exit status, and changes nothing.

use std::fs;
use std::process::{Command, Stdio};

use insta::assert_snapshot;

use crate::environment::Environment;

/// A specification for which `metro.lock` lies in the working folder.
const STANDARD: &str = "[collect /usr/share/mstore/specs/metro.conf]\n";

const FILE: u8 = b'0';
const SYMLINK: u8 = b'2';
const CHARACTER_DEVICE: u8 = b'3';

/// A `ustar` header, made by hand: no library would write the ones needed here.
fn header(name: &str, kind: u8, size: u64, target: &str) -> [u8; 512] {
    let mut block = [0; 512];
    block[..name.len()].copy_from_slice(name.as_bytes());
    block[100..107].copy_from_slice(b"0000644");
    block[108..115].copy_from_slice(b"0000000");
    block[116..123].copy_from_slice(b"0000000");
    if size < 1 << 33 {
        block[124..135].copy_from_slice(format!("{size:011o}").as_bytes());
    } else {
        // What does not fit into eleven octal digits is written in binary.
        block[124] = 0x80;
        block[128..136].copy_from_slice(&size.to_be_bytes());
    }
    block[136..147].copy_from_slice(b"00000000000");
    block[156] = kind;
    block[157..157 + target.len()].copy_from_slice(target.as_bytes());
    block[257..265].copy_from_slice(b"ustar\x0000");
    block[329..336].copy_from_slice(b"0000010");
    block[337..344].copy_from_slice(b"0000001");
    // The checksum counts its own field as blanks.
    block[148..156].copy_from_slice(b"        ");
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    block
}

/// A member with content, padded to whole blocks.
fn file(name: &str, content: &[u8]) -> Vec<u8> {
    let mut bytes = header(name, FILE, content.len() as u64, "").to_vec();
    bytes.extend(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

/// Members, followed by the two empty blocks that end an archive.
fn archive(members: &[Vec<u8>]) -> Vec<u8> {
    let mut bytes = members.concat();
    bytes.resize(bytes.len() + 1024, 0);
    bytes
}

/// Everything that is in the store, as far as `mstore` can tell.
fn verify(env: &Environment) -> String {
    env.run(&["store", "verify"]).ok()
}

/// A place whose store and lock file hold one good seed.
fn with_seed() -> Environment {
    let env = Environment::new();
    env.write("metro.conf", STANDARD);
    env.write("good.tar", archive(&[file("bin/a", b"hello")]));
    let _ = env.run(&["seed", "import", "good.tar"]).ok();
    env
}

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
fn a_seed_that_the_lock_file_lacks() {
    let env = with_seed();
    let lock = fs::read(env.work().join("metro.lock")).unwrap();
    env.write(
        "metro.conf",
        format!("{STANDARD}[section user]\nseed: nosuch\n[section strategy]\nbuild: local\n"),
    );
    assert_snapshot!(env.run(&["realise", "stage1-corei7"]).fails(2), @"
    error: $TEST/work/metro.lock has no seed `nosuch`, which seedling/x86-64bit/corei7/stage1 needs
    hint: import one with `mstore seed import FILE.tar.xz --name nosuch`, or capture this machine with `mstore seed host --name nosuch`
    ");
    assert_eq!(fs::read(env.work().join("metro.lock")).unwrap(), lock);
}

#[test]
fn a_truncated_archive() {
    let whole = archive(&[file("bin/a", &[b'x'; 3000])]);
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
    let plain = env.write("t.tar", archive(&[file("bin/a", &[b'x'; 3000])]));
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
    assert_snapshot!(refused("abs.tar", &archive(&[file("/etc/passwd", b"x")])), @r#"
    error: abs.tar: archive entry "/etc/passwd" (header at byte 0): the name is absolute; only names below the archive's root are taken
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    "#);
}

#[test]
fn a_path_that_climbs() {
    assert_snapshot!(refused("dots.tar", &archive(&[file("a/../../etc/x", b"x")])), @r#"
    error: dots.tar: archive entry "a/../../etc/x" (header at byte 0): the name climbs with ".."; only names below the archive's root are taken
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    "#);
}

#[test]
fn a_file_through_a_symlink() {
    let link = header("out", SYMLINK, 0, "/etc").to_vec();
    assert_snapshot!(refused("link.tar", &archive(&[link, file("out/x", b"x")])), @r#"
    error: link.tar: archive entry "out/x" (header at byte 512): it lies below "out", which the archive makes a symlink, not a folder
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    "#);
}

#[test]
fn devices_without_end() {
    let devices: Vec<Vec<u8>> = (0..5000)
        .map(|n| header(&format!("dev/n{n}"), CHARACTER_DEVICE, 0, "").to_vec())
        .collect();
    let env = with_seed();
    env.write("bomb.tar", archive(&devices));
    let lock = fs::read(env.work().join("metro.lock")).unwrap();
    let before = verify(&env);
    assert_snapshot!(env.run(&["seed", "import", "bomb.tar"]).fails(2), @"
    error: bomb.tar: the archive holds more than 4096 device nodes
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
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
    let mut bytes = header("bin/a", FILE, 1_000_000_000_000, "").to_vec();
    bytes.resize(4096, 0);
    assert_snapshot!(refused("big.tar", &bytes), @r#"
    error: big.tar: archive entry "bin/a" (header at byte 0): its content is 1000000000000 bytes, more than 68719476736
    hint: nothing was imported; get the archive anew and compare its checksum with the publisher's
    "#);
}

#[test]
fn an_archive_that_is_not_there() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["seed", "import", "none.tar"]).fails(2), @"error: cannot open none.tar: No such file or directory (os error 2)");
}

#[test]
fn a_snapshot_that_is_not_there() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["snapshot", "import", "none"]).fails(2), @"
    error: cannot find none: No such file or directory (os error 2)
    hint: give the path of a folder, a git repository or an archive
    ");
    assert!(!env.store().exists());
}

#[test]
fn an_unknown_target() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["realise", "stage9-corei7"]).fails(2), @"error: no target is called `stage9-corei7`; nearest: stage1-corei7 stage2-corei7 stage3-corei7 stage1-core2_32 stage1-core2_64");
    assert_snapshot!(env.run(&["realise", "stage3-corei8"]).fails(2), @"error: no subarch is called `corei8`; nearest: stage3-corei7");
}

#[test]
fn one_element_defined_twice() {
    let env = Environment::new();
    env.write("metro.conf", "a: 1\nb: 2\n[collect more.conf]\n");
    env.write("more.conf", "c: 3\n\na: 4\n");
    assert_snapshot!(env.run(&["eval"]).fails(2), @"
    error[duplicate]: `a` is defined twice
     --> $TEST/work/more.conf:3:1
      |
    3 | a: 4
      | ^ defined again
      |
     ::: $TEST/work/metro.conf:1:1
      |
    1 | a: 1
      | - first defined here
    2 | b: 2
    3 | [collect more.conf]
      | ------------------- the file is collected here
      |
      = help: remove one of them, or make them exclude each other by conditions: `[when ELEMENT is WORD]`
    ");
    assert_snapshot!(env.run(&["realise", "stage3-corei7"]).fails(2), @"
    error[duplicate]: `a` is defined twice
     --> $TEST/work/more.conf:3:1
      |
    3 | a: 4
      | ^ defined again
      |
     ::: $TEST/work/metro.conf:1:1
      |
    1 | a: 1
      | - first defined here
    2 | b: 2
    3 | [collect more.conf]
      | ------------------- the file is collected here
      |
      = help: remove one of them, or make them exclude each other by conditions: `[when ELEMENT is WORD]`
    ");
    assert!(!env.store().exists());
}

#[test]
fn a_folder_in_place_of_a_specification() {
    let env = Environment::new();
    fs::create_dir(env.work().join("folder")).unwrap();
    assert_snapshot!(env.run(&["--file", "folder", "eval"]).fails(2), @r"
    error[cannot-open]: cannot read the main file $TEST/work/folder/metro.conf: no such file
    --> $TEST/work/folder/metro.conf
    hint: write it, or leave out --file to use the standard specs
    ");
    env.write("metro.conf", "[collect folder]\n");
    assert_snapshot!(env.run(&["realise", "stage3-corei7"]).fails(2), @"
    error[bad-collect]: cannot collect $TEST/work/folder: is a directory
     --> $TEST/work/metro.conf:1:10
      |
    1 | [collect folder]
      |          ^^^^^^ is a directory
      |
      = help: name a file in it
    ");
}

#[test]
fn a_fifo_in_place_of_a_specification() {
    let env = Environment::new();
    let made = Command::new("mkfifo").arg(env.work().join("pipe")).status();
    assert!(made.unwrap().success());
    // Neither waits for a writer.
    assert_snapshot!(env.run(&["--file", "pipe", "eval"]).fails(2), @"
    error[cannot-open]: cannot read the main file $TEST/work/pipe: is a FIFO, not a regular file
    --> $TEST/work/pipe
     = help: only regular files are read: copy what it gives into one
    ");
    env.write("metro.conf", "a: 1\n[collect pipe]\n");
    assert_snapshot!(env.run(&["realise", "stage3-corei7"]).fails(2), @"
    error[bad-collect]: cannot collect $TEST/work/pipe: is a FIFO, not a regular file
     --> $TEST/work/metro.conf:2:10
      |
    2 | [collect pipe]
      |          ^^^^ is a FIFO, not a regular file
      |
      = help: only regular files are read: copy what it gives into one
    ");
}

#[test]
fn a_specification_that_may_not_be_read() {
    use std::os::unix::fs::PermissionsExt;
    let env = Environment::new();
    let path = env.write("metro.conf", STANDARD);
    fs::set_permissions(&path, fs::Permissions::from_mode(0o000)).unwrap();
    if fs::read(&path).is_ok() {
        eprintln!("skipped: root reads every file");
        return;
    }
    let text = env.run(&["eval"]).fails(2);
    assert!(
        text.contains("$TEST/work/metro.conf: permission denied"),
        "{text}"
    );
}

#[test]
fn a_specification_that_is_not_there() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["--file", "none.conf", "eval"]).fails(2), @"
    error[cannot-open]: cannot read the main file $TEST/work/none.conf: no such file
    --> $TEST/work/none.conf
    hint: write it, or leave out --file to use the standard specs
    ");
    assert_snapshot!(env.run(&["--file", "none.conf", "realise", "stage3-corei7"]).fails(2), @"
    error: no such entry file: $TEST/work/none.conf
    hint: write one, or leave out --file to use the standard specs
    ");
}

#[test]
fn a_store_of_a_newer_format() {
    let env = with_seed();
    let format = env.store().join("format");
    let text = fs::read_to_string(&format).unwrap();
    let newer = text.replace("format 1\n", "format 99\n");
    assert_ne!(text, newer);
    fs::write(&format, &newer).unwrap();
    let lock = fs::read(env.work().join("metro.lock")).unwrap();
    let all = [
        &["realise", "stage1-corei7"][..],
        &["seed", "import", "good.tar"],
        &["store", "verify"],
        &["gc"],
    ];
    let mut texts: Vec<String> = all.iter().map(|c| env.run(c).fails(3)).collect();
    texts.dedup();
    assert_eq!(texts.len(), 1, "{texts:?}");
    assert_snapshot!(texts[0], @"
    error: store is of format 99, this release knows up to 1: $TEST/store
    hint: use the release of mstore that made it, or a later one, or another store: --store DIR
    ");
    assert_eq!(fs::read_to_string(&format).unwrap(), newer);
    assert_eq!(fs::read(env.work().join("metro.lock")).unwrap(), lock);
    fs::write(&format, text).unwrap();
    assert!(verify(&env).contains("no fault"));
}

#[test]
fn a_folder_that_is_no_store() {
    let env = Environment::new();
    env.write("other/file", "precious");
    let other = env.work().join("other");
    let arguments = [
        "--store",
        other.to_str().unwrap(),
        "realise",
        "stage1-corei7",
    ];
    assert_snapshot!(env.run(&arguments).fails(3), @"
    error: not a store: $TEST/work/other: folder is not empty: it holds file
    hint: give the folder of a store, or one that is empty or absent: --store DIR
    ");
    assert_eq!(fs::read_dir(other).unwrap().count(), 1);
}

#[test]
fn no_user_namespaces() {
    let env = Environment::new();
    // The switch belongs to each user namespace, so one of our own is made to turn it in. Within,
    // the command is an ordinary user without any rights.
    let within = |script: &str| {
        let mut command = Command::new("unshare");
        command
            .args(["--user", "--map-user=1000", "--map-group=1000"])
            .args(["--keep-caps", "sh", "-ec", script]);
        command
    };
    let turn = "echo 0 >/proc/sys/user/max_user_namespaces";
    let drop = "setpriv --ambient-caps=-all --inh-caps=-all --no-new-privs";
    let probe = within(&format!("{turn}; {drop} true"))
        .stdin(Stdio::null())
        .output();
    match probe {
        Ok(output) if output.status.success() => {}
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).into_owned();
            eprintln!("skipped: the switch cannot be turned here: {why}");
            return;
        }
        Err(e) => {
            eprintln!("skipped: there is no unshare: {e}");
            return;
        }
    }
    let inner = env.command(&[]);
    let mut command = within(&format!("{turn}; exec {drop} \"$MSTORE\" \"$@\""));
    command.args(["sh", "realise", "stage1-corei7"]).env_clear();
    for (name, value) in inner.get_envs() {
        if let Some(value) = value {
            command.env(name, value);
        }
    }
    command
        .env("MSTORE", inner.get_program())
        .current_dir(env.work());
    let ran = env.finish(command.output().unwrap());
    assert_snapshot!(ran.fails(3), @"error: user namespaces are switched off on this machine: as root, run `sysctl -w user.max_user_namespaces=15000`");
    assert!(verify(&env).contains("no fault"));
    assert!(!env.store().join("metro.lock").exists());
}

#[test]
fn a_target_that_is_not_built() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["export", "stage3-corei7", "a.tar"]).fails(2), @"
    error: stage3-corei7 is not built, or not up to date
    hint: build it first: mstore realise stage3-corei7
    ");
    assert_snapshot!(env.run(&["log", "stage3-corei7"]).fails(2), @"
    error: stage3-corei7 has no log: it was never built here
    hint: build it first: mstore realise stage3-corei7
    ");
    assert_snapshot!(env.run(&["shell", "stage3-corei7"]).fails(2), @"
    error: stage3-corei7 is not built
    hint: build it first: mstore realise stage3-corei7
    ");
    assert_eq!(fs::read_dir(env.work()).unwrap().count(), 0);
}

#[test]
fn an_archive_of_no_known_form() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["export", "stage3-corei7", "a.zip"]).fails(2), @"
    error: a.zip: cannot tell the form of archive from this name
    hint: use .tar, .tar.gz, .tar.xz, .tar.zst, .oci, .squashfs or .erofs, or --format
    ");
}

#[test]
fn definitions_that_are_none() {
    let env = Environment::new();
    assert_snapshot!(env.run(&["-D", "target", "eval"]).fails(2), @"
    error: 'target' is not a definition
    hint: write NAME=VALUE or 'NAME: VALUE', for example target/subarch=corei7
    ");
    assert_snapshot!(env.run(&["-D", "a b=c", "eval"]).fails(2), @"
    error[bad-line]: `a b` cannot be the name of an element
     --> <command line>:1:1
      |
    1 | a b: c
      | ^^^
      |
      = help: a name has no whitespace, `[`, `]` or `:` and does not end in `?`
    ");
    assert_snapshot!(env.run(&["-D", "=c", "realise", "stage1-corei7"]).fails(2), @"
    error[bad-line]: `` cannot be the name of an element
     --> <command line>:1:1
      |
    1 | : c
      | ^
      |
      = help: a name has no whitespace, `[`, `]` or `:` and does not end in `?`
    ");
    assert!(!env.store().exists());
}
