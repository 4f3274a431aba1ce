//! Every normaliser of `settle` and `clean` is needed: taken out, each alone, two builds leave different roots.
//!
//! What two builds leave differently is planted: the same files, with the number of the build in them. Arguments of
//! `rm` are read out of the scripts, so that none is forgotten.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use crate::support::{Asked, Root, text};

const PACKAGE: &str = "var/db/pkg/app-misc/a-1";

/// Functions of the specifications that leave a root as every build leaves it.
fn script() -> String {
    let spec = Asked::default().load();
    ["portage/folders", "portage/settle", "portage/clean"]
        .map(|name| text(&spec, name))
        .join("\n")
}

/// A root before it is cleaned, with what `plant` leaves there.
fn cleaned(script: &str, plant: impl Fn(&Root)) -> BTreeMap<String, String> {
    let root = Root::new();
    root.write("etc/fstab", "");
    root.write("usr/bin/a", "");
    root.write(&format!("{PACKAGE}/SLOT"), "0\n");
    plant(&root);
    let ran = Command::new("bash")
        .arg("-c")
        .arg(format!("set -e\numask 022\n{script}\nclean \"$0\""))
        .arg(root.path(""))
        .env("SOURCE_DATE_EPOCH", "1000000000")
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success(), "{said}\n{script}");
    let mut found = BTreeMap::new();
    look(&root.path(""), "", &mut found);
    found
}

/// Names, modes and content of all below a folder.
fn look(folder: &Path, inside: &str, found: &mut BTreeMap<String, String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let path = format!("{inside}/{}", entry.file_name().to_str().unwrap());
        let data = entry.metadata().unwrap();
        let mode = data.permissions().mode();
        if data.is_dir() {
            look(&entry.path(), &path, found);
            found.insert(path, format!("{mode:o}"));
        } else {
            let content = fs::read_to_string(entry.path()).unwrap();
            found.insert(path, format!("{mode:o} {content}"));
        }
    }
}

/// A normaliser: the text that stands for it, what stands there without it, and what it is needed for.
struct Normaliser {
    text: String,
    without: String,
    files: Vec<(String, &'static str)>,
}

impl Normaliser {
    /// Leaves what only the build with this number leaves.
    fn plant(&self, root: &Root, build: usize) {
        for (path, content) in &self.files {
            root.write(path, content.replace("BUILD", &build.to_string()));
        }
    }
}

/// The arguments of `rm`, with the paths that each stands for.
fn removals(script: &str) -> Vec<Normaliser> {
    let joined = script.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in joined.lines() {
        let Some((_, arguments)) = line.split_once("rm -") else {
            continue;
        };
        for word in arguments.split_whitespace().filter(|w| w.contains("$1")) {
            // The test is of a shell's words, and one with a blank or a quote in it would be another.
            let path = word.replace('"', "");
            let path = path.strip_prefix("$1/").expect("a path in the root");
            let files = expanded(path).into_iter().map(|path| (path, "BUILD\n"));
            found.push(Normaliser {
                text: format!(" {word}"),
                without: String::new(),
                files: files.collect(),
            });
        }
    }
    found
}

/// The paths that a pattern with one pair of braces at most, and stars, stands for.
fn expanded(pattern: &str) -> Vec<String> {
    let pattern = pattern.replace('*', "x");
    match pattern.split_once('{') {
        None => vec![pattern],
        Some((before, rest)) => {
            let (names, after) = rest.split_once('}').expect("a closing brace");
            names
                .split(',')
                .map(|name| format!("{before}{name}{after}"))
                .collect()
        }
    }
}

fn others() -> Vec<Normaliser> {
    let in_package = |name: &str| format!("{PACKAGE}/{name}");
    // What, what stands there without it, the file it is needed for and what a build writes there.
    let table: [(&str, &str, String, &'static str); 7] = [
        (
            "find \"$1\"/etc \"$1\"/usr \"$1\"/var -name '._cfg????_*' -delete",
            "true",
            "etc/._cfg0000_fstab".to_owned(),
            "BUILD\n",
        ),
        (
            "find \"$1/var/log\" -type f ! -name '.keep*' -delete",
            "true",
            "var/log/emerge.log".to_owned(),
            "BUILD\n",
        ),
        (
            "((?:obj|sym) ",
            "((?:sym) ",
            in_package("CONTENTS"),
            "obj /usr/bin/a 0123 179000000BUILD\n",
        ),
        (
            "((?:obj|sym) ",
            "((?:obj) ",
            in_package("CONTENTS"),
            "sym /usr/bin/b -> a 179000000BUILD\n",
        ),
        (
            "min(int(found[2]), epoch)",
            "int(found[2])",
            in_package("CONTENTS"),
            "obj /usr/bin/a 0123 179000000BUILD\n",
        ),
        (
            "b\"%d\\n\" % epoch",
            "old",
            in_package("BUILD_TIME"),
            "179000000BUILD\n",
        ),
        (
            "os.remove(package + \"metadata\")",
            "pass",
            in_package("metadata"),
            "BUILD\n",
        ),
    ];
    table
        .into_iter()
        .map(|(text, without, path, content)| Normaliser {
            text: text.to_owned(),
            without: without.to_owned(),
            files: vec![(path, content)],
        })
        .collect()
}

#[test]
fn without_each_normaliser_two_builds_differ() {
    let script = script();
    let mut all = removals(&script);
    assert!(all.len() > 15, "arguments of rm are not found any more");
    all.extend(others());

    // Whole, the scripts make one root of all that two builds may leave.
    let both = [1, 2].map(|build| {
        cleaned(&script, |root| {
            for normaliser in &all {
                normaliser.plant(root, build);
            }
        })
    });
    assert_eq!(both[0], both[1]);

    for normaliser in &all {
        let Normaliser { text, without, .. } = normaliser;
        // What removes a path stands behind what asks for it.
        let Some((before, after)) = script.rsplit_once(text.as_str()) else {
            panic!("the scripts do not have this any more: {text}");
        };
        let script = format!("{before}{without}{after}");
        let [one, other] =
            [1, 2].map(|build| cleaned(&script, |root| normaliser.plant(root, build)));
        for (path, _) in &normaliser.files {
            let path = format!("/{path}");
            assert!(one.contains_key(&path), "{path} is not needed: {text}");
            assert_ne!(one[&path], other[&path], "{text}");
        }
    }
}
