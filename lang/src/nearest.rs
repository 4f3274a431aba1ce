//! Spelling suggestions: the known names nearest to one that is not known.
//!
//! The distance of two names is the number of insertions, deletions, replacements and swaps of neighbouring
//! characters that turn one into the other. A name is near if it is no more than one edit away for every three
//! characters of the wanted one, rounded up: two letters with two replaced are another name, not a slip.
//!
//! ```
//! use mstore_lang::nearest::{nearest, nearest_few};
//!
//! let known = ["target/subarch", "target/build", "path/mirror"];
//! assert_eq!(nearest("target/subacrh", known), Some("target/subarch"));
//! assert_eq!(nearest("snapshot", known), None);
//!
//! let stages = ["stage1", "stage2", "stage3", "snapshot"].map(str::to_owned);
//! assert_eq!(nearest_few("stage", stages, 2), ["stage1", "stage2"]);
//! ```

/// Longer names are certainly not typed by hand; comparing takes time in the square of the length.
const LONGEST: usize = 200;

/// Finds the candidate nearest to `wanted`, if one is near.
///
/// Of several equally near ones it is the first in the order of text, whatever order they come in. `wanted` itself
/// never counts, and names longer than 200 bytes have none. Every candidate is looked at: a caller with a million
/// of them should take some.
pub fn nearest<S: AsRef<str>>(wanted: &str, candidates: impl IntoIterator<Item = S>) -> Option<S> {
    nearest_few(wanted, candidates, 1).pop()
}

/// Finds the candidates nearest to `wanted`, at most `most`: the nearest first, equally near ones in the order of
/// text, each once.
///
/// What counts as near is the same as for [`nearest`].
pub fn nearest_few<S: AsRef<str>>(
    wanted: &str,
    candidates: impl IntoIterator<Item = S>,
    most: usize,
) -> Vec<S> {
    if wanted.is_empty() || wanted.len() > LONGEST || most == 0 {
        return Vec::new();
    }
    let wanted_chars: Vec<char> = wanted.chars().collect();
    let near = wanted_chars.len().div_ceil(3);
    let mut best: Vec<(usize, S)> = Vec::new();
    let mut rows = Rows::default();
    for candidate in candidates {
        let name = candidate.as_ref();
        let worst = match best.last() {
            Some((distance, _)) if best.len() == most => *distance,
            _ => near,
        };
        // A character has four bytes at most.
        if name == wanted || name.len().abs_diff(wanted.len()) > worst * 4 {
            continue;
        }
        let Some(distance) = rows.distance(&wanted_chars, name, worst) else {
            continue;
        };
        let order = |(other, at): &(usize, S)| (*other, at.as_ref()).cmp(&(distance, name));
        if let Err(at) = best.binary_search_by(order) {
            best.insert(at, (distance, candidate));
            best.truncate(most);
        }
    }
    best.into_iter().map(|(_, name)| name).collect()
}

/// Three rows of the table of distances, kept from one comparison to the next.
#[derive(Default)]
struct Rows {
    right: Vec<char>,
    before: Vec<usize>,
    last: Vec<usize>,
    next: Vec<usize>,
}

impl Rows {
    /// The distance of two texts, unless it is greater than `worst`.
    fn distance(&mut self, left: &[char], right: &str, worst: usize) -> Option<usize> {
        let Rows {
            right: chars,
            before,
            last,
            next,
        } = self;
        chars.clear();
        chars.extend(right.chars());
        if chars.len().abs_diff(left.len()) > worst {
            return None;
        }
        last.clear();
        last.extend(0..=chars.len());
        for (i, from) in left.iter().enumerate() {
            next.clear();
            next.push(i + 1);
            let mut least = i + 1;
            for (j, to) in chars.iter().enumerate() {
                let mut cost = (last[j] + usize::from(from != to))
                    .min(last[j + 1] + 1)
                    .min(next[j] + 1);
                if i > 0 && j > 0 && left[i - 1] == *to && chars[j - 1] == *from {
                    cost = cost.min(before[j - 1] + 1);
                }
                next.push(cost);
                least = least.min(cost);
            }
            // A swap comes from the row before the last, and costs one.
            let swapped = match i {
                0 => usize::MAX,
                _ => last.iter().min().map_or(usize::MAX, |least| least + 1),
            };
            if least.min(swapped) > worst {
                return None;
            }
            std::mem::swap(before, last);
            std::mem::swap(last, next);
        }
        Some(last[chars.len()]).filter(|distance| *distance <= worst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slips_are_seen() {
        let names = ["target/subarch", "target/build", "path/mirror"];
        assert_eq!(nearest("target/subacrh", names), Some("target/subarch"));
        assert_eq!(nearest("targt/build", names), Some("target/build"));
        assert_eq!(nearest("snapshot", names), None);
        assert_eq!(nearest("", names), None);
        assert_eq!(nearest("k8", ["i3", "k7", "k8"]), Some("k7"));
        let long = "a".repeat(201);
        assert_eq!(nearest(&long, [&long[1..]]), None);
        assert_eq!(nearest(&long[1..], [&long[2..]]), Some(&long[2..]));
    }

    #[test]
    fn few_come_in_order_and_once() {
        let names = ["stage3", "stage2", "stage", "stage1", "stage3", "stag", "x"];
        let few = |most| nearest_few("stage", names, most);
        assert_eq!(few(0), [""; 0]);
        assert_eq!(few(1), ["stag"]);
        assert_eq!(few(3), ["stag", "stage1", "stage2"]);
        assert_eq!(few(9), ["stag", "stage1", "stage2", "stage3"]);
    }

    /// The distance by its definition alone.
    fn plain(left: &[char], right: &[char]) -> usize {
        let (Some((a, left_rest)), Some((b, right_rest))) = (left.split_last(), right.split_last())
        else {
            return left.len().max(right.len());
        };
        let mut least = (plain(left_rest, right_rest) + usize::from(a != b))
            .min(plain(left_rest, right) + 1)
            .min(plain(left, right_rest) + 1);
        if let (Some((c, left_rest)), Some((d, right_rest))) =
            (left_rest.split_last(), right_rest.split_last())
            && a == d
            && b == c
        {
            least = least.min(plain(left_rest, right_rest) + 1);
        }
        least
    }

    #[test]
    fn edits_are_counted() {
        for (left, right, want) in [
            ("", "", 0),
            ("corei7", "corei7", 0),
            ("corei8", "corei7", 1),
            ("croei7", "corei7", 1),
            ("stage3", "", 6),
            ("kitten", "sitting", 3),
        ] {
            let mut rows = Rows::default();
            for (left, right) in [(left, right), (right, left)] {
                let left: Vec<char> = left.chars().collect();
                assert_eq!(rows.distance(&left, right, 9), Some(want), "{right}");
            }
        }
        // All pairs of short words over two letters, with every bound.
        let words: Vec<Vec<char>> = (0..5)
            .flat_map(|len| (0..1 << len).map(move |bits| (len, bits)))
            .map(|(len, bits): (u32, u32)| {
                let letter = |at| if bits >> at & 1 == 0 { 'a' } else { 'ß' };
                (0..len).map(letter).collect()
            })
            .collect();
        let mut rows = Rows::default();
        for left in &words {
            for right in &words {
                let (want, text) = (plain(left, right), right.iter().collect::<String>());
                for worst in 0..5 {
                    let got = rows.distance(left, &text, worst);
                    assert_eq!(got, (want <= worst).then_some(want), "{left:?} {right:?}");
                }
            }
        }
    }
}
