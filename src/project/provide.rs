//! Seeds and snapshots: getting those that the lock file lacks and that need no one's help, and
//! pinning them.

use std::fs;
use std::time::Instant;

use mstore_store::{ImportOptions, TreeHash};

use super::events::{Event, Events};
use super::{Project, ProjectError, clock};
use crate::build::host;
use crate::build::seed::{self, HostSeed, SeedEvent, SurveyOptions};
use crate::plan::{Lock, MissingPin, Pin, PinKind, PinOrigin, Recipes, embedded};

/// Lists what a seed of this machine consists of.
pub fn survey(events: &dyn Events) -> Result<HostSeed, ProjectError> {
    let mut note = |event| {
        if let SeedEvent::Without { what, why } = &event {
            events.event(Event::LeftOut { what, why });
        }
    };
    Ok(seed::survey(&SurveyOptions::default(), &mut note)?)
}

impl Project {
    /// Gets everything in `needs` and pins it. Nothing is captured or stored if one of them is what
    /// only people can give.
    pub fn provide(
        &mut self,
        recipes: &Recipes,
        needs: &[MissingPin],
        events: &dyn Events,
    ) -> Result<(), ProjectError> {
        self.can_provide(recipes, needs)?;
        for need in needs {
            let Some(pin) = self.obtain(need, events)? else {
                continue;
            };
            events.event(Event::Provided {
                kind: need.kind,
                name: &need.name,
                tree: pin.tree,
            });
            self.set_pin(need.kind, &need.name, pin)?;
        }
        Ok(())
    }

    /// Gets what needs nobody's help. The pin is not in the lock file yet.
    fn obtain(&self, need: &MissingPin, events: &dyn Events) -> Result<Option<Pin>, ProjectError> {
        Ok(match &need.from {
            PinOrigin::Host => Some(self.capture_host(events)?),
            PinOrigin::Builtin(name) => Some(self.store_builtin(name)?),
            PinOrigin::Import => None,
        })
    }

    /// Refuses what only people can give, all of it at once, and seeds of machines of another kind.
    pub(super) fn can_provide(
        &self,
        recipes: &Recipes,
        needs: &[MissingPin],
    ) -> Result<(), ProjectError> {
        let lacking = needs.iter().filter(|need| need.from == PinOrigin::Import);
        let lacking: Vec<MissingPin> = lacking.cloned().collect();
        if !lacking.is_empty() {
            return Err(ProjectError::Lacking {
                lock: self.lock_path(),
                needs: lacking,
            });
        }
        self.no_foreign_seeds(recipes, needs)
    }

    /// Refuses seeds that were to be captured and are for machines of another kind.
    fn no_foreign_seeds(
        &self,
        recipes: &Recipes,
        needs: &[MissingPin],
    ) -> Result<(), ProjectError> {
        let machine = host::machine();
        for need in needs.iter().filter(|n| n.from == PinOrigin::Host) {
            let mut wanted_by = need.wanted_by.iter().filter_map(|id| recipes.get(id));
            if let Some(recipe) = wanted_by.find(|r| r.platform != machine) {
                return Err(ProjectError::ForeignSeed {
                    target: recipes.display_name(&recipe.id),
                    platform: recipe.platform.clone(),
                    machine,
                    seed: need.name.clone(),
                });
            }
        }
        Ok(())
    }

    /// Captures this machine's tool chain. The pin is not in the lock file yet.
    pub fn capture_host(&self, events: &dyn Events) -> Result<Pin, ProjectError> {
        let started = Instant::now();
        events.event(Event::CaptureStarted);
        let captured = survey(events)?.import(&self.store)?;
        events.event(Event::Captured {
            entries: captured.entries,
            bytes: captured.bytes,
            seconds: started.elapsed().as_secs_f64(),
        });
        let mut pin = Pin::new(captured.tree, Some(clock::today()));
        pin.origin = Some("host".to_owned());
        Ok(pin)
    }

    /// Stores a snapshot that comes with the program.
    fn store_builtin(&self, name: &str) -> Result<Pin, ProjectError> {
        let Some(snapshot) = embedded::builtin_snapshot(name) else {
            return Err(ProjectError::NoBuiltin {
                name: name.to_owned(),
            });
        };
        let scratch = self.store.scratch("snapshot")?;
        let folder = scratch.path().join("snapshot");
        fs::create_dir(&folder)
            .and_then(|()| snapshot.unpack(&folder))
            .map_err(|e| ProjectError::io("unpack a snapshot to", &folder, e))?;
        let imported = self.store.import_dir(&folder, &ImportOptions::snapshot())?;
        Ok(snapshot.pin(imported.tree))
    }

    /// Pins a name in the lock file and in memory; the tree lives from now on. Returns what the name
    /// stood for before.
    pub fn set_pin(
        &mut self,
        kind: PinKind,
        name: &str,
        pin: Pin,
    ) -> Result<Option<TreeHash>, ProjectError> {
        let path = self.lock_path();
        let (lock, before) = Lock::update(self.distribution.files(), &path, |lock| {
            lock.set(kind, name, pin.clone())
        })?;
        self.lock = lock;
        self.keep_pins()?;
        Ok(before.map(|p| p.tree))
    }

    /// Takes a name out of the lock file, be it that of a seed or of a snapshot.
    pub fn remove_pin(&mut self, name: &str) -> Result<(), ProjectError> {
        let path = self.lock_path();
        let (lock, found) = Lock::update(self.distribution.files(), &path, |lock| {
            let seed = lock.remove(PinKind::Seed, name);
            let snapshot = lock.remove(PinKind::Snapshot, name);
            Ok(seed.or(snapshot).is_some())
        })?;
        if !found {
            return Err(ProjectError::NoPin {
                name: name.to_owned(),
            });
        }
        self.lock = lock;
        self.keep_pins()
    }

    /// Gets a seed or snapshot again that can be had without anybody's help. The old pin stays.
    pub(super) fn obtain_anew(
        &self,
        name: &str,
        events: &dyn Events,
    ) -> Result<Vec<(PinKind, Pin)>, ProjectError> {
        let index = self.distribution.index();
        let all: Vec<_> = index.all_of(&index.default_build).collect();
        let recipes = self.recipes(&all)?;
        // As if it were not there.
        let mut without = self.lock.clone();
        without.remove(PinKind::Seed, name);
        without.remove(PinKind::Snapshot, name);
        let mut needs = recipes.needs(&without);
        needs.retain(|need| need.name == name);
        match needs.first() {
            None => Err(ProjectError::UnusedPin {
                name: name.to_owned(),
            }),
            Some(need) if need.from == PinOrigin::Import => Err(ProjectError::OnlyImport {
                need: Box::new(need.clone()),
            }),
            Some(_) => {
                self.can_provide(&recipes, &needs)?;
                let mut pins = Vec::new();
                for need in &needs {
                    if let Some(pin) = self.obtain(need, events)? {
                        pins.push((need.kind, pin));
                    }
                }
                Ok(pins)
            }
        }
    }
}
