//! Made-up specifications of given shapes.

#![allow(dead_code, missing_docs)] // Each user takes what it needs; names and comments tell.

use std::fmt::Write;
use std::path::Path;

pub const BUILDS: usize = 5;
pub const ARCHES: usize = 4;
pub const SUBARCHES: usize = 10;
pub const CLASSES: usize = 3;

/// A tree of 100 files and about 3,000 lines, of which one target collects 25 and sees 115 elements.
pub fn tree(dir: &Path) {
    let write = |name: &str, text: &str| {
        let path = dir.join(name);
        let parent = path.parent().expect("a file has a directory");
        std::fs::create_dir_all(parent).expect("the directory can be made");
        std::fs::write(path, text).expect("the file can be written");
    };
    let mut main = String::from(
        "# The main file.\n[section path]\n: /srv/build\nmirror: $[]/mirror\ncache: $[]/cache\nwork: $[]/tmp/$[target/name]\n\n\
         [section target]\nname: $[:class]-$[:subarch]-$[:build]-$[:version]\nversion: 2026.11.21\n\n",
    );
    for name in [
        "builds/$[target/build].conf",
        "arch/$[target/arch].conf",
        "subarch/$[target/arch]-$[target/subarch].conf",
        "targets/$[target/class].conf",
        "extra/$[extra:zap].conf",
    ] {
        let _ = writeln!(main, "[collect ./{name}]");
    }
    for index in 0..20 {
        let _ = writeln!(main, "[collect ./steps/step{index}.conf]");
    }
    write("main.conf", &main);
    let mut written = 1;
    for build in 0..BUILDS {
        written += 1;
        write(
            &format!("builds/build{build}.conf"),
            &section("build", &format!("b{build}"), 4),
        );
    }
    for arch in 0..ARCHES {
        written += 1;
        write(
            &format!("arch/arch{arch}.conf"),
            &section("arch", &format!("a{arch}"), 4),
        );
        for subarch in 0..SUBARCHES {
            written += 1;
            let name = format!("subarch/arch{arch}-sub{subarch}.conf");
            write(&name, &section("subarch", &format!("s{subarch}"), 4));
        }
    }
    for class in 0..CLASSES {
        written += 1;
        write(
            &format!("targets/class{class}.conf"),
            &section("job", &format!("c{class}"), 5),
        );
    }
    for step in 0..20 {
        written += 1;
        write(&format!("steps/step{step}.conf"), &script(step));
    }
    for spare in written..100 {
        write(
            &format!("spare/spare{spare}.conf"),
            &section("spare", "x", 4),
        );
    }
}

/// A file of about 30 lines with a few settings.
fn section(name: &str, value: &str, settings: usize) -> String {
    let mut text = format!("# Settings of {name} {value}.\n\n[section {name}]\n: {value}\n");
    for setting in 0..settings {
        let _ = writeln!(
            text,
            "setting{setting}: -{value} $[target/class] $[:absent{setting}:lax] $[target/version] # why"
        );
    }
    text.push_str("packages: [\n");
    for package in 0..12 {
        let _ = writeln!(text, "    app-group{package}/package-{value}-{package}");
    }
    text.push_str("]\n");
    while text.lines().count() < 30 {
        text.push_str("# One more line of words that explain nothing to the machine.\n");
    }
    text
}

fn script(step: usize) -> String {
    let mut text = format!(
        "# Step {step}.\n[section step{step}]\n: run-$[target/name]\nflags: $[build/setting1] $[arch/setting2]\nenabled: $[:flags?] $[nothing?]\nscript: [\n#!/bin/bash\n"
    );
    for line in 0..18 {
        match line % 6 {
            0 => text.push_str("export FLAGS=\"$[:flags]\"\n"),
            3 => {
                let _ = writeln!(
                    text,
                    "run --work $[path/work] $[subarch/setting{}:zap]",
                    line % 4
                );
            }
            5 if step > 0 => {
                let _ = writeln!(text, "$[[step{}/shared]]", step - 1);
            }
            _ => text.push_str(
                "    [ -e \"${ROOT}/etc/file\" ] && echo \"found $HOME\" >> /var/log/build.log\n",
            ),
        }
    }
    text.push_str("]\nshared: [\necho $[job/setting0] $[:script?]\nexit 0 || exit 1\n]\n");
    text
}

/// The definitions that choose one of the 600 targets.
pub fn targets() -> Vec<Vec<(&'static str, String)>> {
    let mut all = Vec::new();
    for build in 0..BUILDS {
        for arch in 0..ARCHES {
            for subarch in 0..SUBARCHES {
                for class in 0..CLASSES {
                    all.push(vec![
                        ("target/build", format!("build{build}")),
                        ("target/arch", format!("arch{arch}")),
                        ("target/subarch", format!("sub{subarch}")),
                        ("target/class", format!("class{class}")),
                    ]);
                }
            }
        }
    }
    all
}

/// One text of at least `bytes` bytes: settings, comments, sections, conditions and blocks.
pub fn bulk(bytes: usize) -> String {
    let mut text = String::with_capacity(bytes + 4096);
    let mut number = 0;
    while text.len() < bytes {
        let _ = writeln!(
            text,
            "# Part {number}: words to be skipped.\n\n[section part/{number}]\n: part-{number}"
        );
        for item in 0..8 {
            let _ = writeln!(
                text,
                "setting-{item}: $[:] $[part/{number}/setting-{}:lax] and some plain text",
                (item + 1) % 8
            );
        }
        let _ = writeln!(
            text,
            "[when part/{number} is part-{number} other]\nchosen: yes\n[when *]\nscript: [\n#!/bin/bash"
        );
        for line in 0..10 {
            let _ = writeln!(
                text,
                "    echo \"line {line} of a script, $[:setting-{}]\" >> ${{LOG}} # kept",
                line % 8
            );
        }
        text.push_str("]\n");
        number += 1;
    }
    text
}

/// Elements each of which refers to the next.
pub fn chain(length: usize) -> String {
    let mut text = String::from("e0: end\n");
    for index in 1..length {
        let _ = writeln!(text, "e{index}: $[e{}]", index - 1);
    }
    text
}

/// Elements each of which adds to the one before.
pub fn growing_chain(length: usize) -> String {
    let mut text = String::from("e0: end\n");
    for index in 1..length {
        let _ = writeln!(text, "e{index}: x$[e{}]", index - 1);
    }
    text
}

/// Blocks each of which includes the next and adds a line.
pub fn inclusions(length: usize) -> String {
    let mut text = String::from("e0: [\nend\n]\n");
    for index in 1..length {
        let _ = writeln!(text, "e{index}: [\nline {index}\n$[[e{}]]\n]", index - 1);
    }
    text
}
