//! What a program or library is linked with and what it is known as, by what the loader reads of it. Sections, which may
//! be missing or say something else, are not looked at.
//!
//! Files come from builds, which may have written anything: what makes no sense is no ELF file.

use std::collections::BTreeSet;

use object::elf::{
    DT_NEEDED, DT_NULL, DT_SONAME, DT_STRSZ, DT_STRTAB, DynamicTag, FileHeader32, FileHeader64,
};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::{Endianness, FileKind};

/// Most names that one file is linked with; more is no program.
const MOST_NAMES: usize = 4096;
/// Most bytes of such a name.
const LONGEST_NAME: usize = 4096;

/// What libraries must have in common with programs that load them: machine, width and order of bytes, such as
/// `62-64-little`.
pub type Machine = String;

/// What an ELF file says of libraries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Links {
    /// What it runs on.
    pub machine: Machine,
    /// What it is known as, if it is a library.
    pub soname: Option<String>,
    /// What it is linked with.
    pub needed: BTreeSet<String>,
}

/// What a file says of libraries; nothing where it is no ELF file that a loader would load.
pub fn links(file: &[u8]) -> Option<Links> {
    match FileKind::parse(file).ok()? {
        FileKind::Elf32 => read::<FileHeader32<Endianness>>(file),
        FileKind::Elf64 => read::<FileHeader64<Endianness>>(file),
        _ => None,
    }
}

fn read<H: FileHeader<Endian = Endianness>>(file: &[u8]) -> Option<Links> {
    let header = H::parse(file).ok()?;
    let endian = header.endian().ok()?;
    let segments = header.program_headers(endian, file).ok()?;
    let machine = format!(
        "{}-{}-{}",
        header.e_machine(endian).0,
        if header.is_class_64() { 64 } else { 32 },
        if header.is_little_endian() {
            "little"
        } else {
            "big"
        },
    );
    let mut links = Links {
        machine,
        soname: None,
        needed: BTreeSet::new(),
    };
    let dynamic = segments
        .iter()
        .find_map(|segment| segment.dynamic(endian, file).ok()?);
    // A program that is linked statically.
    let Some(dynamic) = dynamic else {
        return Some(links);
    };
    let tags = || {
        let tags = dynamic
            .iter()
            .map(|each| (each.d_tag(endian), each.d_val(endian).into()));
        tags.take_while(|(tag, _): &(DynamicTag, u64)| *tag != DT_NULL)
    };
    let value = |wanted: DynamicTag| {
        let mut found = tags().filter(|(tag, _)| *tag == wanted);
        found.next().map(|(_, value)| value)
    };
    let (address, size) = (value(DT_STRTAB)?, value(DT_STRSZ)?);
    let names = segments
        .iter()
        .find_map(|segment| segment.data_range(endian, file, address, size).ok()?)?;
    for (tag, value) in tags() {
        let (is_needed, is_soname) = (tag == DT_NEEDED, tag == DT_SONAME);
        if !is_needed && !is_soname {
            continue;
        }
        let name = name(names, value)?;
        if is_soname {
            links.soname = Some(name);
        } else if links.needed.len() == MOST_NAMES {
            return None;
        } else {
            links.needed.insert(name);
        }
    }
    Some(links)
}

/// The name that begins at a place of a table.
fn name(names: &[u8], at: u64) -> Option<String> {
    let from = names.get(usize::try_from(at).ok()?..)?;
    let end = from
        .iter()
        .take(LONGEST_NAME + 1)
        .position(|byte| *byte == 0)?;
    let name = std::str::from_utf8(&from[..end]).ok()?;
    // A blank or a newline in it would be told apart nowhere.
    (!name.is_empty() && !name.contains(char::is_whitespace)).then(|| name.to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A library of 64 bits, as a linker writes it: with one segment and no sections.
    pub fn library(soname: &str, needed: &[&str]) -> Vec<u8> {
        let (mut names, mut tags) = (vec![0u8], Vec::new());
        let needed = needed.iter().map(|name| (1u64, *name));
        let soname = (!soname.is_empty()).then_some((14u64, soname));
        for (tag, name) in needed.chain(soname) {
            tags.push((tag, names.len() as u64));
            names.extend_from_slice(name.as_bytes());
            names.push(0);
        }
        const NAMES: u64 = 64 + 2 * 56;
        tags.extend([(5, 0x1000 + NAMES), (10, names.len() as u64), (0, 0)]);
        while names.len() % 8 != 0 {
            names.push(0);
        }
        let at = NAMES + names.len() as u64;
        let whole = at + tags.len() as u64 * 16;
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        let mut put = |bytes: &[u8]| file.extend_from_slice(bytes);
        put(&3u16.to_le_bytes());
        put(&62u16.to_le_bytes());
        put(&1u32.to_le_bytes());
        for number in [0u64, 64, 0] {
            put(&number.to_le_bytes());
        }
        put(&0u32.to_le_bytes());
        for number in [64u16, 56, 2, 64, 0, 0] {
            put(&number.to_le_bytes());
        }
        for (kind, at, size) in [(1u32, 0, whole), (2, at, tags.len() as u64 * 16)] {
            put(&kind.to_le_bytes());
            put(&5u32.to_le_bytes());
            for number in [at, 0x1000 + at, 0x1000 + at, size, size, 8] {
                put(&number.to_le_bytes());
            }
        }
        put(&names);
        for (tag, value) in tags {
            put(&tag.to_le_bytes());
            put(&value.to_le_bytes());
        }
        file
    }

    #[test]
    fn a_library_says_what_it_is_and_what_it_needs() {
        let found = links(&library("libtui.so.1", &["libncurses.so.6", "libc.so.6"])).unwrap();
        assert_eq!(found.machine, "62-64-little");
        assert_eq!(found.soname.as_deref(), Some("libtui.so.1"));
        let needed: Vec<_> = found.needed.iter().map(String::as_str).collect();
        assert_eq!(needed, ["libc.so.6", "libncurses.so.6"]);
        assert_eq!(links(&library("", &["a.so"])).unwrap().soname, None);
    }

    #[test]
    fn this_very_program_is_linked_with_something() {
        let own = std::fs::read(std::env::current_exe().unwrap()).unwrap();
        let found = links(&own).unwrap();
        assert!(
            found.needed.iter().any(|name| name.starts_with("libc.")),
            "{found:?}"
        );
    }

    #[test]
    fn whatever_else_a_file_has_in_it_harms_nobody() {
        let whole = library("libtui.so.1", &["libncurses.so.6"]);
        for end in 0..whole.len() {
            let _ = links(&whole[..end]);
        }
        for at in 0..whole.len() {
            for value in [0, 1, 0x7f, 0x80, 0xff] {
                let mut bent = whole.clone();
                bent[at] = value;
                let _ = links(&bent);
            }
        }
        assert_eq!(links(b"#!/bin/sh\n"), None);
        assert_eq!(links(&library("lib\nneeds x y", &[])), None);
    }
}
