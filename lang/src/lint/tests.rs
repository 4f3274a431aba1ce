use super::*;
use crate::{Definition, Files, Session};
use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};

struct Memory(BTreeMap<PathBuf, String>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.0
            .get(path)
            .map(|text| text.clone().into_bytes())
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.contains_key(path))
    }
}

fn memory(files: &[(&str, &str)]) -> Memory {
    Memory(
        files
            .iter()
            .map(|(path, text)| (PathBuf::from(path), (*text).to_owned()))
            .collect(),
    )
}

fn survey(files: &[(&str, &str)], targets: &[&str], root: Option<&dyn Fn(&str) -> bool>) -> String {
    let files = memory(files);
    let session = Session::new(&files);
    let mut survey = Survey::new(root);
    for target in targets {
        let definitions: Vec<Definition> = target
            .split_whitespace()
            .map(|word| {
                let (name, value) = word.split_once('=').expect("a definition");
                Definition::new(name, value)
            })
            .collect();
        let loaded = session.load(Path::new("/p/metro.conf"), &definitions);
        survey.add(target, Sighting::new(loaded.as_ref()));
    }
    survey
        .findings()
        .iter()
        .map(|finding| finding.render(false))
        .collect::<Vec<_>>()
        .join("\n")
}

#[test]
fn one_specification_is_checked() {
    let main = "\
a: $[none:lax] $[b:lax] $[[b]]
b: $[missing]
c: [
# $[[b]]
 echo $[[d]]
 $[[gone:lax]]
]
d: $[b] $[c?]
[collect ./$[no:zap].conf]
[collect ./y.conf when a/b is x$[b]]
[option parse/lax]
e: $[strange]
";
    insta::assert_snapshot!(survey(&[("/p/metro.conf", main)], &[""], None));
}

#[test]
fn all_targets_are_checked_together() {
    let main = "\
[collect ./$[t].conf]
[collect ./extra.conf when t is none]
[section s]
used: 1
unused: $[:deep]
deep: 2
computed: [
$[[steps/$[t]]]
]
asked: $[:used] $[:opt:lax] $[:opt?]
";
    let one = "steps/one: [\n$[nowhere]\n]\n";
    let two = "steps/two: [\nx\n]\nsteps/never: [\n]\nt2: $[nowhere]\nt3: $[t2]\nt4: $[t2]$[t3]\nt5: $[t4]\n";
    let files = [
        ("/p/metro.conf", main),
        ("/p/one.conf", one),
        ("/p/two.conf", two),
    ];
    let root = |name: &str| name == "s/asked" || name == "s/computed" || name.starts_with('t');
    insta::assert_snapshot!(survey(
        &files,
        &["t=one", "t=two", "t=two x=1", "t=two y=1", "t=two z=1"],
        Some(&root)
    ));
}

#[test]
fn a_target_that_does_not_load_is_one_finding() {
    let files = [
        ("/p/metro.conf", "[collect ./$[t].conf]\n"),
        ("/p/one.conf", "x: 1\n"),
    ];
    insta::assert_snapshot!(survey(
        &files,
        &["t=one", "t=two", "t=three", "t=two x=1"],
        None
    ));
}
