//! Extended attributes that an entry can have, so that what is imported can be checked out again.
//!
//! An archive can claim what no file system holds. Taken as it is, it would make a tree whose
//! checkout fails, or never equals the tree.

use super::acl;
use super::error::{EntryFault, show};
use super::reader::{Member, MemberKind};
use crate::attributes::{CAPABILITY, Spelling, normalise_capability, stored_name};

/// What the attributes of a member make of it.
#[derive(Debug, Default)]
pub(crate) struct Attributes {
    /// Those that belong to a tree, sorted.
    pub list: Vec<(Vec<u8>, Vec<u8>)>,
    /// The mode, where an access list decides about it.
    pub mode: Option<u16>,
}

/// The attributes of a member that an import of a folder would keep, each as Linux gives it back.
pub(crate) fn fitting(member: &Member) -> Result<Attributes, EntryFault> {
    let mut fitting = Attributes::default();
    for (name, value) in &member.xattrs {
        let Some(stored) = stored_name(name, Spelling::Plain) else {
            continue;
        };
        let fault = |why| {
            Err(EntryFault::Xattr {
                name: show(name),
                why,
            })
        };
        let kind = member.kind;
        let plain = matches!(kind, MemberKind::File | MemberKind::Dir);
        if stored == acl::ACCESS || stored == acl::DEFAULT {
            let is_default = stored == acl::DEFAULT;
            if is_default && kind != MemberKind::Dir {
                return fault("cannot be on anything but a directory");
            }
            if kind == MemberKind::Symlink {
                return fault("cannot be on a symlink");
            }
            let taken = acl::taken(value, is_default)?;
            if let Some(mode) = taken.mode {
                // As on a file system: of the list and the mode, the list is set last.
                fitting.mode = Some(member.mode & 0o7000 | mode);
            }
            if let Some(value) = taken.value {
                fitting.list.push((stored, value));
            }
            continue;
        }
        if !plain {
            return fault("cannot be on anything but a file or a directory");
        }
        if stored == CAPABILITY && !is_capability(value) {
            return fault("is not a set of capabilities");
        }
        let mut value = value.clone();
        if stored == CAPABILITY {
            normalise_capability(&mut value);
        }
        fitting.list.push((stored, value));
    }
    Ok(fitting)
}

/// Whether the kernel takes these bytes: a header of revision 2, or of 3 with the user namespace's root behind it.
fn is_capability(value: &[u8]) -> bool {
    let revision = value.get(3).copied();
    matches!((revision, value.len()), (Some(2), 20) | (Some(3), 24))
}
