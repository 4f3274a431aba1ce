//! What a form of export cannot hold of a tree, and the tree without it.
//!
//! An export holds everything, or it is told beforehand what it cannot hold. Who takes the loss gets a
//! tree that the form holds whole, so that it does not depend on a tool what becomes of the rest.

use std::collections::HashMap;
use std::sync::Arc;

use crate::error::show;
use crate::ingest::Ingest;
use crate::links::Entries;
use crate::manifest::{Entry, Kind, MAX_DEPTH, Manifest, Meta, Mtime, Tree};
use crate::tar::acl;
use crate::{DirHash, Store, StoreError, TreeHash};

/// Paths named of each loss.
const NAMED: usize = 3;

/// A form of export.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExportForm {
    /// A tar archive.
    Tar,
    /// A folder in the OCI image layout.
    Oci,
    /// A squashfs image.
    Squashfs,
    /// An erofs image.
    Erofs,
    /// An ext4 file system.
    Ext4,
}

impl ExportForm {
    /// The longest path that it can hold, in bytes.
    pub fn longest_path(self) -> usize {
        match self {
            // What the system takes as one path; importing it again takes no longer ones either.
            ExportForm::Tar | ExportForm::Oci => 4096,
            // The tools read the tree from a folder by such paths.
            ExportForm::Squashfs | ExportForm::Erofs | ExportForm::Ext4 => 4080,
        }
    }

    /// The first and the last second that it can tell, if it tells whole seconds within bounds.
    fn times(self) -> Option<(i64, i64)> {
        match self {
            ExportForm::Squashfs => Some((0, i64::from(u32::MAX))),
            // The tool writes the old field of 32 bits alone.
            ExportForm::Ext4 => Some((i64::from(i32::MIN), i64::from(i32::MAX))),
            ExportForm::Tar | ExportForm::Oci | ExportForm::Erofs => None,
        }
    }

    /// Whether it makes several symbolic links of one with several names.
    fn parts_symlinks(self) -> bool {
        matches!(self, ExportForm::Squashfs | ExportForm::Ext4)
    }

    /// What it cannot hold of an entry, its place apart.
    fn losses_of(self, entry: &Entry) -> Vec<LossKind> {
        let mut all = self.losses_of_meta(&entry.meta);
        if self.drops(entry) {
            all.push(match entry.kind {
                Kind::Socket => LossKind::Socket,
                _ => LossKind::DeletionMark,
            });
        }
        all
    }

    fn losses_of_meta(self, meta: &Meta) -> Vec<LossKind> {
        let mut all = Vec::new();
        if self == ExportForm::Squashfs && meta.xattrs.iter().any(|(name, _)| is_access_list(name))
        {
            all.push(LossKind::AccessList);
        }
        if let Some((least, most)) = self.times() {
            if clamped(meta.mtime, least, most) != meta.mtime {
                all.push(match self {
                    ExportForm::Ext4 => LossKind::FarTime,
                    _ => LossKind::Time,
                });
            } else if meta.mtime.nanos != 0 {
                all.push(LossKind::Fraction);
            }
        }
        all
    }

    /// Whether it cannot hold an entry at all.
    fn drops(self, entry: &Entry) -> bool {
        match self {
            ExportForm::Tar => entry.kind == Kind::Socket,
            // In a layer such names delete others.
            ExportForm::Oci => entry.kind == Kind::Socket || entry.name.starts_with(b".wh."),
            ExportForm::Squashfs | ExportForm::Erofs | ExportForm::Ext4 => false,
        }
    }

    /// Metadata as it can hold them.
    fn reduced_meta(self, meta: &Meta) -> Meta {
        let mut meta = meta.clone();
        if self == ExportForm::Squashfs {
            let list = meta.xattrs.iter().find(|(name, _)| name == acl::ACCESS);
            // With a list, the middle bits of the mode are what anybody but the owner may have at most.
            if let Some(group) = list.and_then(|(_, value)| acl::owning_group(value)) {
                meta.mode = meta.mode & !0o070 | group << 3;
            }
            meta.xattrs.retain(|(name, _)| !is_access_list(name));
        }
        if let Some((least, most)) = self.times() {
            meta.mtime = clamped(meta.mtime, least, most);
        }
        meta
    }
}

fn is_access_list(name: &[u8]) -> bool {
    name == acl::ACCESS || name == acl::DEFAULT
}

/// The nearest time within bounds, in seconds since 1970.
fn clamped(time: Mtime, least: i64, most: i64) -> Mtime {
    match time.secs {
        secs if secs < least => Mtime {
            secs: least,
            nanos: 0,
        },
        secs if secs > most => Mtime {
            secs: most,
            nanos: 0,
        },
        _ => time,
    }
}

/// What a form cannot hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum LossKind {
    /// A socket.
    Socket,
    /// A path that is too long, with all below it.
    LongPath,
    /// A name that would delete another.
    DeletionMark,
    /// An access control list.
    AccessList,
    /// That several symbolic links are one.
    LinkedSymlink,
    /// A time before 1970 or after 2106.
    Time,
    /// A time before 1901 or after 2038.
    FarTime,
    /// The fraction of a second of a time.
    Fraction,
}

impl LossKind {
    const ALL: [LossKind; 8] = [
        LossKind::Socket,
        LossKind::LongPath,
        LossKind::DeletionMark,
        LossKind::AccessList,
        LossKind::LinkedSymlink,
        LossKind::Time,
        LossKind::FarTime,
        LossKind::Fraction,
    ];

    /// The words for one or several.
    pub fn words(self, several: bool) -> &'static str {
        match (self, several) {
            (LossKind::Socket, false) => "socket",
            (LossKind::Socket, true) => "sockets",
            (LossKind::LongPath, false) => "path that is too long",
            (LossKind::LongPath, true) => "paths that are too long",
            (LossKind::DeletionMark, false) => "name that begins with .wh.",
            (LossKind::DeletionMark, true) => "names that begin with .wh.",
            (LossKind::AccessList, false) => "access control list",
            (LossKind::AccessList, true) => "access control lists",
            (LossKind::LinkedSymlink, false) => "symbolic link with several names",
            (LossKind::LinkedSymlink, true) => "symbolic links with several names",
            (LossKind::Time, false) => "time before 1970 or after 2106",
            (LossKind::Time, true) => "times before 1970 or after 2106",
            (LossKind::FarTime, false) => "time before 1901 or after 2038",
            (LossKind::FarTime, true) => "times before 1901 or after 2038",
            (LossKind::Fraction, false) => "fraction of a second",
            (LossKind::Fraction, true) => "fractions of seconds",
        }
    }

    /// Whether it is only told, and no reason to write nothing.
    pub fn is_small(self) -> bool {
        self == LossKind::Fraction
    }
}

/// Some of the same kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The kind.
    pub kind: LossKind,
    /// How many there are.
    pub count: u64,
    /// The paths of the first, without a leading `/`; `.` for the root.
    pub paths: Vec<Vec<u8>>,
}

/// What one directory has below it.
#[derive(Debug, Default)]
struct Summary {
    losses: HashMap<LossKind, (u64, Vec<Vec<u8>>)>,
    /// Bytes of the longest path below it.
    longest: usize,
}

impl Summary {
    fn add(&mut self, kind: LossKind, count: u64, paths: impl IntoIterator<Item = Vec<u8>>) {
        let (sum, named) = self.losses.entry(kind).or_default();
        *sum = sum.saturating_add(count);
        let left = NAMED - named.len();
        named.extend(paths.into_iter().take(left));
    }
}

fn join(above: &[u8], name: &[u8]) -> Vec<u8> {
    match above.is_empty() {
        true => name.to_vec(),
        false => [above, b"/", name].concat(),
    }
}

/// Looks for losses, each directory once, wherever it is.
struct Looking<'a> {
    store: &'a Store,
    form: ExportForm,
    known: HashMap<DirHash, Arc<Summary>>,
}

impl Looking<'_> {
    fn below(&mut self, dir: DirHash, depth: usize) -> Result<Arc<Summary>, StoreError> {
        if let Some(known) = self.known.get(&dir) {
            return Ok(known.clone());
        }
        if depth > MAX_DEPTH {
            return Err(StoreError::TooDeep {
                limit: MAX_DEPTH,
                path: String::new(),
            });
        }
        let mut summary = Summary::default();
        for entry in self.store.manifest(dir)?.entries() {
            for kind in self.form.losses_of(entry) {
                summary.add(kind, 1, [entry.name.clone()]);
            }
            let mut length = entry.name.len();
            if let Kind::Dir { manifest } = entry.kind {
                let below = self.below(manifest, depth + 1)?;
                for kind in LossKind::ALL {
                    if let Some((count, paths)) = below.losses.get(&kind) {
                        let paths = paths.iter().map(|path| join(&entry.name, path));
                        summary.add(kind, *count, paths);
                    }
                }
                if below.longest > 0 {
                    length += 1 + below.longest;
                }
            }
            summary.longest = summary.longest.max(length);
        }
        let summary = Arc::new(summary);
        self.known.insert(dir, summary.clone());
        Ok(summary)
    }

    /// Whether all paths below a directory are short enough.
    fn fits(&mut self, above: &[u8], dir: DirHash) -> Result<bool, StoreError> {
        let longest = self.below(dir, 0)?.longest;
        Ok(longest == 0 || above.len() + 1 + longest <= self.form.longest_path())
    }

    fn long_paths(
        &mut self,
        above: &[u8],
        dir: DirHash,
        found: &mut Summary,
    ) -> Result<(), StoreError> {
        if self.fits(above, dir)? {
            return Ok(());
        }
        for entry in self.store.manifest(dir)?.entries() {
            let path = join(above, &entry.name);
            if path.len() > self.form.longest_path() {
                found.add(LossKind::LongPath, 1, [path]);
            } else if let Kind::Dir { manifest } = entry.kind {
                self.long_paths(&path, manifest, found)?;
            }
        }
        Ok(())
    }
}

/// Makes directories without what is lost.
struct Reducing<'a> {
    looking: Looking<'a>,
    ingest: &'a Ingest,
    done: HashMap<DirHash, DirHash>,
}

impl Reducing<'_> {
    fn dir(&mut self, above: &[u8], dir: DirHash) -> Result<DirHash, StoreError> {
        let fits = self.looking.fits(above, dir)?;
        if fits && let Some(done) = self.done.get(&dir) {
            return Ok(*done);
        }
        let form = self.looking.form;
        let mut entries = Vec::new();
        for entry in self.looking.store.manifest(dir)?.into_entries() {
            let path = join(above, &entry.name);
            if form.drops(&entry) || path.len() > form.longest_path() {
                continue;
            }
            let kind = match entry.kind {
                Kind::Dir { manifest } => Kind::Dir {
                    manifest: self.dir(&path, manifest)?,
                },
                other => other,
            };
            entries.push(Entry {
                meta: form.reduced_meta(&entry.meta),
                name: entry.name,
                kind,
            });
        }
        let manifest = Manifest::new(entries).map_err(|error| StoreError::BadEntry {
            path: show(&error.name),
            reason: error.reason,
        })?;
        let new = self.ingest.put_manifest(&manifest)?;
        if fits {
            self.done.insert(dir, new);
        }
        Ok(new)
    }
}

impl Store {
    /// What a form of export cannot hold of a tree; nothing when it holds all of it.
    pub fn losses(&self, tree: TreeHash, form: ExportForm) -> Result<Vec<Loss>, StoreError> {
        let _lease = self.reading(tree)?;
        let tree = self.tree(tree)?;
        let mut looking = Looking {
            store: self,
            form,
            known: HashMap::new(),
        };
        let mut found = Summary::default();
        for kind in form.losses_of_meta(&tree.root) {
            found.add(kind, 1, [b".".to_vec()]);
        }
        let below = looking.below(tree.dir, 0)?;
        for kind in LossKind::ALL {
            if let Some((count, paths)) = below.losses.get(&kind) {
                found.add(kind, *count, paths.iter().cloned());
            }
        }
        looking.long_paths(b"", tree.dir, &mut found)?;
        if form.parts_symlinks() {
            let read = |dir: &DirHash| self.manifest(*dir);
            let mut entries = Entries::new(tree.dir, &read);
            for group in &tree.links {
                let first = entries.get(&group[0])?;
                if first.is_some_and(|entry| matches!(entry.kind, Kind::Symlink { .. })) {
                    found.add(LossKind::LinkedSymlink, 1, [group[0].clone()]);
                }
            }
        }
        let all = LossKind::ALL.into_iter();
        Ok(all
            .filter_map(|kind| {
                let (count, paths) = found.losses.remove(&kind)?;
                Some(Loss { kind, count, paths })
            })
            .collect())
    }

    /// The tree without what a form of export cannot hold. It is kept until the last handle of this store is
    /// dropped.
    pub fn reduced(&self, tree: TreeHash, form: ExportForm) -> Result<TreeHash, StoreError> {
        let _lease = self.reading(tree)?;
        let whole = self.tree(tree)?;
        let ingest = Ingest::begin(self)?;
        let mut reducing = Reducing {
            looking: Looking {
                store: self,
                form,
                known: HashMap::new(),
            },
            ingest: &ingest,
            done: HashMap::new(),
        };
        let dir = reducing.dir(b"", whole.dir)?;
        let read = |dir: &DirHash| self.manifest(*dir);
        let mut entries = Entries::new(whole.dir, &read);
        let mut links = Vec::new();
        for group in whole.links {
            let mut kept = Vec::new();
            for path in group {
                let stays = path.len() <= form.longest_path()
                    && entries.get(&path)?.is_some_and(|entry| {
                        let linked = matches!(entry.kind, Kind::Symlink { .. });
                        !(form.drops(&entry) || linked && form.parts_symlinks())
                    })
                    && !(form == ExportForm::Oci
                        && path.split(|b| *b == b'/').any(|n| n.starts_with(b".wh.")));
                if stays {
                    kept.push(path);
                }
            }
            links.push(kept);
        }
        let reduced = ingest.put_tree(&Tree {
            root: form.reduced_meta(&whole.root),
            dir,
            links: Tree::normal_links(links),
        })?;
        ingest.commit(reduced)?;
        Ok(reduced)
    }
}
