//! An explanation as text.

use std::fmt::Write;
use std::path::Path;

use super::{Answer, Effect, Node, Place, Provenance, Step};
use crate::value::Value;

/// Beyond this depth the text names elements without explaining them.
const DEEP: usize = 30;
/// Longer texts are cut.
const WIDE: usize = 160;

enum Job<'a> {
    Node(usize, usize, &'a str),
    Conditions(usize, usize, usize),
    Step(&'a Step, usize),
    Line(usize, usize, usize),
}

impl Provenance {
    /// The explanation as indented text, each element explained where it is first met.
    pub fn render(&self) -> String {
        let mut out = String::new();
        let mut shown = vec![false; self.nodes.len()];
        let mut jobs = vec![Job::Node(0, 0, "")];
        while let Some(job) = jobs.pop() {
            match job {
                Job::Node(index, depth, prefix) => {
                    self.node(&mut out, &mut shown, &mut jobs, index, depth, prefix)
                }
                Job::Conditions(index, number, depth) => {
                    let test = &self.nodes[index].conditions[number];
                    let holds = match test.holds {
                        Some(true) => "true",
                        Some(false) => "false",
                        None => "failed",
                    };
                    let at = self.place(&test.definition);
                    line(
                        &mut out,
                        depth,
                        &format!("{at}: when {}: {holds}", test.written),
                    );
                    if let Some(node) = test.node {
                        jobs.push(Job::Node(node, depth + 1, ""));
                    }
                }
                Job::Step(step, depth) => {
                    let effect = match step.effect {
                        Effect::Used => "",
                        Effect::Empty => " is empty: the element is undefined",
                        Effect::Removed => match step.node {
                            None => " removes it: the element is undefined",
                            Some(_) => " removes it",
                        },
                        Effect::Answered(true) => " answers yes",
                        Effect::Answered(false) => " answers no",
                        Effect::Failed => " fails",
                    };
                    match step.node {
                        Some(node) if effect.is_empty() => {
                            jobs.push(Job::Node(node, depth, &step.written))
                        }
                        node => {
                            line(&mut out, depth, &format!("{}{effect}", step.written));
                            if let Some(node) = node {
                                jobs.push(Job::Node(node, depth + 1, ""));
                            }
                        }
                    }
                }
                Job::Line(index, number, depth) => {
                    let this = &self.nodes[index].lines[number];
                    let at = self.place(&this.at);
                    let value = match (&this.value, this.included) {
                        (Some(text), _) => format!("| {}", short(text)),
                        (None, Some(count)) => format!("includes {}", counted(count)),
                        _ if this.steps.iter().any(|step| step.effect == Effect::Failed) => {
                            "fails".to_owned()
                        }
                        _ if this
                            .steps
                            .last()
                            .is_some_and(|step| step.effect == Effect::Used) =>
                        {
                            "includes 0 lines".to_owned()
                        }
                        _ => "left out".to_owned(),
                    };
                    line(&mut out, depth, &format!("{at}: {value}"));
                    jobs.extend(
                        this.steps
                            .iter()
                            .rev()
                            .map(|step| Job::Step(step, depth + 1)),
                    );
                }
            }
        }
        if self.truncated {
            out.push_str("... and more elements\n");
        }
        out
    }

    fn node<'a>(
        &'a self,
        out: &mut String,
        shown: &mut [bool],
        jobs: &mut Vec<Job<'a>>,
        index: usize,
        depth: usize,
        written: &str,
    ) {
        let node = &self.nodes[index];
        let answer = answer(node);
        let arrow = if written.is_empty() {
            String::new()
        } else {
            format!("{written}: ")
        };
        if std::mem::replace(&mut shown[index], true) {
            line(
                out,
                depth,
                &format!("{arrow}{}{answer} (see above)", node.element),
            );
            return;
        }
        let lax = if node.lax { " (lax)" } else { "" };
        line(out, depth, &format!("{arrow}{}{lax}{answer}", node.element));
        if let Some(definition) = &node.definition {
            let at = self.place(definition);
            let what = match (&node.written, &node.file) {
                (_, Some(file)) => format!(": read from {}", self.short_path(file)),
                (Some(text), None) if !text.is_empty() => format!(": {}", short(text)),
                _ => String::new(),
            };
            line(out, depth + 1, &format!("defined at {at}{what}"));
        }
        if depth >= DEEP {
            if !node.steps.is_empty() || !node.lines.is_empty() {
                line(out, depth + 1, "...");
            }
            return;
        }
        // Pushed backwards, as the last job pushed is done first.
        jobs.extend(
            (0..node.lines.len())
                .rev()
                .map(|number| Job::Line(index, number, depth + 1)),
        );
        jobs.extend(
            node.steps
                .iter()
                .rev()
                .map(|step| Job::Step(step, depth + 1)),
        );
        jobs.extend(
            (0..node.conditions.len())
                .rev()
                .map(|number| Job::Conditions(index, number, depth + 1)),
        );
    }

    fn place(&self, place: &Place) -> String {
        format!("{}:{}", self.short_path(&place.path), place.line)
    }

    fn short_path(&self, path: &Path) -> String {
        path.strip_prefix(&self.base)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

fn answer(node: &Node) -> String {
    match &node.answer {
        Answer::Value(Value::Line(text)) => format!(" = {}", quoted(text)),
        Answer::Value(Value::Block(lines)) => format!(" = {}", counted(lines.len())),
        Answer::Removed => " is removed".to_owned(),
        Answer::Undefined => " is undefined: no condition is true".to_owned(),
        Answer::Failed { class, message } => format!(" fails: {class}: {message}"),
        Answer::Unasked => String::new(),
    }
}

fn counted(lines: usize) -> String {
    if lines == 1 {
        "1 line".to_owned()
    } else {
        format!("{lines} lines")
    }
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", short(text))
}

fn short(text: &str) -> String {
    let mut out: String = text.chars().take(WIDE).collect();
    if out.len() < text.len() {
        out.push_str("...");
    }
    out
}

fn line(out: &mut String, depth: usize, text: &str) {
    // Writing to a string does not fail.
    let _ = writeln!(out, "{:1$}{text}", "", depth * 2);
}
