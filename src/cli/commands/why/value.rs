//! `mstore why value --json`: the explanation as data.

use mstore_lang::Value;
use mstore_lang::provenance::{Answer, Effect, LineStep, Location, Node, Provenance, Step, Tested};
use serde_json::{Value as Json, json};

/// Every element that took part, the one asked for first; `index` points into that list.
pub fn explanation(provenance: &Provenance) -> Json {
    let writer = Writer(provenance);
    let elements: Vec<Json> = provenance.nodes.iter().map(|n| writer.node(n)).collect();
    json!({
        "element": provenance.nodes.first().map(|node| node.element.as_str()),
        "elements": elements,
        "truncated": provenance.truncated,
    })
}

struct Writer<'a>(&'a Provenance);

impl Writer<'_> {
    fn node(&self, node: &Node) -> Json {
        let mut object = json!({
            "element": node.element,
            "definition": node.definition.as_ref().map(place),
            "lax": node.lax,
            "conditions": node.conditions.iter().map(|t| self.condition(t)).collect::<Vec<_>>(),
            "references": self.steps(&node.steps),
        });
        let (state, more) = match &node.answer {
            Answer::Value(Value::Line(text)) => ("value", vec![("value", json!(text))]),
            Answer::Value(Value::Block(lines)) => {
                ("value", vec![("value", lines.iter().collect())])
            }
            Answer::Removed => ("removed", vec![("value", json!(""))]),
            Answer::Undefined => ("undefined", Vec::new()),
            Answer::Failed { class, message } => (
                "error",
                vec![
                    ("class", json!(class.as_str())),
                    ("message", json!(message)),
                ],
            ),
            Answer::Unasked => ("not-evaluated", Vec::new()),
        };
        object["state"] = json!(state);
        for (key, value) in more {
            object[key] = value;
        }
        if let Some(written) = &node.written {
            object["written"] = json!(written);
        }
        if let Some(file) = &node.file {
            object["read"] = json!(file.display().to_string());
        }
        if !node.lines.is_empty() {
            object["lines"] = node.lines.iter().map(|l| self.line(l)).collect();
        }
        object
    }

    fn condition(&self, test: &Tested) -> Json {
        let mut object = place(&test.at);
        object["written"] = json!(test.written);
        object["holds"] = json!(test.holds);
        object["definition"] = place(&test.definition);
        self.point(&mut object, test.node);
        object
    }

    fn steps(&self, steps: &[Step]) -> Vec<Json> {
        let step = |step: &Step| {
            let mut object = place(&step.at);
            object["written"] = json!(step.written);
            object["effect"] = json!(match step.effect {
                Effect::Used => "used",
                Effect::Empty => "empty",
                Effect::Removed => "removed",
                Effect::Answered(true) => "yes",
                Effect::Answered(false) => "no",
                Effect::Failed => "failed",
            });
            self.point(&mut object, step.node);
            object
        };
        steps.iter().map(step).collect()
    }

    fn line(&self, line: &LineStep) -> Json {
        let mut object = place(&line.at);
        object["written"] = json!(line.written);
        object["value"] = json!(line.value);
        object["included"] = json!(line.included);
        object["references"] = json!(self.steps(&line.steps));
        object
    }

    fn point(&self, object: &mut Json, node: Option<usize>) {
        object["element"] = json!(node.map(|index| self.0.nodes[index].element.as_str()));
        object["index"] = json!(node);
    }
}

fn place(place: &Location) -> Json {
    json!({
        "file": place.path.display().to_string(),
        "line": place.line,
        "column": place.column,
    })
}
