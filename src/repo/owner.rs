//! Owner, group and mode of what is written into a mirror, as `path/mirror/owner`, `/group` and `/dirmode` say.

use std::io;
use std::os::fd::AsFd;
use std::path::Path;

use rustix::fs::{AtFlags, Gid, Uid};

use super::small;

/// The files that name users and groups may have, in bytes.
const MAX_LIST: u64 = 16 << 20;

/// Who owns what is written. Nothing given: whoever runs the program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ownership {
    /// The owner.
    pub owner: Option<u32>,
    /// The group.
    pub group: Option<u32>,
    /// The mode of folders.
    pub dirmode: u32,
}

impl Default for Ownership {
    fn default() -> Self {
        Ownership {
            owner: None,
            group: None,
            dirmode: 0o775,
        }
    }
}

/// A name is not that of a user or group of this machine.
#[derive(Debug, thiserror::Error)]
#[error("this machine has no {kind} called `{name}`")]
pub struct NoSuchOwner {
    kind: &'static str,
    name: String,
}

impl Ownership {
    /// Looks names or numbers up on this machine.
    pub fn new(
        owner: Option<&str>,
        group: Option<&str>,
        dirmode: Option<u32>,
    ) -> Result<Self, NoSuchOwner> {
        Ok(Ownership {
            owner: owner.map(|n| id(n, "user", "/etc/passwd")).transpose()?,
            group: group.map(|n| id(n, "group", "/etc/group")).transpose()?,
            dirmode: dirmode.unwrap_or(Ownership::default().dirmode),
        })
    }

    /// Gives something in a folder to its owner; a link itself, not what it leads to. An ordinary user may not
    /// give things away, and what it writes stays its own.
    pub fn give(&self, folder: impl AsFd, name: &Path) -> io::Result<()> {
        if self.owner.is_none() && self.group.is_none() {
            return Ok(());
        }
        let result = rustix::fs::chownat(
            folder,
            name,
            self.owner.map(Uid::from_raw),
            self.group.map(Gid::from_raw),
            AtFlags::SYMLINK_NOFOLLOW,
        );
        match result {
            Err(rustix::io::Errno::PERM) if !rustix::process::geteuid().is_root() => Ok(()),
            other => Ok(other?),
        }
    }
}

/// The number of a name in a list such as `/etc/passwd`.
fn id(name: &str, kind: &'static str, list: &str) -> Result<u32, NoSuchOwner> {
    if let Ok(number) = name.parse() {
        return Ok(number);
    }
    let text = small::read(Path::new(list), MAX_LIST)
        .ok()
        .flatten()
        .unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let found = text.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next() == Some(name)).then(|| fields.nth(1)?.parse().ok())?
    });
    found.ok_or_else(|| NoSuchOwner {
        kind,
        name: name.to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_are_owners() {
        let root = Ownership::new(Some("root"), Some("0"), None).unwrap();
        assert_eq!(
            (root.owner, root.group, root.dirmode),
            (Some(0), Some(0), 0o775)
        );
        let error = Ownership::new(Some("no such user"), None, None).unwrap_err();
        assert!(error.to_string().contains("`no such user`"), "{error}");
    }
}
