//! Differences between plans as text for a terminal.

use std::fmt::Write as _;

use crate::plan::PlanDiff;
use crate::plan::diff::{Fate, NodeDiff};

/// Renders a comparison. Steps that differ in the same way are told of together.
pub(super) fn render(diff: &PlanDiff) -> String {
    if diff.is_empty() {
        return "no difference\n".to_owned();
    }
    let mut text = String::new();
    for group in diff.groups() {
        render_group(&group, &mut text);
    }
    // Writing to a String cannot fail.
    if diff.unaffected() > 0 {
        let _ = writeln!(
            text,
            "= {} more: not built again, only names, time limits or earlier tests differ",
            diff.unaffected()
        );
    }
    if !diff.stale.is_empty() {
        let _ = writeln!(text, "stale: {}", diff.stale.join(" "));
    }
    if !diff.removed.is_empty() {
        let _ = writeln!(text, "no longer there: {}", diff.removed.join(" "));
    }
    text
}

fn render_group(group: &[&NodeDiff], text: &mut String) {
    let names: Vec<&str> = group.iter().map(|node| node.name.as_str()).collect();
    let fate = group[0].fate;
    let _ = writeln!(text, "{} {}: {}", mark(fate), names.join(" "), word(fate));
    for reason in group[0].own_reasons() {
        for line in reason.to_string().lines() {
            let _ = writeln!(text, "    {line}");
        }
    }
}

fn mark(fate: Fate) -> char {
    match fate {
        Fate::Added => '+',
        Fate::Removed => '-',
        Fate::Changed => '~',
        Fate::Downstream => '>',
        Fate::Unaffected => '=',
    }
}

/// The word for what happened to a step.
pub(super) fn word(fate: Fate) -> &'static str {
    match fate {
        Fate::Added => "new",
        Fate::Removed => "gone",
        Fate::Changed => "changed",
        Fate::Downstream => "downstream",
        Fate::Unaffected => "unaffected",
    }
}
