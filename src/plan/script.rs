//! Where the lines of a step's script are written.

use mstore_lang::provenance::{Answer, Location as Place};
use mstore_lang::{Provenance, Value};

use super::elements::{Elements, Location};

/// Inclusions within inclusions that are followed.
const DEEPEST: usize = 64;

/// The places of the lines of the script of `step`, one a line; nothing where they cannot be told for certain.
pub fn script_lines(elements: &Elements, step: &str) -> Option<Vec<Location>> {
    let element = format!("steps/chroot/{step}");
    let script = elements.block(&element).ok()??;
    let provenance = elements.spec().provenance(&element).ok()?;
    let mut lines: Vec<(&str, &Place)> = Vec::with_capacity(script.len());
    follow(&provenance, 0, DEEPEST, script.len(), &mut lines)?;
    // Whatever became of a line on the way: only what is the very script is told of.
    let same = lines
        .iter()
        .map(|(text, _)| *text)
        .eq(script.iter().map(String::as_str));
    let places = lines.into_iter().map(|(_, place)| Location {
        file: place.path.clone(),
        line: place.line,
    });
    same.then(|| places.collect())
}

/// Adds the lines that a node came to, at most `most`.
fn follow<'a>(
    provenance: &'a Provenance,
    node: usize,
    deep: usize,
    most: usize,
    lines: &mut Vec<(&'a str, &'a Place)>,
) -> Option<()> {
    let node = provenance.nodes.get(node)?;
    let deep = deep.checked_sub(1)?;
    if node.lines.is_empty() {
        let place = node.definition.as_ref()?;
        match &node.answer {
            Answer::Value(Value::Line(line)) => lines.push((line, place)),
            // A file that was read, or a block without lines.
            Answer::Value(Value::Block(block)) => {
                lines.extend(block.iter().map(|line| (line, place)));
            }
            _ => {}
        }
    }
    for line in &node.lines {
        if let Some(value) = &line.value {
            lines.push((value, &line.at));
        } else if line.included.is_some() {
            let included = line.steps.iter().find_map(|step| step.node)?;
            follow(provenance, included, deep, most, lines)?;
        }
        if lines.len() > most {
            return None;
        }
    }
    Some(())
}
