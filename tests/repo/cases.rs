//! The cases below `tests/buildrepo`, through the binary. Their form is told in the README there.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde_json::{Map, Value};

use crate::world::{Entry, World, told, touch};

/// What stands for the marks in texts.
struct Marks {
    dead: String,
}

impl Marks {
    fn replace(&self, text: &str, world: &World) -> String {
        text.replace("@MIRROR@", world.mirror().to_str().unwrap())
            .replace("@LIVE@", &std::process::id().to_string())
            .replace("@DEAD@", &self.dead)
            .replace("@HUGE@", "99999999999")
    }
}

#[test]
fn every_case_is_answered() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/buildrepo");
    let folders = fs::read_dir(top)
        .unwrap()
        .map(|entry| entry.unwrap().path());
    let mut cases: Vec<_> = folders.filter(|path| path.is_dir()).collect();
    cases.sort();
    assert!(cases.len() > 170, "the cases are elsewhere");
    let mut dead = Command::new("true").spawn().unwrap();
    dead.wait().unwrap();
    let marks = Marks {
        dead: dead.id().to_string(),
    };
    let (next, ran) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let faults = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                while let Some(folder) = cases.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let name = folder.file_name().unwrap().to_string_lossy();
                    let text = fs::read_to_string(folder.join("case.json")).unwrap();
                    let case: Value = serde_json::from_str(&text).unwrap();
                    let buildbot = fs::read(folder.join("buildbot")).unwrap();
                    for run in case["runs"].as_array().unwrap() {
                        let verb: Vec<&str> = strings(&run["verb"]).collect();
                        ran.fetch_add(1, Ordering::Relaxed);
                        if let Err(fault) = answer(&case, &buildbot, run, &marks) {
                            faults
                                .lock()
                                .unwrap()
                                .push(format!("{name} {verb:?}: {fault}"));
                        }
                    }
                }
            });
        }
    });
    let mut faults = faults.into_inner().unwrap();
    faults.sort();
    let ran = ran.into_inner();
    assert!(
        faults.is_empty(),
        "{} of {ran} runs\n{}",
        faults.len(),
        faults.join("\n\n")
    );
    assert!(ran > 220, "{ran} runs");
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .map(|v| v.as_str().unwrap())
}

fn object(value: &Value) -> impl Iterator<Item = (&String, &Value)> {
    value.as_object().into_iter().flatten()
}

/// Makes the mirror of a case.
fn make(case: &Value, world: &World, marks: &Marks) {
    for folder in strings(&case["dirs"]) {
        world.folder(folder);
    }
    for (path, what) in object(&case["files"]) {
        let text = |text: &str| world.file(path, marks.replace(text, world));
        match what {
            Value::String(content) => text(content),
            Value::Number(size) => world.sized(path, size.as_u64().unwrap()),
            what => {
                let made = match what["text"].as_str() {
                    Some(content) => text(content),
                    None => world.sized(path, what["size"].as_u64().unwrap()),
                };
                if let Some(time) = what["mtime"].as_str() {
                    touch(&made, seconds(time));
                }
                made
            }
        };
    }
    for (path, target) in object(&case["links"]) {
        world.link(path, target.as_str().unwrap());
    }
}

/// Seconds since 1970 of `2015-02-19T00:00:00`.
fn seconds(time: &str) -> u64 {
    let out = Command::new("date")
        .args(["-u", "+%s", "-d", &format!("{time}Z")])
        .output()
        .unwrap();
    String::from_utf8(out.stdout)
        .unwrap()
        .trim()
        .parse()
        .unwrap()
}

fn answer(case: &Value, buildbot: &[u8], run: &Value, marks: &Marks) -> Result<(), String> {
    let world = World::new(buildbot);
    make(case, &world, marks);
    let before = world.entries();
    let verb: Vec<String> = strings(&run["verb"])
        .map(|word| marks.replace(word, &world))
        .collect();
    let verb: Vec<&str> = verb.iter().map(String::as_str).collect();
    let out = world.run(case["today"].as_str().unwrap(), &verb);
    let expect = &run["expect"];
    let fault = |what: String| Err(format!("{what}\n{}", told(&out)));
    if out.status.code().map(i64::from) != expect["status"].as_i64() {
        return fault(format!("status {} is expected", expect["status"]));
    }
    let (stdout, stderr) = (
        String::from_utf8_lossy(&out.stdout),
        String::from_utf8_lossy(&out.stderr),
    );
    for (has, text) in [("stdout_has", &stdout), ("stderr_has", &stderr)] {
        for part in strings(&run[has]) {
            if !text.contains(part) {
                return fault(format!("{has} {part:?}"));
            }
        }
    }
    if let Some(wanted) = expect["stdout"].as_str() {
        let wanted = marks.replace(wanted, &world);
        if *stdout != wanted {
            return fault(format!("the output should be\n{wanted}"));
        }
    }
    if let Some(wanted) = expect["eval"].as_object() {
        evaluated(&world, &out.stdout, wanted).or_else(fault)?;
    }
    if verb[0] == "clean" {
        if world.entries() != before {
            return fault("`clean` changed something".to_owned());
        }
        let ran = world.sh(&out.stdout);
        if !ran.status.success() || !ran.stderr.is_empty() {
            return fault(format!("the script failed: {}", told(&ran)));
        }
    }
    if let Some(wanted) = expect["index"].as_array() {
        index(&world, wanted).or_else(fault)?;
    }
    changes(&world, &before, &expect["changes"], verb[0]).or_else(fault)
}

/// The output sets these variables in a shell, and no more happens.
fn evaluated(world: &World, output: &[u8], wanted: &Map<String, Value>) -> Result<(), String> {
    let mut script = output.to_vec();
    let mut expected = Vec::new();
    for (name, value) in wanted {
        script.extend(format!("\nprintf '%s\\0' \"${name}\"").bytes());
        expected.extend(value.as_str().unwrap().bytes().chain([0]));
    }
    let ran = world.sh(&script);
    match ran.stdout == expected && ran.stderr.is_empty() {
        true => Ok(()),
        false => Err(format!("the shell has {}", told(&ran))),
    }
}

/// Compares what is there after a run with what was there and what should have changed.
fn changes(
    world: &World,
    before: &BTreeMap<String, Entry>,
    wanted: &Value,
    verb: &str,
) -> Result<(), String> {
    let after = world.entries();
    let of_lock = |path: &str| path.ends_with("/.control/.multi_progress");
    let mut removed = BTreeSet::new();
    for path in before.keys().filter(|path| !after.contains_key(*path)) {
        let above = path.rsplit_once('/').map(|(above, _)| above);
        // A folder that went stands for all in it.
        if above.is_none_or(|above| after.contains_key(above)) && !of_lock(path) {
            removed.insert(path.trim_start_matches("mirror/").to_owned());
        }
    }
    let should: BTreeSet<String> = strings(&wanted["removed"])
        .filter(|path| !of_lock(path))
        .map(str::to_owned)
        .collect();
    if removed != should {
        return Err(format!("removed: {removed:?}\nand not: {should:?}"));
    }
    for (kind, is_new) in [("added", true), ("changed", false)] {
        let should = wanted[kind].as_object();
        let mut found = 0;
        for (path, entry) in &after {
            let differs = match before.get(path) {
                None => is_new,
                // A folder and a time stamp may change with what is in it.
                Some(old) => !is_new && differs(old, entry),
            };
            if !differs || (path == "mirror/index.xml" && verb == "index.xml") {
                continue;
            }
            let inside = path.strip_prefix("mirror/").unwrap_or(path);
            let Some(should) = should.and_then(|s| s.get(inside)) else {
                return Err(format!("{kind}, and should not: {path}"));
            };
            found += 1;
            matches(world, inside, entry, should)?;
        }
        let missing = should.map_or(0, Map::len) - found;
        if missing > 0 {
            return Err(format!("{missing} not {kind} of {should:?}"));
        }
    }
    Ok(())
}

fn differs(old: &Entry, new: &Entry) -> bool {
    match (old, new) {
        (
            Entry::File { size, content, .. },
            Entry::File {
                size: s,
                content: c,
                ..
            },
        ) => size != s || content != c,
        (old, new) => old != new,
    }
}

/// Compares an entry with what it should be.
fn matches(world: &World, path: &str, entry: &Entry, should: &Value) -> Result<(), String> {
    let fault = || Err(format!("{path} should be {should} and is {entry:?}"));
    match entry {
        Entry::Folder if should == "dir" => Ok(()),
        Entry::Link(target) if should["link"].as_str().map(Path::new) == Some(target) => Ok(()),
        Entry::File { size, content, .. } => {
            if let Some(text) = should["text"].as_str() {
                return match hash_lines(content, text) {
                    true => Ok(()),
                    false => fault(),
                };
            }
            if let Some(bytes) = should["unpacks"].as_u64() {
                return match unpacked(world, path)
                    == (bytes, should["sha256"].as_str().unwrap().to_owned())
                {
                    true => Ok(()),
                    false => fault(),
                };
            }
            match should["size"].as_u64() == Some(*size) {
                true => Ok(()),
                false => fault(),
            }
        }
        _ => fault(),
    }
}

/// The first line is compared; others may follow with a digest by another algorithm.
fn hash_lines(content: &[u8], wanted: &str) -> bool {
    let text = String::from_utf8_lossy(content);
    let is_digest = |line: &str| {
        line.split_once(' ').is_some_and(|(algorithm, digest)| {
            algorithm.chars().all(char::is_alphanumeric)
                && digest.len() >= 32
                && digest.chars().all(|c| c.is_ascii_hexdigit())
        })
    };
    text.strip_prefix(wanted).is_some_and(|rest| {
        (rest.is_empty() || rest.ends_with('\n')) && rest.lines().all(is_digest)
    })
}

/// Size and sha256 of what a compressed file holds.
fn unpacked(world: &World, path: &str) -> (u64, String) {
    let file = fs::File::open(world.mirror().join(path)).unwrap();
    let plain = Command::new("xz").arg("-dc").stdin(file).output().unwrap();
    assert!(plain.status.success());
    let sum = world.dir_sum(&plain.stdout);
    (plain.stdout.len() as u64, sum)
}

impl World {
    /// The sha256 of bytes, by the tool of the machine.
    fn dir_sum(&self, bytes: &[u8]) -> String {
        let file = self.home().join("unpacked");
        fs::write(&file, bytes).unwrap();
        let out = Command::new("sha256sum").arg(&file).output().unwrap();
        fs::remove_file(file).unwrap();
        String::from_utf8_lossy(&out.stdout)[..64].to_owned()
    }
}

/// Compares index.xml, read by a parser of another house, with what it should be.
fn index(world: &World, wanted: &[Value]) -> Result<(), String> {
    const READ: &str = "
import json, sys, xml.etree.ElementTree as tree
root = tree.parse(sys.argv[1]).getroot()
assert root.tag == 'subarches', root.tag
print(json.dumps([dict(s.attrib, build=[b.attrib for b in s.findall('build')]) for s in root.findall('subarch')]))
";
    let path = world.mirror().join("index.xml");
    let out = Command::new("python3")
        .arg("-c")
        .arg(READ)
        .arg(&path)
        .output()
        .unwrap();
    let found: Vec<Value> = serde_json::from_slice(&out.stdout).map_err(|_| told(&out))?;
    let text = fs::read_to_string(&path).unwrap_or_default();
    let fits =
        found.len() == wanted.len() && found.iter().zip(wanted).all(|(f, w)| attributes_fit(f, w));
    match fits && text.starts_with("<?xml ") {
        true => Ok(()),
        false => Err(format!("index.xml:\n{text}\nshould be {wanted:?}")),
    }
}

/// All that should be there is there; more may be.
fn attributes_fit(found: &Value, wanted: &Value) -> bool {
    object(wanted).all(|(name, value)| match value {
        Value::Array(all) => {
            let found = found[name].as_array().map_or(&[][..], Vec::as_slice);
            found.len() == all.len() && found.iter().zip(all).all(|(f, w)| attributes_fit(f, w))
        }
        value => &found[name] == value,
    })
}
