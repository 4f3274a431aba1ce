//! What publishing needs: the mirror with its owner and locks, keys, and the answers of the configuration file.

use super::context::Context;
use super::{Failure, args};
use crate::config::Config;
use crate::project::Project;
use crate::repo::control::Control;
use crate::repo::gpg::Gpg;
use crate::repo::layout::{CONTROL, Mirror};
use crate::repo::lock::{self, Lock, LockState, Machine};
use crate::repo::name::Place;
use crate::repo::owner::Ownership;
use crate::repo::publish::{self, INTENT, Press, PublishError};
use crate::repo::quote::shown;
use crate::share::SecretKey;
use mstore_store::Cancel;

/// Everything of a mirror that a publication is made with.
pub struct Site {
    /// The mirror.
    pub mirror: Mirror,
    /// Owner, group and mode of what is written.
    pub ownership: Ownership,
    /// This machine.
    pub machine: Machine,
    /// The configuration of the program.
    pub config: Config,
    gpg: Option<Gpg>,
    key: Option<SecretKey>,
}

impl Site {
    /// Reads what is configured for a mirror.
    pub fn new(context: &Context, mirror: Mirror, ownership: Ownership) -> Result<Site, Failure> {
        let config = context.machine_config()?;
        Ok(Site {
            mirror,
            ownership,
            machine: Machine::this(),
            gpg: gpg(&config),
            key: args::signing_key(&config, None)?,
            config,
        })
    }

    /// The key that signs results.
    pub fn key(&self) -> Option<&SecretKey> {
        self.key.as_ref()
    }

    /// What a publication is made with.
    pub fn press<'a>(
        &'a self,
        project: &'a Project,
        replace: bool,
        cancel: &'a Cancel,
    ) -> Press<'a> {
        Press {
            mirror: &self.mirror,
            store: &project.store,
            ownership: &self.ownership,
            gpg: self.gpg.as_ref(),
            key: self.key.as_ref(),
            machine: &self.machine,
            replace,
            cancel,
        }
    }

    /// Takes the lock of a subarch.
    pub fn lock(&self, place: &Place, version: &str) -> Result<Lock, PublishError> {
        publish::lock(
            &self.mirror,
            place,
            &self.ownership,
            &self.machine,
            self.config.shared_mirror,
            version,
        )
    }

    /// Finishes what a run that was killed left of a publication, unless somebody works on the subarch.
    pub fn finish(&self, place: &Place) -> Result<(), Failure> {
        let path = self.mirror.path(place);
        if path.join(CONTROL).join(INTENT).symlink_metadata().is_err()
            || matches!(lock::look(&path, &self.machine), LockState::Held(_))
        {
            return Ok(());
        }
        let lock = match self.lock(place, "") {
            Ok(lock) => lock,
            Err(PublishError::Lock(lock::LockError::Held { .. })) => return Ok(()),
            Err(error) => return Err(error.into()),
        };
        let done = publish::finish(&self.mirror, place, lock.control(), &self.ownership);
        let done = done.map_err(|e| {
            let intent = path.join(CONTROL).join(INTENT);
            Failure::machine(format!("cannot finish what {} says: {e}", shown(&intent)))
                .hint("an earlier run wrote it down before it ended; remove it to leave the build as it is")
        })?;
        if let Some(version) = done {
            tell!(
                "{} was published by a run that ended before it could say so",
                shown(path.join(version))
            );
        }
        Ok(())
    }

    /// The folder of control of a subarch, if there is one.
    pub fn control(&self, place: &Place) -> Result<Option<Control>, Failure> {
        let path = self.mirror.path(place).join(CONTROL);
        Control::open(&self.mirror, place)
            .map_err(|e| Failure::machine(format!("cannot open {}: {e}", shown(path))))
    }
}

/// The key of gpg that the configuration names.
pub fn gpg(config: &Config) -> Option<Gpg> {
    config.gpg_key.clone().map(|key| Gpg {
        program: "gpg".into(),
        key,
        home: config.gpg_home.clone(),
    })
}

/// Owner, group and mode of what is written, as elements say; `element` gives one, if it has something in it.
pub fn ownership(
    element: impl Fn(&str) -> Result<Option<String>, Failure>,
) -> Result<Ownership, Failure> {
    let owner = element("path/mirror/owner")?;
    let group = element("path/mirror/group")?;
    let dirmode = element("path/mirror/dirmode")?;
    let dirmode = dirmode.map(|text| {
        let mode = u32::from_str_radix(&text, 8)
            .ok()
            .filter(|mode| *mode <= 0o7777);
        mode.ok_or_else(|| {
            Failure::usage(format!(
                "path/mirror/dirmode: `{}` is not a mode",
                shown(&text)
            ))
            .hint("write for example 775")
        })
    });
    let dirmode = dirmode.transpose()?;
    Ownership::new(owner.as_deref(), group.as_deref(), dirmode).map_err(Failure::usage)
}

/// Whether somebody else works on the subarch.
pub fn is_held(error: &PublishError) -> bool {
    matches!(error, PublishError::Lock(lock::LockError::Held { .. }))
}
