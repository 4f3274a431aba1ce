//! Reads the section `buildbot` of Metro text.

use std::collections::BTreeMap;
use std::path::Path;

use mstore_lang::nearest::nearest;
use mstore_lang::{Definition, DiskFiles, Spec, Value};

use super::super::name::Name;
use super::error::BuildbotError;
use super::plan::{Chooser, Mode, Rules};
use super::{Buildbot, SECTION, Settings, once};

const ELEMENTS: &[&str] = &[
    "builds",
    "arches",
    "subarches",
    "all_builds",
    "all_arches",
    "all_subarches",
    "stale_days",
    "max_failcount",
    "keep_num",
    "second_chance",
    "index_ignore_builds",
    "index_ignore_subarches",
    "map/after-full",
    "map/after-freshen",
    "map/never-built",
];
const EXTRAS: &str = "map/extras/";

/// Whether a text is Metro: the first line with something on it is an annotation, which Python would take for a list.
pub(super) fn is_metro(source: &str) -> bool {
    let source = source.trim_start_matches('\u{feff}');
    let first = source
        .lines()
        .map(str::trim)
        .find(|l| !l.is_empty() && !l.starts_with('#'));
    first.is_some_and(|line| {
        ["[section ", "[collect ", "[option "]
            .iter()
            .any(|a| line.starts_with(a))
    })
}

/// Reads a file.
pub(super) fn read(file: &Path) -> Result<Buildbot, BuildbotError> {
    let spec = Spec::load(&DiskFiles, file, &[] as &[Definition])?;
    of_spec(file, &spec)?.ok_or_else(|| BuildbotError::At {
        path: file.to_owned(),
        line: 1,
        message: format!("there is no [section {SECTION}]"),
    })
}

/// Reads the section of specifications; nothing if they have none.
pub(super) fn of_spec(file: &Path, spec: &Spec) -> Result<Option<Buildbot>, BuildbotError> {
    let reader = Reader { file, spec };
    let prefix = format!("{SECTION}/");
    let mut any = false;
    for name in spec.names() {
        if let Some(element) = name.strip_prefix(&prefix) {
            any = true;
            reader.check_name(element)?;
        }
    }
    if !any {
        return Ok(None);
    }
    let settings = reader.settings()?;
    if let Some(why) = settings.too_many() {
        return Err(reader.wrong("subarches", why));
    }
    Ok(Some(Buildbot {
        file: file.to_owned(),
        settings,
        chooser: reader.chooser()?,
        printed: Vec::new(),
    }))
}

struct Reader<'a> {
    file: &'a Path,
    spec: &'a Spec,
}

impl Reader<'_> {
    fn wrong(&self, element: &str, detail: impl Into<String>) -> BuildbotError {
        let element = format!("{SECTION}/{element}");
        let definitions = self.spec.definitions(&element);
        let (path, line) = match definitions.first() {
            Some(label) => (label.path().to_owned(), label.line()),
            None => (self.file.to_owned(), 1),
        };
        BuildbotError::At {
            path,
            line,
            message: format!("{element}: {}", detail.into()),
        }
    }

    fn check_name(&self, element: &str) -> Result<(), BuildbotError> {
        if ELEMENTS.contains(&element) {
            return Ok(());
        }
        if let Some(subarch) = element.strip_prefix(EXTRAS) {
            return match Name::new(subarch) {
                Ok(_) => Ok(()),
                Err(e) => Err(self.wrong(element, e.to_string())),
            };
        }
        let near = nearest(element, ELEMENTS.iter().copied());
        Err(self.wrong(
            element,
            match near {
                Some(near) => format!("there is no such element; nearest: {near}"),
                None => format!(
                    "there is no such element; there are: {}",
                    ELEMENTS.join(" ")
                ),
            },
        ))
    }

    fn text(&self, element: &str) -> Result<Option<String>, BuildbotError> {
        let value = self.spec.get(&format!("{SECTION}/{element}"))?;
        Ok(value.map(|v: Value| v.to_text().trim().to_owned()))
    }

    fn names(&self, element: &str) -> Result<Option<Vec<Name>>, BuildbotError> {
        let Some(text) = self.text(element)? else {
            return Ok(None);
        };
        let names = text.split_whitespace().map(|word| {
            Name::new(word)
                .map_err(|e| self.wrong(element, format!("`{}`: {e}", word.escape_debug())))
        });
        Ok(Some(once(names.collect::<Result<_, _>>()?, &[])))
    }

    fn pair(&self, short: &str, long: &str) -> Result<(Vec<Name>, Vec<Name>), BuildbotError> {
        match (self.names(short)?, self.names(long)?) {
            (None, None) => Err(self.wrong(short, "it is not set")),
            (short, None) => {
                let own = short.unwrap_or_default();
                Ok((own.clone(), own))
            }
            (short, Some(all)) => {
                let own = short.unwrap_or_default();
                let all = once(all, &own);
                Ok((own, all))
            }
        }
    }

    fn number(&self, element: &str, from: u64) -> Result<Option<u64>, BuildbotError> {
        let Some(text) = self.text(element)? else {
            return Ok(None);
        };
        match text.parse::<u64>() {
            Ok(n) if n >= from => Ok(Some(n)),
            _ => Err(self.wrong(
                element,
                format!(
                    "`{}` is not a whole number of {from} or more",
                    text.escape_debug()
                ),
            )),
        }
    }

    fn settings(&self) -> Result<Settings, BuildbotError> {
        let default = Settings::default();
        let (builds, all_builds) = self.pair("builds", "all_builds")?;
        let (arches, all_arches) = self.pair("arches", "all_arches")?;
        let (subarches, all_subarches) = self.pair("subarches", "all_subarches")?;
        Ok(Settings {
            builds,
            arches,
            subarches,
            all_builds,
            all_arches,
            all_subarches,
            index_ignore_builds: self.names("index_ignore_builds")?.unwrap_or_default(),
            index_ignore_subarches: self.names("index_ignore_subarches")?.unwrap_or_default(),
            stale_days: self
                .number("stale_days", 0)?
                .map_or(default.stale_days, |n| i64::try_from(n).unwrap_or(i64::MAX)),
            max_failcount: self
                .number("max_failcount", 1)?
                .unwrap_or(default.max_failcount),
            keep_num: self.number("keep_num", 1)?.map_or(default.keep_num, |n| {
                usize::try_from(n).unwrap_or(usize::MAX)
            }),
            second_chance: match self.text("second_chance")?.as_deref() {
                None => default.second_chance,
                Some("yes") => true,
                Some("no") => false,
                Some(_) => return Err(self.wrong("second_chance", "write yes or no")),
            },
        })
    }

    fn mode(&self, element: &str) -> Result<Mode, BuildbotError> {
        let text = self.text(element)?.unwrap_or_else(|| "full".to_owned());
        let mode = Mode::of_words(text.split_whitespace());
        mode.ok_or_else(|| self.wrong(element, "it has no mode: write for example full+openvz"))
    }

    fn chooser(&self) -> Result<Chooser, BuildbotError> {
        let mut extras = BTreeMap::new();
        let prefix = format!("{SECTION}/{EXTRAS}");
        for name in self.spec.names() {
            if let Some(subarch) = name.strip_prefix(&prefix) {
                let text = self
                    .text(&format!("{EXTRAS}{subarch}"))?
                    .unwrap_or_default();
                let words = text.split_whitespace().flat_map(|w| w.split('+'));
                let words = words.filter(|w| !w.is_empty()).map(str::to_owned);
                extras.insert(subarch.to_owned(), words.collect());
            }
        }
        Ok(Chooser::Rules(Rules {
            after_full: self.mode("map/after-full")?,
            after_freshen: self.mode("map/after-freshen")?,
            never_built: self.mode("map/never-built")?,
            extras,
        }))
    }
}
