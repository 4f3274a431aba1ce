//! Words for messages: the name that was probably meant, and texts of bearable length.

/// The candidate fewest edits away, if it is near enough to be a slip.
pub(crate) fn nearest<'a>(
    wanted: &str,
    candidates: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    // A long name is no name that somebody typed; comparing takes time in the square of it.
    if wanted.is_empty() || wanted.len() > 200 {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    let mut rows = (Vec::new(), Vec::new());
    for candidate in candidates {
        let worst = best.map_or(wanted.chars().count().div_ceil(3), |(distance, _)| distance);
        if candidate == wanted || candidate.len().abs_diff(wanted.len()) > worst * 4 {
            continue;
        }
        let distance = distance(wanted, candidate, &mut rows);
        let better = match best {
            None => distance <= worst,
            Some((least, name)) => (distance, candidate) < (least, name),
        };
        if better {
            best = Some((distance, candidate));
        }
    }
    best.map(|(_, name)| name)
}

/// The number of insertions, deletions, replacements and swaps of neighbours between two texts.
fn distance(left: &str, right: &str, rows: &mut (Vec<usize>, Vec<usize>)) -> usize {
    let right: Vec<char> = right.chars().collect();
    let left: Vec<char> = left.chars().collect();
    let (before, row) = rows;
    before.clear();
    row.clear();
    row.extend(0..=right.len());
    for (i, from) in left.iter().enumerate() {
        let mut next = vec![i + 1];
        for (j, to) in right.iter().enumerate() {
            let mut cost = (row[j] + usize::from(from != to))
                .min(row[j + 1] + 1)
                .min(next[j] + 1);
            if i > 0 && j > 0 && left[i - 1] == *to && right[j - 1] == *from {
                cost = cost.min(before[j - 1] + 1);
            }
            next.push(cost);
        }
        *before = std::mem::replace(row, next);
    }
    row[right.len()]
}

/// Cuts the middle out of a text that is too long to be read.
pub(crate) fn shorten(text: impl Into<String>) -> String {
    const MOST: usize = 400;
    let text = text.into();
    if text.len() <= MOST {
        return text;
    }
    let cut = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (front, back) = (cut(MOST / 2), cut(text.len() - MOST / 4));
    format!("{} [...] {}", &text[..front], &text[back..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen() {
        let names = ["target/subarch", "target/build", "path/mirror"];
        assert_eq!(
            nearest("target/subacrh", names.into_iter()),
            Some("target/subarch")
        );
        assert_eq!(
            nearest("targt/build", names.into_iter()),
            Some("target/build")
        );
        assert_eq!(nearest("snapshot", names.into_iter()), None);
        assert_eq!(nearest("", names.into_iter()), None);
    }
}
