//! The standard specs evaluate for every build, subarch and target, and say sensible things.

use std::path::{Path, PathBuf};
use std::process::Command;

use mstore_lang::{Definition, DiskFiles, Spec};

fn specs() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("stdlib-specs")
}

fn load(entry: &Path, definitions: &[(&str, &str)]) -> Spec {
    let definitions: Vec<Definition> = definitions
        .iter()
        .map(|(name, value)| Definition::new(*name, *value))
        .collect();
    match Spec::load(&DiskFiles, entry, &definitions) {
        Ok(spec) => spec,
        Err(errors) => panic!("{definitions:?}\n{}", errors.render(false)),
    }
}

fn text(spec: &Spec, name: &str) -> String {
    match spec.value(name) {
        Ok(value) => value.to_text(),
        Err(error) => panic!("{}", error.diagnostic.render(false)),
    }
}

fn words(spec: &Spec, name: &str) -> Vec<String> {
    text(spec, name)
        .split_whitespace()
        .map(str::to_owned)
        .collect()
}

fn target(build: &str, arch: &str, subarch: &str, class: &str, more: &[(&str, &str)]) -> Spec {
    let mut definitions = vec![
        ("target", class),
        ("target/build", build),
        ("target/arch_desc", arch),
        ("target/subarch", subarch),
        ("target/version", "2026-01-01"),
    ];
    definitions.extend(more);
    load(&specs().join("metro.conf"), &definitions)
}

#[test]
fn the_index_lists_what_there_is() {
    let index = load(&specs().join("metro.conf"), &[]);
    assert_eq!(text(&index, "default/build"), "seedling");
    for build in words(&index, "list/builds") {
        assert!(
            specs().join(format!("builds/{build}.conf")).is_file(),
            "{build}"
        );
    }
    let mut listed = Vec::new();
    for arch in words(&index, "list/arches") {
        assert!(
            specs().join(format!("arch/{arch}.conf")).is_file(),
            "{arch}"
        );
        listed.extend(words(&index, &format!("list/subarches/{arch}")));
    }
    let mut files: Vec<String> = std::fs::read_dir(specs().join("subarch"))
        .unwrap()
        .map(|e| {
            e.unwrap()
                .path()
                .file_stem()
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned()
        })
        .collect();
    listed.sort();
    files.sort();
    assert_eq!(listed, files, "every subarch is listed once and has a file");
}

#[test]
fn every_target_of_every_subarch_evaluates() {
    let index = load(&specs().join("metro.conf"), &[]);
    for build in words(&index, "list/builds") {
        // What single builds have besides does not depend on the subarch: one of each architecture will do.
        let own = format!("list/targets/{build}");
        let own = match index.is_defined(&own) {
            true => words(&index, &own),
            false => Vec::new(),
        };
        for arch in words(&index, "list/arches") {
            let subarches = words(&index, &format!("list/subarches/{arch}"));
            for (at, subarch) in subarches.into_iter().enumerate() {
                let more = own.iter().filter(|_| at == 0).cloned();
                for class in words(&index, "list/targets").into_iter().chain(more) {
                    let spec = target(&build, &arch, &subarch, &class, &[]);
                    for name in spec.names().iter().filter(|n| spec.is_defined(n)) {
                        if let Err(error) = spec.value(name) {
                            panic!(
                                "{build}/{arch}/{subarch}/{class}: {}",
                                error.diagnostic.render(false)
                            );
                        }
                    }
                    let steps = words(&spec, "steps/chroot");
                    assert!(!steps.is_empty());
                    for step in steps {
                        assert!(!text(&spec, &format!("steps/chroot/{step}")).is_empty());
                    }
                    // Portage has the flags in make.conf, where packages can change them.
                    let flags = match text(&spec, "build/style").as_str() {
                        "portage" => "portage/CFLAGS",
                        _ => "env/CFLAGS",
                    };
                    for name in ["target/platform", "portage/ROOT", "subarch/CHOST", flags] {
                        assert!(!text(&spec, name).is_empty(), "{name}");
                    }
                }
            }
        }
    }
}

#[test]
fn only_stage3_is_made_for_the_subarch() {
    let cflags = |class| {
        let spec = target("seedling", "x86-64bit", "corei7", class, &[]);
        text(&spec, "env/CFLAGS")
    };
    assert_eq!(cflags("stage1"), "-O2 -pipe");
    assert_eq!(cflags("stage2"), "-O2 -pipe");
    assert_eq!(cflags("stage3"), "-march=corei7 -O2 -pipe");
}

#[test]
fn a_pure64_subarch_is_the_subarch_itself() {
    let pure = target("seedling", "pure64", "amd64-k8-pure64", "stage3", &[]);
    assert_eq!(text(&pure, "subarch/CFLAGS"), "-march=k8 -O2 -pipe");
}

#[test]
fn strategies_name_the_seed() {
    let seed = |class, more: &[(&str, &str)]| {
        let spec = target("seedling", "x86-64bit", "corei7", class, more);
        let seed = spec.value("source/seed").map(|v| v.to_text()).ok();
        (text(&spec, "source"), seed, spec.is_defined("seed/kind"))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(
        seed("stage1", &[]),
        (String::new(), some("host/x86_64"), true)
    );
    assert_eq!(seed("stage2", &[]), ("stage1".into(), None, true));
    assert_eq!(
        seed("stage1", &[("strategy/build", "local")]),
        (
            String::new(),
            some("seedling/x86-64bit/corei7/stage3"),
            false
        )
    );
    assert_eq!(
        seed(
            "stage1",
            &[
                ("strategy/build", "remote"),
                ("remote/subarch", "generic_64")
            ]
        ),
        (
            String::new(),
            some("seedling/x86-64bit/generic_64/stage3"),
            false
        )
    );
    assert_eq!(
        seed(
            "stage2",
            &[("strategy/build", "local"), ("strategy/seed", "stage1")]
        ),
        (
            String::new(),
            some("seedling/x86-64bit/corei7/stage1"),
            false
        )
    );
}

/// A metro.conf of a user's own, which collects the standard one.
#[test]
fn hooks_change_stage3() {
    let dir = tempfile::tempdir().unwrap();
    let entry = dir.path().join("metro.conf");
    let standard = specs().join("metro.conf");
    std::fs::write(
        &entry,
        format!(
            "[collect {}]\n[section user]\nCFLAGS: -O3 -march=native\npackages: ed page\n\
             packages-clean: hexdump\nhostname: box\nservices: tty1\nmotd: [\nHello\n\n  there\n]\n\
             finish: [\necho done > /etc/done\n]\n",
            standard.display()
        ),
    )
    .unwrap();
    let spec = load(
        &entry,
        &[
            ("target", "stage3"),
            ("target/build", "seedling"),
            ("target/arch_desc", "x86-64bit"),
            ("target/subarch", "corei7"),
            ("target/version", "2026-01-01"),
        ],
    );
    assert_eq!(text(&spec, "env/CFLAGS"), "-O3 -march=native");
    let steps = words(&spec, "steps/chroot");
    for step in ["packages", "clean", "finish"] {
        assert!(steps.iter().any(|s| s == step), "{steps:?}");
    }
    let configure = text(&spec, "steps/chroot/configure");
    assert!(
        configure.contains("\nHello\n\n  there\nEND-OF-MOTD\n"),
        "{configure}"
    );
    assert!(configure.contains("echo 'box' > /etc/hostname"));
    assert!(configure.contains("for service in syslog console tty1; do"));
    assert!(text(&spec, "steps/chroot/packages").contains("build ed page"));
    assert!(text(&spec, "steps/chroot/finish").contains("echo done > /etc/done"));
    assert!(text(&spec, "reads/packages").ends_with("ed page"));
}

/// Every flag that this machine's compiler can know is one that it knows.
#[test]
fn the_compiler_knows_the_flags() {
    let index = load(&specs().join("metro.conf"), &[]);
    let Ok(version) = Command::new("gcc").arg("-dumpversion").output() else {
        return;
    };
    let version: u32 = String::from_utf8_lossy(&version.stdout)
        .split('.')
        .next()
        .and_then(|v| v.trim().parse().ok())
        .unwrap_or(0);
    if std::env::consts::ARCH != "x86_64" || version < 12 {
        return;
    }
    // Named by newer compilers only.
    let newer = ["znver4", "znver5", "raptorlake", "meteorlake"];
    for (arch, bits) in [("x86-64bit", "-m64"), ("x86-32bit", "-m32")] {
        for subarch in words(&index, &format!("list/subarches/{arch}")) {
            let spec = target("seedling", arch, &subarch, "stage3", &[]);
            let flags = text(&spec, "subarch/CFLAGS");
            if newer.iter().any(|n| flags.contains(n)) {
                continue;
            }
            let told = Command::new("gcc")
                .arg(bits)
                .args(flags.split_whitespace())
                .args(["-E", "-x", "c", "/dev/null"])
                .output()
                .unwrap();
            assert!(
                told.status.success(),
                "{subarch}: {}",
                String::from_utf8_lossy(&told.stderr)
            );
        }
    }
}

#[test]
fn scripts_name_no_path_of_this_machine() {
    let spec = target("seedling", "x86-64bit", "corei7", "stage3", &[]);
    for name in spec.names().iter().filter(|n| spec.is_defined(n)) {
        let value = text(&spec, name);
        assert!(
            !value.contains(env!("CARGO_MANIFEST_DIR")),
            "{name}: {value}"
        );
    }
}

/// The ports compile without a warning, on their own and outside any stage.
#[test]
fn ports_compile_without_warnings() {
    let dir = tempfile::tempdir().unwrap();
    let ports = specs().join("ports");
    let copied = Command::new("cp")
        .arg("-R")
        .arg(ports.join("."))
        .arg(dir.path())
        .status()
        .unwrap();
    assert!(copied.success());
    let installed = dir.path().join("installed");
    let make = |port: &str| {
        let made = Command::new("make")
            .args(["-s", "-j2", "-C"])
            .arg(dir.path().join(port))
            .arg("install")
            .arg(format!("DESTDIR={}", installed.display()))
            .arg(format!("LIBSEED={}/usr", installed.display()))
            .arg("CFLAGS=-O2 -Werror")
            .output()
            .unwrap();
        assert!(
            made.status.success() && made.stderr.is_empty(),
            "{port}: {}",
            String::from_utf8_lossy(&made.stderr)
        );
    };
    make("libseed");
    let mut names: Vec<_> = std::fs::read_dir(&ports)
        .unwrap()
        .map(|e| e.unwrap().path())
        .filter(|p| p.join("Makefile").is_file())
        .filter_map(|p| Some(p.file_name()?.to_str()?.to_owned()))
        .filter(|n| n != "libseed")
        .collect();
    names.sort();
    for port in names {
        make(&port);
    }
    let seq = Command::new(installed.join("usr/bin/seq"))
        .arg("3")
        .output()
        .unwrap();
    assert_eq!(seq.stdout, b"1\n2\n3\n");
}
