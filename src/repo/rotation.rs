//! The rotation: which subarch is built next, and why.

use std::path::PathBuf;

use super::config::{Buildbot, BuildbotError, Last, Mode, Settings};
use super::date::Date;
use super::lock::{Holder, LockState};
use super::name::Place;
use super::scan::Subarch;

/// Why a subarch is offered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
    /// It never was built.
    NeverBuilt,
    /// It failed once more than others that are stale, but is twice as old as they have to be.
    SecondChance,
    /// It is old enough.
    Stale,
}

/// The build that comes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Offer {
    /// What is built.
    pub place: Place,
    /// The folder of the newest full build.
    pub full_date: Option<String>,
    /// The day that the build is named by: today.
    pub date: Date,
    /// How often it failed since it last succeeded.
    pub failcount: u64,
    /// The kind of build.
    pub mode: Mode,
    /// Why it comes next.
    pub why: Why,
    /// The age in days of its newest build.
    pub age: Option<i64>,
}

/// A subarch whose turn it was, and that somebody works on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InProgress {
    /// Its folder.
    pub path: PathBuf,
    /// Who.
    pub holder: Holder,
}

/// What the rotation gives.
#[derive(Debug)]
pub struct Turn {
    /// The build that comes next, if there is one.
    pub offer: Option<Offer>,
    /// Those before it that are being built.
    pub in_progress: Vec<InProgress>,
}

/// A subarch as the rotation sees it.
#[derive(Clone, Copy, Debug)]
pub struct Candidate {
    /// How often it failed since it last succeeded.
    pub failcount: u64,
    /// The day of its newest complete build.
    pub date: Option<Date>,
}

/// The order in which candidates are offered: their places in `candidates`, each with the reason. Those that are
/// neither stale nor never built are left out, and those that failed too often.
pub fn order(candidates: &[Candidate], settings: &Settings, today: Date) -> Vec<(usize, Why)> {
    let stale = |date: Option<Date>, days: i64| date.is_some_and(|date| date.age(today) >= days);
    let days = settings.stale_days;
    let twice = days.saturating_mul(2);
    let highest = candidates.iter().map(|c| c.failcount).max().unwrap_or(0);
    let mut order = Vec::new();
    // Counts above the highest have nobody; the maximum may be any number.
    for n in 0..settings.max_failcount.min(highest.saturating_add(1)) {
        let next = n
            .checked_add(1)
            .filter(|next| settings.second_chance && *next < settings.max_failcount);
        let (mut never, mut second, mut old) = (Vec::new(), Vec::new(), Vec::new());
        for (at, candidate) in candidates.iter().enumerate() {
            let date = candidate.date;
            if candidate.failcount == n {
                match date {
                    None => never.push(at),
                    Some(_) if stale(date, days) => old.push(at),
                    Some(_) => {}
                }
            } else if Some(candidate.failcount) == next && (date.is_none() || stale(date, twice)) {
                second.push(at);
            }
        }
        // Without a date first, then the oldest; equals stay in order.
        second.sort_by_key(|at| candidates[*at].date);
        old.sort_by_key(|at| candidates[*at].date);
        for (step, why) in [
            (never, Why::NeverBuilt),
            (second, Why::SecondChance),
            (old, Why::Stale),
        ] {
            order.extend(step.into_iter().map(|at| (at, why)));
        }
    }
    order
}

/// Finds the build that comes next. `lock` looks at the lock of a subarch whose turn it is, and may remove one that
/// nobody holds.
pub fn next(
    subarches: &[Subarch],
    buildbot: &mut Buildbot,
    today: Date,
    mut lock: impl FnMut(&Subarch) -> LockState,
) -> Result<Turn, BuildbotError> {
    let own: Vec<&Subarch> = subarches.iter().filter(|s| s.own).collect();
    let candidates: Vec<Candidate> = own
        .iter()
        .map(|s| Candidate {
            failcount: s.fails.value(),
            date: s.date(),
        })
        .collect();
    let mut in_progress = Vec::new();
    let mut seen = vec![false; own.len()];
    for (at, why) in order(&candidates, buildbot.settings(), today) {
        // A second chance that was passed over comes again with its own count.
        if std::mem::replace(&mut seen[at], true) {
            continue;
        }
        let subarch = own[at];
        if let LockState::Held(holder) = lock(subarch) {
            let path = subarch.path.clone();
            in_progress.push(InProgress { path, holder });
            continue;
        }
        let offer = offer(subarch, buildbot, today, why)?;
        return Ok(Turn {
            offer: Some(offer),
            in_progress,
        });
    }
    Ok(Turn {
        offer: None,
        in_progress,
    })
}

/// The offer of one subarch, whatever its turn is.
pub fn offer(
    subarch: &Subarch,
    buildbot: &mut Buildbot,
    today: Date,
    why: Why,
) -> Result<Offer, BuildbotError> {
    let newest = subarch.newest();
    let last = Last {
        full: newest.is_some_and(|build| subarch.state(build).full),
        full_date: subarch.newest_full().map(|build| build.name.clone()),
    };
    let mode = buildbot.mode(&subarch.place, &last)?;
    Ok(Offer {
        place: subarch.place.clone(),
        full_date: last.full_date,
        date: today,
        failcount: subarch.fails.value(),
        mode,
        why,
        age: newest.map(|build| build.date.age(today)),
    })
}

impl Offer {
    /// The elements that a run of `metro` is given, in their order.
    pub fn elements(&self) -> Vec<(&'static str, String)> {
        elements(&self.place, &self.date.to_string(), &self.mode)
    }
}

/// The elements that a run of `metro` is given for a build, in their order.
pub fn elements(place: &Place, version: &str, mode: &Mode) -> Vec<(&'static str, String)> {
    let mut elements = vec![
        ("multi", "yes".to_owned()),
        ("target/build", place.build.to_string()),
        ("target/arch_desc", place.arch.to_string()),
        ("target/subarch", place.subarch.to_string()),
        ("target/version", version.to_owned()),
        ("multi/mode", mode.target.clone()),
    ];
    if !mode.extras.is_empty() {
        elements.push(("multi/extras", mode.joined()));
    }
    elements
}

impl Why {
    /// The word for it in JSON.
    pub fn word(self) -> &'static str {
        match self {
            Why::NeverBuilt => "never-built",
            Why::SecondChance => "second-chance",
            Why::Stale => "stale",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The rules again, as they are written down: by asking one step after the other for the best that fits.
    fn naive(candidates: &[Candidate], settings: &Settings, today: Date) -> Option<(usize, Why)> {
        let age = |at: usize| candidates[at].date.map(|d| d.age(today));
        let oldest = |fits: &dyn Fn(usize) -> bool| {
            let mut best: Option<usize> = None;
            for at in (0..candidates.len()).filter(|at| fits(*at)) {
                // One without a date is before all that have one.
                let older = |a: usize, b: usize| match (age(a), age(b)) {
                    (None, Some(_)) => true,
                    (Some(a), Some(b)) => a > b,
                    _ => false,
                };
                if best.is_none_or(|b| older(at, b)) {
                    best = Some(at);
                }
            }
            best
        };
        for n in 0..settings.max_failcount {
            let count = |at: usize, n: u64| candidates[at].failcount == n;
            if let Some(at) = (0..candidates.len()).find(|at| count(*at, n) && age(*at).is_none()) {
                return Some((at, Why::NeverBuilt));
            }
            if settings.second_chance && n + 1 < settings.max_failcount {
                let fits = |at: usize| {
                    count(at, n + 1) && age(at).is_none_or(|a| a >= 2 * settings.stale_days)
                };
                if let Some(at) = oldest(&fits) {
                    return Some((at, Why::SecondChance));
                }
            }
            let fits =
                |at: usize| count(at, n) && age(at).is_some_and(|a| a >= settings.stale_days);
            if let Some(at) = oldest(&fits) {
                return Some((at, Why::Stale));
            }
        }
        None
    }

    fn day(n: i64) -> Date {
        Date::of_seconds((16_000 + n) * 86_400)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2000))]
        #[test]
        fn the_order_is_that_of_the_rules(
            all in proptest::collection::vec((0u64..6, proptest::option::of(-3i64..25)), 0..9),
            stale_days in 0i64..9,
            max_failcount in 1u64..7,
            second_chance: bool,
        ) {
            let settings = Settings { stale_days, max_failcount, second_chance, ..Settings::default() };
            let today = day(20);
            let mut candidates: Vec<Candidate> = all
                .iter()
                .map(|(failcount, date)| Candidate { failcount: *failcount, date: date.map(day) })
                .collect();
            // Whoever is passed over is out of the question for the rest: then the next of the order comes.
            let mut seen = std::collections::BTreeSet::new();
            for (at, why) in order(&candidates.clone(), &settings, today) {
                if seen.insert(at) {
                    prop_assert_eq!(naive(&candidates, &settings, today), Some((at, why)));
                    candidates[at].failcount = u64::MAX;
                }
            }
            prop_assert_eq!(naive(&candidates, &settings, today), None);
        }
    }

    #[test]
    fn a_huge_maximum_takes_no_time() {
        let settings = Settings {
            max_failcount: u64::MAX,
            ..Settings::default()
        };
        let candidate = Candidate {
            failcount: 2,
            date: None,
        };
        let order = order(&[candidate], &settings, day(0));
        assert_eq!(order, [(0, Why::SecondChance), (0, Why::NeverBuilt)]);
    }
}
