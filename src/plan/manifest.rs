//! Portage's Manifest files: the source archives of a package, with their sizes and digests.
//!
//! Read strictly: what an entry says decides what is believed about a file from a stranger.

use std::collections::BTreeMap;

use crate::drv::fetch::{Algorithm, Digest, is_file_name};

/// The name of such a file.
pub const MANIFEST: &str = "Manifest";
/// Largest Manifest that is read, in bytes.
pub const MANIFEST_LIMIT: u64 = 4 << 20;

/// Entries beside those of source archives.
const OTHER: [&str; 9] = [
    "AUX",
    "DATA",
    "EBUILD",
    "IGNORE",
    "MANIFEST",
    "MISC",
    "OPTIONAL",
    "PATH",
    "TIMESTAMP",
];
/// How signed text begins, how its signature does, and how that ends.
const ARMOR: [&str; 3] = [
    "-----BEGIN PGP SIGNED MESSAGE-----",
    "-----BEGIN PGP SIGNATURE-----",
    "-----END PGP SIGNATURE-----",
];

/// A source archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dist {
    /// Bytes.
    pub size: u64,
    /// Its digests of the kinds that are known here: sorted, one of a kind, at least one.
    pub digests: Vec<Digest>,
}

/// A line of a Manifest that is not what it has to be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("line {line}: {detail}")]
pub struct ManifestError {
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub detail: String,
}

/// Where in a file that may be signed a line stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum At {
    Text,
    /// Between the first line of signed text and the blank line after its headers.
    Headers,
    Signature,
}

/// Reads the source archives that a Manifest lists, by name.
pub fn read(text: &[u8]) -> Result<BTreeMap<String, Dist>, ManifestError> {
    let mut dists: BTreeMap<String, Dist> = BTreeMap::new();
    let mut at = At::Text;
    for (number, bytes) in text.split(|b| *b == b'\n').enumerate() {
        let bad = |detail: String| ManifestError {
            line: number + 1,
            detail,
        };
        let line = std::str::from_utf8(bytes).map_err(|_| bad("it is not UTF-8".to_owned()))?;
        let line = line.trim_end();
        at = match (at, line) {
            (At::Text, line) if line == ARMOR[0] => At::Headers,
            (At::Text, line) if line == ARMOR[1] => At::Signature,
            (At::Headers, "") | (At::Signature, "-----END PGP SIGNATURE-----") => At::Text,
            (At::Text, line) => {
                if let Some((name, dist)) = entry(line).map_err(bad)? {
                    match dists.get(&name) {
                        Some(other) if *other != dist => {
                            return Err(bad(format!("`{name}` is listed twice, and not the same")));
                        }
                        _ => dists.insert(name, dist),
                    };
                }
                At::Text
            }
            (other, _) => other,
        };
    }
    Ok(dists)
}

/// Reads a line; nothing if it is of another kind.
fn entry(line: &str) -> Result<Option<(String, Dist)>, String> {
    let mut words = line.split(' ').filter(|w| !w.is_empty());
    match words.next() {
        None => return Ok(None),
        Some("DIST") => {}
        Some(kind) if OTHER.contains(&kind) => return Ok(None),
        Some(kind) => {
            return Err(format!("`{}` is not a kind of entry", shown(kind)));
        }
    }
    let name = words.next().ok_or("a DIST without a name")?;
    if !is_file_name(name) {
        return Err(format!("`{}` cannot be the name of a file", shown(name)));
    }
    let size = words.next().ok_or_else(|| format!("{name} has no size"))?;
    let size = number(size).ok_or_else(|| format!("`{}` is not a size", shown(size)))?;
    let mut digests: Vec<Digest> = Vec::new();
    let mut kinds: Vec<&str> = Vec::new();
    while let Some(kind) = words.next() {
        let hex = words
            .next()
            .ok_or_else(|| format!("{name} has {} without a value", shown(kind)))?;
        if kinds.contains(&kind) {
            return Err(format!("{name} has two of {}", shown(kind)));
        }
        kinds.push(kind);
        let word = |b: u8| b.is_ascii_uppercase() || b.is_ascii_digit() || b == b'_';
        if !kind.bytes().all(word) || !hex.bytes().all(|b| b.is_ascii_hexdigit()) {
            return Err(format!(
                "{name}: `{} {}` is not a digest",
                shown(kind),
                shown(hex)
            ));
        }
        let known = Algorithm::ALL
            .into_iter()
            .find(|a| a.name().eq_ignore_ascii_case(kind));
        if let Some(algorithm) = known {
            let digest = Digest::new(algorithm, hex).map_err(|e| format!("{name}: {e}"))?;
            digests.push(digest);
        }
    }
    if digests.is_empty() {
        return Err(format!(
            "{name} has none of the digests BLAKE2B, SHA512, SHA256 and BLAKE3"
        ));
    }
    digests.sort();
    Ok(Some((name.to_owned(), Dist { size, digests })))
}

/// A number as Manifests have it: digits alone, and none too many.
fn number(text: &str) -> Option<u64> {
    let digits = !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    let plain = text == "0" || !text.starts_with('0');
    (digits && plain).then(|| text.parse().ok()).flatten()
}

fn shown(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(80)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn line(name: &str, size: &str) -> String {
        format!(
            "DIST {name} {size} BLAKE2B {} SHA512 {}\n",
            "0a".repeat(64),
            "1b".repeat(64)
        )
    }

    #[test]
    fn a_manifest_as_trees_have_them() {
        let text = format!(
            "AUX zlib-1.2.11-fix.patch 1058 BLAKE2B aa SHA512 bb\n{}{}EBUILD zlib-1.3.ebuild 4 SHA1 12\n\n",
            line("zlib-1.3.tar.xz", "1234"),
            line("zlib-1.3.tar.xz.asc", "0")
        );
        let dists = read(text.as_bytes()).unwrap();
        let names: Vec<&String> = dists.keys().collect();
        assert_eq!(names, ["zlib-1.3.tar.xz", "zlib-1.3.tar.xz.asc"]);
        let dist = &dists["zlib-1.3.tar.xz"];
        assert_eq!(dist.size, 1234);
        assert_eq!(
            dist.digests
                .iter()
                .map(Digest::algorithm)
                .collect::<Vec<_>>(),
            [Algorithm::Blake2b, Algorithm::Sha512]
        );
    }

    #[test]
    fn signed_manifests_and_old_digests() {
        let text = format!(
            "{}\nHash: SHA512\n\nDIST a.tar 5 RMD160 00 SHA256 {} WHIRLPOOL 00\n{}\n\nrubbish\n{}\n",
            ARMOR[0],
            "Ab".repeat(32),
            ARMOR[1],
            ARMOR[2]
        );
        let dists = read(text.as_bytes()).unwrap();
        assert_eq!(
            dists["a.tar"].digests[0].to_string(),
            format!("sha256:{}", "ab".repeat(32))
        );
    }

    #[test]
    fn lines_that_are_not_what_they_have_to_be() {
        let hex = "0a".repeat(64);
        for (bad, why) in [
            ("DIST", "without a name"),
            ("DIST a", "no size"),
            ("DIST a 1", "none of the digests"),
            ("DIST a 1 SHA1 00", "none of the digests"),
            ("DIST a -1 SHA512 00", "not a size"),
            ("DIST a 01 SHA512 00", "not a size"),
            ("DIST a 99999999999999999999 SHA512 00", "not a size"),
            ("DIST a 1 SHA512 00", "hexadecimal digits"),
            ("DIST a 1 SHA512", "without a value"),
            ("DIST a 1 sha512 00", "not a digest"),
            ("DIST ../a 1 SHA512 00", "name of a file"),
            ("DIST .a 1 SHA512 00", "name of a file"),
            ("DIST a/b 1 SHA512 00", "name of a file"),
            ("dist a 1", "kind of entry"),
            ("<html>", "kind of entry"),
            (&format!("DIST a 1 SHA512 {hex} SHA512 {hex}"), "two of"),
        ] {
            let error = read(format!("\n{bad}\n").as_bytes()).unwrap_err();
            assert_eq!(error.line, 2, "{bad}");
            assert!(error.detail.contains(why), "{bad}: {error}");
        }
        let twice = format!("{}{}", line("a", "1"), line("a", "2"));
        assert!(read(twice.as_bytes()).unwrap_err().detail.contains("twice"));
        let same = format!("{}{}", line("a", "1"), line("a", "1"));
        assert_eq!(read(same.as_bytes()).unwrap().len(), 1);
        assert!(read(b"DIST \xff").unwrap_err().detail.contains("UTF-8"));
    }

    proptest! {
        #[test]
        fn no_bytes_make_reading_panic(
            parts in prop::collection::vec(prop_oneof![
                any::<Vec<u8>>(),
                "(DIST |SHA512 |BLAKE2B |[0-9a-f]{128} |[a-z./]{1,5} |[0-9]{1,21} |\n|-----BEGIN PGP SIGNED MESSAGE-----\n){0,8}"
                    .prop_map(String::into_bytes),
            ], 0..4)
        ) {
            if let Ok(dists) = read(&parts.concat()) {
                for (name, dist) in dists {
                    prop_assert!(is_file_name(&name));
                    prop_assert!(!dist.digests.is_empty());
                }
            }
        }

        #[test]
        fn what_is_written_is_read(
            entries in prop::collection::btree_map("[a-z0-9][a-z0-9.+_-]{0,20}", (any::<u64>(), any::<[u8; 64]>()), 0..5)
        ) {
            let hex = |bytes: &[u8; 64]| bytes.iter().map(|b| format!("{b:02x}")).collect::<String>();
            let text: String = entries
                .iter()
                .map(|(name, (size, bytes))| format!("DIST {name} {size} BLAKE2B {0} SHA512 {0}\n", hex(bytes)))
                .collect();
            let dists = read(text.as_bytes()).unwrap();
            prop_assert_eq!(dists.len(), entries.len());
            for (name, (size, bytes)) in &entries {
                prop_assert_eq!(dists[name].size, *size);
                prop_assert_eq!(dists[name].digests[0].hex(), hex(bytes));
            }
        }
    }
}
