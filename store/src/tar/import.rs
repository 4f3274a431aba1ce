//! From the members of an archive to the entries of a tree: every name judged, every promise checked.

use std::collections::HashMap;
use std::collections::hash_map::Entry as Slot;
use std::io::{self, BufRead, Read};
use std::sync::mpsc::sync_channel;

use super::attributes::{self, Attributes};
use super::error::{EntryFault, TarError, show};
use super::path::{ancestors, clean};
use super::pump::{AHEAD, Pumped, pump};
use super::reader::{Member, MemberKind, Reader};
use super::{Devices, StripTop, TarOptions};
use crate::compress::Decoder;
use crate::manifest::{MAX_TARGET, MAX_XATTRS, Meta, Mtime};
use crate::{Imported, Node, Store, StoreError, TreeBuilder};

/// Where entries go: a tree being made, or in tests something simpler.
pub(crate) trait Sink {
    fn dir(&mut self, path: &[u8], meta: Meta) -> Result<(), StoreError>;
    fn file(&mut self, path: &[u8], meta: Meta, content: &mut dyn Read) -> Result<(), StoreError>;
    fn symlink(&mut self, path: &[u8], meta: Meta, target: &[u8]) -> Result<(), StoreError>;
    fn node(&mut self, path: &[u8], meta: Meta, node: Node) -> Result<(), StoreError>;
    /// One more name of the file at `target`, which was given before.
    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError>;
    /// Another entry like the one at `target`, which was given before and is not a folder.
    fn copy(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError>;
}

impl Sink for TreeBuilder {
    fn dir(&mut self, path: &[u8], meta: Meta) -> Result<(), StoreError> {
        TreeBuilder::dir(self, path, meta)
    }

    fn file(&mut self, path: &[u8], meta: Meta, content: &mut dyn Read) -> Result<(), StoreError> {
        TreeBuilder::file(self, path, meta, content).map(drop)
    }

    fn symlink(&mut self, path: &[u8], meta: Meta, target: &[u8]) -> Result<(), StoreError> {
        TreeBuilder::symlink(self, path, meta, target)
    }

    fn node(&mut self, path: &[u8], meta: Meta, node: Node) -> Result<(), StoreError> {
        TreeBuilder::node(self, path, meta, node)
    }

    fn hard_link(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError> {
        TreeBuilder::hard_link(self, path, target)
    }

    fn copy(&mut self, path: &[u8], target: &[u8]) -> Result<(), StoreError> {
        TreeBuilder::copy(self, path, target)
    }
}

impl Store {
    /// Reads an archive into the store, durably. See [`crate::tar`].
    ///
    /// The archive is read to its last byte, in a thread of its own. Nothing is visible in the store
    /// unless all of it was good.
    pub fn import_tar(
        &self,
        archive: impl Read + Send,
        options: &TarOptions,
    ) -> Result<Imported, StoreError> {
        let mut builder = self.tree_builder()?;
        read_ahead(archive, &mut builder, options)?;
        let imported = builder.finish()?;
        self.strip_top(imported, options.strip_top)
    }

    /// Makes the one folder at the top the root.
    fn strip_top(&self, imported: Imported, strip: StripTop) -> Result<Imported, StoreError> {
        if strip == StripTop::No {
            return Ok(imported);
        }
        let root = self.manifest(self.tree(imported.tree)?.dir)?;
        let name = match root.entries() {
            [only] if only.kind.is_dir() => std::str::from_utf8(&only.name).ok(),
            _ => None,
        };
        match name {
            Some(name) => Ok(Imported {
                tree: self.subtree(imported.tree, name)?,
                entries: imported.entries.saturating_sub(1),
                ..imported
            }),
            None if strip == StripTop::IfSingle => Ok(imported),
            None => {
                let found = match root.entries() {
                    [] => "nothing".into(),
                    [only] => format!("the {} \"{}\"", only.kind.word(), show(&only.name)),
                    many => format!("{} entries", many.len()),
                };
                Err(TarError::NoSingleTop { found }.into())
            }
        }
    }
}

/// What an archive holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// Entries, repeated folders counted once.
    pub entries: u64,
    /// Bytes of file content, holes included, hard links counted once.
    pub bytes: u64,
}

/// Reads an archive as [`Store::import_tar`] does, with every check, but puts it nowhere.
pub fn check(archive: impl Read + Send, options: &TarOptions) -> Result<Checked, StoreError> {
    let mut checked = Checked::default();
    read_ahead(archive, &mut checked, options)?;
    Ok(checked)
}

impl Sink for Checked {
    fn dir(&mut self, _: &[u8], _: Meta) -> Result<(), StoreError> {
        self.entries += 1;
        Ok(())
    }

    fn file(&mut self, _: &[u8], _: Meta, content: &mut dyn Read) -> Result<(), StoreError> {
        self.entries += 1;
        self.bytes += io::copy(content, &mut io::sink())
            .map_err(|source| TarError::Read { offset: 0, source })?;
        Ok(())
    }

    fn symlink(&mut self, _: &[u8], _: Meta, _: &[u8]) -> Result<(), StoreError> {
        self.entries += 1;
        Ok(())
    }

    fn node(&mut self, _: &[u8], _: Meta, _: Node) -> Result<(), StoreError> {
        self.entries += 1;
        Ok(())
    }

    fn hard_link(&mut self, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
        self.entries += 1;
        Ok(())
    }

    fn copy(&mut self, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
        self.entries += 1;
        Ok(())
    }
}

/// Reads an archive of any form into a sink, decompressing in a thread of its own.
fn read_ahead(
    archive: impl Read + Send,
    sink: &mut dyn Sink,
    options: &TarOptions,
) -> Result<(), StoreError> {
    let decode = options.limits.decode;
    std::thread::scope(|scope| {
        let (send, chunks) = sync_channel(AHEAD);
        let (spent, returned) = sync_channel(AHEAD);
        scope.spawn(move || match Decoder::new(archive, decode) {
            Ok(decoder) => pump(decoder, send, returned),
            Err(error) => drop(send.send(Err(error))),
        });
        read_into(Pumped::new(chunks, spent), sink, options)
    })
}

/// Reads a whole uncompressed archive into a sink.
pub(crate) fn read_into<R: BufRead>(
    archive: R,
    sink: &mut dyn Sink,
    options: &TarOptions,
) -> Result<(), StoreError> {
    let mut reader = Reader::new(archive, options.limits);
    let mut import = Import {
        sink,
        options,
        seen: HashMap::new(),
        entries: 0,
        devices: 0,
        metadata: 0,
        parent: Vec::new(),
    };
    while let Some(member) = reader.next_member()? {
        import.member(&member, &mut reader)?;
    }
    if options.normalise.is_some() && !import.seen.contains_key(&b""[..]) {
        import.imply(b"", 0)?;
    }
    Ok(())
}

/// What the archive made of a path so far.
enum Seen {
    /// A folder that has an entry of its own.
    Dir {
        meta: Box<Meta>,
        first: u64,
    },
    /// A folder that only the paths below it tell of.
    Implied {
        first: u64,
    },
    File {
        first: u64,
    },
    Other {
        kind: &'static str,
        first: u64,
    },
}

/// What a hard link is one more name of.
enum Linked {
    File,
    Other(&'static str),
}

impl Seen {
    fn kind(&self) -> &'static str {
        match self {
            Seen::Dir { .. } | Seen::Implied { .. } => "directory",
            Seen::File { .. } => "file",
            Seen::Other { kind, .. } => kind,
        }
    }

    fn first(&self) -> u64 {
        match self {
            Seen::Dir { first, .. }
            | Seen::Implied { first }
            | Seen::File { first }
            | Seen::Other { first, .. } => *first,
        }
    }
}

struct Import<'a> {
    sink: &'a mut dyn Sink,
    options: &'a TarOptions,
    seen: HashMap<Vec<u8>, Seen>,
    entries: u64,
    devices: u64,
    metadata: u64,
    /// The folder of the last entry, whose ancestors are known to be folders.
    parent: Vec<u8>,
}

impl Import<'_> {
    fn member<R: BufRead>(
        &mut self,
        member: &Member,
        reader: &mut Reader<R>,
    ) -> Result<(), StoreError> {
        let limits = &self.options.limits;
        let blame = |fault| StoreError::from(member.blame(fault));
        self.count(member)?;
        let path = clean(&member.path, "name", limits).map_err(blame)?;
        let meta = self.meta(member).map_err(blame)?;
        if path.is_empty() {
            if member.kind != MemberKind::Dir {
                let kind = member.kind.word();
                return Err(blame(EntryFault::RootNotDirectory { kind }));
            }
        } else {
            self.place(&path, member)?;
        }
        if member.kind == MemberKind::Dir {
            return self.dir(path, meta, member);
        }

        // What a path was before decides whether it may be this now: never, but for folders.
        if let Some(before) = self.seen.get(&path) {
            let first = before.first();
            return Err(blame(EntryFault::Duplicate { first }));
        }
        let first = member.offset;
        let kind = member.kind.word();
        let seen = match member.kind {
            MemberKind::File => {
                let mut content = Content {
                    reader,
                    error: None,
                };
                let result = self.sink.file(&path, meta, &mut content);
                if let Some(error) = content.error {
                    return Err(error.into());
                }
                result?;
                Seen::File { first }
            }
            MemberKind::HardLink => match self.hard_link(&path, member)? {
                Linked::File => Seen::File { first },
                Linked::Other(kind) => Seen::Other { kind, first },
            },
            MemberKind::Symlink => {
                check_target(&member.link).map_err(blame)?;
                self.sink.symlink(&path, meta, &member.link)?;
                Seen::Other { kind, first }
            }
            MemberKind::Char | MemberKind::Block => {
                let node = self.device(member).map_err(blame)?;
                self.count_device()?;
                self.sink.node(&path, meta, node)?;
                Seen::Other { kind, first }
            }
            MemberKind::Fifo => {
                self.sink.node(&path, meta, Node::Fifo)?;
                Seen::Other { kind, first }
            }
            // Dealt with above.
            MemberKind::Dir => Seen::Implied { first },
        };
        self.seen.insert(path, seen);
        Ok(())
    }

    fn count_device(&mut self) -> Result<(), TarError> {
        let limit = self.options.limits.devices;
        self.devices += 1;
        if self.devices > limit {
            return Err(TarError::TooMuch {
                what: "device nodes",
                limit,
            });
        }
        Ok(())
    }

    /// Counts what one entry costs, before anything is made of it.
    fn count(&mut self, member: &Member) -> Result<(), TarError> {
        let limits = &self.options.limits;
        self.entries += 1;
        if self.entries > limits.entries {
            return Err(TarError::TooMuch {
                what: "entries",
                limit: limits.entries,
            });
        }
        let xattrs: usize = member.xattrs.iter().map(|(n, v)| n.len() + v.len()).sum();
        if xattrs > MAX_XATTRS {
            return Err(member.blame(EntryFault::TooLong {
                what: "set of extended attributes",
                length: xattrs as u64,
                limit: MAX_XATTRS as u64,
            }));
        }
        self.metadata += (member.path.len() + member.link.len() + xattrs) as u64;
        if self.metadata > limits.metadata_bytes {
            return Err(TarError::TooMuch {
                what: "bytes of names and attributes",
                limit: limits.metadata_bytes,
            });
        }
        Ok(())
    }

    /// Makes sure that everything above a path is a folder, and notes folders that have no entry yet.
    fn place(&mut self, path: &[u8], member: &Member) -> Result<(), StoreError> {
        let parent = ancestors(path).next().unwrap_or_default();
        if parent == self.parent {
            return Ok(());
        }
        for ancestor in ancestors(path) {
            match self.seen.get(ancestor) {
                // Its own ancestors were looked at when it came.
                Some(Seen::Dir { .. } | Seen::Implied { .. }) => break,
                Some(other) => {
                    let fault = EntryFault::BelowNonDirectory {
                        ancestor: show(ancestor),
                        kind: other.kind(),
                    };
                    return Err(member.blame(fault).into());
                }
                None => {
                    // Names of folders that nobody gave count as well: "a/a/a/..." is short in an archive.
                    self.metadata += ancestor.len() as u64;
                    self.imply(ancestor, member.offset)?;
                }
            }
        }
        self.parent = parent.to_vec();
        Ok(())
    }

    /// Notes a folder that has no entry. In a normalised tree it is like all others.
    fn imply(&mut self, path: &[u8], first: u64) -> Result<(), StoreError> {
        let seen = match self.options.normalise {
            None => Seen::Implied { first },
            Some(mtime) => {
                let meta = Meta {
                    mtime,
                    ..Meta::plain_dir()
                };
                self.sink.dir(path, meta.clone())?;
                Seen::Dir {
                    meta: Box::new(meta),
                    first,
                }
            }
        };
        self.seen.insert(path.to_vec(), seen);
        Ok(())
    }

    fn dir(&mut self, path: Vec<u8>, meta: Meta, member: &Member) -> Result<(), StoreError> {
        let blame = |fault| StoreError::from(member.blame(fault));
        let seen = Seen::Dir {
            meta: Box::new(meta.clone()),
            first: member.offset,
        };
        match self.seen.entry(path) {
            Slot::Vacant(slot) => {
                self.sink.dir(slot.key(), meta)?;
                slot.insert(seen);
            }
            Slot::Occupied(mut slot) => match slot.get() {
                Seen::Implied { .. } => {
                    self.sink.dir(slot.key(), meta)?;
                    slot.insert(seen);
                }
                Seen::Dir { meta: before, .. } if **before == meta => {}
                other => {
                    let first = other.first();
                    return Err(blame(EntryFault::Duplicate { first }));
                }
            },
        }
        Ok(())
    }

    /// Gives something one more name. Tells what it is.
    fn hard_link(&mut self, path: &[u8], member: &Member) -> Result<Linked, StoreError> {
        let blame = |fault| StoreError::from(member.blame(fault));
        if member.link.is_empty() {
            return Err(blame(EntryFault::LinkEmpty));
        }
        let target = clean(&member.link, "link target", &self.options.limits).map_err(blame)?;
        let linked = match self.seen.get(&target) {
            Some(Seen::File { .. }) => Linked::File,
            // Tools give any entry several names that is not a folder.
            Some(Seen::Other { kind, .. }) => Linked::Other(kind),
            Some(other) => {
                return Err(blame(EntryFault::LinkKind {
                    target: show(&member.link),
                    kind: other.kind(),
                }));
            }
            None if target.is_empty() => {
                return Err(blame(EntryFault::LinkKind {
                    target: show(&member.link),
                    kind: "directory",
                }));
            }
            None => {
                return Err(blame(EntryFault::LinkMissing {
                    target: show(&member.link),
                }));
            }
        };
        let devices = [MemberKind::Char.word(), MemberKind::Block.word()];
        if matches!(linked, Linked::Other(kind) if devices.contains(&kind)) {
            self.count_device()?;
        }
        if self.options.normalise.is_some() {
            self.sink.copy(path, &target)?;
        } else {
            self.sink.hard_link(path, &target)?;
        }
        Ok(linked)
    }

    fn device(&self, member: &Member) -> Result<Node, EntryFault> {
        if self.options.devices == Devices::Refuse {
            return Err(EntryFault::DeviceRefused {
                kind: member.kind.word(),
            });
        }
        let (major, minor) = member.device;
        for (value, bits, field) in [
            (major, 12, "major device number"),
            (minor, 20, "minor device number"),
        ] {
            if value >> bits != 0 {
                return Err(EntryFault::NumberTooLarge {
                    field,
                    value: value.to_string(),
                });
            }
        }
        match member.kind {
            MemberKind::Char if (major, minor) == (0, 0) => Err(EntryFault::Whiteout),
            MemberKind::Char => Ok(Node::Char { major, minor }),
            _ => Ok(Node::Block { major, minor }),
        }
    }

    /// The metadata that the tree gets.
    fn meta(&self, member: &Member) -> Result<Meta, EntryFault> {
        let kind = member.kind;
        if let Some(mtime) = self.options.normalise {
            let mode = match kind {
                MemberKind::Symlink => 0o777,
                MemberKind::Dir => 0o755,
                _ if member.mode & 0o100 != 0 => 0o755,
                _ => 0o644,
            };
            return Ok(Meta {
                mode,
                mtime,
                ..Meta::default()
            });
        }
        // The metadata of a further name says nothing: the first one's counts.
        let attributes = match kind {
            MemberKind::HardLink => Attributes::default(),
            _ => attributes::fitting(member)?,
        };
        Ok(Meta {
            // The mode of a symlink means nothing; Linux shows all bits set, and so does an import of a folder.
            mode: match kind {
                MemberKind::Symlink => 0o777,
                _ => attributes.mode.unwrap_or(member.mode),
            },
            uid: member.uid,
            gid: member.gid,
            mtime: Mtime {
                secs: member.mtime.0,
                nanos: member.mtime.1,
            },
            xattrs: attributes.list,
        })
    }
}

/// The target of a symlink may lead anywhere: it is text. It only has to be one that a file system takes.
fn check_target(target: &[u8]) -> Result<(), EntryFault> {
    if target.is_empty() {
        return Err(EntryFault::LinkEmpty);
    }
    if target.len() > MAX_TARGET {
        return Err(EntryFault::TooLong {
            what: "link target",
            length: target.len() as u64,
            limit: MAX_TARGET as u64,
        });
    }
    Ok(())
}

/// The content of the current member, for who can read but not understand the archive's errors.
struct Content<'a, R> {
    reader: &'a mut Reader<R>,
    error: Option<TarError>,
}

impl<R: BufRead> Read for Content<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.reader.read_content(buffer).map_err(|error| {
            self.error = Some(error);
            io::Error::other("the archive cannot be read further")
        })
    }
}
