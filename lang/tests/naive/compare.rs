//! Holds the real evaluator against the naive one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use mstore_lang::{Class, Definition, Files, Spec, Value};

use super::{Loaded, Value as Naive};

/// Loads and evaluates everything both ways; what differs is the error.
pub fn compare(
    files: &dyn Files,
    disk: BTreeMap<String, Vec<u8>>,
    entry: &str,
    given: &[Definition],
) -> Result<(), String> {
    let pairs: Vec<(String, String)> = given
        .iter()
        .map(|given| (given.name.clone(), given.value.clone()))
        .collect();
    let real = Spec::load(files, Path::new(entry), given);
    let (naive, spec) = match (super::load(disk, entry, &pairs), real) {
        (Loaded::GaveUp, _) => return Ok(()),
        (Loaded::Errors(classes), Err(errors)) => {
            // How many of the errors that follow from others are told is free.
            return match classes.contains(errors.class().as_str()) {
                true => Ok(()),
                false => Err(format!(
                    "fails with {}, should with {classes:?}",
                    errors.class()
                )),
            };
        }
        (Loaded::Errors(classes), Ok(_)) => {
            return Err(format!("loads, should fail with {classes:?}"));
        }
        (Loaded::Spec(_), Err(errors)) => {
            return Err(format!("should load, but {}", errors.render(false)));
        }
        (Loaded::Spec(naive), Ok(spec)) => (naive, spec),
    };
    let names: Vec<&str> = spec.names().iter().map(String::as_str).collect();
    if names != naive.names() {
        return Err(format!(
            "defines {names:?}, should define {:?}",
            naive.names()
        ));
    }
    let collected: BTreeSet<&str> = spec
        .collected()
        .iter()
        .filter_map(|path| path.to_str())
        .collect();
    if collected != naive.collected() {
        return Err(format!(
            "collects {collected:?}, should {:?}",
            naive.collected()
        ));
    }
    for (name, found) in spec.evaluate_all() {
        let Some(want) = naive.value(name) else {
            continue;
        };
        let got = match &found {
            Ok(found) if found.zapped => Ok(Naive::Removed),
            Ok(found) => Ok(match &found.value {
                Value::Line(text) => Naive::Line(text.clone()),
                Value::Block(lines) => Naive::Block(lines.iter().map(str::to_owned).collect()),
            }),
            Err(error) if error.class() == Class::Limit => continue,
            Err(error) => Err(error.class().as_str()),
        };
        if got != want {
            return Err(format!("`{name}` is {got:?}, should be {want:?}"));
        }
    }
    Ok(())
}
