//! What differs between two trees that should be the same, file by file: metadata, lines of texts, sections of
//! programs, members of archives, and what lies in them.
//!
//! For people who look for the cause. Everything in here was made by a build and is taken for hostile: sizes, depths
//! and numbers are bounded.

use std::collections::BTreeMap;
use std::io::Read;

use mstore_store::compress::{DecodeLimits, Decoder, Format};
use mstore_store::{Entry, Kind, Mtime, Store, StoreError, TreeHash};
use object::Endianness;
use object::read::elf::{ElfFile32, ElfFile64, FileHeader};
use object::read::{Object as _, ObjectSection as _};

use crate::drv::{Change, PathChange};
use crate::plan::{LineChange, line_diff};

/// Largest file that is looked into, in bytes; also what comes of one that is compressed.
const LARGEST: u64 = 64 << 20;
/// Archives within archives that are opened.
const DEEPEST: usize = 3;
/// Lines of a text that are shown, members and sections that are named.
const SHOWN: usize = 8;
/// Characters of one line that are shown.
const WIDEST: usize = 120;
/// Members of an archive that are compared.
const MOST_MEMBERS: usize = 100_000;

/// Says what differs at a path of two trees, in lines for people. Paths that are not UTF-8 are not looked at.
pub fn differences(
    store: &Store,
    first: TreeHash,
    second: TreeHash,
    change: &PathChange,
) -> Result<Vec<String>, StoreError> {
    let both = matches!(change.change, Change::Content | Change::Metadata);
    if !both || change.path_base64.is_some() {
        return Ok(Vec::new());
    }
    let path = match change.path.as_str() {
        "." => "",
        path => path,
    };
    let (old, new) = match (store.entry(first, path), store.entry(second, path)) {
        (Ok(Some(old)), Ok(Some(new))) => (old, new),
        // The root of a tree is no entry.
        (Ok(_), Ok(_)) => {
            let (old, new) = (store.tree(first)?.root, store.tree(second)?.root);
            return Ok(metadata(&old, &new));
        }
        (Err(error), _) | (_, Err(error)) => return Err(error),
    };
    let mut lines = metadata(&old.meta, &new.meta);
    lines.extend(content(store, &old, &new)?);
    Ok(lines)
}

fn metadata(old: &mstore_store::Meta, new: &mstore_store::Meta) -> Vec<String> {
    let mut lines = Vec::new();
    let mut note = |what: &str, old: String, new: String| {
        if old != new {
            lines.push(format!("{what} {old}, then {new}"));
        }
    };
    let mode = |mode: u16| format!("{mode:04o}");
    note("mode", mode(old.mode), mode(new.mode));
    note("owner", old.uid.to_string(), new.uid.to_string());
    note("group", old.gid.to_string(), new.gid.to_string());
    let time = |time: Mtime| format!("{}.{:09}", time.secs, time.nanos);
    note("time", time(old.mtime), time(new.mtime));
    let attributes = |meta: &mstore_store::Meta| -> BTreeMap<String, Vec<u8>> {
        let all = meta.xattrs.iter();
        all.map(|(name, value)| (String::from_utf8_lossy(name).into_owned(), value.clone()))
            .collect()
    };
    let (old, new) = (attributes(old), attributes(new));
    for (name, value) in &old {
        match new.get(name) {
            None => lines.push(format!("attribute {} is gone", plain(name))),
            Some(other) if other != value => {
                lines.push(format!("attribute {} differs", plain(name)));
            }
            Some(_) => {}
        }
    }
    let more = new.keys().filter(|name| !old.contains_key(*name));
    lines.extend(more.map(|name| format!("attribute {} is new", plain(name))));
    lines
}

fn content(store: &Store, old: &Entry, new: &Entry) -> Result<Vec<String>, StoreError> {
    Ok(match (&old.kind, &new.kind) {
        (
            Kind::File {
                blob: first,
                size: a,
            },
            Kind::File {
                blob: second,
                size: b,
            },
        ) => {
            if first == second {
                return Ok(Vec::new());
            }
            if *a > LARGEST || *b > LARGEST {
                return Ok(vec![format!(
                    "{a} bytes, then {b}: too large to be looked into"
                )]);
            }
            files(&store.blob(*first)?, &store.blob(*second)?, 0)
        }
        (Kind::Symlink { target: a }, Kind::Symlink { target: b }) if a != b => {
            let text = |target: &[u8]| plain(&String::from_utf8_lossy(target));
            vec![format!("leads to {}, then to {}", text(a), text(b))]
        }
        (a, b) if std::mem::discriminant(a) != std::mem::discriminant(b) => {
            vec![format!("{}, then {}", a.word(), b.word())]
        }
        _ => Vec::new(),
    })
}

/// Says what differs between two contents; `depth` counts the archives around them.
fn files(old: &[u8], new: &[u8], depth: usize) -> Vec<String> {
    if depth < DEEPEST
        && let Some(lines) = compressed(old, new, depth)
            .or_else(|| members("ar", ar(old), ar(new), depth))
            .or_else(|| members("tar", tar(old), tar(new), depth))
    {
        return lines;
    }
    sections(old, new)
        .or_else(|| texts(old, new))
        .unwrap_or_else(|| bytes(old, new))
}

fn bytes(old: &[u8], new: &[u8]) -> Vec<String> {
    let at = old.iter().zip(new).take_while(|(a, b)| a == b).count();
    let mut lines = Vec::new();
    if old.len() != new.len() {
        lines.push(format!("{} bytes, then {}", old.len(), new.len()));
    }
    let differing = old.iter().zip(new).filter(|(a, b)| a != b).count();
    let hex = |all: &[u8]| -> String {
        let all = all.iter().skip(at).take(8);
        all.map(|b| format!("{b:02x}")).collect()
    };
    lines.push(format!(
        "{differing} bytes differ, the first at {at}: {}, then {}",
        hex(old),
        hex(new)
    ));
    lines
}

/// Texts line by line; nothing if one of them is none.
fn texts(old: &[u8], new: &[u8]) -> Option<Vec<String>> {
    let text = |bytes| {
        std::str::from_utf8(bytes)
            .ok()
            .filter(|t| !t.contains('\0'))
    };
    let (old, new) = (text(old)?, text(new)?);
    let all = line_diff(old, new);
    let changes = all
        .iter()
        .filter(|line| matches!(line, LineChange::Removed(_) | LineChange::Added(_)));
    let mut lines: Vec<String> = changes
        .clone()
        .take(SHOWN)
        .map(|line| plain(&line.to_string()))
        .collect();
    match changes.count().saturating_sub(SHOWN) {
        // Lines are the same: how they end is not.
        0 if lines.is_empty() => return None,
        0 => {}
        more => lines.push(format!("and {more} more lines")),
    }
    Some(lines)
}

/// What comes of two files that are compressed in the same way; nothing if they are not.
fn compressed(old: &[u8], new: &[u8], depth: usize) -> Option<Vec<String>> {
    let format = Format::detect(old);
    if format == Format::Plain || Format::detect(new) != format {
        return None;
    }
    let (a, b) = (decompress(old)?, decompress(new)?);
    let mut lines = vec![match a == b {
        true => format!("{format}: the same when decompressed; how it was compressed differs"),
        false => format!("{format}:"),
    }];
    // The fields of the first member's header that tell of time and place.
    if format == Format::Gzip && old.get(4..8) != new.get(4..8) {
        let time = |bytes: &[u8]| {
            let field = bytes.get(4..8).and_then(|f| f.try_into().ok());
            field.map_or(0, u32::from_le_bytes)
        };
        lines.push(format!(
            "  time in the header {}, then {}",
            time(old),
            time(new)
        ));
    }
    if a != b {
        lines.extend(indent(files(&a, &b, depth + 1)));
    }
    Some(lines)
}

fn decompress(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    let decoder = Decoder::new(bytes, DecodeLimits::default()).ok()?;
    decoder.take(LARGEST + 1).read_to_end(&mut out).ok()?;
    (out.len() as u64 <= LARGEST).then_some(out)
}

/// A member of an archive: what is written of it beside its content, and that.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Member<'a> {
    name: String,
    fields: Vec<(&'static str, String)>,
    content: &'a [u8],
}

/// Compares archives member by member; nothing if one of them is none.
fn members(
    kind: &str,
    old: Option<Vec<Member<'_>>>,
    new: Option<Vec<Member<'_>>>,
    depth: usize,
) -> Option<Vec<String>> {
    let (old, new) = (old?, new?);
    let names = |all: &[Member<'_>]| all.iter().map(|m| m.name.clone()).collect::<Vec<_>>();
    let (first, second) = (names(&old), names(&new));
    let mut lines = Vec::new();
    let (mut sorted, mut other) = (first.clone(), second.clone());
    sorted.sort();
    other.sort();
    if first != second && sorted == other {
        lines.push("members are in another order".to_owned());
    }
    let mut rest: BTreeMap<&str, Vec<&Member<'_>>> = BTreeMap::new();
    for member in new.iter().rev() {
        rest.entry(&member.name).or_default().push(member);
    }
    for member in &old {
        let Some(other) = rest.get_mut(member.name.as_str()).and_then(Vec::pop) else {
            lines.push(format!("- {}", plain(&member.name)));
            continue;
        };
        if member == other {
            continue;
        }
        lines.push(format!("~ {}", plain(&member.name)));
        for ((what, a), (_, b)) in member.fields.iter().zip(&other.fields) {
            if a != b {
                lines.push(format!("    {what} {}, then {}", plain(a), plain(b)));
            }
        }
        if member.content != other.content {
            lines.extend(indent(indent(files(
                member.content,
                other.content,
                depth + 1,
            ))));
        }
    }
    let added = rest.values().flatten();
    lines.extend(added.map(|member| format!("+ {}", plain(&member.name))));
    if lines.is_empty() {
        return None;
    }
    let more = lines.len().saturating_sub(4 * SHOWN);
    lines.truncate(4 * SHOWN);
    if more > 0 {
        lines.push(format!("and {more} more lines"));
    }
    let mut all = vec![format!("{kind} archive:")];
    all.extend(indent(lines));
    Some(all)
}

fn indent(lines: Vec<String>) -> Vec<String> {
    lines.into_iter().map(|line| format!("  {line}")).collect()
}

fn field(bytes: &[u8]) -> String {
    let end = bytes.iter().position(|b| *b == 0).unwrap_or(bytes.len());
    String::from_utf8_lossy(&bytes[..end]).trim().to_owned()
}

/// Members of an archive of `ar`; nothing if it is not one from its beginning to its end.
fn ar(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut rest = bytes.strip_prefix(b"!<arch>\n")?;
    let mut all: Vec<Member<'_>> = Vec::new();
    while !rest.is_empty() {
        let (header, after) = rest.split_at_checked(60)?;
        if &header[58..] != b"`\n" || all.len() >= MOST_MEMBERS {
            return None;
        }
        let size: usize = field(&header[48..58]).parse().ok()?;
        let (content, after) = after.split_at_checked(size)?;
        rest = match size % 2 {
            0 => after,
            _ => after.get(1..).unwrap_or_default(),
        };
        let named = |what, range: std::ops::Range<usize>| (what, field(&header[range]));
        all.push(Member {
            name: field(&header[..16]),
            fields: vec![
                named("time", 16..28),
                named("owner", 28..34),
                named("group", 34..40),
                named("mode", 40..48),
            ],
            content,
        });
    }
    Some(all)
}

/// Members of an archive of `tar`; nothing if it is not one. Long names of GNU and pax are members of their own.
fn tar(bytes: &[u8]) -> Option<Vec<Member<'_>>> {
    let mut rest = bytes;
    let mut all: Vec<Member<'_>> = Vec::new();
    loop {
        let (header, after) = rest.split_at_checked(512)?;
        if header.iter().all(|b| *b == 0) {
            break;
        }
        if &header[257..262] != b"ustar" || all.len() >= MOST_MEMBERS {
            return None;
        }
        let size = usize::from_str_radix(&field(&header[124..136]), 8).ok()?;
        let (content, after) = after.split_at_checked(size)?;
        rest = after.get((512 - size % 512) % 512..)?;
        let named = |what, range: std::ops::Range<usize>| (what, field(&header[range]));
        all.push(Member {
            name: field(&header[..100]),
            fields: vec![
                named("mode", 100..108),
                named("owner", 108..116),
                named("group", 116..124),
                named("time", 136..148),
                named("kind", 156..157),
                named("link", 157..257),
                named("owner's name", 265..297),
                named("group's name", 297..329),
            ],
            content,
        });
    }
    Some(all)
}

/// Sections of programs, libraries and object files; nothing if one is none, or if none of them differs.
fn sections(old: &[u8], new: &[u8]) -> Option<Vec<String>> {
    let (old, new) = (of_elf(old)?, of_elf(new)?);
    let mut lines = Vec::new();
    for (name, content) in &old {
        match new.iter().find(|(other, _)| other == name) {
            None => lines.push(format!("- section {}", plain(name))),
            Some((_, other)) if other != content => {
                lines.push(format!("~ section {}", plain(name)));
                let detail = match name.starts_with(".comment") || name.starts_with(".note") {
                    true => texts(content, other).unwrap_or_else(|| bytes(content, other)),
                    false => bytes(content, other),
                };
                lines.extend(indent(indent(detail)));
            }
            Some(_) => {}
        }
    }
    let more = new
        .iter()
        .filter(|(name, _)| !old.iter().any(|(o, _)| o == name));
    lines.extend(more.map(|(name, _)| format!("+ section {}", plain(name))));
    if lines.is_empty() {
        return None;
    }
    lines.truncate(4 * SHOWN);
    let mut all = vec!["ELF:".to_owned()];
    all.extend(indent(lines));
    Some(all)
}

/// Names and contents of sections. Those of one name are told apart by a number.
fn of_elf(bytes: &[u8]) -> Option<Vec<(String, Vec<u8>)>> {
    fn read<H: FileHeader<Endian = Endianness>>(
        file: &object::read::elf::ElfFile<'_, H>,
    ) -> Vec<(String, Vec<u8>)> {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        let mut all = Vec::new();
        for section in file.sections().take(MOST_MEMBERS) {
            let name = section.name_bytes().unwrap_or_default();
            let name = String::from_utf8_lossy(name).into_owned();
            let number = seen.entry(name.clone()).or_default();
            *number += 1;
            let name = match number {
                1 => name,
                number => format!("{name} ({number})"),
            };
            all.push((name, section.data().unwrap_or_default().to_vec()));
        }
        all
    }
    if let Ok(file) = ElfFile64::<Endianness>::parse(bytes) {
        return Some(read(&file));
    }
    ElfFile32::<Endianness>::parse(bytes)
        .ok()
        .map(|file| read(&file))
}

/// Text that does nothing to a terminal.
fn plain(text: &str) -> String {
    let mut shown: String = text
        .chars()
        .map(|c| if c.is_control() { '?' } else { c })
        .take(WIDEST)
        .collect();
    if text.chars().nth(WIDEST).is_some() {
        shown.push_str("...");
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ar_of(members: &[(&str, &str, &[u8])]) -> Vec<u8> {
        let mut out = b"!<arch>\n".to_vec();
        for (name, time, content) in members {
            let size = content.len();
            out.extend(format!("{name:<16}{time:<12}0     0     100644  {size:<10}`\n").bytes());
            out.extend(*content);
            if size % 2 == 1 {
                out.push(b'\n');
            }
        }
        out
    }

    fn gzip(time: u32, content: &[u8]) -> Vec<u8> {
        use std::io::Write as _;
        use std::process::{Command, Stdio};
        let mut child = Command::new("gzip")
            .args(["-nc"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(content).unwrap();
        let mut out = child.wait_with_output().unwrap().stdout;
        out[4..8].copy_from_slice(&time.to_le_bytes());
        out
    }

    #[test]
    fn texts_and_bytes() {
        let lines = files(b"a\nb\nc\n", b"a\nB\nc\n", 0);
        assert_eq!(lines, ["- b", "+ B"]);
        let lines = files(b"\0abc", b"\0abd5", 0);
        assert_eq!(
            lines,
            [
                "4 bytes, then 5",
                "1 bytes differ, the first at 3: 63, then 6435"
            ]
        );
        // A text may not do anything to the terminal.
        assert_eq!(files(b"\x1b[2Ja", b"b", 0)[0], "- ?[2Ja");
    }

    #[test]
    fn archives_member_by_member_and_what_is_in_them() {
        let old = ar_of(&[("a.o/", "1", b"x\n"), ("b.o/", "1", b"one\n")]);
        let new = ar_of(&[("a.o/", "2", b"x\n"), ("b.o/", "1", b"two\n")]);
        let lines = files(&old, &new, 0).join("\n");
        assert_eq!(
            lines,
            "ar archive:\n  ~ a.o/\n      time 1, then 2\n  ~ b.o/\n      - one\n      + two"
        );
        let lines = files(&gzip(1, &old), &gzip(2, &new), 0);
        assert_eq!(lines[0], "gzip:");
        assert_eq!(lines[1], "  time in the header 1, then 2");
        assert!(lines.iter().any(|l| l.trim() == "+ two"), "{lines:?}");
        let lines = files(&gzip(1, b"x"), &gzip(2, b"x"), 0);
        assert!(lines[0].contains("the same when decompressed"), "{lines:?}");
        let swapped = ar_of(&[("b.o/", "1", b"one\n"), ("a.o/", "1", b"x\n")]);
        let lines = files(&old, &swapped, 0);
        assert!(lines[1].contains("another order"), "{lines:?}");
    }

    #[test]
    fn sections_of_programs() {
        let old = std::fs::read("/proc/self/exe").unwrap();
        let mut new = old.clone();
        let file = ElfFile64::<Endianness>::parse(&*old).unwrap();
        let section = file.section_by_name(".rodata").unwrap();
        let (at, _) = section.file_range().unwrap();
        let at = usize::try_from(at).unwrap();
        new[at + 5] ^= 1;
        let lines = files(&old, &new, 0);
        assert_eq!(lines[..2], ["ELF:", "  ~ section .rodata"]);
        assert!(
            lines[2].contains("1 bytes differ, the first at 5"),
            "{lines:?}"
        );
    }

    proptest! {
        #[test]
        fn no_content_makes_looking_panic(
            start in prop::sample::select(vec![
                &b""[..], b"!<arch>\n", b"\x7fELF\x02\x01\x01", b"\x7fELF\x01\x01\x01", b"\x1f\x8b\x08",
            ]),
            old in any::<Vec<u8>>(),
            new in any::<Vec<u8>>(),
        ) {
            let whole = |rest: &[u8]| [start, rest].concat();
            let _ = files(&whole(&old), &whole(&new), 0);
            let mut header = vec![0; 512];
            header[257..262].copy_from_slice(b"ustar");
            header[..old.len().min(257)].copy_from_slice(&old[..old.len().min(257)]);
            let _ = files(&[&header[..], &old].concat(), &[&header[..], &new].concat(), 0);
        }
    }
}
