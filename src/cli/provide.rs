//! Gets seeds and snapshots that the lock file lacks and that need no one's help.

use std::fs;
use std::os::unix::ffi::OsStrExt;

use mstore_store::{Hash, ImportOptions, TreeHash};

use super::context::{Context, Session};
use super::{Failure, output};
use crate::build::host;
use crate::build::seed::{self, HostSeed, SeedEvent, SurveyOptions};
use crate::plan::{How, Lock, Need, Pin, PinKind, Recipes, embedded};

/// Says what a real run would get first.
pub fn announce(needs: &[Need]) {
    for need in needs {
        let how = match &need.how {
            How::Host => "captured from this machine".to_owned(),
            How::Builtin(name) => format!("taken from this program ({name})"),
            How::Import(hint) => format!("needed: {hint}"),
        };
        tell!("{} {} would be {how}", need.kind, need.name);
    }
    tell!("after that, --dry-run can tell what is to be built");
}

/// Gets everything in `needs` and pins it.
pub fn provide(
    session: &mut Session,
    recipes: &Recipes,
    needs: &[Need],
    quiet: bool,
) -> Result<(), Failure> {
    // Before anything is captured: is there something that only the user can give?
    for need in needs {
        if let How::Import(hint) = &need.how {
            let names: Vec<String> = need.wanted_by.iter().map(ToString::to_string).collect();
            let lock = session.distribution.lock_path(session.store.path());
            return Err(Failure::usage(format!(
                "{} has no {} `{}`, which {} needs",
                lock.display(),
                need.kind,
                need.name,
                names.join(" ")
            ))
            .hint(hint));
        }
    }
    let machine = host::machine();
    for need in needs.iter().filter(|n| n.how == How::Host) {
        let mut platforms = need.wanted_by.iter().filter_map(|id| recipes.get(id));
        if let Some(recipe) = platforms.find(|r| r.platform != machine) {
            return Err(Failure::machine(format!(
                "{} is built for {}, and this {machine} machine cannot give a seed for that",
                recipes.display_name(&recipe.id),
                recipe.platform
            ))
            .hint(format!(
                "import one: mstore seed import FILE.tar.xz --name {}",
                need.name
            )));
        }
    }
    for need in needs {
        let pin = match &need.how {
            How::Host => host_seed(session, quiet)?,
            How::Builtin(name) => builtin_snapshot(session, name)?,
            How::Import(_) => continue,
        };
        if !quiet {
            tell!("{} {} is {}", need.kind, need.name, pin.tree);
        }
        set(session, need.kind, &need.name, pin)?;
    }
    Ok(())
}

/// Captures this machine's tool chain.
pub fn host_seed(session: &Session, quiet: bool) -> Result<Pin, Failure> {
    let started = std::time::Instant::now();
    if !quiet {
        tell!("capturing a seed from this machine");
    }
    let captured = survey(quiet)?.import(&session.store)?;
    if !quiet {
        tell!(
            "captured {} entries, {} in {}",
            captured.entries,
            output::size(captured.bytes),
            output::duration(started.elapsed().as_secs_f64())
        );
    }
    let mut pin = Pin::new(captured.tree, Some(today()));
    pin.origin = Some("host".to_owned());
    Ok(pin)
}

/// Lists what a seed of this machine consists of.
pub fn survey(quiet: bool) -> Result<HostSeed, Failure> {
    let mut events = |event| {
        if let SeedEvent::Without { what, why } = event
            && !quiet
        {
            tell!("without {what}: {why}");
        }
    };
    Ok(seed::survey(&SurveyOptions::default(), &mut events)?)
}

fn builtin_snapshot(session: &Session, name: &str) -> Result<Pin, Failure> {
    let Some(snapshot) = embedded::builtin_snapshot(name) else {
        return Err(Failure::usage(format!(
            "no snapshot called `{name}` comes with mstore"
        )));
    };
    let scratch = session.store.scratch("snapshot")?;
    let folder = scratch.path().join("snapshot");
    let written = fs::create_dir(&folder).and_then(|()| snapshot.unpack(&folder));
    written.map_err(|e| Failure::machine(format!("cannot unpack the snapshot {name}: {e}")))?;
    let imported = session
        .store
        .import_dir(&folder, &ImportOptions::snapshot())?;
    Ok(snapshot.pin(imported.tree))
}

/// Pins a name in the lock file and in memory; the tree lives from now on.
pub fn set(
    session: &mut Session,
    kind: PinKind,
    name: &str,
    pin: Pin,
) -> Result<Option<TreeHash>, Failure> {
    let path = session.distribution.lock_path(session.store.path());
    let (lock, before) = Lock::update(session.distribution.files(), &path, |lock| {
        lock.set(kind, name, pin.clone())
    })?;
    session.lock = lock;
    keep_pins(session)?;
    Ok(before.map(|p| p.tree))
}

/// Registers the lock file with the store, so that a collection started with other specifications
/// keeps what it pins too. Costs next to nothing when nothing changed.
pub fn keep_pins(session: &Session) -> Result<(), Failure> {
    let Some((name, pins)) = pins_to_keep(session) else {
        return Ok(());
    };
    let store = &session.store;
    store.register_pins(&name, now(), &pins)?;
    // Earlier releases made roots of pins.
    let path = session.lock.path().unwrap_or("".as_ref());
    let prefix = format!("lock {:.16} ", short(path.as_os_str().as_bytes()));
    for root in store.roots()? {
        if root.name.starts_with(&prefix) {
            store.remove_root(&root.name)?;
        }
    }
    Ok(())
}

/// The lock file in use, by its absolute path, and what it pins; `None` where there is none.
pub fn pins_to_keep(session: &Session) -> Option<(String, Vec<Pinned>)> {
    let path = session.lock.path().filter(|path| path.is_file())?;
    let absolute = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    // A name that is no text cannot be looked at again by its text.
    let name = absolute.to_str()?.to_owned();
    Some((name, pins_of(&session.lock)))
}

/// A pin as the store registers it: kind, name, tree.
pub type Pinned = (String, String, TreeHash);

/// What a lock file pins, as the store registers it.
pub fn pins_of(lock: &Lock) -> Vec<Pinned> {
    lock.pins()
        .map(|(kind, name, pin)| (kind.to_string(), name.to_owned(), pin.tree))
        .collect()
}

/// Seconds since 1970.
pub fn now() -> i64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |d| d.as_secs().cast_signed())
}

fn short(bytes: &[u8]) -> String {
    Hash::of(bytes).to_string()
}

/// Today as `YYYY-MM-DD`, in UTC.
pub fn today() -> String {
    date(now())
}

/// The day of a second since 1970, as `YYYY-MM-DD`, in UTC.
pub fn date(seconds: i64) -> String {
    // Days to a date of the proleptic Gregorian calendar, counted from 1 March of year 0.
    let days = seconds.div_euclid(86_400) + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = (month_from_march + 2) % 12 + 1;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}")
}

/// Opens a session for a command that changes the lock file.
pub fn session(context: &Context) -> Result<Session, Failure> {
    context.enter().map_err(Failure::machine)?;
    Session::open(context)
}

#[cfg(test)]
mod tests {
    use super::date;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(date(0), "1970-01-01");
        assert_eq!(date(951_782_400), "2000-02-29");
        assert_eq!(date(315_532_800), "1980-01-01");
        assert_eq!(date(1_795_176_000), "2026-11-20");
        assert_eq!(date(-1), "1969-12-31");
    }
}
