//! Names from archives, made safe or refused.

use super::TarLimits;
use super::error::EntryFault;
use crate::manifest::MAX_NAME;

/// Reduces a name to its components joined by single slashes; the root is empty.
///
/// `what` is the word for messages: `name` or `link target`.
pub(crate) fn clean(
    raw: &[u8],
    what: &'static str,
    limits: &TarLimits,
) -> Result<Vec<u8>, EntryFault> {
    if raw.len() > limits.path_length {
        return Err(EntryFault::TooLong {
            what,
            length: raw.len() as u64,
            limit: limits.path_length as u64,
        });
    }
    if raw.contains(&0) {
        return Err(EntryFault::NulByte { what });
    }
    if raw.first() == Some(&b'/') {
        return Err(EntryFault::Absolute { what });
    }
    let mut out = Vec::with_capacity(raw.len());
    let mut depth = 0;
    for part in raw.split(|&b| b == b'/') {
        match part {
            b"" | b"." => continue,
            b".." => return Err(EntryFault::Climbs { what }),
            _ if part.len() > MAX_NAME => {
                return Err(EntryFault::TooLong {
                    what: "file name",
                    length: part.len() as u64,
                    limit: MAX_NAME as u64,
                });
            }
            _ => {}
        }
        if depth > 0 {
            out.push(b'/');
        }
        out.extend(part);
        depth += 1;
    }
    if depth > limits.depth {
        return Err(EntryFault::TooDeep {
            depth,
            limit: limits.depth,
        });
    }
    Ok(out)
}

/// All proper ancestors of a clean path, the nearest first, without the root.
pub(crate) fn ancestors(path: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut rest = path;
    std::iter::from_fn(move || {
        let slash = rest.iter().rposition(|&b| b == b'/')?;
        rest = &rest[..slash];
        Some(rest)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn clean(raw: &[u8]) -> Result<Vec<u8>, EntryFault> {
        super::clean(raw, "name", &TarLimits::default())
    }

    #[test]
    fn dots_and_spare_slashes_go() {
        for (raw, want) in [
            ("./a/b/", "a/b"),
            ("a//b/./c", "a/b/c"),
            ("./", ""),
            (".", ""),
            (".//.", ""),
            ("...", "..."),
            ("a\\..\\b", "a\\..\\b"),
        ] {
            assert_eq!(clean(raw.as_bytes()), Ok(want.as_bytes().to_vec()), "{raw}");
        }
    }

    #[test]
    fn names_that_leave_the_root_are_refused() {
        let what = "name";
        for raw in ["/etc/passwd", "//x", "/"] {
            assert_eq!(
                clean(raw.as_bytes()),
                Err(EntryFault::Absolute { what }),
                "{raw}"
            );
        }
        for raw in ["..", "../x", "a/../../x", "a/..", "./.."] {
            assert_eq!(
                clean(raw.as_bytes()),
                Err(EntryFault::Climbs { what }),
                "{raw}"
            );
        }
        assert_eq!(clean(b"a\0b"), Err(EntryFault::NulByte { what }));
        assert!(matches!(
            clean(&[b'x'; 256]),
            Err(EntryFault::TooLong { .. })
        ));
        assert!(matches!(
            clean(&b"x/".repeat(2049)),
            Err(EntryFault::TooLong { .. })
        ));
        assert!(matches!(
            clean(&b"x/".repeat(600)),
            Err(EntryFault::TooDeep { .. })
        ));
    }

    #[test]
    fn ancestors_go_up() {
        let found: Vec<&[u8]> = ancestors(b"a/b/c").collect();
        assert_eq!(found, [&b"a/b"[..], b"a"]);
        assert_eq!(ancestors(b"a").count(), 0);
    }
}
