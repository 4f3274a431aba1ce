//! The list of binary packages that clients look into: a head, and a few lines for each package.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use super::gpkg::Written;
use super::{BUILD_ID, Built, Record};

/// The name of the file.
pub const FILE: &str = "Packages";
/// What is taken out of the record of a package, and what clients take it to be where it is not said.
const KEYS: [(&str, &str); 20] = [
    ("BDEPEND", ""),
    ("BUILD_TIME", ""),
    ("CHOST", ""),
    ("DEFINED_PHASES", ""),
    ("DEPEND", ""),
    ("DESCRIPTION", ""),
    ("EAPI", "0"),
    ("IDEPEND", ""),
    ("IUSE", ""),
    ("KEYWORDS", ""),
    ("LICENSE", ""),
    ("PDEPEND", ""),
    ("PROPERTIES", ""),
    ("PROVIDES", ""),
    ("RDEPEND", ""),
    ("REQUIRES", ""),
    ("RESTRICT", ""),
    ("SLOT", "0"),
    ("USE", ""),
    ("repository", ""),
];

/// The lines of a package.
pub fn entry(package: &Built, record: &Record, written: &Written) -> String {
    let mut lines: BTreeMap<&str, String> = BTreeMap::new();
    for (key, usual) in KEYS {
        let value = record.value(key);
        if value != usual {
            let key = match key {
                "DESCRIPTION" => "DESC",
                "repository" => "REPO",
                key => key,
            };
            lines.insert(key, value);
        }
    }
    lines.insert("BUILD_ID", BUILD_ID.to_string());
    lines.insert("CPV", package.id());
    lines.insert("MTIME", package.epoch.to_string());
    lines.insert("PATH", package.path());
    lines.insert("SHA1", written.sha1.clone());
    lines.insert("SIZE", written.size.to_string());
    lines.iter().fold(String::new(), |mut text, (key, value)| {
        let _ = writeln!(text, "{key}: {value}");
        text
    })
}

/// The whole list, of entries by their packages. Clients take another list only if its time is a later one, and no clock
/// is asked: it is that of the newest package, or the one after that of the list that was there, `before`, if this said
/// something else.
pub fn index(packages: &BTreeMap<Built, String>, before: Option<&str>) -> (String, u64) {
    let newest = packages.keys().map(|package| package.epoch).max();
    let with = |time: u64| {
        let mut text = format!(
            "PACKAGES: {}\nTIMESTAMP: {time}\nVERSION: 0\n\n",
            packages.len()
        );
        for entry in packages.values() {
            text.push_str(entry);
            text.push('\n');
        }
        text
    };
    let newest = newest.unwrap_or_default();
    match before.and_then(|text| Some((text, time_of(text)?))) {
        Some((text, time)) if text == with(time) => (with(time), time),
        Some((_, time)) => {
            let next = newest.max(time.saturating_add(1));
            (with(next), next)
        }
        None => (with(newest), newest),
    }
}

/// The time that a list says in its head.
pub fn time_of(text: &str) -> Option<u64> {
    let head = text.lines().take_while(|line| !line.is_empty());
    let mut times = head.filter_map(|line| line.strip_prefix("TIMESTAMP: "));
    times.next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use mstore_store::{Hash, TreeHash};

    #[test]
    fn the_time_of_a_list_is_a_later_one_only_if_it_says_something_else() {
        let package = |version: &str, epoch| {
            let tree = TreeHash(Hash::of(version.as_bytes()));
            let built = Built::new("sys-libs", version, tree, epoch).unwrap();
            (built, format!("CPV: sys-libs/{version}\n"))
        };
        let one = BTreeMap::from([package("zlib-1", 100)]);
        let (first, time) = index(&one, None);
        insta::assert_snapshot!(first, @r"
        PACKAGES: 1
        TIMESTAMP: 100
        VERSION: 0

        CPV: sys-libs/zlib-1
        ");
        assert_eq!(time, 100);
        assert_eq!(index(&one, Some(&first)).0, first);
        let two = BTreeMap::from([package("zlib-1", 100), package("tide-1", 90)]);
        let (second, time) = index(&two, Some(&first));
        assert_eq!((time, time_of(&second)), (101, Some(101)));
        assert!(second.find("tide").unwrap() < second.find("zlib").unwrap());
        // One that was there and is no list is nobody's time.
        assert_eq!(index(&one, Some("hello")).1, 100);
        assert_eq!(
            index(&one, Some("TIMESTAMP: 18446744073709551615\n")).1,
            u64::MAX
        );
    }
}
