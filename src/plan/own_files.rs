//! Files that a user adds to the standard specifications: for each folder of them what such a file has to
//! define, and a standard one that is like it.
//!
//! `user/subarches/ARCH` and its like name files that nobody has written yet; the error then says what to write.

use std::path::Path;

use mstore_lang::Diagnostic;

use super::embedded::VIRTUAL_SPECS;
use super::files::shadow_of;

/// A folder of the standard specifications that takes files of the user's own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OwnFiles {
    /// The folder, below that of the standard specifications.
    pub folder: &'static str,
    /// The section that a file of it has.
    pub section: &'static str,
    /// The elements of that section that have to be defined.
    pub defines: &'static [&'static str],
    /// What it has to define besides, in other sections.
    pub besides: &'static str,
    /// A standard file that is like it, below the folder of the standard specifications.
    pub like: &'static str,
}

/// All such folders.
pub const OWN_FILES: [OwnFiles; 3] = [
    OwnFiles {
        folder: "subarch",
        section: "subarch",
        defines: &["machine", "CHOST", "CFLAGS", "CPU_FLAGS"],
        besides: "",
        like: "subarch/generic_64.conf",
    },
    OwnFiles {
        folder: "arch",
        section: "arch",
        defines: &["CFLAGS", "profile", "profile/gentoo", "cpu_flags"],
        besides: "",
        like: "arch/x86-64bit.conf",
    },
    OwnFiles {
        folder: "builds",
        section: "build",
        defines: &[
            "style",
            "strategy",
            "snapshot",
            "snapshot/path",
            "timeout",
            "motd (a block)",
        ],
        besides: " (with style seedling also `seedling/services`)",
        like: "builds/seedling.conf",
    },
];

impl OwnFiles {
    /// The folder that a file of the standard specifications would lie in, if it takes files of the user's own.
    /// The path is that of the file as specifications see it.
    pub fn of(path: &Path) -> Option<&'static OwnFiles> {
        let path = path.strip_prefix(VIRTUAL_SPECS).ok()?;
        let parent = path.parent()?;
        OWN_FILES.iter().find(|own| Path::new(own.folder) == parent)
    }
}

/// Says in an error about a file that is not there what to write, where it is one that the user adds.
pub(super) fn advise(found: &mut Diagnostic, entry: &Path) {
    let Some(path) = &found.missing else { return };
    let Some(own) = OwnFiles::of(path) else {
        return;
    };
    // Cannot fail: it lies in that folder.
    let below = path.strip_prefix(VIRTUAL_SPECS).unwrap_or(path);
    let place = match shadow_of(entry) {
        Some(shadow) => shadow.join(below).display().to_string(),
        None => format!("specs/{} beside a metro.conf of your own", below.display()),
    };
    found.help = vec![format!(
        "write {place}, with `[section {}]` and in it {}{}; the standard {} is like it",
        own.section,
        and(own.defines),
        own.besides,
        own.like
    )];
}

/// Words with `and` before the last.
fn and(words: &[&str]) -> String {
    match words {
        [] => String::new(),
        [one] => (*one).to_owned(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}
