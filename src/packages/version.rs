//! The order of versions, as the package manager specification has it: numbers, a letter, suffixes, a revision.

use std::cmp::Ordering;

/// A part of a version that stands behind its numbers: how it is ordered beside none, and its number.
fn suffix(word: &str) -> (i8, u64) {
    let end = word
        .find(|c: char| c.is_ascii_digit())
        .unwrap_or(word.len());
    let kind = match &word[..end] {
        "alpha" => -4,
        "beta" => -3,
        "pre" => -2,
        "rc" => -1,
        "p" => 1,
        _ => 0,
    };
    (kind, word[end..].parse().unwrap_or(0))
}

/// Compares numbers of any length.
fn number(a: &str, b: &str) -> Ordering {
    let (a, b) = (a.trim_start_matches('0'), b.trim_start_matches('0'));
    a.len().cmp(&b.len()).then_with(|| a.cmp(b))
}

/// Compares what stands behind a point: with a zero in front it is a fraction.
fn fraction(a: &str, b: &str) -> Ordering {
    match a.starts_with('0') || b.starts_with('0') {
        true => a.trim_end_matches('0').cmp(b.trim_end_matches('0')),
        false => number(a, b),
    }
}

/// Compares two versions with their revisions, such as `1.3.1-r1`. What is none is compared somehow.
pub fn compare(a: &str, b: &str) -> Ordering {
    let split = |text: &str| -> (String, u64) {
        match text.rsplit_once("-r") {
            Some((version, revision)) => (version.to_owned(), revision.parse().unwrap_or(0)),
            None => (text.to_owned(), 0),
        }
    };
    let ((a, a_revision), (b, b_revision)) = (split(a), split(b));
    let (mut a, mut b) = (a.split('_'), b.split('_'));
    let (a_main, b_main) = (a.next().unwrap_or(""), b.next().unwrap_or(""));
    let letter = |text: &str| -> (usize, Option<char>) {
        let last = text.chars().last().filter(char::is_ascii_alphabetic);
        (text.len() - usize::from(last.is_some()), last)
    };
    let ((a_end, a_letter), (b_end, b_letter)) = (letter(a_main), letter(b_main));
    let (mut a_numbers, mut b_numbers) = (a_main[..a_end].split('.'), b_main[..b_end].split('.'));
    let first = number(
        a_numbers.next().unwrap_or(""),
        b_numbers.next().unwrap_or(""),
    );
    let numbers = first.then_with(|| {
        loop {
            match (a_numbers.next(), b_numbers.next()) {
                (None, None) => return Ordering::Equal,
                (Some(_), None) => return Ordering::Greater,
                (None, Some(_)) => return Ordering::Less,
                (Some(a), Some(b)) => match fraction(a, b) {
                    Ordering::Equal => {}
                    other => return other,
                },
            }
        }
    });
    numbers
        .then_with(|| a_letter.cmp(&b_letter))
        .then_with(|| {
            loop {
                let (one, other) = (a.next(), b.next());
                if one.is_none() && other.is_none() {
                    return Ordering::Equal;
                }
                let one = one.map_or((0, 0), suffix);
                let other = other.map_or((0, 0), suffix);
                match one.cmp(&other) {
                    Ordering::Equal => {}
                    order => return order,
                }
            }
        })
        .then_with(|| a_revision.cmp(&b_revision))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_of_the_specification() {
        let sorted = [
            "0.9",
            "1_alpha",
            "1_alpha2",
            "1_beta",
            "1_pre",
            "1_rc1",
            "1",
            "1-r1",
            "1_p1",
            "1a",
            "1.0",
            "1.01",
            "1.1",
            "1.1b",
            "1.9",
            "1.10",
            "1.10.0",
            "2",
            "10",
            "99999999999999999999",
        ];
        for (at, one) in sorted.iter().enumerate() {
            for (other_at, other) in sorted.iter().enumerate() {
                assert_eq!(compare(one, other), at.cmp(&other_at), "{one} {other}");
            }
        }
        for odd in ["", "-r", "_", "..", "é", "1é", "1.é-r2", "_p_p"] {
            for other in ["", "1", "é", "-r1"] {
                let _ = compare(odd, other);
            }
        }
    }
}
