//! Errors of archives: each fault is a type of its own that names the entry.

use std::fmt;
use std::io;

use crate::compress::CompressError;

/// Why an archive was refused. The store is left as it was: nothing of the archive is visible.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TarError {
    /// The stream under the archive failed.
    #[error("cannot read the archive after {offset} bytes of it")]
    Read {
        /// How many uncompressed bytes had been read.
        offset: u64,
        /// What the system said.
        #[source]
        source: io::Error,
    },
    /// The compressed form is damaged, cut short or a bomb.
    #[error(transparent)]
    Compressed(CompressError),
    /// There is not one byte.
    #[error("the archive is empty: a tar archive has at least its end marker of 1024 zero bytes")]
    Empty,
    /// The first block is not a tar header.
    #[error(
        "this is not a tar archive: its first block is not a valid header (plain, gzip, bzip2, xz and zstd archives can be read)"
    )]
    NotTar,
    /// It is an archive of another kind.
    #[error("this is a {form} archive, not a tar archive: unpack it and import the folder")]
    OtherForm {
        /// The kind.
        form: &'static str,
    },
    /// The stream ends before the archive does.
    #[error("the archive is truncated: it ends after {offset} bytes, {missing}")]
    Truncated {
        /// How many uncompressed bytes there were.
        offset: u64,
        /// What should have followed.
        missing: String,
    },
    /// Something other than zeros follows the end marker, or one zero block alone stands between entries.
    #[error(
        "data follows the end of the archive at byte {offset}: tools disagree about whether to read it (joined archives must be imported one by one)"
    )]
    DataAfterEnd {
        /// Where the data begin.
        offset: u64,
    },
    /// The archive holds more than it may.
    #[error("the archive holds more than {limit} {what}")]
    TooMuch {
        /// What there is too much of.
        what: &'static str,
        /// The limit, which [`TarLimits`](super::TarLimits) can raise.
        limit: u64,
    },
    /// `strip_prefix` was asked for, but there is no one folder around everything.
    #[error("cannot strip the top folder: the archive has {found} at its top, not one folder")]
    NoSingleTop {
        /// What is there instead.
        found: String,
    },
    /// One entry is at fault.
    #[error("archive entry \"{entry}\" (header at byte {offset}): {fault}")]
    Entry {
        /// Its name, escaped for display.
        entry: String,
        /// Where its header lies in the uncompressed archive.
        offset: u64,
        /// What is wrong with it.
        fault: EntryFault,
    },
}

impl TarError {
    /// The fault of the entry, if a single entry is to blame.
    pub fn fault(&self) -> Option<&EntryFault> {
        match self {
            TarError::Entry { fault, .. } => Some(fault),
            _ => None,
        }
    }

    /// Recognises what the decompressor reported through [`io::Read`].
    pub(crate) fn from_io(error: io::Error, offset: u64) -> TarError {
        match error.downcast::<CompressError>() {
            Ok(inner) => TarError::Compressed(inner),
            Err(source) => TarError::Read { offset, source },
        }
    }
}

/// What is wrong with one entry of an archive.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryFault {
    /// The header's checksum does not fit its bytes.
    #[error("the header's checksum is wrong, so the archive is damaged here")]
    Checksum,
    /// It is part of an incremental dump.
    #[error(
        "it is part of an incremental dump (tar --listed-incremental), which lacks what did not change; import a full archive without that option, or the restored folder"
    )]
    Incremental,
    /// A numeric field is not a number.
    #[error("the {field} field is not a number: \"{text}\"")]
    BadNumber {
        /// Which field.
        field: &'static str,
        /// Its bytes, escaped.
        text: String,
    },
    /// A numeric field is below zero.
    #[error("the {field} is negative")]
    NegativeNumber {
        /// Which field.
        field: &'static str,
    },
    /// A numeric field exceeds what a file system can hold.
    #[error("the {field} is too large: {value}")]
    NumberTooLarge {
        /// Which field.
        field: &'static str,
        /// What it says.
        value: String,
    },
    /// The entry has no name.
    #[error("it has no name")]
    EmptyName,
    /// A name begins with a slash.
    #[error("the {what} is absolute; only names below the archive's root are taken")]
    Absolute {
        /// `name` or `link target`.
        what: &'static str,
    },
    /// A name holds `..`.
    #[error("the {what} climbs with \"..\"; only names below the archive's root are taken")]
    Climbs {
        /// `name` or `link target`.
        what: &'static str,
    },
    /// A name holds a NUL byte.
    #[error("the {what} holds a NUL byte")]
    NulByte {
        /// Which text.
        what: &'static str,
    },
    /// A name is longer than allowed.
    #[error("the {what} is {length} bytes long, more than {limit}")]
    TooLong {
        /// Which text.
        what: &'static str,
        /// How long it is.
        length: u64,
        /// The limit.
        limit: u64,
    },
    /// The path has too many components.
    #[error("it lies {depth} folders deep, more than {limit}")]
    TooDeep {
        /// How many components.
        depth: usize,
        /// The limit.
        limit: usize,
    },
    /// An ancestor in the archive is not a directory.
    #[error("it lies below \"{ancestor}\", which the archive makes a {kind}, not a folder")]
    BelowNonDirectory {
        /// The ancestor.
        ancestor: String,
        /// What it is.
        kind: &'static str,
    },
    /// The path was there before. Tools disagree about which one counts.
    #[error(
        "the archive already holds this path (header at byte {first}); only a folder may come again, and unchanged"
    )]
    Duplicate {
        /// Where the first one's header lies.
        first: u64,
    },
    /// The root of the archive is not a directory.
    #[error("the archive's root itself is given as a {kind}")]
    RootNotDirectory {
        /// What it is given as.
        kind: &'static str,
    },
    /// A hard link to something that the archive does not hold before it.
    #[error("it is a hard link to \"{target}\", which the archive does not hold before it")]
    LinkMissing {
        /// The link's target.
        target: String,
    },
    /// A hard link to something that may not have two names.
    #[error("it is a hard link to \"{target}\", a {kind}, which cannot have several names")]
    LinkKind {
        /// The link's target.
        target: String,
        /// What the target is.
        kind: &'static str,
    },
    /// A symbolic or hard link without a target.
    #[error("it is a link to nothing")]
    LinkEmpty,
    /// The extended size is not the header's.
    #[error("its PAX size is {pax} but its header says {header}")]
    SizeContradiction {
        /// The size of the PAX record.
        pax: u64,
        /// The size in the header.
        header: u64,
    },
    /// Two extended headers give it different names or targets.
    #[error("two extended headers give it different {what}s")]
    NameContradiction {
        /// `name` or `link target`.
        what: &'static str,
    },
    /// An entry without content claims content.
    #[error("a {kind} cannot have content, but its header says {size} bytes")]
    SizeOnKind {
        /// What the entry is.
        kind: &'static str,
        /// The size it claims.
        size: u64,
    },
    /// A regular file whose name ends with a slash.
    #[error("its name ends with a slash, yet it is a regular file")]
    SlashFile,
    /// An extended header is larger than allowed.
    #[error("its {what} is {size} bytes long, more than {limit}")]
    ExtensionTooLarge {
        /// Which extended header.
        what: &'static str,
        /// How large it says it is.
        size: u64,
        /// The limit.
        limit: u64,
    },
    /// An extended header does not belong to an entry that follows at once.
    #[error("its {what} is not followed by the entry it describes")]
    Orphan {
        /// Which extended header.
        what: &'static str,
    },
    /// The same extended header twice before one entry.
    #[error("it has a second {what}")]
    Repeated {
        /// Which extended header.
        what: &'static str,
    },
    /// A PAX header breaks the rules of its format.
    #[error("its PAX header is malformed: {why}")]
    PaxSyntax {
        /// In which way.
        why: String,
    },
    /// A PAX record has a value that its key does not allow.
    #[error("its PAX record {key} has no valid value: \"{value}\"")]
    PaxValue {
        /// The key.
        key: String,
        /// The value, escaped and cut.
        value: String,
    },
    /// A global PAX header sets what belongs to one entry alone.
    #[error("a global PAX header sets {key}, which only single entries can have")]
    Global {
        /// The key.
        key: String,
    },
    /// The entry's type is not one that a tree can hold.
    #[error("its type is '{flag}' ({name}), which cannot be imported")]
    Unsupported {
        /// The type flag, escaped.
        flag: String,
        /// What it is known as.
        name: &'static str,
    },
    /// The map of a sparse file is wrong.
    #[error("its sparse map is wrong: {why}")]
    Sparse {
        /// In which way.
        why: String,
    },
    /// An extended attribute cannot be stored.
    #[error("its extended attribute \"{name}\" {why}")]
    Xattr {
        /// The attribute's name, escaped.
        name: String,
        /// What is wrong.
        why: &'static str,
    },
    /// An access control list cannot be understood.
    #[error("its access control list is not usable: {why}")]
    Acl {
        /// What is wrong.
        why: String,
    },
    /// An access control list names somebody, and which number that is nothing in an archive can say.
    #[error("its access control list names {who} without a number")]
    AclName {
        /// Whom.
        who: String,
    },
    /// Device nodes are not wanted here.
    #[error("it is a {kind}, and device nodes are refused here")]
    DeviceRefused {
        /// What kind of device.
        kind: &'static str,
    },
    /// A character device 0/0 would act as an overlay whiteout.
    #[error("it is a character device 0/0, which overlay file systems take for a deletion mark")]
    Whiteout,
    /// The file is larger than a file may be.
    #[error("its content is {size} bytes, more than {limit}")]
    FileTooLarge {
        /// Its size.
        size: u64,
        /// The limit.
        limit: u64,
    },
}

/// Shows bytes from an archive so that they can neither break a line nor a terminal.
pub(crate) fn show(bytes: &[u8]) -> String {
    struct Show<'a>(&'a [u8]);
    impl fmt::Display for Show<'_> {
        fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            for chunk in self.0.utf8_chunks() {
                for c in chunk.valid().chars() {
                    match c {
                        '"' | '\\' => write!(f, "\\{c}")?,
                        c if c.is_control() => write!(f, "{}", c.escape_default())?,
                        // Marks that reorder text would let a name look like another.
                        '\u{200b}'..='\u{200f}'
                        | '\u{2028}'..='\u{202e}'
                        | '\u{2066}'..='\u{2069}' => write!(f, "{}", c.escape_unicode())?,
                        c => write!(f, "{c}")?,
                    }
                }
                write!(f, "{}", chunk.invalid().escape_ascii())?;
            }
            Ok(())
        }
    }
    const LONGEST: usize = 200;
    if bytes.len() <= LONGEST {
        Show(bytes).to_string()
    } else {
        let cut = &bytes[..LONGEST];
        format!("{}... ({} bytes)", Show(cut), bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use super::show;

    #[test]
    fn names_are_shown_on_one_harmless_line() {
        assert_eq!(show(b"a\nb\x1b[31m\xff\"c"), "a\\nb\\u{1b}[31m\\xff\\\"c");
        assert_eq!(show("grün".as_bytes()), "grün");
        assert_eq!(show("a\u{202e}b".as_bytes()), "a\\u{202e}b");
        assert!(show(&[b'x'; 5000]).ends_with("... (5000 bytes)"));
    }
}
