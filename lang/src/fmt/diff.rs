//! Unified diffs of what formatting changes.

use std::fmt::Write;

use super::Change;
use crate::syntax::next_span;

/// Lines shown around a change.
const CONTEXT: usize = 3;

/// Writes changes as a unified diff, as `diff -u` would; empty if there are none.
pub fn unified(source: &str, changes: &[Change], old_name: &str, new_name: &str) -> String {
    let mut out = String::new();
    if changes.is_empty() {
        return out;
    }
    let lines = lines(source);
    let _ = writeln!(out, "--- {old_name}\n+++ {new_name}");
    let mut removed_before = 0;
    let mut at = 0;
    while at < changes.len() {
        // Changes whose contexts touch share a hunk.
        let mut end = at + 1;
        while end < changes.len() && changes[end].line - changes[end - 1].line <= 2 * CONTEXT {
            end += 1;
        }
        removed_before += hunk(&mut out, &lines, &changes[at..end], removed_before);
        at = end;
    }
    out
}

/// Writes one hunk and returns how many lines it removes.
fn hunk(out: &mut String, lines: &[&str], changes: &[Change], removed_before: usize) -> usize {
    let first = changes[0].line.saturating_sub(CONTEXT + 1);
    let last = (changes[changes.len() - 1].line + CONTEXT).min(lines.len());
    let removed = changes.iter().filter(|change| change.new.is_none()).count();
    let (old, new) = (last - first, last - first - removed);
    // An empty side is numbered by the line before it.
    let from = first + usize::from(old > 0);
    let to = first - removed_before + usize::from(new > 0);
    let _ = writeln!(out, "@@ -{from},{old} +{to},{new} @@");
    let mut rest = changes;
    let mut number = first;
    while number < last {
        // Neighbouring changes are shown together, the old lines before the new ones.
        let run = rest
            .iter()
            .enumerate()
            .take_while(|(i, change)| change.line == number + 1 + i)
            .count();
        if run == 0 {
            put(out, ' ', lines[number]);
            number += 1;
            continue;
        }
        for line in &lines[number..number + run] {
            put(out, '-', line);
        }
        for new in rest[..run]
            .iter()
            .filter_map(|change| change.new.as_deref())
        {
            put(out, '+', new);
        }
        number += run;
        rest = &rest[run..];
    }
    removed
}

fn put(out: &mut String, sign: char, line: &str) {
    out.push(sign);
    out.push_str(line);
    if !line.ends_with('\n') {
        out.push_str("\n\\ No newline at end of file\n");
    }
}

/// The lines with their line breaks.
fn lines(source: &str) -> Vec<&str> {
    let mut at = 0;
    let mut lines = Vec::new();
    while at < source.len() {
        let start = at;
        next_span(source, &mut at, source.len());
        lines.push(&source[start..at]);
    }
    lines
}
