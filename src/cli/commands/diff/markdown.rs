//! Differences between plans as Markdown for a review comment.

use std::fmt::Write as _;

use super::names::{Names, count, ways};
use super::text::word;
use crate::plan::diff::Group;
use crate::plan::{Index, PlanDiff};

/// Renders a comparison of plans of specifications with these names, `old` and `new`.
pub(super) fn render(diff: &PlanDiff, old: &Index, new: &Index) -> String {
    if diff.is_empty() {
        return "No derivation differs.\n".to_owned();
    }
    let names = Names { old, new, quote };
    let mut text = String::new();
    // Writing to a String cannot fail.
    if !diff.stale.is_empty() {
        let _ = writeln!(
            text,
            "**{} stale:** {}\n",
            count(diff.stale.len(), "target"),
            names.targets(&diff.stale).join(", ")
        );
    }
    if !diff.removed.is_empty() {
        let targets = names.old_targets(&diff.removed).join(", ");
        let _ = writeln!(text, "**No longer there:** {targets}\n");
    }
    for group in diff.groups() {
        render_group(&group, &names, &mut text);
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

fn render_group(group: &Group<'_>, names: &Names<'_>, text: &mut String) {
    let _ = writeln!(
        text,
        "- {} {}: {}",
        count(group.nodes.len(), "step"),
        word(group.fate()),
        names.steps(group).join(", ")
    );
    if let Some(ways) = ways(group, quote) {
        let _ = writeln!(text, "\n  {ways}");
    }
    let mut lines: Vec<String> = Vec::new();
    for reason in group.nodes[0].own_reasons() {
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

fn quote(name: &str) -> String {
    format!("`{name}`")
}
