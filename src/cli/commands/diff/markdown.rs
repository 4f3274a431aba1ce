//! Differences between plans as Markdown for a review comment.

use std::fmt::Write as _;

use super::text::word;
use crate::cli::output::plural;
use crate::plan::PlanDiff;
use crate::plan::diff::NodeDiff;

/// Names that are listed at most.
const MOST: usize = 12;

/// Renders a comparison.
pub(super) fn render(diff: &PlanDiff) -> String {
    if diff.is_empty() {
        return "No derivation differs.\n".to_owned();
    }
    let mut text = String::new();
    // Writing to a String cannot fail.
    if !diff.stale.is_empty() {
        let _ = writeln!(
            text,
            "**{} stale:** {}\n",
            count(diff.stale.len(), "target"),
            listed(diff.stale.iter().map(String::as_str))
        );
    }
    if !diff.removed.is_empty() {
        let names = listed(diff.removed.iter().map(String::as_str));
        let _ = writeln!(text, "**No longer there:** {names}\n");
    }
    for group in diff.groups() {
        render_group(&group, &mut text);
    }
    if diff.unaffected() > 0 {
        let _ = writeln!(
            text,
            "- {} not built again: only names, time limits or earlier tests differ",
            count(diff.unaffected(), "step")
        );
    }
    text
}

fn render_group(group: &[&NodeDiff], text: &mut String) {
    let _ = writeln!(
        text,
        "- {} {}: {}",
        count(group.len(), "step"),
        word(group[0].fate),
        listed(group.iter().map(|node| node.name.as_str()))
    );
    let mut lines: Vec<String> = Vec::new();
    for reason in group[0].own_reasons() {
        lines.push(reason.headline());
        // A `diff` block is coloured by what stands first in a line.
        for detail in reason.details() {
            lines.extend(detail.lines().map(str::to_owned));
        }
    }
    if lines.is_empty() {
        return;
    }
    let fence = fence(&lines);
    let _ = writeln!(text, "\n  {fence}diff");
    for line in lines {
        let _ = writeln!(text, "  {line}");
    }
    let _ = writeln!(text, "  {fence}\n");
}

/// A fence longer than any run of backquotes within, so that the content cannot close it.
fn fence(lines: &[String]) -> String {
    let runs = lines.iter().flat_map(|line| line.split(|c| c != '`'));
    let longest = runs.map(str::len).max().unwrap_or(0);
    "`".repeat(longest.max(2) + 1)
}

fn count(n: usize, word: &str) -> String {
    format!("{n} {}", plural(n, word))
}

/// Names in backquotes; of many only the first.
fn listed<'a>(names: impl Iterator<Item = &'a str>) -> String {
    let all: Vec<String> = names.map(|name| format!("`{name}`")).collect();
    match all.len() {
        n if n > MOST => format!("{} and {} more", all[..MOST].join(" "), n - MOST),
        _ => all.join(" "),
    }
}
