//! Needs of a program: from the header of an ELF file, or the first line of a script.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use object::elf;
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::{Endianness, FileKind};

/// What a file needs to run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Needs {
    /// It is not a program, or needs nothing.
    Nothing,
    /// It is a script; the words of its first line.
    Interpreter(Vec<String>),
    /// It is an ELF object.
    Libraries(Object),
}

/// What the dynamic linker reads of an ELF object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Object {
    /// Whether it has 64-bit addresses.
    pub wide: bool,
    /// The machine it is for.
    pub machine: u16,
    /// The dynamic linker it asks for.
    pub interpreter: Option<PathBuf>,
    /// The libraries it names.
    pub needed: Vec<String>,
    /// Where it wants them looked for, before all else.
    pub rpath: Vec<String>,
    /// Where it wants them looked for.
    pub runpath: Vec<String>,
}

/// Names and paths in dynamic sections that are taken to be sound are no longer than this.
const MAX_STRING: u64 = 4096;

/// Reads what the file at `path` needs.
pub fn needs(path: &Path) -> io::Result<Needs> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        // Reported with all others of its kind.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => return Ok(Needs::Nothing),
        Err(e) => return Err(e),
    };
    let mut start = Vec::with_capacity(256);
    file.by_ref().take(256).read_to_end(&mut start)?;
    if start.starts_with(b"#!") {
        let line = start[2..].split(|b| *b == b'\n').next().unwrap_or_default();
        let words: Vec<String> = String::from_utf8_lossy(line)
            .split_whitespace()
            .map(str::to_owned)
            .collect();
        return Ok(if words.is_empty() {
            Needs::Nothing
        } else {
            Needs::Interpreter(words)
        });
    }
    if !start.starts_with(b"\x7fELF") {
        return Ok(Needs::Nothing);
    }
    file.rewind()?;
    let data = ReadCache::new(file);
    let object = match FileKind::parse(&data).map_err(io::Error::other)? {
        FileKind::Elf32 => read::<elf::FileHeader32<Endianness>, _>(&data),
        FileKind::Elf64 => read::<elf::FileHeader64<Endianness>, _>(&data),
        _ => return Ok(Needs::Nothing),
    }
    .map_err(io::Error::other)?;
    Ok(Needs::Libraries(object))
}

fn read<'data, Elf, R>(data: R) -> Result<Object, object::Error>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let segments = header.program_headers(endian, data)?;
    let mut object = Object {
        wide: header.is_type_64(),
        machine: header.e_machine(endian).0,
        ..Object::default()
    };
    // A segment is not read as a whole to get at a few names: those of a compiler are large.
    let offset_of = |address: u64| {
        segments.iter().find_map(|s| {
            let from = s.p_vaddr(endian).into();
            let within = address.checked_sub(from)?;
            (s.p_type(endian) == elf::PT_LOAD && within < s.p_filesz(endian).into())
                .then(|| s.p_offset(endian).into().checked_add(within))?
        })
    };
    for segment in segments {
        if let Some(path) = segment.interpreter(endian, data)? {
            object.interpreter = Some(PathBuf::from(std::ffi::OsStr::from_bytes(path)));
        }
        let Some(entries) = segment.dynamic(endian, data)? else {
            continue;
        };
        let strings = entries
            .iter()
            .find(|e| e.tag(endian) == elf::DT_STRTAB)
            .and_then(|e| offset_of(e.val(endian)));
        let string = |offset: u64| -> Option<String> {
            let at = strings?.checked_add(offset)?;
            let end = data.len().ok()?.min(at.checked_add(MAX_STRING)?);
            let bytes = data.read_bytes_at_until(at..end, 0).ok()?;
            Some(String::from_utf8_lossy(bytes).into_owned())
        };
        for entry in entries {
            let tag = entry.tag(endian);
            if tag == elf::DT_NULL {
                break;
            }
            let value = entry.val(endian);
            if tag == elf::DT_NEEDED {
                object.needed.extend(string(value));
            } else if tag == elf::DT_RPATH {
                object
                    .rpath
                    .extend(string(value).iter().flat_map(|l| split(l)));
            } else if tag == elf::DT_RUNPATH {
                object
                    .runpath
                    .extend(string(value).iter().flat_map(|l| split(l)));
            }
        }
    }
    Ok(object)
}

fn split(list: &str) -> Vec<String> {
    list.split(':')
        .filter(|d| !d.is_empty())
        .map(str::to_owned)
        .collect()
}
