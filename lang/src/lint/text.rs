//! Checks of one file by itself.

use std::sync::Arc;

use super::finding::{Finding, Lint};
use crate::diagnostics::Label;
use crate::span::Span;
use crate::syntax::{File, Kind, block_lines, inclusion, is_valid_name, trim};

/// What the text of a file alone gives away.
pub fn check_file(file: &Arc<File>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for definition in &file.definitions {
        if definition.kind() != Kind::Block {
            inclusions(file, definition.value, false, &mut findings);
            continue;
        }
        for line in block_lines(file.source(), definition.value) {
            let text = trim(file.source(), line);
            // Commented out on purpose (L33).
            let comment = file.text(text).starts_with('#');
            if !comment && opens(file.text(text)) {
                let name = file.text(file.name_span(definition));
                let message = format!("this is text of the block `{name}`");
                let finding = Finding::new(Lint::BlockInBlock, message, Label::new(file, text, ""));
                findings
                    .push(finding.help(
                        "close that block with a line `]` above, if another one begins here",
                    ));
            }
            if !comment && inclusion(file.source(), line).is_none() {
                inclusions(file, text, true, &mut findings);
            }
        }
    }
    for condition in &file.conditions {
        let element = file.text(condition.element);
        if element.contains("$[") {
            let message = "a condition tests an element by its plain name";
            let at = Label::new(file, condition.element, "no element has this name");
            let finding = Finding::new(Lint::LiteralCondition, message, at);
            findings.push(
                match element
                    .strip_prefix("$[")
                    .and_then(|rest| rest.strip_suffix(']'))
                {
                    Some(name) if !name.is_empty() => finding.help(format!("write `{name}`")),
                    _ => finding,
                },
            );
        }
        for word in &condition.words {
            if file.text(*word).contains("$[") {
                let message = "a reference in a condition is not expanded";
                let at = Label::new(file, *word, "compared as it is written");
                let help = "test one element at a time, against words";
                findings.push(Finding::new(Lint::LiteralCondition, message, at).help(help));
            }
        }
    }
    findings.sort_by_key(|finding| finding.diagnostic.offset());
    findings
}

/// Whether a line would begin a block if it did not lie in one.
fn opens(line: &str) -> bool {
    let name = line.strip_suffix('[').map(str::trim_end);
    name.and_then(|line| line.strip_suffix(':'))
        .is_some_and(is_valid_name)
}

/// Finds `$[[` in a text in which it includes nothing.
fn inclusions(file: &Arc<File>, text: Span, in_block: bool, findings: &mut Vec<Finding>) {
    let bytes = file.text(text).as_bytes();
    for at in memchr::memmem::find_iter(bytes, b"$[[") {
        let rest = &bytes[at..];
        let length = memchr::memmem::find(rest, b"]]").map_or(3, |end| end + 2);
        let start = text.start as usize + at;
        let span = Span::new(start, start + length);
        let message = "this includes nothing: `$[[` is text here";
        let finding = Finding::new(Lint::InclusionIsText, message, Label::new(file, span, ""));
        findings.push(finding.help(match in_block {
            true => "an inclusion stands alone on its line; to insert a text, write `$[name]`",
            false => "only blocks include blocks; to insert a text, write `$[name]`",
        }));
    }
}
