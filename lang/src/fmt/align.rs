//! The columns of comments that follow something on their line.

use super::{Draft, State};

/// Columns between two tab stops.
const TAB: usize = 8;

/// The column behind a text that starts in column 0; one column for each character.
pub(super) fn width(text: &str) -> usize {
    text.chars().fold(0, |at, c| {
        if c == '\t' {
            (at / TAB + 1) * TAB
        } else {
            at + 1
        }
    })
}

/// Keeps comments aligned that are so already: neighbouring lines whose comments began in one column.
///
/// All others get one blank, which is also what the longest line of an aligned group gets. So lines that
/// become aligned by chance form a group that stays as it is, and formatting again changes nothing.
pub(super) fn align(lines: &mut [Draft<'_>]) {
    let mut at = 0;
    while at < lines.len() {
        let Some(wanted) = column(&lines[at]) else {
            at += 1;
            continue;
        };
        let count = lines[at..]
            .iter()
            .take_while(|line| column(line) == Some(wanted))
            .count();
        let group = &mut lines[at..at + count];
        let longest = group.iter().map(code_width).max().unwrap_or(0);
        for line in group {
            let own = code_width(line);
            if let State::Written { gap, .. } = &mut line.state {
                *gap = longest - own + 1;
            }
        }
        at += count;
    }
}

/// The column of a comment that follows something.
fn column(line: &Draft<'_>) -> Option<usize> {
    match &line.state {
        State::Written {
            code,
            comment,
            column,
            ..
        } if !code.is_empty() && !comment.is_empty() => Some(*column),
        _ => None,
    }
}

fn code_width(line: &Draft<'_>) -> usize {
    match &line.state {
        State::Written { code, .. } => width(code),
        _ => 0,
    }
}
