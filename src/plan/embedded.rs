//! The standard specs and the built-in snapshot, carried inside the binary.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use mstore_store::{Hash, TreeHash};

use super::pin::Pin;

/// The folder at which the standard specs appear to every spec file.
pub const VIRTUAL_SPECS: &str = "/usr/share/mstore/specs";

/// The entry file that is used when the user has none.
pub const BUILTIN_ENTRY: &str = "/usr/share/mstore/specs/metro.conf";

/// The time stamp of every file of a snapshot, 1980-01-01: the content alone tells trees apart.
pub const SNAPSHOT_MTIME: i64 = crate::drv::derivation::DEFAULT_EPOCH;

/// One file of the standard specs.
#[derive(Debug)]
pub struct Embedded {
    /// Its path below the folder of the standard specs.
    pub path: &'static str,
    /// Whether it may be executed.
    pub executable: bool,
    /// What it contains.
    pub data: &'static [u8],
}

static FILES: &[Embedded] = include!(concat!(env!("OUT_DIR"), "/embedded_specs.rs"));

/// Every file of the standard specs, sorted by path.
pub fn standard_specs() -> &'static [Embedded] {
    FILES
}

/// The file of the standard specs at `path`, relative to their folder.
pub fn standard_spec(path: &str) -> Option<&'static Embedded> {
    let at = FILES.binary_search_by(|f| f.path.cmp(path)).ok()?;
    FILES.get(at)
}

/// Files of the standard specs that a user's files can replace: all but those of the built-in snapshots.
pub fn replaceable() -> impl Iterator<Item = &'static Embedded> {
    let of_snapshot = |file: &Embedded| SNAPSHOTS.iter().any(|s| file.path.starts_with(s.folder));
    FILES.iter().filter(move |file| !of_snapshot(file))
}

/// A snapshot that comes with the binary.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BuiltinSnapshot {
    name: &'static str,
    folder: &'static str,
    date: &'static str,
}

/// Names the built-in snapshots and the folder of the standard specs that each lies in.
const SNAPSHOTS: &[BuiltinSnapshot] = &[BuiltinSnapshot {
    name: "seedling",
    folder: "ports/",
    date: "2026-11-20",
}];

/// The built-in snapshot `name`.
pub fn builtin_snapshot(name: &str) -> Option<BuiltinSnapshot> {
    SNAPSHOTS.iter().find(|s| s.name == name).copied()
}

/// The names of all built-in snapshots.
pub fn builtin_snapshot_names() -> impl Iterator<Item = &'static str> {
    SNAPSHOTS.iter().map(|s| s.name)
}

impl BuiltinSnapshot {
    /// The name specs know it by.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Its files with paths relative to the snapshot's root, sorted.
    pub fn files(&self) -> impl Iterator<Item = Embedded> + '_ {
        let folder = self.folder;
        FILES.iter().filter_map(move |f| {
            Some(Embedded {
                path: f.path.strip_prefix(folder)?,
                executable: f.executable,
                data: f.data,
            })
        })
    }

    /// A digest of names, modes and contents. The lock file remembers it, so that a newer binary
    /// knows that the snapshot it once imported is not the one it carries now.
    pub fn digest(&self) -> String {
        let mut text = Vec::new();
        for file in self.files() {
            text.extend_from_slice(file.path.as_bytes());
            text.push(0);
            text.push(u8::from(file.executable));
            text.extend_from_slice(Hash::of(file.data).as_bytes());
        }
        Hash::of(&text).to_string()[..16].to_owned()
    }

    /// The pin of the `tree` that it was imported as. Its date is that of this edition, not of the
    /// import: the same binary makes the same `target/version` everywhere.
    pub fn pin(&self, tree: TreeHash) -> Pin {
        Pin {
            tree,
            date: Some(self.date.to_owned()),
            epoch: None,
            origin: Some(self.origin()),
            from: None,
        }
    }

    /// The `origin` a lock entry made from it has.
    pub fn origin(&self) -> String {
        format!("builtin/{}/{}", self.name, self.digest())
    }

    /// Writes the files below `dir`, which must exist and be empty, with fixed modes and time stamps.
    pub fn unpack(&self, dir: &Path) -> io::Result<()> {
        let time = std::time::UNIX_EPOCH + std::time::Duration::from_secs(SNAPSHOT_MTIME as u64);
        let mut folders = std::collections::BTreeSet::new();
        for file in self.files() {
            let path = dir.join(file.path);
            let mut parent = Path::new(file.path).parent();
            while let Some(p) = parent.filter(|p| !p.as_os_str().is_empty()) {
                folders.insert(dir.join(p));
                parent = p.parent();
            }
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(&path, file.data)?;
            let mode = if file.executable { 0o755 } else { 0o644 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode))?;
            fs::File::options()
                .write(true)
                .open(&path)?
                .set_modified(time)?;
        }
        folders.insert(dir.to_owned());
        // Deepest first: writing into a folder would touch its time again.
        for folder in folders.iter().rev() {
            fs::set_permissions(folder, fs::Permissions::from_mode(0o755))?;
            fs::File::open(folder)?.set_modified(time)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_sorted_and_found_by_name() {
        assert!(FILES.windows(2).all(|w| w[0].path < w[1].path));
        for file in FILES {
            assert_eq!(standard_spec(file.path).map(|f| f.path), Some(file.path));
        }
        assert!(standard_spec("no/such/file").is_none());
    }

    #[test]
    fn an_unpacked_snapshot_has_fixed_modes_and_times() -> io::Result<()> {
        let dir = tempfile::tempdir()?;
        let snapshot = SNAPSHOTS[0];
        snapshot.unpack(dir.path())?;
        for file in snapshot.files() {
            let meta = fs::metadata(dir.path().join(file.path))?;
            assert_eq!(
                meta.permissions().mode() & 0o7777,
                if file.executable { 0o755 } else { 0o644 }
            );
            let modified = meta.modified()?.duration_since(std::time::UNIX_EPOCH);
            assert_eq!(modified.map(|d| d.as_secs()).ok(), Some(315_532_800));
        }
        assert_eq!(snapshot.digest().len(), 16);
        Ok(())
    }
}
