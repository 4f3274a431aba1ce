//! What the cases do not tell: JSON, the program's other name, `--run`, hostile mirrors, Metro text.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};

use crate::world::{World, told};

const DAY: &str = "2015-02-20";
const PLAIN: &str = "builds = ('b',)\narches = ('x',)\nsubarches = ('s', 't')\n";

#[track_caller]
fn ok(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", told(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&ok(output)).unwrap()
}

/// A complete build; full if it has a stage1.
fn build(world: &World, subarch: &str, day: &str, full: bool) {
    world.file(&format!("{subarch}/{day}/stage3-x.tar.xz"), "3");
    if full {
        world.file(&format!("{subarch}/{day}/stage1-x.tar.xz"), "1");
    }
}

#[test]
fn every_verb_of_the_rotation_has_json() {
    let world = World::new(
        format!("{PLAIN}def map_build(a, b, c, d): return 'full+lxd+openvz'\n").as_bytes(),
    );
    build(&world, "b/x/s", "2015-02-01", true);
    world.folder("b/x/t");
    world.file("b/x/s/.control/.failcount", "1");
    assert_eq!(
        json_of(&world.run(DAY, &["nextbuild", "--json"])),
        json!({
            "build": "b", "arch_desc": "x", "subarch": "t", "fulldate": null, "nextdate": DAY, "failcount": 0,
            "target": "full", "extras": ["lxd", "openvz"], "why": "never-built", "age": null,
        })
    );
    let path = |subarch: &str| format!("{}/b/x/{subarch}", world.mirror().display());
    let view = |subarch: &str, failcount: u64, date: Option<&str>| {
        json!({
            "build": "b", "arch_desc": "x", "subarch": subarch, "path": path(subarch), "own": true,
            "failcount": failcount, "date": date,
        })
    };
    assert_eq!(
        json_of(&world.run(DAY, &["fails", "--json"])),
        json!([view("s", 1, Some("2015-02-01")), view("t", 0, None)])
    );
    assert_eq!(
        json_of(&world.run(DAY, &["empties", "--json"])),
        json!([view("t", 0, None)])
    );
    assert_eq!(
        json_of(&world.run(DAY, &["zap", "--json"])),
        json!([{"removed": format!("{}/.control/.failcount", path("s"))}])
    );
    fs::remove_dir(world.mirror().join("b/x/t")).unwrap();
    let next = json_of(&world.run(DAY, &["next", "--pretend", "--json"]));
    assert_eq!((&next["why"], &next["age"]), (&json!("stale"), &json!(19)));
}

#[test]
fn the_first_line_may_be_that_of_2019() {
    let world = World::new(PLAIN.as_bytes());
    build(&world, "b/x/s", "2015-02-01", true);
    let text = ok(&world.run(DAY, &["nextbuild", "--as", "release"]));
    assert!(text.starts_with("release=b\narch_desc=x\n"), "{text}");
}

#[test]
fn the_program_called_buildrepo_takes_the_same_verbs_and_finds_the_same_files() {
    let world = World::new(PLAIN.as_bytes());
    build(&world, "b/x/s", "2015-02-01", true);
    let program = world.home().join("buildrepo");
    symlink(env!("CARGO_BIN_EXE_mstore"), &program).unwrap();
    fs::rename(
        world.home().join("buildbot"),
        world.home().join(".buildbot"),
    )
    .unwrap();
    let run = |arguments: &[&str]| world.bare(&program).args(arguments).output().unwrap();
    let without = run(&["fails"]);
    assert_eq!(without.status.code(), Some(2), "{}", told(&without));
    assert!(String::from_utf8_lossy(&without.stderr).contains("path/mirror"));
    let mirror = world.mirror();
    fs::write(
        world.home().join(".metro"),
        format!("[section path]\n\nmirror: {}\n", mirror.display()),
    )
    .unwrap();
    let wanted = format!("   0   2015-02-01 {}/b/x/s\n", mirror.display());
    assert_eq!(ok(&run(&["fails"])), wanted);
    for wrong in [&[][..], &["frobnicate"], &["fails", "more"]] {
        let out = run(wrong);
        assert_eq!(out.status.code(), Some(2), "{wrong:?} {}", told(&out));
        assert!(out.stdout.is_empty());
    }
}

#[test]
fn a_day_that_is_not_one_and_a_mirror_that_is_none_are_refused() {
    let world = World::new(PLAIN.as_bytes());
    for day in ["2015-02-30", "today", ""] {
        let out = world.run(day, &["fails"]);
        assert_eq!(out.status.code(), Some(2), "{}", told(&out));
    }
    fs::remove_dir(world.mirror()).unwrap();
    for verb in ["fails", "nextbuild", "zap"] {
        let out = world.run(DAY, &[verb]);
        assert_eq!(out.status.code(), Some(2), "{}", told(&out));
        assert!(String::from_utf8_lossy(&out.stderr).contains("cannot open the mirror"));
    }
    fs::remove_file(world.home().join("buildbot")).unwrap();
    let out = world.run(DAY, &["fails"]);
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("there is no configuration"),
        "{}",
        told(&out)
    );
}

#[test]
fn what_never_ends_is_ended() {
    for source in [
        "def f():\n  return f()\nf()\n",
        "x = [0]\nfor a in x:\n  x.append(a)\n",
        "x = 'a' * 10 ** 12\n",
    ] {
        let world = World::new(format!("{PLAIN}{source}").as_bytes());
        let out = world.run(DAY, &["fails"]);
        assert_eq!(out.status.code(), Some(2), "{}", told(&out));
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(
            said.contains("buildbot:") && said.contains("it is stopped"),
            "{said}"
        );
    }
    let world = World::new(b"builds = arches = subarches = tuple(str(n) for n in range(101))\n");
    let out = world.run(DAY, &["fails"]);
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        out.status.code() == Some(2) && said.contains("more than 1000000"),
        "{said}"
    );
    // And so is a file that is none, or none that ends.
    let world = World::new(b"");
    let file = world.home().join("buildbot");
    fs::remove_file(&file).unwrap();
    for target in ["/dev/zero", "."] {
        let _ = fs::remove_file(&file);
        symlink(target, &file).unwrap();
        let out = world.run(DAY, &["fails"]);
        assert_eq!(out.status.code(), Some(2), "{target} {}", told(&out));
    }
}

#[test]
fn the_same_in_metro_text() {
    let world = World::new(
        b"[section buildbot]\n\nbuilds: b\narches: x\nsubarches: s\nall_subarches: s t\nstale_days: 2\n\
          map/after-full: freshen\nmap/after-freshen: full\nmap/never-built: full+first\nmap/extras/s: lxd openvz\n",
    );
    world.folder("b/x/s");
    build(&world, "b/x/t", "2015-02-01", true);
    let extras = || {
        let next = json_of(&world.run(DAY, &["nextbuild", "--json"]));
        format!("{} {}", next["target"], next["extras"])
    };
    assert_eq!(extras(), "\"full\" [\"first\",\"lxd\",\"openvz\"]");
    build(&world, "b/x/s", "2015-02-01", true);
    assert_eq!(extras(), "\"freshen\" [\"lxd\",\"openvz\"]");
    build(&world, "b/x/s", "2015-02-18", false);
    assert_eq!(extras(), "\"full\" [\"lxd\",\"openvz\"]");
    for (text, wanted) in [
        (
            "[section buildbot]\nbuilds: b\narches: x\nsubarches: .s\n",
            "buildbot:4: buildbot/subarches",
        ),
        (
            "[section buildbot]\nbuilds: b\narches: x\nsubarches: s\nkeep_nun: 1\n",
            "buildbot:5: buildbot/keep_nun: there is no such element; nearest: keep_num",
        ),
        (
            "[section buildbot]\nbuilds: b\narches: x\nsubarches: s\nkeep_num: 0\n",
            "buildbot:5: buildbot/keep_num",
        ),
        (
            "[section other]\nbuilds: b\n",
            "buildbot:1: there is no [section buildbot]",
        ),
        (
            "[section buildbot]\nbuilds: b\narches: x\n",
            "buildbot/subarches: it is not set",
        ),
    ] {
        fs::write(world.home().join("buildbot"), text).unwrap();
        let out = world.run(DAY, &["fails"]);
        assert_eq!(out.status.code(), Some(2), "{}", told(&out));
        assert!(
            String::from_utf8_lossy(&out.stderr).contains(wanted),
            "{}",
            told(&out)
        );
    }
}

#[test]
fn a_running_build_is_passed_over_and_told() {
    let world = World::new(PLAIN.as_bytes());
    build(&world, "b/x/s", "2015-02-01", true);
    world.file(
        "b/x/s/.control/.multi_progress",
        std::process::id().to_string(),
    );
    let out = world.run(DAY, &["nextbuild"]);
    assert_eq!((out.status.code(), out.stdout.len()), (Some(1), 0));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        said.contains(&format!(
            "/b/x/s is being built by process {}",
            std::process::id()
        )),
        "{said}"
    );
}

#[test]
fn nothing_outside_the_mirror_is_changed() {
    let world = World::new(PLAIN.as_bytes());
    let outside = world.home().join("outside");
    fs::create_dir_all(outside.join("s/.control")).unwrap();
    fs::write(outside.join("s/.control/.failcount"), "2").unwrap();
    fs::write(outside.join("s/.control/.multi_progress"), "99999999999").unwrap();
    for day in 1..9 {
        let folder = outside.join(format!("s/2015-01-0{day}"));
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("stage3.tar.xz"), "").unwrap();
    }
    world.folder("b");
    symlink(&outside, world.mirror().join("b/x")).unwrap();
    let before = world.entries();
    // What is there is seen, as it always was.
    assert!(ok(&world.run(DAY, &["fails"])).contains("   2   2015-01-08"));
    let zap = world.run(DAY, &["zap"]);
    assert_eq!(zap.status.code(), Some(3), "{}", told(&zap));
    assert!(zap.stdout.is_empty());
    let _ = world.run(DAY, &["nextbuild"]);
    assert!(world.entries() == before);
}

#[test]
fn names_with_line_feeds_and_escapes_cannot_upset_anybody() {
    let world =
        World::new("builds = ('b\\n\\x1b[31m',)\narches = ('x',)\nsubarches = ('s',)\n".as_bytes());
    build(&world, "b\n\x1b[31m/x/s", "2015-02-01", true);
    world.file("b\n\x1b[31m/x/s/.control/.failcount", "two");
    for verb in ["fails", "empties", "zap"] {
        let out = world.run(DAY, &[verb]);
        ok(&out);
        for stream in [&out.stdout, &out.stderr] {
            let text = String::from_utf8(stream.clone()).unwrap();
            assert!(
                !text.contains('\x1b') && text.lines().count() <= 1,
                "{text:?}"
            );
        }
    }
}

#[test]
fn the_parts_of_a_mirror_that_are_pipes_or_endless_are_not_waited_for() {
    let world = World::new(PLAIN.as_bytes());
    build(&world, "b/x/s", "2015-02-01", true);
    world.folder("b/x/s/.control/version");
    world.folder("b/x/s/2015-01-01");
    for pipe in [
        ".control/.failcount",
        ".control/.multi_progress",
        ".control/version/stage1",
        "2015-01-01/status",
    ] {
        let path = world.mirror().join("b/x/s").join(pipe);
        let mode = rustix::fs::Mode::from_raw_mode(0o644);
        rustix::fs::mkfifoat(rustix::fs::CWD, &path, mode).unwrap();
    }
    symlink(
        "/dev/zero",
        world.mirror().join("b/x/s/2015-01-01/build-info.json"),
    )
    .unwrap();
    assert!(ok(&world.run(DAY, &["fails"])).contains("   0   2015-02-01"));
    // A lock that was made a moment ago counts as held.
    assert_eq!(world.run(DAY, &["nextbuild"]).status.code(), Some(1));
    let path = Path::new("b/x/s/.control/.failcount");
    assert!(world.mirror().join(path).exists());
    ok(&world.run(DAY, &["zap"]));
    assert!(!world.mirror().join(path).exists());
}
