//! Reads `~/.buildbot`: Python source.

use std::path::Path;

use super::super::dialect::{Fault, Program, Value};
use super::super::name::Name;
use super::error::BuildbotError;
use super::plan::Chooser;
use super::{Buildbot, Settings, once};

/// How many names a list may have.
const MAX_NAMES: usize = 100_000;

pub(super) fn parse(file: &Path, source: &str) -> Result<Buildbot, BuildbotError> {
    read(file, source).map_err(|fault| BuildbotError::At {
        path: file.to_owned(),
        line: fault.line,
        message: fault.message,
    })
}

fn read(file: &Path, source: &str) -> Result<Buildbot, Fault> {
    let mut program = Program::run(source)?;
    let printed = program.take_printed();
    let settings = settings(&program)?;
    if let Some(why) = settings.too_many() {
        return Err(Fault::at(1, why));
    }
    let chooser = match program.global("map_build") {
        None => Chooser::Full,
        Some((function, line)) => {
            if !matches!(function, Value::Function(_)) {
                let kind = function.kind();
                return Err(Fault::at(
                    line,
                    format!("map_build is {kind}: it has to be a function"),
                ));
            }
            if !Program::takes(function, 4) {
                return Err(Fault::at(
                    line,
                    "map_build does not take four arguments: write def map_build(build, subarch, full, full_date):",
                ));
            }
            Chooser::Function(Box::new(program))
        }
    };
    Ok(Buildbot {
        file: file.to_owned(),
        settings,
        chooser,
        printed,
    })
}

fn settings(program: &Program) -> Result<Settings, Fault> {
    let default = Settings::default();
    let [builds, arches, subarches] = ["builds", "arches", "subarches"];
    let own = |name: &str| names(program, name).map(|n| n.map(|n| once(n, &[])));
    // One list for what is built and one for what is managed; one of them has to be there.
    let pair = |short: &str, long: &str| -> Result<(Vec<Name>, Vec<Name>), Fault> {
        match (own(short)?, own(long)?) {
            (None, None) => Err(Fault::at(
                1,
                format!("{short} is not set: write for example {short} = (\"NAME\",)"),
            )),
            (short, None) => Ok((short.clone().unwrap_or_default(), short.unwrap_or_default())),
            (short, Some(all)) => {
                let short = short.unwrap_or_default();
                let all = once(all, &short);
                Ok((short, all))
            }
        }
    };
    let (builds, all_builds) = pair(builds, "all_builds")?;
    let (arches, all_arches) = pair(arches, "all_arches")?;
    let (subarches, all_subarches) = pair(subarches, "all_subarches")?;
    Ok(Settings {
        builds,
        arches,
        subarches,
        all_builds,
        all_arches,
        all_subarches,
        index_ignore_builds: own("index_ignore_builds")?.unwrap_or_default(),
        index_ignore_subarches: own("index_ignore_subarches")?.unwrap_or_default(),
        stale_days: number(program, "stale_days", 0)?.unwrap_or(default.stale_days),
        max_failcount: number(program, "max_failcount", 1)?
            .map_or(default.max_failcount, i64::unsigned_abs),
        keep_num: number(program, "keep_num", 1)?.map_or(default.keep_num, |n| {
            usize::try_from(n).unwrap_or(usize::MAX)
        }),
        second_chance: truth(program, "second_chance")?.unwrap_or(default.second_chance),
    })
}

/// A sequence of names.
fn names(program: &Program, variable: &str) -> Result<Option<Vec<Name>>, Fault> {
    let Some((value, line)) = program.global(variable) else {
        return Ok(None);
    };
    let wrong = |what: String| Fault::at(line, format!("{variable}: {what}"));
    let items = match value {
        Value::Tuple(items) | Value::List(items) => items.items.borrow(),
        Value::Str(text) => {
            return Err(wrong(format!(
                "it is text and has to be a tuple: write (\"{}\",) with a comma",
                text.escape_debug()
            )));
        }
        other => {
            return Err(wrong(format!(
                "it is {} and has to be a tuple",
                other.kind()
            )));
        }
    };
    if items.len() > MAX_NAMES {
        return Err(wrong(format!("it has more than {MAX_NAMES} names")));
    }
    let mut names = Vec::with_capacity(items.len());
    for item in items.iter() {
        let Value::Str(text) = item else {
            return Err(wrong(format!("{} is not a name: write text", item.kind())));
        };
        let name = Name::new(text.to_string());
        names.push(name.map_err(|e| wrong(format!("\"{}\": {e}", text.escape_debug())))?);
    }
    Ok(Some(names))
}

/// A whole number of `from` or more.
fn number(program: &Program, variable: &str, from: i64) -> Result<Option<i64>, Fault> {
    match program.global(variable) {
        None => Ok(None),
        Some((Value::Int(n), _)) if *n >= from => Ok(Some(*n)),
        Some((value, line)) => {
            let found = match value {
                Value::Int(n) => n.to_string(),
                other => other.kind().to_owned(),
            };
            Err(Fault::at(
                line,
                format!("{variable} is {found}: write a whole number of {from} or more"),
            ))
        }
    }
}

/// `True` or `False`.
fn truth(program: &Program, variable: &str) -> Result<Option<bool>, Fault> {
    match program.global(variable) {
        None => Ok(None),
        Some((Value::Bool(b), _)) => Ok(Some(*b)),
        Some((value, line)) => Err(Fault::at(
            line,
            format!("{variable} is {}: write True or False", value.kind()),
        )),
    }
}
