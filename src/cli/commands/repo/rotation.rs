//! `nextbuild`, `next --pretend`, `fails`, `zap`, `empties`

use std::process::ExitCode;

use serde::Serialize;

use super::desk::{Desk, tell_printed, tell_unreadable};
use crate::cli::failure::FOUND;
use crate::cli::{Failure, output};
use crate::repo::config::Buildbot;
use crate::repo::control::Control;
use crate::repo::date::Date;
use crate::repo::layout::{CONTROL, FAILCOUNT, Mirror};
use crate::repo::lock::{self, LockState, Machine};
use crate::repo::quote::{quoted, shown, word};
use crate::repo::rotation::{self, Offer};
use crate::repo::scan::{Subarch, scan, scan_own};

/// Name of the first line of `nextbuild`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum FirstLine {
    /// As in 2015
    #[default]
    Build,
    /// As in 2019
    Release,
}

/// Print the build that comes next
#[derive(clap::Args)]
pub struct Nextbuild {
    /// Name the first line: build, or release as a buildbot.sh of 2019 reads it
    #[arg(long = "as", value_name = "NAME", default_value = "build")]
    first: FirstLine,
}

/// The next build as JSON.
#[derive(Serialize)]
struct OfferView<'a> {
    build: &'a str,
    arch_desc: &'a str,
    subarch: &'a str,
    fulldate: Option<&'a str>,
    nextdate: String,
    failcount: u64,
    target: &'a str,
    extras: &'a [String],
    why: &'static str,
    age: Option<i64>,
}

impl<'a> From<&'a Offer> for OfferView<'a> {
    fn from(offer: &'a Offer) -> Self {
        OfferView {
            build: offer.place.build.as_str(),
            arch_desc: offer.place.arch.as_str(),
            subarch: offer.place.subarch.as_str(),
            fulldate: offer.full_date.as_deref(),
            nextdate: offer.date.to_string(),
            failcount: offer.failcount,
            target: &offer.mode.target,
            extras: &offer.mode.extras,
            why: offer.why.word(),
            age: offer.age,
        }
    }
}

/// A subarch as JSON.
#[derive(Serialize)]
struct SubarchView<'a> {
    build: &'a str,
    arch_desc: &'a str,
    subarch: &'a str,
    path: String,
    own: bool,
    failcount: u64,
    date: Option<String>,
}

impl<'a> From<&'a Subarch> for SubarchView<'a> {
    fn from(subarch: &'a Subarch) -> Self {
        SubarchView {
            build: subarch.place.build.as_str(),
            arch_desc: subarch.place.arch.as_str(),
            subarch: subarch.place.subarch.as_str(),
            path: subarch.path.to_string_lossy().into_owned(),
            own: subarch.own,
            failcount: subarch.fails.value(),
            date: subarch.date().map(|d| d.to_string()),
        }
    }
}

/// A fail count that was removed, as JSON.
#[derive(Serialize)]
struct ZappedView {
    removed: String,
}

/// Finds what comes next, and tells what is passed over.
fn offer(desk: &Desk) -> Result<Option<Offer>, Failure> {
    let mut buildbot = desk.buildbot()?;
    let mirror = desk.mirror()?;
    let subarches = scan_own(&mirror, buildbot.settings());
    tell_unreadable(&subarches);
    let machine = Machine::this();
    let lock = |subarch: &Subarch| held(&mirror, subarch, &machine);
    let offer = turn(&subarches, &mut buildbot, desk.today(), lock);
    tell_printed(&mut buildbot);
    offer
}

/// Finds whose turn it is, and tells what is passed over.
pub fn turn(
    subarches: &[Subarch],
    buildbot: &mut Buildbot,
    today: Date,
    lock: impl FnMut(&Subarch) -> LockState,
) -> Result<Option<Offer>, Failure> {
    let turn = rotation::next(subarches, buildbot, today, lock)?;
    for passed in &turn.in_progress {
        let path = shown(&passed.path);
        tell!("{path} is being built by {}: passed over", passed.holder);
    }
    Ok(turn.offer)
}

/// Looks at the lock of a subarch, and removes one that nobody holds.
pub fn held(mirror: &Mirror, subarch: &Subarch, machine: &Machine) -> LockState {
    let state = lock::look(&subarch.path, machine);
    if state == LockState::Stale
        && let Ok(Some(control)) = Control::open(mirror, &subarch.place)
    {
        // Where it may not be removed, it is stale all the same.
        let _ = lock::sweep(&control, machine);
        return lock::look(&subarch.path, machine);
    }
    state
}

/// Runs `nextbuild`.
pub fn nextbuild(desk: &Desk, args: Nextbuild) -> Result<ExitCode, Failure> {
    let Some(offer) = offer(desk)? else {
        return Ok(ExitCode::from(FOUND));
    };
    if desk.json() {
        output::json(&OfferView::from(&offer))?;
        return Ok(ExitCode::SUCCESS);
    }
    let first = match args.first {
        FirstLine::Build => "build",
        FirstLine::Release => "release",
    };
    let lines = [
        (first, word(&offer.place.build)),
        ("arch_desc", word(&offer.place.arch)),
        ("subarch", word(&offer.place.subarch)),
        (
            "fulldate",
            word(offer.full_date.as_deref().unwrap_or("None")),
        ),
        ("nextdate", word(offer.date.to_string())),
        ("failcount", word(offer.failcount.to_string())),
        ("target", word(&offer.mode.target)),
        ("extras", quoted(offer.mode.joined())),
    ];
    let mut text = Vec::new();
    for (name, value) in lines {
        text.extend([name.as_bytes(), b"=", &value, b"\n"].concat());
    }
    output::bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `next --pretend`.
pub fn pretend(desk: &Desk) -> Result<ExitCode, Failure> {
    let Some(offer) = offer(desk)? else {
        return Ok(ExitCode::SUCCESS);
    };
    if desk.json() {
        output::json(&OfferView::from(&offer))?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = b"mstore metro".to_vec();
    for (name, value) in offer.elements() {
        text.push(b' ');
        text.extend(quoted(format!("{name}: {value}")));
    }
    text.push(b'\n');
    output::bytes(&text)?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `fails`.
pub fn fails(desk: &Desk) -> Result<ExitCode, Failure> {
    let buildbot = desk.buildbot()?;
    let mirror = desk.mirror()?;
    let mut subarches = scan(&mirror, buildbot.settings());
    tell_unreadable(&subarches);
    // The sort keeps the order of equals.
    subarches.sort_by_key(|s| std::cmp::Reverse(s.fails.value()));
    if desk.json() {
        let views: Vec<SubarchView> = subarches.iter().map(SubarchView::from).collect();
        output::json(&views)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut text = String::new();
    for subarch in &subarches {
        let date = subarch.date().map_or("None".to_owned(), |d| d.to_string());
        let (count, path) = (subarch.fails.value(), shown(&subarch.path));
        text.push_str(&format!("{count:>4} {date:>12} {path}\n"));
    }
    output::bytes(text.as_bytes())?;
    Ok(ExitCode::SUCCESS)
}

/// Runs `zap`.
pub fn zap(desk: &Desk) -> Result<ExitCode, Failure> {
    let buildbot = desk.buildbot()?;
    let mirror = desk.mirror()?;
    let subarches = scan_own(&mirror, buildbot.settings());
    tell_unreadable(&subarches);
    let mut zapped = Vec::new();
    for subarch in subarches.iter().filter(|s| s.fails.can_be_zapped()) {
        let path = subarch.path.join(CONTROL).join(FAILCOUNT);
        let removed = match Control::open(&mirror, &subarch.place) {
            Ok(Some(control)) => control.zap(),
            Ok(None) => Ok(false),
            Err(e) => Err(e),
        };
        let removed = removed
            .map_err(|e| Failure::machine(format!("cannot remove {}: {e}", shown(&path))))?;
        if removed {
            if !desk.json() {
                output::line(format!("Removing {}...", shown(&path)))?;
            }
            zapped.push(ZappedView {
                removed: path.to_string_lossy().into_owned(),
            });
        }
    }
    if desk.json() {
        output::json(&zapped)?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs `empties`.
pub fn empties(desk: &Desk) -> Result<ExitCode, Failure> {
    let buildbot = desk.buildbot()?;
    let mirror = desk.mirror()?;
    let mut subarches = scan_own(&mirror, buildbot.settings());
    tell_unreadable(&subarches);
    subarches.retain(|subarch| subarch.newest().is_none());
    if desk.json() {
        let views: Vec<SubarchView> = subarches.iter().map(SubarchView::from).collect();
        output::json(&views)?;
        return Ok(ExitCode::SUCCESS);
    }
    for subarch in &subarches {
        output::line(shown(&subarch.path))?;
    }
    Ok(ExitCode::SUCCESS)
}
