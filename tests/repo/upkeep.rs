//! Cleaning, hashing, indexing, compressing: what the cases do not tell.

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::{MetadataExt, symlink};
use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::world::{Entry, World, told, touch};

const DAY: &str = "2015-02-20";
const PLAIN: &str = "builds = ('b',)\narches = ('x',)\nsubarches = ('s', 't')\nkeep_num = 2\n";

#[track_caller]
fn ok(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(0), "{}", told(output));
    String::from_utf8(output.stdout.clone()).unwrap()
}

fn json_of(output: &Output) -> Value {
    serde_json::from_str(&ok(output)).unwrap()
}

fn complete(world: &World, folder: &str) {
    world.file(&format!("{folder}/stage3-x.tar.xz"), "3");
}

/// The names in a folder of the mirror.
fn names(world: &World, folder: &str) -> BTreeSet<String> {
    let entries = fs::read_dir(world.mirror().join(folder)).unwrap();
    entries
        .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
        .collect()
}

fn set(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|n| (*n).to_owned()).collect()
}

/// A mirror with something of everything that goes and stays.
fn full() -> World {
    let world = World::new(PLAIN.as_bytes());
    for day in ["2015-01-01", "2015-01-08", "2015-1-15", "2015-01-22"] {
        complete(&world, &format!("b/x/s/{day}"));
    }
    world.file("b/x/s/2015-02-01/stage1-x.tar.xz", "1");
    world.file("b/x/s/2015-02-02/status", "fail");
    world.file("b/x/s/2015-02-19/status", "fail");
    world.file("b/x/s/.control/version/stage4/kde", "2015-02-01\n");
    world.file("b/x/s/keep/it's mine", "1");
    world.file("pool/stage3.tar.xz", "1");
    world.link("b/x/t/2014-01-01", "../../../pool");
    complete(&world, "b/x/t/2015-01-01");
    complete(&world, "b/x/t/2015-01-02");
    for n in 1..=4 {
        world.file(&format!("b/snapshots/portage-{n}.tar.xz"), "1");
        world.file(&format!("b/snapshots/portage-{n}.tar.xz.gpg"), "1");
    }
    world
}

#[test]
fn the_script_and_the_run_remove_the_same() {
    let (one, other) = (full(), full());
    let script = ok(&one.run(DAY, &["clean"]));
    assert!(script.starts_with("#!/bin/sh\n# "), "{script}");
    let ran = one.sh(script.as_bytes());
    assert!(
        ran.status.success() && ran.stderr.is_empty(),
        "{}",
        told(&ran)
    );
    let removed = ok(&other.run(DAY, &["clean", "--run"]));
    assert_eq!(
        removed.lines().count(),
        script.matches("\nrm -rf -- ").count(),
        "{removed}"
    );
    // The folder of control of `t` was made for its lock.
    other.file("b/x/t/.control/.x", "");
    fs::remove_file(other.mirror().join("b/x/t/.control/.x")).unwrap();
    fs::remove_dir(other.mirror().join("b/x/t/.control")).unwrap();
    let paths = |world: &World| world.entries().into_keys().collect::<Vec<_>>();
    assert_eq!(paths(&one), paths(&other));
    assert_eq!(
        names(&one, "b/x/s"),
        set(&[
            ".control",
            "2015-01-22",
            "2015-1-15",
            "2015-02-01",
            "2015-02-19",
            "keep"
        ])
    );
    assert_eq!(names(&one, "b/x/t"), set(&["2015-01-01", "2015-01-02"]));
    assert_eq!(names(&one, "pool"), set(&["stage3.tar.xz"]));
    assert_eq!(names(&one, "b/snapshots").len(), 4);
    // And then there is nothing to do.
    assert_eq!(ok(&other.run(DAY, &["clean", "--run"])), "");
    assert!(!ok(&other.run(DAY, &["clean"])).contains("rm -rf"));
}

#[test]
fn a_plan_is_told_as_json_too() {
    let world = full();
    let plan = json_of(&world.run(DAY, &["clean", "--json"]));
    let view = |path: &str, removed: bool, reason: &str| {
        let path = world.mirror().join("b/x/s").join(path);
        json!({"path": path, "removed": removed, "reason": reason})
    };
    assert_eq!(
        plan.as_array().unwrap()[..7],
        [
            view("2015-02-19", false, "it may still be built"),
            view("2015-02-02", true, "it came to nothing 18 days ago"),
            view("2015-02-01", false, "a version file names it"),
            view("2015-01-22", false, "number 1 from the newest"),
            view("2015-1-15", false, "number 2 from the newest"),
            view("2015-01-08", true, "enough newer ones are there"),
            view("2015-01-01", true, "enough newer ones are there"),
        ]
    );
    let cleaned = json_of(&world.run(DAY, &["clean", "--run", "--json"]));
    assert_eq!(cleaned["removed"].as_array().unwrap().len(), 8, "{cleaned}");
}

#[test]
fn what_is_being_built_is_not_cleaned() {
    let world = full();
    world.file(
        "b/x/s/.control/.multi_progress",
        std::process::id().to_string(),
    );
    let before = names(&world, "b/x/s");
    let out = world.run(DAY, &["clean", "--run"]);
    ok(&out);
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("is being built by process"),
        "{}",
        told(&out)
    );
    assert_eq!(names(&world, "b/x/s"), before);
    assert_eq!(
        names(&world, "b/x/t"),
        set(&[".control", "2015-01-01", "2015-01-02"])
    );
}

#[test]
fn what_an_interrupted_run_left_goes() {
    let world = World::new(PLAIN.as_bytes());
    complete(&world, "b/x/s/2015-01-01");
    complete(&world, "b/x/s/.removed-2014-01-01-0123456789abcdef");
    complete(&world, "b/x/s/.removed-by-me");
    ok(&world.run(DAY, &["clean", "--run"]));
    assert_eq!(
        names(&world, "b/x/s"),
        set(&[".control", ".removed-by-me", "2015-01-01"])
    );
}

#[test]
fn nothing_outside_the_mirror_is_cleaned_or_hashed() {
    let world = World::new(PLAIN.as_bytes());
    let outside = world.home().join("outside");
    for day in 1..9 {
        let folder = outside.join(format!("s/2015-01-0{day}"));
        fs::create_dir_all(&folder).unwrap();
        fs::write(folder.join("stage3.tar.xz"), "").unwrap();
        fs::write(folder.join("gone.tar.xz.hash.txt"), "").unwrap();
        fs::write(outside.join(format!("portage-{day}.tar.xz")), "").unwrap();
    }
    world.folder("b");
    symlink(&outside, world.mirror().join("b/x")).unwrap();
    symlink(&outside, world.mirror().join("b/snapshots")).unwrap();
    let before = world.entries();
    let out = world.run(DAY, &["clean"]);
    let script = ok(&out);
    assert!(
        String::from_utf8_lossy(&out.stderr).contains("leads out of the mirror"),
        "{}",
        told(&out)
    );
    assert!(!script.contains("rm -rf"), "{script}");
    let _ = world.run(DAY, &["clean", "--run"]);
    ok(&world.run(DAY, &["digestgen"]));
    assert!(world.entries() == before);
    // The index tells what is there, as it always did.
    ok(&world.run(DAY, &["index.xml"]));
}

#[test]
fn digests_are_both_made_and_told() {
    let world = World::new(PLAIN.as_bytes());
    world.file("a.tar.gz", "abc");
    world.file("gone.tar.xz.gpg", "x");
    world.file("keyring.gpg", "x");
    world.link("stage3-latest.tar.gz", "a.tar.gz");
    world.file("a.tar.gz.gpg", "signed");
    let lines = "sha256 ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad\n\
                 blake3 6437b3ac38465133ffb63b75273a8db548c558465d79db03fd359c6cd5bd9d85\n";
    let path = |name: &str| world.mirror().join(name);
    assert_eq!(
        json_of(&world.run(DAY, &["digestgen", "--json"])),
        json!({
            "hashed": [{"path": path("a.tar.gz"), "bytes": 3, "digests": lines}],
            "removed": [path("gone.tar.xz.gpg")],
            "linked": [path("stage3-latest.tar.gz.hash.txt"), path("stage3-latest.tar.gz.gpg")],
            "signed": [],
            "unchanged": 0,
            "failed": [],
        })
    );
    assert_eq!(
        fs::read_to_string(path("a.tar.gz.hash.txt")).unwrap(),
        lines
    );
    assert_eq!(
        fs::read_link(path("stage3-latest.tar.gz.gpg"))
            .unwrap()
            .to_str(),
        Some("a.tar.gz.gpg")
    );
    let again = json_of(&world.run(DAY, &["digestgen", "--json"]));
    assert_eq!(
        (
            &again["unchanged"],
            again["hashed"].as_array().unwrap().len()
        ),
        (&json!(1), 0)
    );
}

#[test]
fn an_archive_of_tomorrow_is_hashed_once() {
    let world = World::new(PLAIN.as_bytes());
    let archive = world.file("a.tar.gz", "abc");
    touch(&archive, 4_000_000_000);
    assert!(ok(&world.run(DAY, &["digestgen"])).starts_with("hashed "));
    assert_eq!(ok(&world.run(DAY, &["digestgen"])), "");
}

#[test]
fn what_cannot_be_hashed_is_told_and_the_rest_is_done() {
    let world = World::new(PLAIN.as_bytes());
    world.file("a.tar.xz", "abc");
    world.file("b.tar.xz", "abc");
    world.folder("a.tar.xz.hash.txt/in/the/way");
    let pipe = world.mirror().join("pipe.tar.xz");
    rustix::fs::mkfifoat(
        rustix::fs::CWD,
        &pipe,
        rustix::fs::Mode::from_raw_mode(0o644),
    )
    .unwrap();
    let out = world.run(DAY, &["digestgen"]);
    assert_eq!(out.status.code(), Some(3), "{}", told(&out));
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        said.contains("a.tar.xz: ") && said.lines().count() == 1,
        "{said}"
    );
    let here = set(&[
        "a.tar.xz",
        "a.tar.xz.hash.txt",
        "b.tar.xz",
        "b.tar.xz.hash.txt",
        "pipe.tar.xz",
    ]);
    assert_eq!(names(&world, "."), here, "nothing hidden is left");
    // A link in the place of a hash is not written through.
    fs::remove_dir_all(world.mirror().join("a.tar.xz.hash.txt")).unwrap();
    let outside = world.home().join("precious");
    fs::write(&outside, "precious").unwrap();
    symlink(&outside, world.mirror().join("a.tar.xz.hash.txt")).unwrap();
    ok(&world.run(DAY, &["digestgen"]));
    assert_eq!(fs::read_to_string(outside).unwrap(), "precious");
    let meta = fs::symlink_metadata(world.mirror().join("a.tar.xz.hash.txt")).unwrap();
    assert!(meta.is_file());
}

#[test]
fn the_index_tells_what_is_ours() {
    let world = World::new(PLAIN.as_bytes());
    complete(&world, "b/x/s/2015-01-01");
    complete(&world, "b/x/s/2015-01-08");
    world.file("b/x/s/2015-01-08/stage1.tar.xz", "1");
    world.file("b/x/s/2015-01-15/stage3-a.tar.gz", "12345");
    world.file("b/x/s/2015-01-15/stage3-a.tar.xz", "123");
    world.file("b/x/s/2015-01-15/live-s.iso", "1");
    world.file("b/x/s/2015-01-15/notes.txt", "1");
    world.file(
        "b/x/s/2015-01-15/build-info.json",
        r#"{"ARCH": "amd64", "xmlns": "x", "n": 1}"#,
    );
    world.file("b/x/s/.control/.failcount", "2");
    ok(&world.run(DAY, &["digestgen"]));
    let out = world.run(DAY, &["index.xml"]);
    assert_eq!(ok(&out), "");
    let said = String::from_utf8_lossy(&out.stderr);
    assert!(
        said.contains("`xmlns` cannot name") && said.contains("`n` is not a text"),
        "{said}"
    );
    assert_eq!(
        fs::read_to_string(world.mirror().join("index.xml")).unwrap(),
        r#"<?xml version="1.0" encoding="UTF-8"?>
<subarches>
  <subarch name="s" builds="1,2" ARCH="amd64">
    <build id="1" variant="live" release="b" path="/b/x/s" latest="2015-01-15" download="/b/x/s/2015-01-15/live-s.iso" size="1B" arch="x" bytes="1"/>
    <build id="2" variant="stage3" release="b" path="/b/x/s" latest="2015-01-15" download="/b/x/s/2015-01-15/stage3-a.tar.xz" size="3B" arch="x" bytes="3" sha256="a665a45920422f9d417e4867efdc4fb8a04a1f3fff1fa07e998e86f7f7a27ae3"/>
    <older date="2015-01-08" path="/b/x/s/2015-01-08" full="yes"/>
  </subarch>
  <fails>
    <fail build="b" arch="x" subarch="s" count="2" latest="2015-01-15"/>
  </fails>
</subarches>
"#
    );
    let view = json_of(&world.run(DAY, &["index.xml", "--json"]));
    assert_eq!(
        (&view["subarches"], &view["artifacts"]),
        (&json!(1), &json!(2))
    );
}

#[test]
fn readers_find_a_whole_index_at_any_moment() {
    let world = World::new(PLAIN.as_bytes());
    for day in 1..9 {
        complete(&world, &format!("b/x/s/2015-01-0{day}"));
    }
    ok(&world.run(DAY, &["index.xml"]));
    let path = world.mirror().join("index.xml");
    let whole = fs::read(&path).unwrap();
    // Held open, so that its number is not given to another.
    let held = fs::File::open(&path).unwrap();
    let first = held.metadata().unwrap().ino();
    let mut children: Vec<_> = (0..4)
        .map(|_| world.command(DAY, &["index.xml"]).spawn().unwrap())
        .collect();
    while children.iter_mut().any(|c| c.try_wait().unwrap().is_none()) {
        assert!(fs::read(&path).unwrap() == whole);
    }
    assert_ne!(fs::metadata(&path).unwrap().ino(), first);
    assert_eq!(names(&world, "."), set(&["b", "index.xml"]));
}

#[test]
fn compressing_follows_the_specifications_and_leaves_nothing_behind() {
    for (method, program) in [
        ("gz", "gzip"),
        ("bz2", "bzip2"),
        ("xz", "xz"),
        ("zst", "zstd"),
    ] {
        let world = World::new(PLAIN.as_bytes());
        let text = format!("[section target]\n\ncompression: {method}\n");
        fs::write(world.home().join(".metro"), text).unwrap();
        let archive = world.sized("p/a.tar", 300_000);
        let content = fs::read(archive).unwrap();
        world.file("p/a.tar.cme", "");
        ok(&world.run(DAY, &["compress", world.mirror().to_str().unwrap()]));
        assert_eq!(names(&world, "p"), set(&[&format!("a.tar.{method}")]));
        let path = world.mirror().join(format!("p/a.tar.{method}"));
        let out = Command::new(program)
            .arg("-dc")
            .stdin(fs::File::open(path).unwrap())
            .output()
            .unwrap();
        assert!(out.stdout == content, "{method}");
    }
}

#[test]
fn marks_are_told_and_links_not_followed() {
    let world = World::new(PLAIN.as_bytes());
    world.file("p/a.tar.cme", "");
    world.file("p/b.tar", "x");
    world.file("p/b.tar.cme", "");
    world.file("p/b.tar.cme.run", "elsewhere 5");
    world.file("p/c.tar.cme", "");
    symlink("/etc/hostname", world.mirror().join("p/c.tar")).unwrap();
    let outside = world.home().join("outside");
    fs::create_dir(&outside).unwrap();
    fs::write(outside.join("d.tar"), "x").unwrap();
    fs::write(outside.join("d.tar.cme"), "").unwrap();
    symlink(&outside, world.mirror().join("p/out")).unwrap();
    let before = world.entries();
    let out = world.run(
        DAY,
        &["compress", world.mirror().to_str().unwrap(), "--json"],
    );
    assert_eq!(out.status.code(), Some(1), "{}", told(&out));
    let outcomes: Vec<String> = String::from_utf8_lossy(&out.stdout)
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap()["outcome"].to_string())
        .collect();
    assert_eq!(outcomes, ["\"no-archive\"", "\"taken\"", "\"failed\""]);
    assert!(world.entries() == before);
}

#[test]
fn an_imported_configuration_decides_the_same() {
    let source = "builds = ('b', 'c')\narches = ('x',)\nsubarches = ('s', 't')\nall_subarches = subarches + ('u',)\nkeep_num = 5\n\
                  second_chance = False\n\
                  def map_build(build, subarch, full, full_date):\n\
                  \tkind = 'freshen' if full else 'full'\n\
                  \tif full_date is None:\n\t\tkind = kind + '+first'\n\
                  \tif subarch == 's':\n\t\treturn (kind, 'lxd')\n\
                  \treturn kind\n";
    let world = World::new(source.as_bytes());
    let text = ok(&world.run(DAY, &["import-buildbot"]));
    assert_eq!(
        text,
        "[section buildbot]\n\nbuilds: b c\narches: x\nsubarches: s t\nall_subarches: s t u\nkeep_num: 5\nsecond_chance: no\n\
         map/after-full: freshen\nmap/after-freshen: full\nmap/never-built: full+first\nmap/extras/s: lxd\n"
    );
    let metro = World::new(text.as_bytes());
    for day in ["none", "2015-01-01", "2015-01-08"] {
        for world in [&world, &metro] {
            world.folder("b/x/s");
            if day != "none" {
                complete(world, &format!("b/x/s/{day}"));
            }
            if day == "2015-01-01" {
                world.file("b/x/s/2015-01-01/stage1.tar.xz", "1");
            }
        }
        let (one, other) = (
            world.run(DAY, &["nextbuild"]),
            metro.run(DAY, &["nextbuild"]),
        );
        assert_eq!(ok(&one), ok(&other));
    }
}

#[test]
fn a_configuration_that_metro_text_cannot_say_is_told() {
    let plain = "builds = ('b', 'c')\narches = ('x',)\nsubarches = ('s', 't')\n";
    for (function, why) in [
        (
            "return 'full' if full_date < '2015-02-09' else 'freshen'",
            "looks at the day in full_date",
        ),
        ("return build", "decides by the build"),
        ("return subarch", "chooses the mode by the subarch"),
        (
            "return 'full+a' if full or subarch == 't' else 'full+b'",
            "chooses a subarch's extras by its last build",
        ),
    ] {
        let source =
            format!("{plain}def map_build(build, subarch, full, full_date):\n\t{function}\n");
        let world = World::new(source.as_bytes());
        let out = world.run(DAY, &["import-buildbot"]);
        let said = String::from_utf8_lossy(&out.stderr);
        assert_eq!(
            (out.status.code(), out.stdout.len()),
            (Some(1), 0),
            "{}",
            told(&out)
        );
        assert!(said.contains(why), "{said}");
    }
    let world = World::new(b"builds = ('a b',)\narches = ('x',)\nsubarches = ('s',)\n");
    let out = world.run(DAY, &["import-buildbot"]);
    assert_eq!(out.status.code(), Some(1), "{}", told(&out));
    assert!(matches!(world.entries().get("mirror"), Some(Entry::Folder)));
}
