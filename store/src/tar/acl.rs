//! POSIX access control lists: the text of PAX records and the kernel's binary attribute, either from the other.

use super::error::{EntryFault, show};

/// The attribute that holds the access list.
pub(crate) const ACCESS: &[u8] = b"system.posix_acl_access";
/// The attribute that holds the list that new children inherit.
pub(crate) const DEFAULT: &[u8] = b"system.posix_acl_default";

const VERSION: u32 = 2;
const USER_OBJ: u16 = 0x01;
const USER: u16 = 0x02;
const GROUP_OBJ: u16 = 0x04;
const GROUP: u16 = 0x08;
const MASK: u16 = 0x10;
const OTHER: u16 = 0x20;
/// The id of entries that name nobody.
const NOBODY: u32 = u32::MAX;

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Entry {
    tag: u16,
    id: u32,
    permissions: u16,
}

/// Reads the text form (`user::rwx,user:1000:r-x,...`); `None` when the list says no more than the mode does.
///
/// Named entries must carry a number: which user a name means is nothing that an archive can say.
pub(crate) fn from_text(text: &[u8], is_default: bool) -> Result<Option<Vec<u8>>, EntryFault> {
    let fault = |why: String| EntryFault::Acl { why };
    let text = std::str::from_utf8(text).map_err(|_| fault("it is not text".into()))?;
    let mut entries = Vec::new();
    for item in text.split([',', '\n']) {
        let item = item.split('#').next().unwrap_or("").trim();
        if item.is_empty() {
            continue;
        }
        let wrong = || fault(format!("cannot read \"{}\"", show(item.as_bytes())));
        let fields: Vec<&str> = item.split(':').map(str::trim).collect();
        // Some tools write "other:r-x" and "mask:r-x" with one colon.
        let (kind, who, permissions, extra) = match fields[..] {
            [kind @ ("other" | "o" | "mask" | "m"), permissions] => (kind, "", permissions, None),
            [kind, who, permissions] => (kind, who, permissions, None),
            [kind, who, permissions, id] => (kind, who, permissions, Some(id)),
            _ => return Err(wrong()),
        };
        let mut bits = 0;
        for c in permissions.chars() {
            bits |= match c {
                'r' => 4,
                'w' => 2,
                'x' => 1,
                '-' => 0,
                _ => return Err(wrong()),
            };
        }
        let tag = match (kind, who.is_empty()) {
            ("user" | "u", true) => USER_OBJ,
            ("user" | "u", false) => USER,
            ("group" | "g", true) => GROUP_OBJ,
            ("group" | "g", false) => GROUP,
            ("mask" | "m", true) => MASK,
            ("other" | "o", true) => OTHER,
            _ => return Err(wrong()),
        };
        let id = if matches!(tag, USER | GROUP) {
            let digits = extra.unwrap_or(who);
            match digits.parse::<u32>() {
                Ok(id) if id != NOBODY && digits.bytes().all(|b| b.is_ascii_digit()) => id,
                _ => {
                    return Err(EntryFault::AclName {
                        who: format!("{kind} \"{}\"", show(who.as_bytes())),
                    });
                }
            }
        } else {
            NOBODY
        };
        entries.push(Entry {
            tag,
            id,
            permissions: bits,
        });
    }
    entries.sort();
    check(&entries)?;
    if entries.is_empty() || (!is_default && entries.len() == 3) {
        return Ok(None);
    }
    let mut out = VERSION.to_le_bytes().to_vec();
    for entry in &entries {
        out.extend(entry.tag.to_le_bytes());
        out.extend(entry.permissions.to_le_bytes());
        out.extend(entry.id.to_le_bytes());
    }
    Ok(Some(out))
}

/// What the owning group may do by a list, of the three bits of a mode.
pub(crate) fn owning_group(value: &[u8]) -> Option<u16> {
    let (mut group, mut mask) = (None, 7);
    for entry in value.get(4..)?.chunks_exact(8) {
        let permissions = u16::from_le_bytes([entry[2], entry[3]]) & 7;
        match u16::from_le_bytes([entry[0], entry[1]]) {
            GROUP_OBJ => group = Some(permissions),
            MASK => mask = permissions,
            _ => {}
        }
    }
    Some(group? & mask)
}

/// What the kernel makes of a list when it is set.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Taken {
    /// The attribute that a file then has; `None` when the list says no more than a mode does.
    pub value: Option<Vec<u8>>,
    /// The nine lower bits of the mode that an access list brings about.
    pub mode: Option<u16>,
}

/// Judges the binary form as the kernel does, which takes entries in one order only.
pub(crate) fn taken(value: &[u8], is_default: bool) -> Result<Taken, EntryFault> {
    let fault = |why: &str| EntryFault::Acl { why: why.into() };
    let damaged = || fault("its bytes are not a list");
    let (head, body) = value.split_first_chunk::<4>().ok_or_else(damaged)?;
    if u32::from_le_bytes(*head) != VERSION || body.len() % 8 != 0 {
        return Err(damaged());
    }
    let mut out = head.to_vec();
    let mut before = 0;
    let mut named = false;
    let (mut user, mut group, mut mask, mut other) = (None, None, None, None);
    for entry in body.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let permissions = u16::from_le_bytes([entry[2], entry[3]]);
        let mut id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        if permissions > 7 || tag < before {
            return Err(damaged());
        }
        let once = match tag {
            USER_OBJ => Some(&mut user),
            GROUP_OBJ => Some(&mut group),
            MASK => Some(&mut mask),
            OTHER => Some(&mut other),
            USER | GROUP => None,
            _ => return Err(damaged()),
        };
        match once {
            Some(slot) => {
                if slot.replace(permissions).is_some() {
                    return Err(fault("it has the same entry twice"));
                }
                id = NOBODY;
            }
            None if id == NOBODY => return Err(damaged()),
            None => named = true,
        }
        before = tag;
        out.extend(tag.to_le_bytes());
        out.extend(permissions.to_le_bytes());
        out.extend(id.to_le_bytes());
    }
    if body.is_empty() {
        return Ok(Taken {
            value: None,
            mode: None,
        });
    }
    let (Some(user), Some(group), Some(other)) = (user, group, other) else {
        return Err(fault(
            "it lacks an entry for the owner, the group or others",
        ));
    };
    if named && mask.is_none() {
        return Err(fault("it names users or groups but has no mask"));
    }
    let plain = !named && mask.is_none();
    Ok(Taken {
        value: (is_default || !plain).then_some(out),
        mode: (!is_default).then_some(user << 6 | mask.unwrap_or(group) << 3 | other),
    })
}

/// Writes the kernel's binary form as numeric text, if that text leads back to the very same bytes.
pub(crate) fn to_text(value: &[u8], is_default: bool) -> Option<String> {
    let (head, body) = value.split_first_chunk::<4>()?;
    if u32::from_le_bytes(*head) != VERSION || body.len() % 8 != 0 {
        return None;
    }
    let mut items = Vec::new();
    for entry in body.chunks_exact(8) {
        let tag = u16::from_le_bytes([entry[0], entry[1]]);
        let permissions = u16::from_le_bytes([entry[2], entry[3]]);
        let id = u32::from_le_bytes([entry[4], entry[5], entry[6], entry[7]]);
        let bits: String = [(4, 'r'), (2, 'w'), (1, 'x')]
            .map(|(bit, c)| if permissions & bit != 0 { c } else { '-' })
            .into_iter()
            .collect();
        items.push(match tag {
            USER_OBJ => format!("user::{bits}"),
            USER => format!("user:{id}:{bits}"),
            GROUP_OBJ => format!("group::{bits}"),
            GROUP => format!("group:{id}:{bits}"),
            MASK => format!("mask::{bits}"),
            OTHER => format!("other::{bits}"),
            _ => return None,
        });
    }
    let text = items.join(",");
    let back = from_text(text.as_bytes(), is_default).ok()??;
    (back == value).then_some(text)
}

/// The rules that the kernel has for a list: the three base entries once, a mask where anyone is named, nobody twice.
fn check(sorted: &[Entry]) -> Result<(), EntryFault> {
    if sorted.is_empty() {
        return Ok(());
    }
    let fault = |why: &str| EntryFault::Acl { why: why.into() };
    if sorted
        .windows(2)
        .any(|w| w[0].tag == w[1].tag && w[0].id == w[1].id)
    {
        return Err(fault("it has the same entry twice"));
    }
    let has = |tag| sorted.iter().any(|e| e.tag == tag);
    if !(has(USER_OBJ) && has(GROUP_OBJ) && has(OTHER)) {
        return Err(fault(
            "it lacks an entry for the owner, the group or others",
        ));
    }
    if (has(USER) || has(GROUP)) && !has(MASK) {
        return Err(fault("it names users or groups but has no mask"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_of_gnu_tar_and_of_bsdtar_mean_the_same() {
        let gnu = b"user::rw-,user:1000:r-x,group::r--,mask::r-x,other::r--";
        let bsd = b"user::rw-\nuser:daemon:r-x:1000\ngroup::r--\nmask::r-x\nother::r--\n";
        let value = from_text(gnu, false).unwrap().unwrap();
        assert_eq!(from_text(bsd, false).unwrap().unwrap(), value);
        assert_eq!(value.len(), 4 + 5 * 8);
        assert_eq!(to_text(&value, false).unwrap().as_bytes(), gnu);
    }

    #[test]
    fn a_list_that_the_mode_says_already_is_no_attribute() {
        assert_eq!(
            from_text(b"user::rw-,group::r--,other::r--", false),
            Ok(None)
        );
        assert!(
            from_text(b"user::rwx,group::r-x,other::r-x", true)
                .unwrap()
                .is_some()
        );
    }

    #[test]
    fn names_without_numbers_and_nonsense_are_refused() {
        let named = from_text(
            b"user::rw-,user:daemon:r-x,group::r--,mask::r-x,other::r--",
            false,
        );
        assert!(named.unwrap_err().to_string().contains("without a number"));
        for bad in [
            &b"user::rw-"[..],
            b"user::rwz,group::r--,other::r--",
            b"user::rw-,user:5:r--,group::r--,other::r--",
            b"user::rw-,user::rw-,group::r--,other::r--",
            b"\xff",
            b"king::rwx,user::rw-,group::r--,other::r--",
        ] {
            assert!(from_text(bad, false).is_err(), "{}", show(bad));
        }
    }

    #[test]
    fn binary_lists_that_are_not_canonical_stay_attributes() {
        assert_eq!(to_text(b"", false), None);
        assert_eq!(to_text(&[2, 0, 0, 0, 1], false), None);
        let mut value = from_text(
            b"user::rw-,user:7:r--,group::r--,mask::r--,other::r--",
            false,
        )
        .unwrap()
        .unwrap();
        value.swap(4, 12);
        assert_eq!(to_text(&value, false), None);
    }
}
