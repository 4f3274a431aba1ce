//! Which store and which specifications a command works on.

use super::{Failure, PlaceArgs};
use mstore_store::{OpenOptions, Store};
use std::env;
use std::path::{Path, PathBuf};

/// The answers to `--store` and `--file`.
pub struct Place {
    args: PlaceArgs,
}

impl Place {
    /// Keeps the options that every command takes.
    pub fn new(args: PlaceArgs) -> Self {
        Place { args }
    }

    /// The store's folder, by `--store`, then `MSTORE_STORE`, then the user.
    ///
    /// Must be asked for before the process enters a user namespace, in which it would
    /// look like root.
    pub fn store_path(&self) -> Result<PathBuf, Failure> {
        if let Some(path) = &self.args.store {
            return Ok(path.clone());
        }
        if let Some(path) = env::var_os("MSTORE_STORE").filter(|p| !p.is_empty()) {
            return Ok(path.into());
        }
        if real_root() {
            return Ok("/var/lib/mstore".into());
        }
        // A relative XDG_DATA_HOME is to be ignored, says its specification.
        if let Some(path) = env::var_os("XDG_DATA_HOME").map(PathBuf::from)
            && path.is_absolute()
        {
            return Ok(path.join("mstore"));
        }
        match env::var_os("HOME").filter(|h| !h.is_empty()) {
            Some(home) => Ok(Path::new(&home).join(".local/share/mstore")),
            None => Err(Failure::usage("no place for the store: HOME is not set")
                .hint("give one with --store DIR or MSTORE_STORE")),
        }
    }

    /// Opens the store for reading and writing, making it if there is none.
    pub fn store(&self) -> Result<Store, Failure> {
        self.open(OpenOptions {
            create: true,
            read_only: false,
        })
    }

    fn open(&self, options: OpenOptions) -> Result<Store, Failure> {
        let path = self.store_path()?;
        Store::open(&path, &options).map_err(Failure::from)
    }

    /// The entry file: `--file`, else `./metro.conf`, else none (the built-in specifications).
    pub fn entry(&self) -> Option<PathBuf> {
        self.args.file.clone().or_else(|| {
            let here = PathBuf::from("metro.conf");
            here.is_file().then_some(here)
        })
    }
}

/// Whether the user is root outside of any namespace made by this process.
fn real_root() -> bool {
    rustix::process::geteuid().is_root()
}
