//! Rendering: an explanation as indented text.

use std::fmt::Write;
use std::path::Path;

use super::{Answer, Effect, LineStep, Location, Node, Provenance, Step, Tested};
use crate::value::Value;

/// Beyond this depth the text names elements without explaining them.
const DEEP: usize = 30;
/// Longer texts are cut.
const WIDE: usize = 160;

impl Provenance {
    /// The explanation as indented text, each element explained where it is first met.
    pub fn render(&self) -> String {
        let mut renderer = Renderer {
            provenance: self,
            out: String::new(),
            shown: vec![false; self.nodes.len()],
            jobs: vec![Job::Node(0, 0, "")],
        };
        while let Some(job) = renderer.jobs.pop() {
            match job {
                Job::Node(index, depth, written) => renderer.node(index, depth, written),
                Job::Condition(test, depth) => renderer.condition(test, depth),
                Job::Step(step, depth) => renderer.step(step, depth),
                Job::Line(step, depth) => renderer.block_line(step, depth),
            }
        }
        let mut out = renderer.out;
        if self.truncated {
            out.push_str("... and more elements\n");
        }
        out
    }

    fn place(&self, place: &Location) -> String {
        format!("{}:{}", self.short_path(&place.path), place.line)
    }

    fn short_path(&self, path: &Path) -> String {
        path.strip_prefix(&self.base)
            .unwrap_or(path)
            .display()
            .to_string()
    }
}

/// Something that is still to be written, and how deep.
enum Job<'a> {
    /// The node of this index, and the reference that led to it.
    Node(usize, usize, &'a str),
    Condition(&'a Tested, usize),
    Step(&'a Step, usize),
    Line(&'a LineStep, usize),
}

struct Renderer<'a> {
    provenance: &'a Provenance,
    out: String,
    /// Whether each node was explained.
    shown: Vec<bool>,
    /// The last one is done first.
    jobs: Vec<Job<'a>>,
}

impl<'a> Renderer<'a> {
    fn node(&mut self, index: usize, depth: usize, written: &str) {
        let provenance = self.provenance;
        let node = &provenance.nodes[index];
        let answer = answer(node);
        let arrow = if written.is_empty() {
            String::new()
        } else {
            format!("{written}: ")
        };
        if std::mem::replace(&mut self.shown[index], true) {
            let text = format!("{arrow}{}{answer} (see above)", node.element);
            self.line(depth, &text);
            return;
        }
        let lax = if node.lax { " (lax)" } else { "" };
        self.line(depth, &format!("{arrow}{}{lax}{answer}", node.element));
        if let Some(definition) = &node.definition {
            let at = provenance.place(definition);
            let what = match (&node.written, &node.file) {
                (_, Some(file)) => format!(": read from {}", provenance.short_path(file)),
                (Some(text), None) if !text.is_empty() => format!(": {}", short(text)),
                _ => String::new(),
            };
            self.line(depth + 1, &format!("defined at {at}{what}"));
        }
        if depth >= DEEP {
            if !node.steps.is_empty() || !node.lines.is_empty() {
                self.line(depth + 1, "...");
            }
            return;
        }
        let lines = node.lines.iter().rev();
        self.jobs
            .extend(lines.map(|line| Job::Line(line, depth + 1)));
        let steps = node.steps.iter().rev();
        self.jobs
            .extend(steps.map(|step| Job::Step(step, depth + 1)));
        let conditions = node.conditions.iter().rev();
        self.jobs
            .extend(conditions.map(|test| Job::Condition(test, depth + 1)));
    }

    fn condition(&mut self, test: &Tested, depth: usize) {
        let holds = match test.holds {
            Some(true) => "true",
            Some(false) => "false",
            None => "failed",
        };
        let at = self.provenance.place(&test.definition);
        self.line(depth, &format!("{at}: when {}: {holds}", test.written));
        if let Some(node) = test.node {
            self.jobs.push(Job::Node(node, depth + 1, ""));
        }
    }

    fn step(&mut self, step: &'a Step, depth: usize) {
        let effect = match (step.effect, step.node) {
            (Effect::Used, _) => "",
            (Effect::Empty, _) => " is empty: the element is undefined",
            (Effect::Removed, None) => " removes it: the element is undefined",
            (Effect::Removed, Some(_)) => " removes it",
            (Effect::Answered(true), _) => " answers yes",
            (Effect::Answered(false), _) => " answers no",
            (Effect::Failed, _) => " fails",
        };
        match step.node {
            Some(node) if step.effect == Effect::Used => {
                self.jobs.push(Job::Node(node, depth, &step.written));
            }
            node => {
                self.line(depth, &format!("{}{effect}", step.written));
                if let Some(node) = node {
                    self.jobs.push(Job::Node(node, depth + 1, ""));
                }
            }
        }
    }

    fn block_line(&mut self, this: &'a LineStep, depth: usize) {
        let at = self.provenance.place(&this.at);
        let failed = |step: &Step| step.effect == Effect::Failed;
        let used = |step: &Step| step.effect == Effect::Used;
        let value = match (&this.value, this.included) {
            (Some(text), _) => format!("| {}", short(text)),
            (None, Some(count)) => format!("includes {}", counted(count)),
            _ if this.steps.iter().any(failed) => "fails".to_owned(),
            _ if this.steps.last().is_some_and(used) => "includes 0 lines".to_owned(),
            _ => "left out".to_owned(),
        };
        self.line(depth, &format!("{at}: {value}"));
        let steps = this.steps.iter().rev();
        self.jobs
            .extend(steps.map(|step| Job::Step(step, depth + 1)));
    }

    fn line(&mut self, depth: usize, text: &str) {
        // Writing to a string does not fail.
        let _ = writeln!(self.out, "{:1$}{text}", "", depth * 2);
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
