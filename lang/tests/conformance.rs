//! Runs every case of the conformance corpus.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use mstore_lang::{Definition, DiskFiles, Spec, Value};
use serde_json::Value as Json;

fn corpus() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../tests/conformance")
        .canonicalize()
        .expect("the corpus is there")
}

fn strings(json: &Json) -> Vec<String> {
    let list = json.as_array().map(Vec::as_slice).unwrap_or_default();
    list.iter()
        .map(|item| item.as_str().expect("a string").to_owned())
        .collect()
}

fn fill(text: &str, case: &Path) -> String {
    text.replace("@CASE@", case.to_str().expect("UTF-8"))
}

/// What is wrong with a case, if anything.
fn run(case: &Path, reverse: bool) -> Result<(), String> {
    let expect = std::fs::read(case.join("expect.json")).expect("expect.json");
    let expect: Json = serde_json::from_slice(&expect).expect("JSON");
    let definitions: Vec<Definition> = match std::fs::read(case.join("args.json")) {
        Err(_) => Vec::new(),
        Ok(bytes) => {
            let args: BTreeMap<String, String> = serde_json::from_slice(&bytes).expect("JSON");
            args.into_iter()
                .map(|(name, value)| Definition::new(name, fill(&value, case)))
                .collect()
        }
    };
    let loaded = Spec::load(&DiskFiles, &case.join("main.conf"), &definitions);
    let spec = match (loaded, expect["load_error"].as_str()) {
        (Ok(spec), None) => spec,
        (Err(errors), Some(class)) if errors.class().as_str() == class => {
            return match errors
                .all()
                .iter()
                .all(|error| error.class.as_str() == class)
            {
                true => Ok(()),
                false => Err(format!("errors of other classes: {}", errors.render(false))),
            };
        }
        (Ok(_), Some(class)) => return Err(format!("loads, should fail with {class}")),
        (Err(errors), wanted) => {
            return Err(format!("wanted {wanted:?}, got {}", errors.render(false)));
        }
    };
    let values = expect["values"].as_object().expect("values");
    let errors = expect["errors"].as_object().expect("errors");
    let zapped: BTreeSet<String> = strings(&expect["zapped"]).into_iter().collect();
    let mut keys: Vec<&String> = values.keys().chain(errors.keys()).collect();
    if reverse {
        keys.reverse();
    }
    for key in keys {
        let got = spec.evaluate(key);
        match (values.get(key), got) {
            (Some(want), Ok(got)) => {
                let want = match want {
                    Json::String(text) => Value::Line(fill(text, case)),
                    lines => {
                        Value::Block(strings(lines).iter().map(|line| fill(line, case)).collect())
                    }
                };
                if got.value != want || got.zapped != zapped.contains(key) {
                    return Err(format!("{key}: wanted {want:?}, got {got:?}"));
                }
            }
            (None, Err(error)) if errors[key].as_str() == Some(error.class().as_str()) => {}
            (want, got) => {
                return Err(format!(
                    "{key}: wanted {:?}, got {got:?}",
                    want.or(errors.get(key))
                ));
            }
        }
    }
    let asked: BTreeSet<&str> = values
        .keys()
        .chain(errors.keys())
        .map(String::as_str)
        .collect();
    let free: BTreeSet<String> = strings(&expect["unasserted"]).into_iter().collect();
    for name in spec.names() {
        if !asked.contains(name.as_str()) && !free.contains(name) {
            return Err(format!("{name} is defined and should not be"));
        }
    }
    let collected: BTreeSet<PathBuf> = spec.collected_relative().into_iter().collect();
    let want: BTreeSet<PathBuf> = strings(&expect["collected"])
        .into_iter()
        .map(PathBuf::from)
        .collect();
    if collected != want {
        return Err(format!("collected {collected:?}, should be {want:?}"));
    }
    Ok(())
}

#[test]
fn every_case_passes() {
    // The process's directory is the crate's: never that of a case.
    let mut cases: Vec<PathBuf> = std::fs::read_dir(corpus())
        .expect("the corpus can be read")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert!(cases.len() >= 184, "only {} cases", cases.len());
    let mut failures = Vec::new();
    for case in &cases {
        for reverse in [false, true] {
            if let Err(why) = run(case, reverse) {
                failures.push(format!(
                    "{}: {why}",
                    case.file_name().expect("a name").display()
                ));
                break;
            }
        }
    }
    assert!(
        failures.is_empty(),
        "{} of {} fail:\n{}",
        failures.len(),
        cases.len(),
        failures.join("\n")
    );
}
