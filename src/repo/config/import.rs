//! Writes a configuration as Metro text, where it says nothing that Metro text cannot say.

use std::collections::BTreeMap;

use super::super::dialect::reads_date;
use super::super::name::Name;
use super::plan::{Chooser, Last, Mode, call};
use super::{Buildbot, BuildbotError, SECTION, Settings};

/// Why a configuration cannot be written as Metro text.
#[derive(Debug, thiserror::Error)]
pub enum NotThatShape {
    /// `map_build` decides by what the elements cannot say.
    #[error("{}: map_build {detail}", super::super::quote::shown(file))]
    Function {
        /// The file.
        file: std::path::PathBuf,
        /// What it decides by.
        detail: String,
    },
    /// A name with a blank in it cannot stand in a list of Metro text.
    #[error("{}: the name \"{}\" cannot be written in Metro text", super::super::quote::shown(file), name.escape_debug())]
    Name {
        /// The file.
        file: std::path::PathBuf,
        /// The name.
        name: String,
    },
    /// The configuration cannot be used.
    #[error(transparent)]
    Buildbot(#[from] BuildbotError),
}

/// A day that stands for any: `map_build` is known not to look at which it is.
const SOME_DAY: &str = "2015-02-20";

/// How many builds and subarches the function is asked about.
const MAX_ASKED: usize = 10_000;

/// The three cases that the elements tell apart, and what they are called.
const CASES: [(&str, bool, bool); 3] = [
    ("map/after-full", true, true),
    ("map/after-freshen", false, true),
    ("map/never-built", false, false),
];

/// Writes a configuration as Metro text. What is read back from it decides the same.
pub fn to_metro(buildbot: &mut Buildbot) -> Result<String, NotThatShape> {
    let default = Settings::default();
    let settings = buildbot.settings.clone();
    let mut out = format!("[section {SECTION}]\n\n");
    let mut line = |element: &str, value: &str| {
        out.push_str(&format!("{element}: {value}\n"));
    };
    for (element, names, always) in lists(&settings) {
        if always || !names.is_empty() {
            line(element, &words(buildbot, names)?);
        }
    }
    for (element, value, usual) in [
        (
            "stale_days",
            settings.stale_days.unsigned_abs(),
            default.stale_days.unsigned_abs(),
        ),
        (
            "max_failcount",
            settings.max_failcount,
            default.max_failcount,
        ),
        (
            "keep_num",
            settings.keep_num as u64,
            default.keep_num as u64,
        ),
    ] {
        if value != usual {
            line(element, &value.to_string());
        }
    }
    if !settings.second_chance {
        line("second_chance", "no");
    }
    for (element, value) in map(buildbot, &settings)? {
        line(&element, &value);
    }
    Ok(out)
}

/// The lists of names, and whether each is written even if it is empty.
fn lists(settings: &Settings) -> Vec<(&'static str, &[Name], bool)> {
    let mut lists: Vec<(&'static str, &[Name], bool)> = vec![
        ("builds", &settings.builds, true),
        ("arches", &settings.arches, true),
        ("subarches", &settings.subarches, true),
    ];
    for (element, all, own) in [
        ("all_builds", &settings.all_builds, &settings.builds),
        ("all_arches", &settings.all_arches, &settings.arches),
        (
            "all_subarches",
            &settings.all_subarches,
            &settings.subarches,
        ),
    ] {
        if all != own {
            lists.push((element, all, true));
        }
    }
    lists.push(("index_ignore_builds", &settings.index_ignore_builds, false));
    lists.push((
        "index_ignore_subarches",
        &settings.index_ignore_subarches,
        false,
    ));
    lists
}

fn words(buildbot: &Buildbot, names: &[Name]) -> Result<String, NotThatShape> {
    let mut words = Vec::with_capacity(names.len());
    for name in names {
        plain(buildbot, name.as_str())?;
        words.push(name.as_str());
    }
    Ok(words.join(" "))
}

/// Checks that a word means itself in Metro text.
fn plain(buildbot: &Buildbot, word: &str) -> Result<(), NotThatShape> {
    let safe = |c: char| c.is_alphanumeric() || "._+-@%,=".contains(c);
    match word.chars().all(safe) {
        true => Ok(()),
        false => Err(NotThatShape::Name {
            file: buildbot.file.clone(),
            name: word.to_owned(),
        }),
    }
}

/// The elements that stand for `map_build`.
fn map(
    buildbot: &mut Buildbot,
    settings: &Settings,
) -> Result<Vec<(String, String)>, NotThatShape> {
    let file = buildbot.file.clone();
    let not = |detail: &str| NotThatShape::Function {
        file: file.clone(),
        detail: detail.to_owned(),
    };
    let program = match &mut buildbot.chooser {
        Chooser::Full => return Ok(Vec::new()),
        Chooser::Rules(_) => return Err(not("is Metro text already")),
        Chooser::Function(program) => program,
    };
    let function = program.global("map_build").map(|(f, _)| f.clone());
    if function.is_some_and(|f| reads_date(&f)) {
        return Err(not("looks at the day in full_date"));
    }
    if settings
        .builds
        .len()
        .saturating_mul(settings.subarches.len())
        > MAX_ASKED
    {
        return Err(not(
            "would have to be asked about too many builds and subarches",
        ));
    }
    // All that the function can be asked: what it depends on besides is asked for each value that there is.
    let mut elements = Vec::new();
    let mut extras: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for (element, full, any_full) in CASES {
        let last = Last {
            full,
            full_date: any_full.then(|| SOME_DAY.to_owned()),
        };
        let mut modes: Vec<(&str, Mode)> = Vec::new();
        for subarch in &settings.subarches {
            let mut mode = None;
            for build in &settings.builds {
                let this = call(program, &file, build.as_str(), subarch.as_str(), &last)?;
                if mode.get_or_insert_with(|| this.clone()) != &this {
                    return Err(not("decides by the build"));
                }
            }
            modes.extend(mode.map(|m| (subarch.as_str(), m)));
        }
        let Some((_, first)) = modes.first() else {
            return Err(not("is never asked: no subarch is built here"));
        };
        let target = first.target.clone();
        // What all subarches have is the rule; the rest is that of the subarch.
        let common = modes.iter().map(|(_, m)| m.extras.as_slice());
        let common = common.reduce(common_start).unwrap_or_default().to_vec();
        for (subarch, mode) in &modes {
            if mode.target != target {
                return Err(not("chooses the mode by the subarch"));
            }
            let rest = &mode.extras[common.len()..];
            if extras.entry(subarch).or_insert_with(|| rest.to_vec()) != rest {
                return Err(not("chooses a subarch's extras by its last build"));
            }
        }
        let rule = std::iter::once(&target).chain(&common);
        elements.push((element.to_owned(), rule.cloned().collect::<Vec<_>>()));
    }
    for (subarch, extras) in extras {
        if !extras.is_empty() {
            elements.push((format!("map/extras/{subarch}"), extras));
        }
    }
    let mut out = Vec::new();
    for (element, parts) in elements {
        for part in &parts {
            plain(buildbot, part)?;
        }
        out.push((element, parts.join("+")));
    }
    Ok(out)
}

fn common_start<'a>(a: &'a [String], b: &'a [String]) -> &'a [String] {
    let length = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    &a[..length]
}
