//! Every example of `doc/language.md` does what the manual says.
//!
//! A block `metro` starts an example with its main file; `metro NAME` adds a file; words `NAME=VALUE` behind the
//! file's name are definitions of the command line. A block `result` says what the example comes to:
//! `key = text`, `key:` with `  | line` below, `key: removed`, `key: CLASS`, or `load: CLASS`.

mod common;

use common::Memory;
use mstore_lang::Value;

struct Example {
    line: usize,
    checked: bool,
    files: Vec<(String, String)>,
    given: Vec<(String, String)>,
}

impl Example {
    fn check(&self, result: &str) -> Result<(), String> {
        let files: Vec<(&str, &str)> = self
            .files
            .iter()
            .map(|(name, text)| (name.as_str(), text.as_str()))
            .collect();
        let given: Vec<(&str, &str)> = self
            .given
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
            .collect();
        let loaded = Memory::new(&files).load(&given);
        if let Some(class) = result.trim().strip_prefix("load: ") {
            return match loaded {
                Err(errors) if errors.class().as_str() == class => Ok(()),
                Err(errors) => Err(errors.render(false)),
                Ok(_) => Err(format!("loads, should fail with {class}")),
            };
        }
        let spec = loaded.map_err(|errors| errors.render(false))?;
        let mut lines = result.lines().peekable();
        while let Some(line) = lines.next() {
            if let Some((key, text)) = line.split_once(" =") {
                let want = Value::Line(text.strip_prefix(' ').unwrap_or(text).to_owned());
                let got = spec
                    .evaluate(key)
                    .map_err(|error| error.diagnostic.render(false))?;
                if got.value != want || got.zapped {
                    return Err(format!("{key} came to {got:?}"));
                }
            } else if let Some((key, class)) = line.split_once(": ") {
                let right = match spec.evaluate(key) {
                    Ok(found) => class == "removed" && found.zapped,
                    Err(error) => error.class().as_str() == class,
                };
                if !right {
                    return Err(format!("{key} came to {:?}", spec.evaluate(key)));
                }
            } else {
                let key = line
                    .strip_suffix(':')
                    .ok_or_else(|| format!("cannot read `{line}`"))?;
                let mut want = Vec::new();
                while let Some(text) = lines.next_if(|line| line.starts_with("  |")) {
                    let text = text.strip_prefix("  |").unwrap_or(text);
                    want.push(text.strip_prefix(' ').unwrap_or(text).to_owned());
                }
                if spec.value(key).map_err(|error| error.to_string())? != Value::Block(want.into())
                {
                    return Err(format!("{key} came to {:?}", spec.value(key)));
                }
            }
        }
        Ok(())
    }
}

/// The complaint about an example that no result follows: nothing of it would be tested.
fn unchecked(example: &Option<Example>) -> Option<String> {
    let example = example.as_ref().filter(|example| !example.checked)?;
    Some(format!(
        "line {}: an example without a result",
        example.line
    ))
}

#[test]
fn every_example_is_true() {
    let manual = include_str!("../../doc/language.md");
    let mut example: Option<Example> = None;
    let (mut checked, mut failures) = (0, Vec::new());
    let mut lines = manual.lines().enumerate();
    while let Some((number, line)) = lines.next() {
        let Some(info) = line.strip_prefix("```") else {
            continue;
        };
        let text: String = lines
            .by_ref()
            .map(|(_, line)| line)
            .take_while(|line| *line != "```")
            .map(|line| format!("{line}\n"))
            .collect();
        let mut words = info.split(' ');
        match words.next() {
            Some("metro") => {
                let (given, names): (Vec<&str>, Vec<&str>) =
                    words.partition(|word| word.contains('='));
                let file = names.first().copied().unwrap_or("main.conf");
                if file == "main.conf" || example.is_none() {
                    failures.extend(unchecked(&example));
                    example = Some(Example {
                        line: number + 1,
                        checked: false,
                        files: Vec::new(),
                        given: Vec::new(),
                    });
                }
                if let Some(example) = &mut example {
                    example.files.push((file.to_owned(), text));
                    let pairs = given.iter().filter_map(|pair| pair.split_once('='));
                    example
                        .given
                        .extend(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())));
                }
            }
            Some("result") => {
                checked += 1;
                match &mut example {
                    None => failures.push(format!("line {}: a result of nothing", number + 1)),
                    Some(example) => {
                        example.checked = true;
                        if let Err(why) = example.check(&text) {
                            failures.push(format!("example of line {}: {why}", example.line));
                        }
                    }
                }
            }
            other => failures.push(format!("line {}: what is {other:?}?", number + 1)),
        }
    }
    failures.extend(unchecked(&example));
    assert!(failures.is_empty(), "{}", failures.join("\n"));
    assert!(checked >= 17, "only {checked} examples were checked");
}
