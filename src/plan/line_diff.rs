//! Line differences between two texts.

use serde::Serialize;

/// One line of a comparison.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum LineChange {
    /// Both texts have it; shown for orientation.
    Same(String),
    /// Only the old text has it.
    Removed(String),
    /// Only the new text has it.
    Added(String),
    /// Number of equal lines left out here.
    Skipped(usize),
}

impl std::fmt::Display for LineChange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            LineChange::Same(l) => write!(f, "  {l}"),
            LineChange::Removed(l) => write!(f, "- {l}"),
            LineChange::Added(l) => write!(f, "+ {l}"),
            LineChange::Skipped(1) => f.write_str("  ... 1 line"),
            LineChange::Skipped(n) => write!(f, "  ... {n} lines"),
        }
    }
}

/// Equal lines shown around a difference.
const CONTEXT: usize = 2;
/// Largest table the comparison may fill; beyond it, everything between the first and the last
/// difference counts as replaced.
const MAX_CELLS: usize = 4_000_000;

/// Compares line by line: a shortest list of removals and additions, with a little context.
pub fn line_diff(old: &str, new: &str) -> Vec<LineChange> {
    let (a, b): (Vec<&str>, Vec<&str>) = (old.lines().collect(), new.lines().collect());
    let head = a.iter().zip(&b).take_while(|(x, y)| x == y).count();
    let tail = a[head..]
        .iter()
        .rev()
        .zip(b[head..].iter().rev())
        .take_while(|(x, y)| x == y)
        .count();
    let (mid_a, mid_b) = (&a[head..a.len() - tail], &b[head..b.len() - tail]);

    let mut all: Vec<LineChange> = Vec::new();
    all.extend(a[..head].iter().map(|l| LineChange::Same((*l).to_owned())));
    middle(mid_a, mid_b, &mut all);
    all.extend(
        a[a.len() - tail..]
            .iter()
            .map(|l| LineChange::Same((*l).to_owned())),
    );
    fold(all)
}

fn middle(a: &[&str], b: &[&str], out: &mut Vec<LineChange>) {
    let width = b.len() + 1;
    if (a.len() + 1).saturating_mul(width) > MAX_CELLS {
        out.extend(a.iter().map(|l| LineChange::Removed((*l).to_owned())));
        out.extend(b.iter().map(|l| LineChange::Added((*l).to_owned())));
        return;
    }
    // common[i][j]: length of the longest common subsequence of a[i..] and b[j..].
    let mut common = vec![0u32; (a.len() + 1) * width];
    for i in (0..a.len()).rev() {
        for j in (0..b.len()).rev() {
            common[i * width + j] = if a[i] == b[j] {
                common[(i + 1) * width + j + 1] + 1
            } else {
                common[(i + 1) * width + j].max(common[i * width + j + 1])
            };
        }
    }
    let (mut i, mut j) = (0, 0);
    while i < a.len() || j < b.len() {
        if i < a.len() && j < b.len() && a[i] == b[j] {
            out.push(LineChange::Same(a[i].to_owned()));
            i += 1;
            j += 1;
        } else if j == b.len()
            || (i < a.len() && common[(i + 1) * width + j] >= common[i * width + j + 1])
        {
            out.push(LineChange::Removed(a[i].to_owned()));
            i += 1;
        } else {
            out.push(LineChange::Added(b[j].to_owned()));
            j += 1;
        }
    }
}

/// Leaves out equal lines that are far from any difference.
fn fold(all: Vec<LineChange>) -> Vec<LineChange> {
    let differs: Vec<usize> = all
        .iter()
        .enumerate()
        .filter(|(_, l)| !matches!(l, LineChange::Same(_)))
        .map(|(i, _)| i)
        .collect();
    let near = |i: usize| {
        let at = differs.partition_point(|d| *d < i);
        let after = differs.get(at).is_some_and(|d| d - i <= CONTEXT);
        let before = at > 0 && differs.get(at - 1).is_some_and(|d| i - d <= CONTEXT);
        after || before
    };
    let mut out = Vec::new();
    let mut skipped = 0;
    for (i, line) in all.into_iter().enumerate() {
        if near(i) {
            if skipped > 0 {
                out.push(LineChange::Skipped(skipped));
                skipped = 0;
            }
            out.push(line);
        } else {
            skipped += 1;
        }
    }
    if skipped > 0 && !out.is_empty() {
        out.push(LineChange::Skipped(skipped));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn shown(old: &str, new: &str) -> Vec<String> {
        line_diff(old, new)
            .iter()
            .map(ToString::to_string)
            .collect()
    }

    #[test]
    fn shows_differences_with_context() {
        assert!(shown("a\nb\n", "a\nb\n").is_empty());
        assert_eq!(
            shown("1\n2\n3\n4\n5\n6\n7\n", "1\n2\n3\n4\nfive\n6\n7\n8\n"),
            [
                "  ... 2 lines",
                "  3",
                "  4",
                "- 5",
                "+ five",
                "  6",
                "  7",
                "+ 8"
            ]
        );
        assert_eq!(shown("", "x\n"), ["+ x"]);
        assert_eq!(shown("x\n", ""), ["- x"]);
        assert_eq!(
            shown("x\n1\n2\n3\n", "1\n2\n3\n"),
            ["- x", "  1", "  2", "  ... 1 line"]
        );
    }

    #[test]
    fn huge_differences_stay_cheap() {
        let old: String = (0..5000).map(|i| format!("a{i}\n")).collect();
        let new: String = (0..5000).map(|i| format!("b{i}\n")).collect();
        assert_eq!(line_diff(&old, &new).len(), 10_000);
    }

    proptest! {
        #[test]
        fn additions_and_removals_account_for_both_texts(
            a in prop::collection::vec("[ab]", 0..8), b in prop::collection::vec("[ab]", 0..8)
        ) {
            let (old, new) = (a.join("\n"), b.join("\n"));
            let (mut kept, mut gone, mut came) = (0, 0, 0);
            for line in line_diff(&old, &new) {
                match line {
                    LineChange::Same(_) => kept += 1,
                    LineChange::Skipped(n) => kept += n,
                    LineChange::Removed(_) => gone += 1,
                    LineChange::Added(_) => came += 1,
                }
            }
            if gone + came > 0 {
                prop_assert_eq!(kept + gone, old.lines().count());
                prop_assert_eq!(kept + came, new.lines().count());
            } else {
                prop_assert_eq!(old, new);
            }
        }
    }
}
