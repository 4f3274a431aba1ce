//! From a tree to the one archive that stands for it.

use std::collections::HashMap;
use std::io::{self, Read, Write};

use super::ExportOptions;
use super::acl;
use super::header::BLOCK;
use super::pax::{quote_attribute, time_text, write_record};
use crate::compress::{Compression, Encoder};
use crate::links::{a_directory, are_one, no_name, two_faces};
use crate::manifest::{Entry, Kind, Manifest, Meta, Tree};
use crate::{BlobHash, DirHash, Need, Store, StoreError, TreeHash};

/// Files up to this size are read in one go.
const SMALL: u64 = 1 << 20;

/// What an export wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Exported {
    /// Entries written, the root counted.
    pub entries: u64,
    /// Bytes of the archive before compression.
    pub bytes: u64,
    /// Entries with access control lists, which not every reader can keep.
    pub access_lists: u64,
    /// Sockets, which no archive can hold, left out.
    pub sockets: u64,
    /// The compressor and level that were used: with the tree, all that the bytes depend on.
    pub compression: Compression,
}

/// Where trees come from: a store, or in tests something simpler.
pub(crate) trait Trees {
    fn manifest(&self, dir: DirHash) -> Result<Manifest, StoreError>;
    fn blob(&self, blob: BlobHash) -> Result<Vec<u8>, StoreError>;
    fn open_blob(&self, blob: BlobHash) -> Result<Box<dyn Read + Send>, StoreError>;
}

impl Trees for Store {
    fn manifest(&self, dir: DirHash) -> Result<Manifest, StoreError> {
        Store::manifest(self, dir)
    }

    fn blob(&self, blob: BlobHash) -> Result<Vec<u8>, StoreError> {
        Store::blob(self, blob)
    }

    fn open_blob(&self, blob: BlobHash) -> Result<Box<dyn Read + Send>, StoreError> {
        Store::open_blob(self, blob)
    }
}

impl Store {
    /// Writes a tree as an archive; equal trees and options give equal bytes. See [`ExportOptions`].
    ///
    /// The bytes of `out` are complete when this returns, but not synced.
    pub fn export_tar(
        &self,
        tree: TreeHash,
        out: impl Write,
        options: &ExportOptions,
    ) -> Result<Exported, StoreError> {
        let _lease = self.reading(tree)?;
        let need = || self.content_of(tree).map(Need::Archive);
        let tree = self.tree(tree)?;
        export(self, &tree, out, options).map_err(|e| e.needing(need))
    }

    /// Writes a tree as an archive that has it in a folder, with names of owners: what a binary package has inside.
    pub fn export_tar_within(
        &self,
        tree: TreeHash,
        out: impl Write,
        options: &ExportOptions,
        within: &Within<'_>,
    ) -> Result<Exported, StoreError> {
        let _lease = self.reading(tree)?;
        let need = || self.content_of(tree).map(Need::Archive);
        let tree = self.tree(tree)?;
        write_tree(self, &tree, out, options, None, Some(within)).map_err(|e| e.needing(need))
    }
}

/// What an archive says beside its tree.
#[derive(Clone, Copy)]
pub struct Within<'a> {
    /// The folder that everything is in; it stands for the root of the tree.
    pub folder: &'a str,
    /// The names of user and group of a path in the tree.
    pub owner: &'a dyn Fn(&[u8]) -> (String, String),
}

/// Writes a tree from anywhere.
pub(crate) fn export(
    trees: &dyn Trees,
    tree: &Tree,
    out: impl Write,
    options: &ExportOptions,
) -> Result<Exported, StoreError> {
    write_tree(trees, tree, out, options, None, None)
}

/// Who sees an archive before it is compressed.
pub(crate) type Plain<'a> = &'a mut (dyn FnMut(&[u8]) + 'a);

/// Writes a tree as a layer of an image; `plain` sees the archive before compression.
pub(crate) fn export_layer<'a>(
    trees: &'a dyn Trees,
    tree: &'a Tree,
    out: impl Write,
    options: &ExportOptions,
    plain: Plain<'a>,
) -> Result<Exported, StoreError> {
    write_tree(trees, tree, out, options, Some(plain), None)
}

fn write_tree<'a>(
    trees: &'a dyn Trees,
    tree: &'a Tree,
    out: impl Write,
    options: &ExportOptions,
    layer: Option<Plain<'a>>,
    within: Option<&'a Within<'a>>,
) -> Result<Exported, StoreError> {
    let threads = match options.threads {
        0 => std::thread::available_parallelism().map_or(1, |n| n.get()),
        n => n,
    };
    let encoder = Encoder::new(out, options.compression, threads).map_err(cannot_write)?;
    let mut writer = Writer {
        out: encoder,
        layer,
        within,
        trees,
        tree,
        groups: HashMap::new(),
        firsts: vec![None; tree.links.len()],
        done: Exported {
            entries: 0,
            bytes: 0,
            access_lists: 0,
            sockets: 0,
            compression: options.compression,
        },
    };
    for (group, paths) in tree.links.iter().enumerate() {
        for path in paths {
            writer.groups.insert(path, group);
        }
    }
    let top: &[u8] = if within.is_some() { b"" } else { b"./" };
    writer.entry(top, &tree.root, Body::Dir)?;
    let root = trees.manifest(tree.dir)?;
    writer.folders(root)?;
    if let Some(path) = writer.groups.keys().min() {
        return Err(writer.disagrees(no_name(path)));
    }
    writer.write(&[0; 2 * BLOCK])?;
    let Writer { out, done, .. } = writer;
    let mut out = out.finish().map_err(cannot_write)?;
    out.flush().map_err(cannot_write)?;
    Ok(done)
}

/// What an entry has besides its metadata.
enum Body<'a> {
    Dir,
    Link(&'a [u8]),
    Symlink(&'a [u8]),
    Char(u32, u32),
    Block(u32, u32),
    Fifo,
    File(u64),
}

struct Writer<'a, W: Write> {
    out: Encoder<W>,
    /// Set for layers of images, which have a rule of their own about names.
    layer: Option<Plain<'a>>,
    within: Option<&'a Within<'a>>,
    trees: &'a dyn Trees,
    tree: &'a Tree,
    /// Which group of hard links a path belongs to, of those that were not met yet...
    groups: HashMap<&'a Vec<u8>, usize>,
    /// ...and the path and entry of each group that have been written.
    firsts: Vec<Option<(Vec<u8>, Entry)>>,
    done: Exported,
}

impl<W: Write> Writer<'_, W> {
    /// Writes all entries below the root, each folder before what is in it.
    fn folders(&mut self, root: Manifest) -> Result<(), StoreError> {
        let mut open = vec![(Vec::new(), root.into_entries().into_iter())];
        while let Some((above, entries)) = open.last_mut() {
            let Some(entry) = entries.next() else {
                open.pop();
                continue;
            };
            let mut path = above.clone();
            path.extend(&entry.name);
            if let Some(manifest) = self.one(&path, &entry)? {
                let below = self.trees.manifest(manifest)?;
                path.push(b'/');
                open.push((path, below.into_entries().into_iter()));
            }
        }
        Ok(())
    }

    /// Writes one entry; gives the manifest back if it is a folder.
    fn one(&mut self, path: &Vec<u8>, entry: &Entry) -> Result<Option<DirHash>, StoreError> {
        let meta = &entry.meta;
        if self.layer.is_some() && entry.name.starts_with(b".wh.") {
            return Err(StoreError::BadEntry {
                path: super::error::show(path),
                reason: "in a layer of an image, names that begin with \".wh.\" delete others"
                    .into(),
            });
        }
        // What has several names has all of its metadata at the first of them.
        if let Some(group) = self.groups.remove(path) {
            match &self.firsts[group] {
                Some((first, before)) if are_one(before, entry) => {
                    let first = first.clone();
                    if entry.kind == Kind::Socket {
                        self.done.sockets += 1;
                    } else {
                        self.entry(path, meta, Body::Link(&first))?;
                    }
                    return Ok(None);
                }
                Some((first, _)) => return Err(self.disagrees(two_faces(first, path))),
                None if entry.kind.is_dir() => {
                    return Err(self.disagrees(a_directory(path)));
                }
                None => self.firsts[group] = Some((path.clone(), entry.clone())),
            }
        }
        match &entry.kind {
            Kind::Dir { manifest } => {
                let name = [path, &b"/"[..]].concat();
                self.entry(&name, meta, Body::Dir)?;
                return Ok(Some(*manifest));
            }
            Kind::Symlink { target } => self.entry(path, meta, Body::Symlink(target))?,
            Kind::Char { major, minor } => self.entry(path, meta, Body::Char(*major, *minor))?,
            Kind::Block { major, minor } => self.entry(path, meta, Body::Block(*major, *minor))?,
            Kind::Fifo => self.entry(path, meta, Body::Fifo)?,
            Kind::Socket => self.done.sockets += 1,
            Kind::File { blob, size } => {
                self.entry(path, meta, Body::File(*size))?;
                self.content(*blob, *size)?;
            }
        }
        Ok(None)
    }

    /// A tree whose hard links are not as its directories say: whatever was written would be one truth of two.
    fn disagrees(&self, detail: String) -> StoreError {
        StoreError::Corrupt {
            what: "tree",
            hash: Tree::hash_encoded(&self.tree.encode()).0,
            detail,
        }
    }

    fn content(&mut self, blob: BlobHash, size: u64) -> Result<(), StoreError> {
        let wrong = |found: u64| StoreError::Corrupt {
            what: "file content",
            hash: blob.0,
            detail: format!("it has {found} bytes, but its entry says {size}"),
        };
        if size == 0 {
            return Ok(());
        }
        if size <= SMALL {
            let data = self.trees.blob(blob)?;
            if data.len() as u64 != size {
                return Err(wrong(data.len() as u64));
            }
            self.write(&data)?;
        } else {
            let mut reader = self.trees.open_blob(blob)?;
            let mut buffer = vec![0; 256 << 10];
            let mut left = size;
            loop {
                let count = match reader.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                    Err(error) => {
                        return Err(StoreError::io(
                            "read file content",
                            blob.0.to_string(),
                            error,
                        ));
                    }
                };
                left = left
                    .checked_sub(count as u64)
                    .ok_or_else(|| wrong(size + 1))?;
                self.write(&buffer[..count])?;
            }
            if left > 0 {
                return Err(wrong(size - left));
            }
        }
        self.pad(size)
    }

    /// Writes the header of an entry, and before it a PAX header with whatever does not fit.
    fn entry(&mut self, path: &[u8], meta: &Meta, body: Body<'_>) -> Result<(), StoreError> {
        self.done.entries += 1;
        let mut header = [0u8; BLOCK];
        let (within, first);
        let (path, body) = match self.within {
            None => (path, body),
            Some(Within { folder, owner }) => {
                let (user, group) = owner(path.strip_suffix(b"/").unwrap_or(path));
                name(&mut header[265..297], &user);
                name(&mut header[297..329], &group);
                within = [folder.as_bytes(), b"/", path].concat();
                match body {
                    Body::Link(other) => {
                        first = [folder.as_bytes(), b"/", other].concat();
                        (&*within, Body::Link(&first))
                    }
                    body => (&*within, body),
                }
            }
        };
        if meta
            .xattrs
            .iter()
            .any(|(name, _)| name == acl::ACCESS || name == acl::DEFAULT)
        {
            self.done.access_lists += 1;
        }
        let mut records = Vec::new();
        let (flag, link, size, device) = match body {
            Body::File(size) => (b'0', &b""[..], size, (0, 0)),
            Body::Link(first) => (b'1', first, 0, (0, 0)),
            Body::Symlink(target) => (b'2', target, 0, (0, 0)),
            Body::Char(major, minor) => (b'3', &b""[..], 0, (major, minor)),
            Body::Block(major, minor) => (b'4', &b""[..], 0, (major, minor)),
            Body::Dir => (b'5', &b""[..], 0, (0, 0)),
            Body::Fifo => (b'6', &b""[..], 0, (0, 0)),
        };
        let long = name_fields(&mut header, path);
        let long_link = link.len() > 100;
        let is_utf8 = |bytes: &[u8]| std::str::from_utf8(bytes).is_ok();
        if (long && !is_utf8(path)) || (long_link && !is_utf8(link)) {
            // Names are bytes. Without this, some tools refuse records that are no UTF-8.
            write_record(&mut records, b"hdrcharset", b"BINARY");
        }
        if long {
            write_record(&mut records, b"path", path);
        }
        if long_link {
            write_record(&mut records, b"linkpath", link);
        }
        let cut = link.len().min(100);
        header[157..157 + cut].copy_from_slice(&link[..cut]);
        let mut number = |at: std::ops::Range<usize>, key: &[u8], value: u64| {
            if !octal(&mut header[at.clone()], value) {
                octal(&mut header[at], 0);
                write_record(&mut records, key, value.to_string().as_bytes());
            }
        };
        number(100..108, b"mode", u64::from(meta.mode));
        number(108..116, b"uid", u64::from(meta.uid));
        number(116..124, b"gid", u64::from(meta.gid));
        number(124..136, b"size", size);
        number(329..337, b"SCHILY.devmajor", u64::from(device.0));
        number(337..345, b"SCHILY.devminor", u64::from(device.1));
        let whole = u64::try_from(meta.mtime.secs).ok();
        let fits = whole.is_some_and(|secs| octal(&mut header[136..148], secs));
        if !fits {
            octal(&mut header[136..148], 0);
        }
        if !fits || meta.mtime.nanos != 0 {
            let text = time_text(meta.mtime.secs, meta.mtime.nanos);
            write_record(&mut records, b"mtime", text.as_bytes());
        }
        if flag != b'1' {
            attributes(&mut records, meta);
        }
        if !records.is_empty() {
            self.extended(path, &records)?;
        }
        header[156] = flag;
        seal(&mut header);
        self.write(&header)
    }

    /// Writes a PAX header. Its own name is for tools that do not know what it is.
    fn extended(&mut self, path: &[u8], records: &[u8]) -> Result<(), StoreError> {
        let mut header = [0u8; BLOCK];
        let trimmed = path.strip_suffix(b"/").unwrap_or(path);
        let last = trimmed.rsplit(|&b| b == b'/').next().unwrap_or_default();
        let mut name = b"PaxHeaders/".to_vec();
        name.extend(
            last.iter()
                .take(80)
                .map(|&b| if b.is_ascii_graphic() { b } else { b'_' }),
        );
        header[..name.len()].copy_from_slice(&name);
        octal(&mut header[100..108], 0o644);
        octal(&mut header[108..116], 0);
        octal(&mut header[116..124], 0);
        // A tree's attributes are bounded to a megabyte, far below what the field holds.
        octal(&mut header[124..136], records.len() as u64);
        octal(&mut header[136..148], 0);
        octal(&mut header[329..337], 0);
        octal(&mut header[337..345], 0);
        header[156] = b'x';
        seal(&mut header);
        self.write(&header)?;
        self.write(records)?;
        self.pad(records.len() as u64)
    }

    fn pad(&mut self, size: u64) -> Result<(), StoreError> {
        let rest = (size % BLOCK as u64) as usize;
        if rest > 0 {
            self.write(&[0; BLOCK][rest..])?;
        }
        Ok(())
    }

    fn write(&mut self, data: &[u8]) -> Result<(), StoreError> {
        self.done.bytes += data.len() as u64;
        if let Some(plain) = &mut self.layer {
            plain(data);
        }
        self.out.write_all(data).map_err(cannot_write)
    }
}

/// Fills the name and prefix fields; `true` if the name does not fit and needs a record.
fn name_fields(header: &mut [u8; BLOCK], path: &[u8]) -> bool {
    if path.len() <= 100 {
        header[..path.len()].copy_from_slice(path);
        return false;
    }
    // The prefix takes what stands before a slash, which must leave 1 to 100 bytes behind it.
    if path.len() <= 256 {
        let from = path.len().saturating_sub(101);
        let split = (from..=155.min(path.len() - 2)).find(|&at| path[at] == b'/' && at > 0);
        if let Some(at) = split {
            let name = &path[at + 1..];
            header[..name.len()].copy_from_slice(name);
            header[345..345 + at].copy_from_slice(&path[..at]);
            return false;
        }
    }
    header[..100].copy_from_slice(&path[..100]);
    true
}

/// Fills the field of an owner's name. One that does not fit is left out: the number stands beside it.
fn name(field: &mut [u8], name: &str) {
    if let Some(field) = field.get_mut(..name.len()).filter(|_| name.len() < 32) {
        field.copy_from_slice(name.as_bytes());
    }
}

/// Fills a field with octal digits and a NUL byte; `false` if the number is too large for it.
fn octal(field: &mut [u8], value: u64) -> bool {
    let digits = field.len() - 1;
    if value >> (3 * digits) != 0 {
        return false;
    }
    for (place, byte) in field[..digits].iter_mut().rev().enumerate() {
        *byte = b'0' + (value >> (3 * place) & 7) as u8;
    }
    field[digits] = 0;
    true
}

/// Attributes, with access lists in the text form that other tools expect.
fn attributes(records: &mut Vec<u8>, meta: &Meta) {
    for (name, value) in &meta.xattrs {
        let list = match &name[..] {
            acl::ACCESS => acl::to_text(value, false).map(|text| ("SCHILY.acl.access", text)),
            acl::DEFAULT => acl::to_text(value, true).map(|text| ("SCHILY.acl.default", text)),
            _ => None,
        };
        match list {
            Some((key, text)) => write_record(records, key.as_bytes(), text.as_bytes()),
            None => {
                let key = [&b"SCHILY.xattr."[..], &quote_attribute(name)].concat();
                write_record(records, &key, value);
            }
        }
    }
}

/// Writes magic and checksum.
fn seal(header: &mut [u8; BLOCK]) {
    header[257..265].copy_from_slice(b"ustar\x0000");
    header[148..156].fill(b' ');
    let sum: u64 = header.iter().map(|&b| u64::from(b)).sum();
    octal(&mut header[148..155], sum);
}

fn cannot_write(source: io::Error) -> StoreError {
    StoreError::io("write the archive", "output", source)
}
