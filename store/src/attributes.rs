//! Extended attributes: which of them belong to a tree, and how they are read and written.
//!
//! Kept are `user.*`, POSIX ACLs and file capabilities. Others describe the machine that the tree
//! happened to lie on (security labels, `trusted.*`, file-system settings) or cannot be seen by
//! every user, and would make the same tree hash differently.
//!
//! Overlayfs, mounted with `userxattr`, keeps notes of its own in `user.overlay.*` and writes a real
//! attribute of that name as `user.overlay.overlay.*`. Checkouts are made for overlayfs and use the
//! same spelling.

use std::ffi::CStr;
use std::os::fd::AsFd;
use std::path::PathBuf;

use rustix::buffer::spare_capacity;
use rustix::fs::{
    XattrFlags, fgetxattr, flistxattr, fremovexattr, fsetxattr, lgetxattr, llistxattr,
    lremovexattr, lsetxattr,
};
use rustix::io::Errno;

pub(crate) type Attributes = Vec<(Vec<u8>, Vec<u8>)>;

const OVERLAY: &[u8] = b"user.overlay.";
const ESCAPED: &[u8] = b"user.overlay.overlay.";
pub(crate) const OPAQUE: &[u8] = b"user.overlay.opaque";
pub(crate) const WHITEOUT: &[u8] = b"user.overlay.whiteout";

/// The attribute that holds the capabilities of a program.
pub(crate) const CAPABILITY: &[u8] = b"security.capability";

/// Brings a file capability into its one form. One of version 3 says which user is root in the namespace
/// that it is for; where that is the machine's own, 0, it is the same as one of version 2, which is what
/// Linux gives back then.
pub(crate) fn normalise_capability(value: &mut Vec<u8>) {
    if value.len() == 24 && value[3] == 3 && value[20..] == [0; 4] {
        value[3] = 2;
        value.truncate(20);
    }
}

/// How attributes are spelled where they are read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Spelling {
    /// As they are.
    Plain,
    /// As overlayfs does in its layers.
    Overlay,
}

/// Tells under which name an attribute belongs to a tree, if it does.
pub(crate) fn stored_name(name: &[u8], spelling: Spelling) -> Option<Vec<u8>> {
    let kept = name.starts_with(b"user.")
        || name == CAPABILITY
        || name == b"system.posix_acl_access"
        || name == b"system.posix_acl_default";
    if !kept {
        return None;
    }
    if spelling == Spelling::Overlay && name.starts_with(OVERLAY) {
        let rest = name.strip_prefix(ESCAPED)?;
        return Some([OVERLAY, rest].concat());
    }
    Some(name.to_vec())
}

/// The name to write for a stored one.
fn written_name(name: &[u8], spelling: Spelling) -> Vec<u8> {
    match name.strip_prefix(OVERLAY) {
        Some(rest) if spelling == Spelling::Overlay => [ESCAPED, rest].concat(),
        _ => name.to_vec(),
    }
}

/// Where attributes are: an open file, or a name in an open directory (for what cannot be opened).
pub(crate) enum Place<'a, F: AsFd> {
    Open(F),
    Named(F, &'a CStr),
}

/// Path of a name in an open directory. There is no call for attributes relative to a directory
/// before Linux 6.13.
fn proc_path(dir: impl AsFd, name: &CStr) -> PathBuf {
    use std::os::fd::AsRawFd;
    let name = std::os::unix::ffi::OsStrExt::from_bytes(name.to_bytes());
    let dir = dir.as_fd().as_raw_fd();
    PathBuf::from(format!("/proc/self/fd/{dir}"))
        .join(std::path::Path::new::<std::ffi::OsStr>(name))
}

impl<F: AsFd> Place<'_, F> {
    fn list(&self, buffer: &mut Vec<u8>) -> rustix::io::Result<usize> {
        match self {
            Place::Open(fd) => flistxattr(fd, spare_capacity(buffer)),
            Place::Named(dir, name) => llistxattr(proc_path(dir, name), spare_capacity(buffer)),
        }
    }

    fn get(&self, key: &[u8], buffer: &mut Vec<u8>) -> rustix::io::Result<usize> {
        match self {
            Place::Open(fd) => fgetxattr(fd, key, spare_capacity(buffer)),
            Place::Named(dir, name) => lgetxattr(proc_path(dir, name), key, spare_capacity(buffer)),
        }
    }

    fn set(&self, key: &[u8], value: &[u8]) -> rustix::io::Result<()> {
        match self {
            Place::Open(fd) => fsetxattr(fd, key, value, XattrFlags::empty()),
            Place::Named(dir, name) => {
                lsetxattr(proc_path(dir, name), key, value, XattrFlags::empty())
            }
        }
    }

    /// Names of all attributes, as the file system spells them.
    pub fn names(&self) -> rustix::io::Result<Vec<Vec<u8>>> {
        let mut buffer = Vec::new();
        let mut room = 1024;
        loop {
            buffer.clear();
            buffer.reserve(room);
            match self.list(&mut buffer) {
                Ok(0) | Err(Errno::NOTSUP) => return Ok(Vec::new()),
                Ok(_) => break,
                Err(Errno::RANGE) if room < 1 << 20 => room *= 4,
                Err(error) => return Err(error),
            }
        }
        let names = buffer.split(|b| *b == 0).filter(|name| !name.is_empty());
        Ok(names.map(<[u8]>::to_vec).collect())
    }

    /// One attribute's value.
    pub fn value(&self, key: &[u8]) -> rustix::io::Result<Option<Vec<u8>>> {
        let mut buffer = Vec::new();
        let mut room = 256;
        loop {
            buffer.clear();
            buffer.reserve(room);
            match self.get(key, &mut buffer) {
                Ok(_) => return Ok(Some(buffer)),
                Err(Errno::NODATA | Errno::NOTSUP) => return Ok(None),
                Err(Errno::RANGE) if room < 1 << 20 => room *= 4,
                Err(error) => return Err(error),
            }
        }
    }

    /// The attributes that belong to a tree, sorted.
    pub fn read(&self, spelling: Spelling) -> rustix::io::Result<Attributes> {
        self.of_names(self.names()?, spelling)
    }

    fn of_names(&self, names: Vec<Vec<u8>>, spelling: Spelling) -> rustix::io::Result<Attributes> {
        let mut found = Vec::new();
        for name in names {
            let Some(stored) = stored_name(&name, spelling) else {
                continue;
            };
            // An attribute removed between the two calls is simply not there.
            if let Some(mut value) = self.value(&name)? {
                if stored == CAPABILITY {
                    normalise_capability(&mut value);
                }
                found.push((stored, value));
            }
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Reads like [`Place::read`], and removes attributes that no tree holds and that a build would see.
    pub fn read_and_strip(&self, spelling: Spelling) -> rustix::io::Result<Attributes> {
        let names = self.names()?;
        let strange = |name: &Vec<u8>| {
            stored_name(name, spelling).is_none()
                && (name.starts_with(b"security.") || name.starts_with(b"trusted."))
        };
        for name in names.iter().filter(|name| strange(name)) {
            // The label of a security module of this machine stays; everything here has one then.
            let _ = match self {
                Place::Open(fd) => fremovexattr(fd, name.as_slice()),
                Place::Named(dir, file) => lremovexattr(proc_path(dir, file), name.as_slice()),
            };
        }
        self.of_names(names, spelling)
    }

    /// Sets the attributes of an entry that has none yet.
    pub fn write(&self, attributes: &Attributes, spelling: Spelling) -> rustix::io::Result<()> {
        for (name, value) in attributes {
            self.set(&written_name(name, spelling), value)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_capability_of_the_machines_root_has_one_form() {
        let of = |version: u8, rest: &[u8]| {
            let mut value = vec![1, 0, 0, version];
            value.extend([0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
            value.extend(rest);
            value
        };
        let normal = |mut value: Vec<u8>| {
            normalise_capability(&mut value);
            value
        };
        assert_eq!(normal(of(3, &[0; 4])), of(2, &[]));
        for other in [
            of(2, &[]),
            of(3, &[1, 0, 0, 0]),
            of(3, &[0, 0, 0, 1]),
            vec![3; 24],
            vec![],
        ] {
            assert_eq!(normal(other.clone()), other);
        }
    }

    #[test]
    fn names_are_kept_dropped_and_spelled() {
        let plain = |name: &str| stored_name(name.as_bytes(), Spelling::Plain);
        let overlay = |name: &str| stored_name(name.as_bytes(), Spelling::Overlay);
        assert_eq!(plain("user.x").unwrap(), b"user.x");
        assert_eq!(plain("user.overlay.x").unwrap(), b"user.overlay.x");
        assert_eq!(plain("security.selinux"), None);
        assert_eq!(plain("trusted.overlay.opaque"), None);
        assert_eq!(overlay("user.overlay.opaque"), None);
        assert_eq!(
            overlay("user.overlay.overlay.opaque").unwrap(),
            b"user.overlay.opaque"
        );
        assert_eq!(
            written_name(b"user.overlay.opaque", Spelling::Overlay),
            b"user.overlay.overlay.opaque"
        );
        assert_eq!(written_name(b"user.a", Spelling::Overlay), b"user.a");
    }
}
