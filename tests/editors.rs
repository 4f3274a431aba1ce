//! The files for editors are well formed, and speak of what there is.

use std::path::{Path, PathBuf};

use serde_json::Value;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("doc/editors")
}

fn json(name: &str) -> Value {
    let text = std::fs::read(folder().join(name)).expect("the file");
    serde_json::from_slice(&text).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// All values of a key, wherever it stands.
fn all<'a>(value: &'a Value, key: &str, found: &mut Vec<&'a str>) {
    match value {
        Value::Array(list) => list.iter().for_each(|value| all(value, key, found)),
        Value::Object(object) => {
            for (name, value) in object {
                match value.as_str() {
                    Some(text) if name == key => found.push(text),
                    _ => all(value, key, found),
                }
            }
        }
        _ => {}
    }
}

#[test]
fn the_grammar_holds_together() {
    let grammar = json("metro.tmLanguage.json");
    assert_eq!(grammar["scopeName"], "source.metro");
    let (mut includes, mut names) = (Vec::new(), Vec::new());
    all(&grammar, "include", &mut includes);
    all(&grammar["repository"], "name", &mut names);
    assert!(includes.len() > 10 && names.len() > 30);
    for include in includes {
        let rule = include.strip_prefix('#').expect("a rule of this grammar");
        assert!(grammar["repository"][rule].is_object(), "{include}");
    }
    assert!(names.iter().all(|name| name.ends_with(".metro")));
    for (name, rule) in grammar["repository"].as_object().expect("rules") {
        assert_eq!(rule["begin"].is_string(), rule["end"].is_string(), "{name}");
    }
}

#[test]
fn the_extension_names_files_that_are_there() {
    let package = json("vscode/package.json");
    let there = |file: &Value, at: &str| {
        let name = file
            .as_str()
            .and_then(|file| file.strip_prefix("./"))
            .expect("a path");
        assert!(folder().join(at).join(name).is_file(), "{name}");
    };
    there(&package["main"], "vscode");
    there(
        &package["contributes"]["languages"][0]["configuration"],
        "vscode",
    );
    json("vscode/language-configuration.json");
    // The grammar is copied beside it when the extension is packed.
    there(&package["contributes"]["grammars"][0]["path"], "");
}
