//! Differences between plans as text for a terminal.

use std::fmt::Write as _;

use super::names::{Names, count, is_few, ways};
use crate::plan::diff::{Fate, Group};
use crate::plan::{Index, PlanDiff};

/// Renders a comparison of plans of specifications with these names, `old` and `new`. Steps that differ in the same
/// way are told of together.
pub(super) fn render(diff: &PlanDiff, old: &Index, new: &Index) -> String {
    if diff.is_empty() {
        return "no difference\n".to_owned();
    }
    let names = Names {
        old,
        new,
        quote: str::to_owned,
    };
    let mut text = String::new();
    for group in diff.groups() {
        render_group(&group, &names, &mut text);
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
        let targets = names.targets(&diff.stale);
        render_names("stale", &targets, &mut text);
    }
    if !diff.removed.is_empty() {
        let targets = names.old_targets(&diff.removed);
        render_names("no longer there", &targets, &mut text);
    }
    text
}

/// Writes names behind their headline, or below it in lines of their own.
fn render_names(headline: &str, parts: &[String], text: &mut String) {
    let between = match parts.len() {
        1 => " ",
        _ => "\n    ",
    };
    let _ = writeln!(text, "{headline}:{between}{}", parts.join("\n    "));
}

fn render_group(group: &Group<'_>, names: &Names<'_>, text: &mut String) {
    let parts = names.steps(group);
    let (mark, word) = (mark(group.fate()), word(group.fate()));
    if is_few(group) {
        let _ = writeln!(text, "{mark} {}: {word}", parts.join(" "));
    } else {
        let headline = format!("{mark} {} {word}", count(group.nodes.len(), "step"));
        render_names(&headline, &parts, text);
    }
    if let Some(ways) = ways(group, str::to_owned) {
        let _ = writeln!(text, "  {ways}");
    }
    for reason in group.nodes[0].own_reasons() {
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
