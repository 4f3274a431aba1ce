//! Properties of every specification, tried on made-up ones.

mod common;
mod naive;

use std::collections::BTreeMap;

use common::Memory;
use mstore_lang::{Class, Limits, Spec, Value};
use proptest::prelude::*;

/// One thing in a file that may stand anywhere in it.
#[derive(Clone, Debug)]
struct Unit {
    section: &'static str,
    lax: bool,
    when: Option<String>,
    text: String,
}

impl Unit {
    fn write(&self, out: &mut String) {
        if self.lax {
            out.push_str("[option parse/lax]\n");
        }
        match &self.when {
            None => out.push_str(&format!("[section {}]\n", self.section)),
            Some(when) => out.push_str(&format!("[section {} when {when}]\n", self.section)),
        }
        out.push_str(&self.text);
        if self.lax {
            out.push_str("[option parse/strict]\n");
        }
    }
}

const SECTIONS: [&str; 2] = ["s", "t"];
const FILES: [&str; 4] = ["main.conf", "f-1.conf", "f-2.conf", "f-no.conf"];

fn name() -> impl Strategy<Value = String> {
    let section = prop::sample::select(&SECTIONS);
    let own = prop::sample::select(&["a", "b", "c", "d", "e", "f"]);
    (section, own).prop_map(|(section, own)| format!("{section}/{own}"))
}

fn reference() -> impl Strategy<Value = String> {
    let own = prop::sample::select(&["a", "b", "c", "d", "e", "f"]);
    let inner = prop_oneof![3 => name(), 1 => own.prop_map(|own| format!(":{own}")), 1 => Just(String::new())];
    let modifier = prop::sample::select(&["", "", "", "", ":zap", ":lax", "?", ":bad"]);
    (inner, modifier).prop_map(|(inner, modifier)| match (inner.as_str(), modifier) {
        ("", ":zap" | ":lax" | ":bad") => format!("$[:{modifier}]"),
        _ => format!("$[{inner}{modifier}]"),
    })
}

fn text() -> impl Strategy<Value = String> {
    let piece = prop_oneof![
        2 => prop::sample::select(&["1", "2", "x", " ", "$", "]", "<<"]).prop_map(str::to_owned),
        2 => reference(),
    ];
    prop::collection::vec(piece, 0..3).prop_map(|pieces| pieces.concat())
}

fn line() -> impl Strategy<Value = String> {
    let inclusion = (name(), prop::sample::select(&["", "", ":lax", ":zap"]));
    prop_oneof![
        2 => text(),
        2 => inclusion.prop_map(|(name, modifier)| format!("  $[[{name}{modifier}]]")),
        1 => Just("$[[s/$[t/a]]]".to_owned()),
        1 => Just(String::new()),
    ]
}

fn condition() -> impl Strategy<Value = String> {
    let words = prop::sample::subsequence(vec!["1", "2", "x"], 0..3);
    (name(), words).prop_map(|(name, words)| match words.is_empty() {
        true => name,
        false => format!("{name} is {}", words.join(" ")),
    })
}

fn unit() -> impl Strategy<Value = Unit> {
    let own = prop::sample::select(&["a", "b", "c", "d", "e", "f", ""]);
    let element = (own.clone(), text()).prop_map(|(own, text)| format!("{own}: {text}\n"));
    let lines = prop::collection::vec(line(), 0..4);
    let block = (own, lines).prop_map(|(own, lines)| {
        let lines: String = lines.iter().map(|line| format!("{line}\n")).collect();
        format!("{own}: [\n{lines}]\n")
    });
    let path = prop_oneof![
        2 => Just("f-1".to_owned()),
        1 => Just("f-2".to_owned()),
        3 => reference().prop_map(|reference| format!("f-{reference}")),
    ];
    let collect = path.prop_map(|path| format!("[collect ./{path}.conf]\n"));
    let text = prop_oneof![6 => element, 3 => block, 1 => collect];
    let when = prop::option::weighted(0.25, condition());
    (
        prop::sample::select(&SECTIONS),
        prop::bool::weighted(0.1),
        when,
        text,
    )
        .prop_map(|(section, lax, when, text)| Unit {
            section,
            lax,
            when,
            text,
        })
}

fn repository() -> impl Strategy<Value = Vec<Vec<Unit>>> {
    (
        prop::collection::vec(unit(), 1..8),
        prop::collection::vec(prop::collection::vec(unit(), 0..3), 3),
    )
        .prop_map(|(main, mut others)| {
            others.insert(0, main);
            others
        })
}

fn write(files: &[Vec<Unit>]) -> Memory {
    let texts: Vec<String> = files
        .iter()
        .map(|units| {
            let mut out = String::new();
            units.iter().for_each(|unit| unit.write(&mut out));
            out
        })
        .collect();
    let named: Vec<(&str, &str)> = FILES
        .iter()
        .copied()
        .zip(texts.iter().map(String::as_str))
        .collect();
    Memory::new(&named)
}

type Answers = BTreeMap<String, Result<(Value, bool), Class>>;

fn answers(spec: &Spec, names: impl Iterator<Item = String>) -> Answers {
    names
        .map(|name| {
            let answer = spec
                .evaluate(&name)
                .map(|found| (found.value, found.zapped))
                .map_err(|error| error.class());
            (name, answer)
        })
        .collect()
}

fn outcome(files: &[Vec<Unit>]) -> Result<(Answers, Vec<std::path::PathBuf>), Vec<Class>> {
    match write(files).load(&[]) {
        Ok(spec) => Ok((
            answers(&spec, spec.names().to_vec().into_iter()),
            spec.collected_relative(),
        )),
        Err(errors) => {
            assert!(!errors.render(false).is_empty());
            let mut classes: Vec<Class> = errors.all().iter().map(|error| error.class).collect();
            classes.sort();
            Err(classes)
        }
    }
}

/// Two thousand cases, or as many as `PROPTEST_CASES` says.
fn config() -> ProptestConfig {
    let usual = ProptestConfig::default();
    let cases = if std::env::var_os("PROPTEST_CASES").is_some() {
        usual.cases
    } else {
        2000
    };
    ProptestConfig { cases, ..usual }
}

proptest! {
    #![proptest_config(config())]

    /// L10: where definitions, sections and collects stand in a file never matters.
    #[test]
    fn order_never_matters(files in repository(), seed in any::<u64>()) {
        let mut shuffled = files.clone();
        let mut state = seed | 1;
        for units in &mut shuffled {
            for index in (1..units.len()).rev() {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                units.swap(index, (state >> 33) as usize % (index + 1));
            }
        }
        match (outcome(&files), outcome(&shuffled)) {
            (Ok(one), Ok(other)) => prop_assert_eq!(one, other),
            (Err(one), Err(other)) => {
                if one.len() == 1 && other.len() == 1 {
                    prop_assert_eq!(one, other);
                }
            }
            (one, other) => prop_assert!(false, "{:?} and {:?}", one, other),
        }
    }

    /// L59: nor does the order of questions, nor what was asked before.
    #[test]
    fn questions_never_matter(files in repository()) {
        let memory = write(&files);
        let (Ok(one), Ok(other), Ok(third)) = (memory.load(&[]), memory.load(&[]), memory.load(&[])) else {
            return Ok(());
        };
        let names = one.names().to_vec();
        let forward = answers(&one, names.iter().cloned());
        for name in &names {
            let why = one.provenance(name).expect("it has a definition");
            prop_assert!(!why.render().is_empty());
            let alone = memory.load(&[]).expect("it loaded before");
            prop_assert_eq!(&answers(&alone, std::iter::once(name.clone()))[name], &forward[name]);
        }
        let backward = answers(&other, names.iter().rev().cloned());
        let all: Answers = third
            .evaluate_all()
            .into_iter()
            .map(|(name, found)| (name.to_owned(), found.map(|found| (found.value, found.zapped)).map_err(|e| e.class())))
            .collect();
        prop_assert_eq!(&forward, &backward);
        prop_assert_eq!(&forward, &all);
    }

    /// The rules, followed one by one without any memory, come to the same.
    #[test]
    fn the_naive_evaluator_agrees(files in repository()) {
        let memory = write(&files);
        let disk = memory.0.iter().map(|(path, text)| (path.display().to_string(), text.clone()));
        let compared = naive::compare::compare(&memory, disk.collect(), "/spec/main.conf", &[]);
        prop_assert!(compared.is_ok(), "{}", compared.unwrap_err());
    }

    /// Any text at all ends in values and errors, within the limits.
    #[test]
    fn any_text_is_dealt_with(text in "(?s)([\\[\\]$:#?<> \\t\\r\\na-c/]|when|section s|collect|is|zap|lax|: \\[\\n|\\n\\]\\n|\\$\\[a\\]|\\$\\[\\[a\\]\\]|.){0,60}") {
        let memory = Memory::new(&[("main.conf", &text)]);
        match memory.load(&[]) {
            Ok(spec) => {
                for (name, found) in spec.evaluate_all() {
                    if let Err(error) = found {
                        prop_assert!(!error.diagnostic.render(false).is_empty(), "{}", name);
                    }
                }
            }
            Err(errors) => prop_assert!(!errors.render(false).is_empty()),
        }
    }

    /// No value is larger than the limit, however it is made.
    #[test]
    fn limits_hold(files in repository()) {
        let limits = Limits { value: 5, path: 20, ..Limits::default() };
        let memory = write(&files);
        let entry = std::path::Path::new("/spec/main.conf");
        let Ok(spec) = Spec::load_limited(&memory, entry, &[], &limits) else { return Ok(()) };
        for (name, found) in spec.evaluate_all() {
            let size = match found.map(|found| found.value) {
                Ok(Value::Line(text)) => text.len(),
                Ok(Value::Block(lines)) => lines.iter().map(|line| line.len() + 1).sum(),
                Err(_) => 0,
            };
            prop_assert!(size <= 5, "{} has {} bytes", name, size);
        }
    }
}
