//! Export: equal trees give equal archives, and those are read back as they were.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;

use super::memory::{Memory, What};
use crate::compress::Compression;
use crate::manifest::{Meta, Mtime};
use crate::tar::ExportOptions;
use crate::{Node, TarOptions};

/// Names of a few letters, so that many share folders, and some long, odd or not even text.
fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        6 => "[a-c]{1,2}".prop_map(String::into_bytes),
        2 => "[ -.0-~]{1,30}".prop_map(String::into_bytes),
        1 => "\\PC{1,20}".prop_map(|s| s.replace('/', "_").into_bytes()),
        1 => vec(any::<u8>(), 1..255).prop_map(|mut v| {
            v.iter_mut().filter(|b| matches!(**b, 0 | b'/')).for_each(|b| *b = b'_');
            v
        }),
    ]
    .prop_filter("no real name", |n| {
        n.len() <= 255 && n[..] != b"."[..] && n[..] != b".."[..]
    })
}

fn meta() -> impl Strategy<Value = Meta> {
    let id = prop_oneof![
        Just(0),
        0..3000u32,
        any::<u32>().prop_filter("nobody", |id| *id != u32::MAX)
    ];
    let secs = prop_oneof![
        0..2_000_000_000i64,
        any::<i64>().prop_map(|s| s >> 8),
        Just(-1),
        Just(1 << 33)
    ];
    let nanos = prop_oneof![Just(0), 0..1_000_000_000u32];
    let key = "user\\.[a-z=%.]{1,9}".prop_map(String::into_bytes);
    let xattrs = btree_map(key, vec(any::<u8>(), 0..40), 0..3);
    let capability = prop::option::of(vec(any::<u8>(), 20).prop_map(|mut bytes| {
        bytes[..4].copy_from_slice(&[0, 0, 0, 2]);
        (b"security.capability".to_vec(), bytes)
    }));
    (
        0..0o10000u16,
        id.clone(),
        id,
        secs,
        nanos,
        (xattrs, capability),
    )
        .prop_map(|(mode, uid, gid, secs, nanos, (xattrs, capability))| Meta {
            mode,
            uid,
            gid,
            mtime: Mtime { secs, nanos },
            xattrs: capability.into_iter().chain(xattrs).collect(),
        })
}

fn what() -> impl Strategy<Value = What> {
    let target = prop_oneof!["[a-z./]{1,20}", "x{90,300}"];
    prop_oneof![
        3 => vec(any::<u8>(), 0..3000).prop_map(What::File),
        1 => (0..2_000_000usize).prop_map(|n| What::File(vec![b'z'; n])),
        2 => Just(What::Dir),
        2 => target.prop_map(|t| What::Symlink(t.into_bytes())),
        1 => (0..4096u32, 1..1_048_576u32).prop_map(|(major, minor)| What::Node(Node::Char { major, minor })),
        1 => (0..9u32, 0..9u32).prop_map(|(major, minor)| What::Node(Node::Block { major, minor })),
        1 => Just(What::Node(Node::Fifo)),
    ]
}

/// A whole tree. Where a path would lie below what is not a folder, it is left out.
fn tree() -> impl Strategy<Value = Memory> {
    let entries = btree_map(vec(name(), 1..5), (meta(), what()), 0..25);
    (
        meta(),
        entries,
        vec((any::<prop::sample::Index>(), name()), 0..4),
    )
        .prop_map(|(root, entries, links)| {
            let mut tree = Memory::default();
            tree.entries.insert(Vec::new(), (root, What::Dir));
            'entries: for (parts, (mut meta, what)) in entries {
                let mut path = Vec::new();
                for part in &parts[..parts.len() - 1] {
                    path.extend(part);
                    let above = tree
                        .entries
                        .entry(path.clone())
                        .or_insert_with(|| (Meta::plain_dir(), What::Dir));
                    if above.1 != What::Dir {
                        continue 'entries;
                    }
                    path.push(b'/');
                }
                path.extend(&parts[parts.len() - 1]);
                if matches!(what, What::Symlink(_)) {
                    meta.mode = 0o777;
                }
                if matches!(what, What::Symlink(_) | What::Node(_)) {
                    meta.xattrs.clear();
                }
                tree.entries.entry(path).or_insert((meta, what));
            }
            // Whatever is not a folder may have several names.
            let files: Vec<Vec<u8>> = tree
                .entries
                .iter()
                .filter(|(_, (_, what))| *what != What::Dir)
                .map(|(path, _)| path.clone())
                .collect();
            for (pick, name) in links {
                if !files.is_empty() && !tree.entries.contains_key(&name) {
                    let target = pick.get(&files).clone();
                    tree.entries
                        .insert(name.clone(), tree.entries[&target].clone());
                    tree.links.insert(name, target);
                }
            }
            tree
        })
}

fn with(compression: Compression) -> ExportOptions {
    ExportOptions {
        compression,
        threads: 2,
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(80))]

    #[test]
    fn every_tree_comes_back_through_every_compressor(tree in tree()) {
        let mut sizes = Vec::new();
        for compression in [
            Compression::None,
            Compression::Gzip(1),
            Compression::Xz(0),
            Compression::Zstd(3),
        ] {
            let archive = tree.write(&with(compression));
            prop_assert_eq!(&archive, &tree.write(&ExportOptions { compression, threads: 1 }));
            let back = Memory::read(&archive).unwrap();
            prop_assert_eq!(&back.entries, &tree.entries);
            prop_assert_eq!(back.groups(), tree.groups());
            sizes.push(archive.len());
        }
        prop_assert_eq!(sizes[0] % 512, 0);
    }

    #[test]
    fn no_bytes_whatsoever_make_the_reader_panic(
        tree in tree(),
        changes in vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut archive = tree.write(&with(Compression::None));
        for (at, byte) in changes {
            let at = at.index(archive.len());
            archive[at] = byte;
            // With a right checksum the change is looked at, not only noticed.
            let start = at / 512 * 512;
            if let Ok(block) = <&mut [u8; 512]>::try_from(&mut archive[start..start + 512]) {
                super::seal(block);
            }
        }
        let _ = Memory::read(&archive);
        let cut = cut.index(archive.len());
        let _ = Memory::read_with(&archive[..cut], &TarOptions::snapshot());
    }
}

#[test]
fn the_form_of_an_archive_is_pinned() {
    let mut tree = Memory::default();
    let meta = |mode| Meta {
        mode,
        uid: 1,
        gid: 2,
        mtime: Mtime {
            secs: 1_000_000_000,
            nanos: 0,
        },
        xattrs: Vec::new(),
    };
    tree.entries.insert(b"".to_vec(), (meta(0o755), What::Dir));
    tree.entries
        .insert(b"d".to_vec(), (meta(0o2755), What::Dir));
    tree.entries.insert(
        b"d/f".to_vec(),
        (meta(0o644), What::File(b"text\n".to_vec())),
    );
    let mut odd = meta(0o600);
    odd.mtime.nanos = 5;
    odd.xattrs.push((b"user.k=".to_vec(), b"v".to_vec()));
    tree.entries
        .insert(b"odd".to_vec(), (odd, What::File(Vec::new())));
    let archive = tree.write(&with(Compression::None));
    let text: Vec<String> = archive
        .chunks(512)
        .map(|block| {
            let used = block.iter().rposition(|&b| b != 0).map_or(0, |at| at + 1);
            block[..used]
                .escape_ascii()
                .to_string()
                .replace("\\x00", ".")
        })
        .collect();
    insta::assert_snapshot!(text.join("\n"), @r"
    ./..................................................................................................0000755.0000001.0000002.00000000000.07346545000.007407. 5....................................................................................................ustar.00................................................................0000000.0000000
    d/..................................................................................................0002755.0000001.0000002.00000000000.07346545000.007477. 5....................................................................................................ustar.00................................................................0000000.0000000
    d/f.................................................................................................0000644.0000001.0000002.00000000005.07346545000.007640. 0....................................................................................................ustar.00................................................................0000000.0000000
    text\n
    PaxHeaders/odd......................................................................................0000644.0000000.0000000.00000000072.00000000000.012031. x....................................................................................................ustar.00................................................................0000000.0000000
    30 mtime=1000000000.000000005\n28 SCHILY.xattr.user.k%3D=v\n
    odd.................................................................................................0000600.0000001.0000002.00000000000.07346545000.007721. 0....................................................................................................ustar.00................................................................0000000.0000000
    ");
}

#[test]
fn names_use_the_prefix_where_it_reaches() {
    for (length, fits) in [
        (100, true),
        (101, true),
        (200, true),
        (250, true),
        (256, false),
        (257, false),
    ] {
        // A slash at every tenth place.
        let path: Vec<u8> = (0..length)
            .map(|n| {
                if n % 10 == 9 && n + 1 < length {
                    b'/'
                } else {
                    b'x'
                }
            })
            .collect();
        let mut tree = Memory::default();
        tree.entries
            .insert(path.clone(), (Meta::default(), What::Node(Node::Fifo)));
        let archive = tree.write(&with(Compression::None));
        let has_record = archive.windows(5).any(|w| w == b"path=");
        assert_eq!(!has_record, fits, "{length}");
        assert!(
            Memory::read(&archive).unwrap().entries.contains_key(&path),
            "{length}"
        );
    }
}

#[test]
fn sockets_are_left_out() {
    let mut tree = Memory::default();
    tree.entries
        .insert(b"s".to_vec(), (Meta::default(), What::Node(Node::Socket)));
    let archive = tree.write(&with(Compression::None));
    assert_eq!(Memory::read(&archive).unwrap().entries.len(), 1);
}
