//! The members of an archive one after another, in every dialect, from a stream, in bounded memory.
//!
//! Nothing here knows the store or trusts the archive. Where tools in use disagree about what an
//! archive means, it is refused: such an archive shows one face to who checks it and another to who
//! unpacks it.

use std::collections::BTreeMap;
use std::io::{self, BufRead};

use super::TarLimits;
use super::error::{EntryFault, TarError, show};
use super::header::{BLOCK, Dialect, Header, gnu_sparse_more, padded};
use super::pax::{self, Pax};
use super::sparse::{self, ContentMap, PaxSparse, SparseMap};

/// What kind of thing a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum MemberKind {
    File,
    HardLink,
    Symlink,
    Char,
    Block,
    Dir,
    Fifo,
}

impl MemberKind {
    /// The word for messages.
    pub fn word(self) -> &'static str {
        match self {
            MemberKind::File => "file",
            MemberKind::HardLink => "hard link",
            MemberKind::Symlink => "symlink",
            MemberKind::Char => "character device",
            MemberKind::Block => "block device",
            MemberKind::Dir => "directory",
            MemberKind::Fifo => "fifo",
        }
    }
}

/// One member with all that its headers say. Names are raw: nothing has judged them yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Member {
    /// Where its first header begins.
    pub offset: u64,
    pub path: Vec<u8>,
    pub link: Vec<u8>,
    pub kind: MemberKind,
    pub mode: u16,
    pub uid: u32,
    pub gid: u32,
    pub mtime: (i64, u32),
    pub device: (u32, u32),
    pub xattrs: BTreeMap<Vec<u8>, Vec<u8>>,
    /// The size of its content, holes included.
    pub size: u64,
}

impl Member {
    /// Turns a fault into an error that names this member.
    pub fn blame(&self, fault: EntryFault) -> TarError {
        TarError::Entry {
            entry: show(&self.path),
            offset: self.offset,
            fault,
        }
    }
}

/// Reads an archive.
pub(crate) struct Reader<R> {
    inner: R,
    limits: TarLimits,
    /// Bytes taken from `inner` so far.
    offset: u64,
    /// The content of the current member that was not read yet.
    content: Content,
    /// Bytes that fill up the last block of the current content.
    padding: u64,
    global: Pax,
    total: u64,
    ended: bool,
}

/// The content of the current member.
struct Content {
    map: SparseMap,
    /// The run that comes next or is being read.
    run: usize,
    /// How far the expanded content was read.
    position: u64,
    /// For messages.
    name: Vec<u8>,
}

/// Extended headers that wait for their entry.
#[derive(Default)]
struct Pending {
    offset: Option<u64>,
    header_name: Vec<u8>,
    pax: Option<Pax>,
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    /// The name in a PAX header that has another fault.
    faulty_path: Option<Vec<u8>>,
}

impl Pending {
    /// The name of the entry that is waited for, where an extended header gave one.
    fn known_name(&self) -> Option<&Vec<u8>> {
        let pax = self.pax.as_ref();
        pax.and_then(|pax| pax.sparse.name.as_ref().or(pax.path.as_ref()))
            .or(self.faulty_path.as_ref())
            .or(self.long_name.as_ref())
    }

    fn what(&self) -> Option<&'static str> {
        if self.pax.is_some() {
            Some("PAX header")
        } else if self.long_name.is_some() {
            Some("GNU long name")
        } else if self.long_link.is_some() {
            Some("GNU long link target")
        } else {
            None
        }
    }
}

impl<R: BufRead> Reader<R> {
    /// Begins at the first byte of an archive.
    pub fn new(inner: R, limits: TarLimits) -> Reader<R> {
        Reader {
            inner,
            limits,
            offset: 0,
            content: Content {
                map: SparseMap::solid(0),
                run: 0,
                position: 0,
                name: Vec::new(),
            },
            padding: 0,
            global: Pax::default(),
            total: 0,
            ended: false,
        }
    }

    /// Goes to the next member, past what is left of the current one. `None` at the end of the archive, which has
    /// then been read to its last byte.
    pub fn next_member(&mut self) -> Result<Option<Member>, TarError> {
        if self.ended {
            return Ok(None);
        }
        self.skip_content()?;
        let mut pending = Pending::default();
        loop {
            let start = self.offset;
            let Some(block) = self.block()? else {
                if start == 0 {
                    return Err(TarError::Empty);
                }
                return Err(self.truncated("the end marker is missing"));
            };
            if block == [0; BLOCK] {
                if let Some(what) = pending.what() {
                    return Err(pending.blame(EntryFault::Orphan { what }));
                }
                self.finish()?;
                return Ok(None);
            }
            let header = match Header::parse(&block) {
                Ok(header) => header,
                Err(_) if start == 0 => return Err(not_tar(&block)),
                Err(fault) => return Err(entry_error(&raw_name(&block), start, fault)),
            };
            let name = header.name();
            let result = self.header(&header, &name, start, &mut pending);
            match result {
                Ok(None) => {}
                Ok(Some(member)) => return Ok(Some(member)),
                Err(Failure::Fault(fault)) => {
                    let known = pending.known_name().cloned();
                    let extended = matches!(header.flag(), b'x' | b'X' | b'K');
                    let known = match known {
                        None if extended => self.name_ahead(),
                        known => known,
                    };
                    return Err(entry_error(
                        &known.unwrap_or_else(|| name_or(&name)),
                        pending.offset.unwrap_or(start),
                        fault,
                    ));
                }
                Err(Failure::Archive(error)) => return Err(error),
            }
        }
    }

    /// Reads expanded content of the current member; 0 at its end.
    pub fn read_content(&mut self, buffer: &mut [u8]) -> Result<usize, TarError> {
        let content = &mut self.content;
        let left = content.map.size - content.position;
        let want = left.min(buffer.len() as u64);
        if want == 0 {
            return Ok(0);
        }
        let hole_end = match content.map.runs.get(content.run) {
            Some(&(start, _)) => start,
            None => content.map.size,
        };
        if content.position < hole_end {
            let count = want.min(hole_end - content.position) as usize;
            buffer[..count].fill(0);
            content.position += count as u64;
            return Ok(count);
        }
        let (start, length) = content.map.runs[content.run];
        let run_end = start + length;
        let count = want.min(run_end - content.position) as usize;
        let read = read_some(&mut self.inner, &mut buffer[..count])
            .map_err(|error| TarError::from_io(error, self.offset))?;
        if read == 0 {
            let name = show(&content.name);
            return Err(self.truncated(&format!("in the middle of the content of \"{name}\"")));
        }
        self.offset += read as u64;
        content.position += read as u64;
        if content.position == run_end {
            content.run += 1;
        }
        Ok(read)
    }

    /// Deals with one header: an extended one is remembered, any other makes a member.
    fn header(
        &mut self,
        header: &Header<'_>,
        name: &[u8],
        start: u64,
        pending: &mut Pending,
    ) -> Result<Option<Member>, Failure> {
        let flag = header.flag();
        let what = match flag {
            b'x' | b'X' => "PAX header",
            b'g' => "global PAX header",
            b'L' => "GNU long name",
            b'K' => "GNU long link target",
            _ => return self.entry(header, name, start, pending).map(Some),
        };
        pending.offset.get_or_insert(start);
        if pending.header_name.is_empty() {
            pending.header_name = name_or(name);
        }
        if flag == b'g'
            && let Some(what) = pending.what()
        {
            return Err(EntryFault::Orphan { what }.into());
        }
        let repeated = match flag {
            b'x' | b'X' => pending.pax.is_some(),
            b'L' => pending.long_name.is_some(),
            b'K' => pending.long_link.is_some(),
            _ => false,
        };
        if repeated {
            return Err(EntryFault::Repeated { what }.into());
        }
        let size = header.size()?;
        let limit = match flag {
            b'L' | b'K' => self.limits.path_length as u64 + 1,
            _ => self.limits.extension_bytes,
        };
        if size > limit {
            return Err(EntryFault::ExtensionTooLarge { what, size, limit }.into());
        }
        let data = self.extension(size, what, start)?;
        match flag {
            b'L' => pending.long_name = Some(long(data, "name", EntryFault::EmptyName)?),
            b'K' => pending.long_link = Some(long(data, "link target", EntryFault::LinkEmpty)?),
            b'g' => {
                let pax = Pax::parse(&data, self.limits.sparse_runs)?;
                if let Some(key) = pax.not_global() {
                    return Err(EntryFault::Global { key: key.into() }.into());
                }
                self.global.uid = pax.uid.or(self.global.uid);
                self.global.gid = pax.gid.or(self.global.gid);
                self.global.mtime = pax.mtime.or(self.global.mtime);
                // What was said about this header must not colour errors about the next.
                *pending = Pending::default();
            }
            _ => {
                let parsed = Pax::parse(&data, self.limits.sparse_runs);
                if parsed.is_err() {
                    pending.faulty_path = pax::path_of(&data);
                }
                pending.pax = Some(parsed?);
            }
        }
        Ok(None)
    }

    /// Makes a member of its header and of the extended headers before it.
    fn entry(
        &mut self,
        header: &Header<'_>,
        name: &[u8],
        start: u64,
        pending: &mut Pending,
    ) -> Result<Member, Failure> {
        let pax = pending.pax.clone().unwrap_or_default();
        let in_pax = pax.sparse.resolve()?;
        let path = one_of(pax.path, pending.long_name.clone(), "name")?;
        let link = one_of(pax.link, pending.long_link.clone(), "link target")?;
        // The name of a sparse file's header is one for tools that know nothing of sparse files.
        let path = pax.sparse.name.or(path).unwrap_or_else(|| name.to_vec());
        let link = link.unwrap_or_else(|| header.link());

        let slash = path.last() == Some(&b'/');
        let kind = member_kind(header.flag(), slash)?;
        if path.is_empty() {
            return Err(EntryFault::EmptyName.into());
        }
        if pax.incremental {
            return Err(EntryFault::Incremental.into());
        }
        if slash && kind == MemberKind::File {
            return Err(EntryFault::SlashFile.into());
        }
        let stored = size_of(header, pax.size)?;
        if kind != MemberKind::File && stored != 0 {
            return Err(EntryFault::SizeOnKind {
                kind: kind.word(),
                size: stored,
            }
            .into());
        }
        // Before anything is read for it: a lie about the size must cost nothing.
        self.check_size(stored)?;
        let padding = padded(stored).ok_or(EntryFault::FileTooLarge {
            size: stored,
            limit: self.limits.file_bytes,
        })? - stored;
        let map = self.map(header, in_pax, kind, stored)?;
        let size = map.size;
        self.check_size(size)?;
        self.total += size;

        let global = &self.global;
        let device = device_of(header, kind, (pax.major, pax.minor))?;
        let uid = match pax.uid.or(global.uid) {
            Some(uid) => uid,
            None => header.uid()?,
        };
        let gid = match pax.gid.or(global.gid) {
            Some(gid) => gid,
            None => header.gid()?,
        };
        let mtime = match pax.mtime.or(global.mtime) {
            Some(mtime) => mtime,
            None => (header.mtime()?, 0),
        };
        let member = Member {
            offset: pending.offset.unwrap_or(start),
            link,
            kind,
            mode: header.mode()?,
            uid: owner(uid, "owner")?,
            gid: owner(gid, "group")?,
            mtime,
            device,
            xattrs: pax.xattrs,
            size,
            path,
        };
        self.content = Content {
            map,
            run: 0,
            position: 0,
            name: member.path.clone(),
        };
        self.padding = padding;
        Ok(member)
    }

    /// The parts of the content that an archive has, of which the rest is holes.
    fn map(
        &mut self,
        header: &Header<'_>,
        in_pax: PaxSparse,
        kind: MemberKind,
        stored: u64,
    ) -> Result<SparseMap, Failure> {
        let is_old_sparse = header.flag() == b'S';
        Ok(match (is_old_sparse, in_pax) {
            (true, PaxSparse::No) => self.old_sparse(header, stored)?,
            (true, _) => return Err(sparse::fault("it has two maps").into()),
            (false, PaxSparse::No) => SparseMap::solid(stored),
            (false, _) if kind != MemberKind::File => {
                return Err(sparse::fault("only a regular file can have one").into());
            }
            (false, PaxSparse::Known { pairs, size }) => SparseMap::new(pairs, size, stored)?,
            (false, PaxSparse::InContent { size }) => self.content_map(size, stored)?,
        })
    }

    fn check_size(&self, size: u64) -> Result<(), Failure> {
        if size > self.limits.file_bytes {
            return Err(EntryFault::FileTooLarge {
                size,
                limit: self.limits.file_bytes,
            }
            .into());
        }
        if size > self.limits.total_bytes.saturating_sub(self.total) {
            return Err(Failure::Archive(TarError::TooMuch {
                what: "bytes of content",
                limit: self.limits.total_bytes,
            }));
        }
        Ok(())
    }

    /// The map of an old GNU sparse file: in its header and in blocks after it.
    fn old_sparse(&mut self, header: &Header<'_>, stored: u64) -> Result<SparseMap, Failure> {
        if header.dialect != Dialect::Gnu {
            return Err(unsupported(b'S').into());
        }
        let (mut pairs, mut more, size) = header.gnu_sparse()?;
        while more {
            let Some(block) = self.block()? else {
                return Err(Failure::Archive(
                    self.truncated("in the map of a sparse file"),
                ));
            };
            let (next, again) = gnu_sparse_more(&block)?;
            if next.is_empty() && again {
                return Err(sparse::fault("a block of it is empty").into());
            }
            pairs.extend(next);
            if pairs.len() > self.limits.sparse_runs {
                return Err(sparse::too_many(self.limits.sparse_runs).into());
            }
            more = again;
        }
        Ok(SparseMap::new(pairs, size, stored)?)
    }

    /// The map that stands before the content of a sparse file of version 1.0.
    fn content_map(&mut self, size: u64, stored: u64) -> Result<SparseMap, Failure> {
        let mut map = ContentMap::new(self.limits.sparse_runs);
        let mut left = stored;
        loop {
            if left < BLOCK as u64 {
                return Err(sparse::fault("it does not end within the content").into());
            }
            let Some(block) = self.block()? else {
                return Err(Failure::Archive(
                    self.truncated("in the map of a sparse file"),
                ));
            };
            left -= BLOCK as u64;
            if map.feed(&block)? {
                return Ok(SparseMap::new(map.pairs(), size, left)?);
            }
        }
    }

    /// Reads the content of an extended header, whose size was checked.
    fn extension(&mut self, size: u64, what: &'static str, start: u64) -> Result<Vec<u8>, Failure> {
        let mut data = Vec::new();
        let blocks = size.div_ceil(BLOCK as u64);
        for _ in 0..blocks {
            match self.block()? {
                Some(block) => data.extend(block),
                None => {
                    return Err(Failure::Archive(self.truncated(&format!(
                        "in the middle of the {what} at byte {start}"
                    ))));
                }
            }
        }
        data.truncate(size as usize);
        Ok(data)
    }

    /// The name in the header that follows a faulty extended one, for the message alone.
    fn name_ahead(&mut self) -> Option<Vec<u8>> {
        let block = self.block().ok()??;
        let header = Header::parse(&block).ok()?;
        let name = header.name();
        // Another extended header has a name of its own, which says nothing.
        let plain = !matches!(header.flag(), b'x' | b'X' | b'g' | b'L' | b'K');
        (plain && !name.is_empty()).then_some(name)
    }

    /// Reads past the rest of the current content and its padding.
    fn skip_content(&mut self) -> Result<(), TarError> {
        let runs = &self.content.map.runs[self.content.run..];
        let mut left: u64 = runs.iter().map(|(_, length)| length).sum();
        if let Some(&(start, _)) = runs.first() {
            left -= self.content.position.saturating_sub(start);
        }
        left += self.padding;
        while left > 0 {
            let buffer = fill(&mut self.inner).map_err(|e| TarError::from_io(e, self.offset))?;
            if buffer.is_empty() {
                let name = show(&self.content.name);
                return Err(self.truncated(&format!("in the middle of the content of \"{name}\"")));
            }
            let count = left.min(buffer.len() as u64);
            self.inner.consume(count as usize);
            self.offset += count;
            left -= count;
        }
        self.padding = 0;
        self.content.map.runs.clear();
        self.content.run = 0;
        self.content.position = self.content.map.size;
        Ok(())
    }

    /// After the first block of zeros: the second one, and then nothing but zeros.
    ///
    /// Reading to the very end also lets the decompressor check its last sums.
    fn finish(&mut self) -> Result<(), TarError> {
        loop {
            let buffer = fill(&mut self.inner).map_err(|e| TarError::from_io(e, self.offset))?;
            if buffer.is_empty() {
                self.ended = true;
                return Ok(());
            }
            if let Some(at) = buffer.iter().position(|&b| b != 0) {
                return Err(TarError::DataAfterEnd {
                    offset: self.offset + at as u64,
                });
            }
            let count = buffer.len();
            self.inner.consume(count);
            self.offset += count as u64;
            if self.offset > self.limits.total_bytes.saturating_mul(2) {
                return Err(TarError::TooMuch {
                    what: "bytes of content",
                    limit: self.limits.total_bytes,
                });
            }
        }
    }

    /// One whole block, or `None` where the stream ends.
    fn block(&mut self) -> Result<Option<[u8; BLOCK]>, TarError> {
        let mut block = [0; BLOCK];
        let mut have = 0;
        while have < BLOCK {
            let read = read_some(&mut self.inner, &mut block[have..])
                .map_err(|error| TarError::from_io(error, self.offset))?;
            if read == 0 {
                if have == 0 {
                    return Ok(None);
                }
                if self.offset < BLOCK as u64 {
                    return Err(not_tar(&block[..have]));
                }
                return Err(self.truncated("in the middle of a block"));
            }
            have += read;
            self.offset += read as u64;
        }
        Ok(Some(block))
    }

    fn truncated(&self, missing: &str) -> TarError {
        TarError::Truncated {
            offset: self.offset,
            missing: missing.into(),
        }
    }
}

impl Pending {
    fn blame(&self, fault: EntryFault) -> TarError {
        let name = self.known_name().unwrap_or(&self.header_name);
        entry_error(name, self.offset.unwrap_or(0), fault)
    }
}

/// Either the entry is at fault or the archive as a whole.
enum Failure {
    Fault(EntryFault),
    Archive(TarError),
}

impl From<EntryFault> for Failure {
    fn from(fault: EntryFault) -> Failure {
        Failure::Fault(fault)
    }
}

impl From<TarError> for Failure {
    fn from(error: TarError) -> Failure {
        Failure::Archive(error)
    }
}

fn entry_error(name: &[u8], offset: u64, fault: EntryFault) -> TarError {
    TarError::Entry {
        entry: show(name),
        offset,
        fault,
    }
}

/// What a stream is whose beginning is not a header.
fn not_tar(start: &[u8]) -> TarError {
    const FORMS: [(&[u8], &str); 9] = [
        (b"PK\x03\x04", "zip"),
        (b"PK\x05\x06", "zip"),
        (b"7z\xbc\xaf\x27\x1c", "7z"),
        (b"070701", "cpio"),
        (b"070702", "cpio"),
        (b"070707", "cpio"),
        (b"\xc7\x71", "cpio"),
        (b"\x71\xc7", "cpio"),
        (b"Rar!\x1a\x07", "rar"),
    ];
    match FORMS.iter().find(|(magic, _)| start.starts_with(magic)) {
        Some((_, form)) => TarError::OtherForm { form },
        None => TarError::NotTar,
    }
}

fn name_or(name: &[u8]) -> Vec<u8> {
    if name.is_empty() {
        b"(no name)".to_vec()
    } else {
        name.to_vec()
    }
}

/// The name in a block that is not a valid header, as a hint for the message.
fn raw_name(block: &[u8; BLOCK]) -> Vec<u8> {
    let end = block[..100].iter().position(|&b| b == 0).unwrap_or(100);
    name_or(&block[..end])
}

/// Whether a PAX size and a header's size cannot both come from an honest tool.
///
/// A size that a header can hold must be the same in both. One that it cannot hold leaves the field
/// zero, full, or cut to its low bits, depending on the tool.
fn contradicts(pax: u64, header: u64) -> bool {
    const LARGEST: u64 = 0o777_7777_7777;
    if pax <= LARGEST {
        pax != header
    } else {
        header != pax && header != 0 && header != LARGEST && header != pax & LARGEST
    }
}

fn one_of(
    a: Option<Vec<u8>>,
    b: Option<Vec<u8>>,
    what: &'static str,
) -> Result<Option<Vec<u8>>, EntryFault> {
    match (a, b) {
        (Some(a), Some(b)) if a != b => Err(EntryFault::NameContradiction { what }),
        (a, b) => Ok(a.or(b)),
    }
}

fn number32(value: u64, field: &'static str) -> Result<u32, EntryFault> {
    u32::try_from(value).map_err(|_| EntryFault::NumberTooLarge {
        field,
        value: value.to_string(),
    })
}

/// An owner's number. The highest one means "nobody at all" to chown.
fn owner(value: u64, field: &'static str) -> Result<u32, EntryFault> {
    match number32(value, field)? {
        u32::MAX => Err(EntryFault::NumberTooLarge {
            field,
            value: value.to_string(),
        }),
        id => Ok(id),
    }
}

/// The kind of a member with this type flag; `slash` is whether its name ends in one.
fn member_kind(flag: u8, slash: bool) -> Result<MemberKind, Failure> {
    Ok(match flag {
        0 if slash => MemberKind::Dir,
        0 | b'0' | b'7' | b'S' => MemberKind::File,
        b'1' => MemberKind::HardLink,
        b'2' => MemberKind::Symlink,
        b'3' => MemberKind::Char,
        b'4' => MemberKind::Block,
        b'5' => MemberKind::Dir,
        b'6' => MemberKind::Fifo,
        b'D' => return Err(EntryFault::Incremental.into()),
        flag => return Err(unsupported(flag).into()),
    })
}

/// The bytes that follow a header: what a PAX header says, where that does not contradict the plain one.
fn size_of(header: &Header<'_>, pax: Option<u64>) -> Result<u64, Failure> {
    let in_header = header.size()?;
    match pax {
        None => Ok(in_header),
        Some(size) if contradicts(size, in_header) => Err(EntryFault::SizeContradiction {
            pax: size,
            header: in_header,
        }
        .into()),
        Some(size) => Ok(size),
    }
}

/// The device numbers of a device, those of a PAX header before those of the plain one.
fn device_of(
    header: &Header<'_>,
    kind: MemberKind,
    (major, minor): (Option<u64>, Option<u64>),
) -> Result<(u32, u32), Failure> {
    if !matches!(kind, MemberKind::Char | MemberKind::Block) {
        return Ok((0, 0));
    }
    let plain = header.device()?;
    Ok((
        number32(major.unwrap_or(plain.0), "major device number")?,
        number32(minor.unwrap_or(plain.1), "minor device number")?,
    ))
}

/// The content of a GNU header for long names, without the zeros at its end.
fn long(mut data: Vec<u8>, what: &'static str, empty: EntryFault) -> Result<Vec<u8>, Failure> {
    while data.last() == Some(&0) {
        data.pop();
    }
    if data.contains(&0) {
        return Err(EntryFault::NulByte { what }.into());
    }
    if data.is_empty() {
        return Err(empty.into());
    }
    Ok(data)
}

fn unsupported(flag: u8) -> EntryFault {
    let name = match flag {
        b'A' => "an access control list of Solaris",
        b'E' => "extended attributes of Solaris",
        b'I' => "an inode of star",
        b'M' => "the rest of a file from another volume",
        b'N' => "a list of long names of an early GNU tar",
        b'S' => "a sparse file, but not in GNU tar's form",
        b'V' => "the label of a volume",
        _ => "not known",
    };
    EntryFault::Unsupported {
        flag: flag.escape_ascii().to_string(),
        name,
    }
}

fn fill<R: BufRead>(inner: &mut R) -> io::Result<&[u8]> {
    loop {
        match inner.fill_buf() {
            Ok(_) => break,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
    }
    // Buffered already: the second call is free, and borrows for the caller alone.
    inner.fill_buf()
}

fn read_some<R: BufRead>(inner: &mut R, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        match inner.read(buffer) {
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}
