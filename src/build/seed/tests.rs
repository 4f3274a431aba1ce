use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use super::collect::{Collector, Item};
use super::elf::{self, Needs};
use super::libraries::Loader;
use super::*;

fn write(root: &Path, path: &str, content: &[u8], mode: u32) {
    let at = root.join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    fs::write(&at, content).unwrap();
    fs::set_permissions(&at, fs::Permissions::from_mode(mode)).unwrap();
}

/// Builds a shared library or program at `path` below `root`; false without a compiler.
fn link(root: &Path, path: &str, arguments: &[&str]) {
    let at = root.join(path);
    fs::create_dir_all(at.parent().unwrap()).unwrap();
    let source = root.join("source.c");
    fs::write(
        &source,
        "int value(void) { return 1; } int main(void) { return 0; }\n",
    )
    .unwrap();
    let made = Command::new("cc")
        .args(["-fPIC", "-nostdlib", "-o"])
        .arg(&at)
        .arg(&source)
        .args(arguments)
        .output()
        .unwrap();
    assert!(
        made.status.success(),
        "{}",
        String::from_utf8_lossy(&made.stderr)
    );
    fs::remove_file(source).unwrap();
}

fn keys(collector: Collector) -> Vec<String> {
    collector
        .into_items()
        .into_keys()
        .map(|p| p.display().to_string())
        .collect()
}

#[test]
fn links_on_the_way_are_taken() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "usr/bin/mawk", b"x", 0o755);
    fs::create_dir_all(root.join("etc/alternatives")).unwrap();
    symlink("/usr/bin/mawk", root.join("etc/alternatives/awk")).unwrap();
    symlink("/etc/alternatives/awk", root.join("usr/bin/awk")).unwrap();
    symlink("usr/bin", root.join("bin")).unwrap();
    let mut collector = Collector::new(root);
    let real = collector.add(Path::new("/bin/../bin/awk")).unwrap();
    assert_eq!(real, Path::new("/usr/bin/mawk"));
    assert_eq!(
        keys(collector),
        [
            "bin",
            "etc",
            "etc/alternatives",
            "etc/alternatives/awk",
            "usr",
            "usr/bin",
            "usr/bin/awk",
            "usr/bin/mawk"
        ]
    );
}

#[test]
fn a_circle_of_links_is_an_error() {
    let dir = tempfile::tempdir().unwrap();
    symlink("b", dir.path().join("a")).unwrap();
    symlink("a", dir.path().join("b")).unwrap();
    let error = Collector::new(dir.path()).add(Path::new("/a")).unwrap_err();
    assert!(error.to_string().contains("too many symbolic links"));
}

#[test]
fn a_script_needs_its_interpreter() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), "s", b"#! /bin/sh -e\necho\n", 0o755);
    write(dir.path(), "t", b"text", 0o755);
    assert_eq!(
        elf::needs(&dir.path().join("s")).unwrap(),
        Needs::Interpreter(vec!["/bin/sh".into(), "-e".into()])
    );
    assert_eq!(elf::needs(&dir.path().join("t")).unwrap(), Needs::Nothing);
}

#[test]
fn damaged_programs_are_errors_not_crashes() {
    let dir = tempfile::tempdir().unwrap();
    let me = fs::read(std::env::current_exe().unwrap()).unwrap();
    for length in [4, 5, 20, 63, 64, 65, 200, 1000] {
        write(dir.path(), "p", &me[..length], 0o755);
        let _ = elf::needs(&dir.path().join("p"));
    }
    let mut bytes = me[..me.len().min(100_000)].to_vec();
    for at in (0..600).step_by(7) {
        bytes[at] ^= 0xff;
        write(dir.path(), "p", &bytes, 0o755);
        let _ = elf::needs(&dir.path().join("p"));
        bytes[at] ^= 0xff;
    }
}

/// libone needs libtwo by RUNPATH, which needs libthree, which only ld.so.conf leads to.
#[test]
fn libraries_are_found_as_the_dynamic_linker_does() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    let path = |p: &str| root.join(p).display().to_string();
    link(
        root,
        "opt/odd/libthree.so.1.5",
        &["-shared", "-Wl,-soname,libthree.so.1"],
    );
    symlink("libthree.so.1.5", root.join("opt/odd/libthree.so.1")).unwrap();
    link(
        root,
        "opt/app/private/libtwo.so",
        &[
            "-shared",
            "-Wl,-soname,libtwo.so",
            "-Wl,--no-as-needed",
            &path("opt/odd/libthree.so.1"),
        ],
    );
    link(
        root,
        "opt/app/bin/program",
        &[
            "-shared",
            "-Wl,--no-as-needed",
            &path("opt/app/private/libtwo.so"),
            "-Wl,-rpath,$ORIGIN/../private",
        ],
    );
    write(
        root,
        "etc/ld.so.conf",
        b"include ld.so.conf.d/*.conf\n",
        0o644,
    );
    write(
        root,
        "etc/ld.so.conf.d/odd.conf",
        b"# odd\n/opt/odd\n",
        0o644,
    );
    fs::create_dir_all(root.join("usr/lib64")).unwrap();

    let loader = Loader::of_machine(root, &["/usr/lib64".into()]);
    let mut collector = Collector::new(root);
    collector.add(Path::new("/opt/app/bin/program")).unwrap();
    close(&mut collector, &loader, &[]).unwrap();
    let items = collector.into_items();
    let has = |p: &str| items.contains_key(Path::new(p));
    assert!(has("opt/app/private/libtwo.so"), "{items:?}");
    assert!(has("opt/odd/libthree.so.1") && has("opt/odd/libthree.so.1.5"));
    assert_eq!(
        items.get(Path::new("usr/lib64/libthree.so.1")),
        Some(&Item::Link {
            target: "/opt/odd/libthree.so.1.5".into()
        })
    );

    fs::remove_dir_all(root.join("opt/odd")).unwrap();
    let mut collector = Collector::new(root);
    collector.add(Path::new("/opt/app/bin/program")).unwrap();
    let error = close(&mut collector, &loader, &[]).unwrap_err().to_string();
    assert!(
        error.contains("libthree.so.1 (needed by /opt/app/private/libtwo.so)"),
        "{error}"
    );
}

#[test]
fn missing_programs_are_all_named_at_once() {
    let dir = tempfile::tempdir().unwrap();
    let options = SurveyOptions {
        programs: vec![dir.path().to_path_buf()],
        extra: Vec::new(),
    };
    let error = survey(&options, &mut |_| {}).unwrap_err().to_string();
    assert!(error.starts_with("this machine lacks what a seed needs: sh, basename, cat,"));
    assert!(error.contains("\n  Debian, Ubuntu: apt-get install binutils coreutils dash "));
    assert!(error.contains("\n  Alpine: apk add "));
}

#[test]
fn a_wrapper_is_no_compiler() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path();
    write(root, "first/ccache", b"#!/bin/sh\n", 0o755);
    symlink("ccache", root.join("first/gcc")).unwrap();
    write(root, "second/gcc", b"#!/bin/sh\n", 0o755);
    let dirs = [root.join("first"), root.join("second")];
    assert_eq!(
        tools::interpreters(&["/usr/bin/env".into(), "gcc".into()], &dirs)[0],
        root.join("second/gcc")
    );
}

/// The seed of this very machine compiles and links, statically and dynamically, on its own.
#[test]
fn this_machines_seed_compiles() {
    let mut events = Vec::new();
    let seed = survey(&SurveyOptions::default(), &mut |e| events.push(e)).unwrap();
    assert_eq!(
        seed,
        survey(&SurveyOptions::default(), &mut |_| {}).unwrap(),
        "the same machine, the same seed"
    );
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("root");
    seed.stage(&root).unwrap();
    fs::write(
        root.join("tmp/t.c"),
        "#include <stdio.h>\n#include <linux/types.h>\n#include <math.h>\n\
         int main(int c, char **v) { (void)v; printf(\"%.0f\\n\", sqrt(16.0 * c)); return 0; }\n",
    )
    .unwrap();
    let has_static = !events
        .iter()
        .any(|e| matches!(e, SeedEvent::Without { what, .. } if what == "libc.a"));
    let script = format!(
        "set -e; cd /tmp; cc -O2 t.c -o dynamic -lm; ./dynamic; {} \
         printf 'all:\\n\\techo made | sed s/a/o/ | awk \"{{print}}\" | gzip | gzip -d\\n' > Makefile; make -s",
        if has_static {
            "cc -O2 -static t.c -o static -lm; ./static;"
        } else {
            "echo 4;"
        }
    );
    let ran = Command::new("unshare")
        .args(["--map-root-user", "--mount", "--pid", "--fork", "chroot"])
        .arg(&root)
        .args([
            "/usr/bin/env",
            "-i",
            "PATH=/usr/bin:/bin",
            "LC_ALL=C.UTF-8",
            "/bin/sh",
            "-c",
        ])
        .arg(script)
        .output()
        .unwrap();
    let told = String::from_utf8_lossy(&ran.stderr);
    if told.contains("unshare failed") || told.contains("Operation not permitted") {
        return; // no user namespaces here: the sandbox's own tests say so
    }
    assert!(ran.status.success(), "{told}");
    assert_eq!(String::from_utf8_lossy(&ran.stdout), "4\n4\nmode\n");
}

/// Stores know seeds by content: two captures of one machine are one tree, wherever they are stored.
#[test]
fn a_seed_has_the_same_hash_in_every_store() {
    let seed = survey(&SurveyOptions::default(), &mut |_| {}).unwrap();
    let import = || {
        let dir = tempfile::tempdir().unwrap();
        let options = mstore_store::OpenOptions {
            create: true,
            ..Default::default()
        };
        let store = mstore_store::Store::open(dir.path(), &options).unwrap();
        let imported = seed.import(&store).unwrap();
        assert_eq!(imported.bytes, seed.bytes());
        imported.tree
    };
    assert_eq!(import(), import());
}
