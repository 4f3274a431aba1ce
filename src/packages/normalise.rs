//! What two builds of one package leave differently without anything being different: normalisers, each with a name
//! and a number.
//!
//! They are part of the scripts that build packages and make roots ready, so their text is in every key.

/// The text of all normalisers, which begins a script.
pub(super) const TEXT: &str = include_str!("scripts/normalise.py");

/// A normaliser, as it is listed and told of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Normaliser {
    /// What it is called, such as `portage.build-time`.
    pub name: &'static str,
    /// Which form of it this is.
    pub number: u32,
    /// Whether it is of a root in which packages were installed, rather than of a package.
    pub of_root: bool,
}

/// All normalisers, in the order in which they are applied.
pub fn all() -> impl Iterator<Item = Normaliser> {
    TEXT.lines().filter_map(|line| {
        let mut parts = line
            .strip_prefix("@normaliser(\"")?
            .strip_suffix(')')?
            .splitn(3, ", ");
        Some(Normaliser {
            name: parts.next()?.strip_suffix('"')?,
            number: parts.next()?.parse().ok()?,
            of_root: parts.next()? == "OF_ROOTS",
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    /// Plants what a build with a number leaves, normalises with all but one, and says what is left.
    const TRIAL: &str = include_str!("scripts/normalise_trial.py");

    #[test]
    fn normalisers_have_names_and_numbers() {
        let all: Vec<Normaliser> = all().collect();
        assert_eq!(
            all.len(),
            TEXT.matches("\n@normaliser(").count(),
            "each is understood"
        );
        let mut names: Vec<_> = all.iter().map(|n| (n.name, n.of_root)).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), all.len(), "no two of one kind have one name");
    }

    #[test]
    fn two_builds_leave_the_same_and_without_any_one_normaliser_they_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let text = dir.path().join("normalise.py");
        std::fs::write(&text, TEXT).unwrap();
        let ran = Command::new("python3")
            .args(["-c", TRIAL])
            .args([text.as_path(), dir.path()])
            .env("SOURCE_DATE_EPOCH", "1000000000")
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&ran.stderr);
        assert!(ran.status.success(), "{said}");
        // A line each: which one was left out, and what differed then.
        let out = String::from_utf8(ran.stdout).unwrap();
        let mut lines = out.lines().map(|line| line.split_once(": ").unwrap());
        assert_eq!(lines.next(), Some(("none", "")), "all together");
        let without: Vec<(&str, &str)> = lines.collect();
        assert_eq!(without.len(), all().count());
        for (normaliser, (name, differs)) in all().zip(without) {
            assert_eq!(name, normaliser.name);
            assert!(!differs.is_empty(), "{name} is not needed for anything");
        }
    }
}
