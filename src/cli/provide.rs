//! Gets seeds and snapshots that the lock file lacks and that need no one's help.

use std::fs;

use mstore_store::{ImportOptions, TreeHash};

use super::{Failure, output};
use crate::build::host;
use crate::build::seed::{self, HostSeed, SeedEvent, SurveyOptions};
use crate::plan::{How, Lock, Need, Pin, PinKind, Recipes, embedded};
use crate::project::{Project, clock};

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
    project: &mut Project,
    recipes: &Recipes,
    needs: &[Need],
    quiet: bool,
) -> Result<(), Failure> {
    // Before anything is captured: is there something that only the user can give?
    for need in needs {
        if let How::Import(hint) = &need.how {
            let names: Vec<String> = need.wanted_by.iter().map(ToString::to_string).collect();
            let lock = project.lock_path();
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
            How::Host => host_seed(project, quiet)?,
            How::Builtin(name) => builtin_snapshot(project, name)?,
            How::Import(_) => continue,
        };
        if !quiet {
            tell!("{} {} is {}", need.kind, need.name, pin.tree);
        }
        set(project, need.kind, &need.name, pin)?;
    }
    Ok(())
}

/// Captures this machine's tool chain.
pub fn host_seed(project: &Project, quiet: bool) -> Result<Pin, Failure> {
    let started = std::time::Instant::now();
    if !quiet {
        tell!("capturing a seed from this machine");
    }
    let captured = survey(quiet)?.import(&project.store)?;
    if !quiet {
        tell!(
            "captured {} entries, {} in {}",
            captured.entries,
            output::size(captured.bytes),
            output::duration(started.elapsed().as_secs_f64())
        );
    }
    let mut pin = Pin::new(captured.tree, Some(clock::today()));
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

fn builtin_snapshot(project: &Project, name: &str) -> Result<Pin, Failure> {
    let Some(snapshot) = embedded::builtin_snapshot(name) else {
        return Err(Failure::usage(format!(
            "no snapshot called `{name}` comes with mstore"
        )));
    };
    let scratch = project.store.scratch("snapshot")?;
    let folder = scratch.path().join("snapshot");
    let written = fs::create_dir(&folder).and_then(|()| snapshot.unpack(&folder));
    written.map_err(|e| Failure::machine(format!("cannot unpack the snapshot {name}: {e}")))?;
    let imported = project
        .store
        .import_dir(&folder, &ImportOptions::snapshot())?;
    Ok(snapshot.pin(imported.tree))
}

/// Pins a name in the lock file and in memory; the tree lives from now on.
pub fn set(
    project: &mut Project,
    kind: PinKind,
    name: &str,
    pin: Pin,
) -> Result<Option<TreeHash>, Failure> {
    let path = project.lock_path();
    let (lock, before) = Lock::update(project.distribution.files(), &path, |lock| {
        lock.set(kind, name, pin.clone())
    })?;
    project.lock = lock;
    project.keep_pins()?;
    Ok(before.map(|p| p.tree))
}
