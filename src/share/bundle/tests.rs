use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Mutex;

use mstore_store::{Meta, Node, OpenOptions, Store, TreeHash};
use proptest::prelude::*;

use super::*;
use crate::drv::Lineage;

fn store() -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(dir.path(), &OpenOptions::create()).unwrap();
    (dir, store)
}

/// Bytes without any order.
fn noise(seed: u32, len: usize) -> Vec<u8> {
    let mut out = vec![0; len];
    let mut hasher = blake3::Hasher::new();
    hasher.update(&seed.to_le_bytes());
    hasher.finalize_xof().fill(&mut out);
    out
}

/// How many faults a store has.
fn faults(store: &Store) -> usize {
    let report = store.verify(&Default::default(), &mut |_| ());
    report.unwrap().faults.len()
}

type Files = BTreeMap<String, Vec<u8>>;

fn meta() -> Meta {
    Meta {
        mode: 0o4755,
        uid: 7,
        xattrs: vec![(b"user.a".to_vec(), b"b".to_vec())],
        ..Meta::default()
    }
}

/// Adds a tree of files, and beside them one of each kind.
fn add(store: &Store, files: &Files) -> TreeHash {
    let mut builder = store.tree_builder().unwrap();
    for (path, content) in files {
        builder
            .file(path.as_bytes(), meta(), &mut &content[..])
            .unwrap();
    }
    if let Some(path) = files.keys().next() {
        builder.hard_link(b"kinds/hard", path.as_bytes()).unwrap();
    }
    builder
        .symlink(b"kinds/soft", meta(), b"/etc/passwd")
        .unwrap();
    let null = Node::Char { major: 1, minor: 3 };
    builder.node(b"kinds/null", meta(), null).unwrap();
    builder.finish().unwrap().tree
}

/// Cuts a tree: the names, and the bytes of each.
fn cut(store: &Store, tree: TreeHash, on: &[TreeHash]) -> (Vec<Digest>, Vec<Vec<u8>>) {
    let plan = Cut::plan(store, tree, on).unwrap();
    let made = Mutex::new(vec![Vec::new(); plan.len()]);
    let digests = plan.make(store, &|number, _, bytes| {
        made.lock().unwrap()[number] = bytes;
        Ok(())
    });
    let digests = digests.unwrap();
    let made = made.into_inner().unwrap();
    for (number, digest) in digests.iter().enumerate() {
        assert_eq!(*digest, Digest::of(&made[number]));
        assert_eq!(plan.bundle(store, number).unwrap(), made[number]);
    }
    (digests, made)
}

fn join_all(store: &Store, tree: TreeHash, bundles: &[Vec<u8>]) -> Result<(), JoinError> {
    let digests: Vec<Digest> = bundles.iter().map(|bytes| Digest::of(bytes)).collect();
    join(store, tree, &digests, &mut |number, _| {
        Ok(bundles[number].clone())
    })
}

/// Whether a store has no objects, finished or not.
fn is_empty(path: &Path) -> bool {
    let none = |folder: &Path| std::fs::read_dir(folder).unwrap().next().is_none();
    let tmp = std::fs::read_dir(path.join("tmp")).unwrap().flatten();
    none(&path.join("packs")) && tmp.map(|entry| entry.path()).all(|session| none(&session))
}

fn raw(packed: &[u8]) -> Vec<u8> {
    zstd::bulk::decompress(packed, MOST as usize).unwrap()
}

fn packed(raw: &[u8]) -> Vec<u8> {
    zstd::bulk::compress(raw, LEVEL).unwrap()
}

fn few() -> Files {
    let files = [("a/b/c", 5000), ("a/d", 1), ("e", 0), ("f", 70_000)];
    let named = files
        .iter()
        .map(|(path, len)| ((*path).to_owned(), noise(*len as u32, *len)));
    named.collect()
}

#[test]
fn the_bytes_of_a_bundle_are_pinned() {
    // They may change only together with `FORMAT`: also when zstd is another one.
    assert_eq!(zstd::zstd_safe::VERSION_NUMBER, 10507);
    let (_dir, store) = store();
    let text = "what compresses well, and so shows how it is compressed ".repeat(900);
    let files: Files = [
        ("a".to_owned(), text.into_bytes()),
        ("b".to_owned(), noise(1, 40)),
    ]
    .into();
    let tree = add(&store, &files);
    insta::assert_snapshot!(cut(&store, tree, &[]).0[0].sha256, @"c8e0064ccd4d896a4fcd36ec7b9211f1432631b634bc3a2761f53b38c3d5ff95");
}

#[test]
fn long_files_travel_in_pieces() {
    let (_a, from) = store();
    let mut files = few();
    files.insert("long/noise".into(), noise(3, (PIECE + 5) as usize));
    files.insert("long/zeros".into(), vec![0; 2 * PIECE as usize]);
    files.insert("long/whole".into(), noise(4, PIECE as usize));
    let tree = add(&from, &files);
    let (digests, bundles) = cut(&from, tree, &[]);
    assert!(bundles.len() >= 5, "{}", bundles.len());
    for (digest, bytes) in digests.iter().zip(&bundles) {
        assert!(digest.size < MOST_PACKED);
        assert!(raw(bytes).len() as u64 <= MOST);
    }
    let (_b, to) = store();
    join_all(&to, tree, &bundles).unwrap();
    assert_eq!(faults(&to), 0);
    // Pieces in another order make no file.
    let (dir, other) = store();
    let mut bundles = bundles;
    let last = bundles.len() - 1;
    bundles.swap(last, last - 1);
    assert!(matches!(
        join_all(&other, tree, &bundles),
        Err(JoinError::Wrong { .. })
    ));
    assert!(is_empty(dir.path()));
}

#[test]
fn a_changed_file_changes_few_bundles() {
    let (_dir, store) = store();
    let mut files: Files = (0..1500)
        .map(|n| {
            (
                format!("usr/{}/f{n}", n % 37),
                noise(n, 8000 + n as usize * 19),
            )
        })
        .collect();
    let before = add(&store, &files);
    files.insert("usr/7/new".into(), b"new".to_vec());
    files.insert("usr/9/f9".into(), b"changed".to_vec());
    let after = add(&store, &files);
    let (old, bundles) = cut(&store, before, &[]);
    let (new, _) = cut(&store, after, &[]);
    assert!(old.len() > 5, "{}", old.len());
    let sizes: Vec<u64> = bundles
        .iter()
        .map(|bytes| raw(bytes).len() as u64)
        .collect();
    assert!(
        sizes[..sizes.len() - 1]
            .iter()
            .skip(1)
            .all(|size| *size >= LEAST),
        "{sizes:?}"
    );
    let changed = new.iter().filter(|bundle| !old.contains(bundle)).count();
    // That with the directories, and those with the files.
    assert!(changed <= 3, "{changed} of {}", new.len());
    // As a layer, only what is new.
    let (layer, bundles) = cut(&store, after, &[before]);
    assert_eq!(layer.len(), 1);
    assert!(layer[0].size < 20_000, "{}", layer[0].size);
    let (_to, to) = self::store();
    assert!(join_all(&to, after, &bundles).is_err());
    join_all(&to, before, &cut(&store, before, &[]).1).unwrap();
    join_all(&to, after, &bundles).unwrap();
    assert_eq!(faults(&to), 0);
}

#[test]
fn a_cut_is_remembered_by_the_tree_and_what_it_lies_on() {
    let (_dir, store) = store();
    let tree = add(&store, &few());
    let other = add(&store, &Files::new());
    assert_eq!(Cut::remembered(&store, tree, &[]).unwrap(), None);
    let digests = Cut::digests(&store, tree, &[]).unwrap();
    assert_eq!(
        Cut::remembered(&store, tree, &[]).unwrap(),
        Some(digests.clone())
    );
    assert_eq!(Cut::remembered(&store, tree, &[other]).unwrap(), None);
    // Nobody looks at the tree again.
    let key = super::cut::key(tree, &[]);
    store
        .note_bundles(&key, &mstore_store::codec::encode(&Vec::<Digest>::new()))
        .unwrap();
    assert_eq!(Cut::digests(&store, tree, &[]).unwrap(), []);
    store.note_bundles(&key, b"damaged").unwrap();
    assert_eq!(Cut::digests(&store, tree, &[]).unwrap(), digests);
    assert_eq!(Cut::digests(&store, tree, &[tree]).unwrap(), []);
}

#[test]
fn what_is_not_here_is_no_layer() {
    let (_dir, store) = store();
    let trees: Vec<TreeHash> = (0..4)
        .map(|n| add(&store, &[("n".to_owned(), noise(n, 10))].into()))
        .collect();
    let gone = TreeHash(mstore_store::Hash::of(b"gone"));
    let lineage = Lineage::from(vec![
        (trees[0], vec![]),
        (gone, vec![]),
        (trees[1], vec![trees[0], gone]),
        (trees[3], vec![]),
    ]);
    assert_eq!(
        layers(&store, &lineage, &[trees[1], trees[2]]).unwrap(),
        [
            (trees[0], vec![]),
            (trees[1], vec![trees[0]]),
            (trees[2], vec![])
        ]
    );
}

/// A record as hostile as its parts.
fn one(tag: u8, length: u32, body: &[u8]) -> Vec<u8> {
    [&[tag][..], &length.to_le_bytes(), body].concat()
}

#[test]
fn hostile_bundles_are_named_and_leave_nothing() {
    let (_dir, from) = store();
    let tree = add(&from, &few());
    let other = add(&from, &Files::new());
    let (_, bundles) = cut(&from, tree, &[]);
    let good = raw(&bundles[0]);
    let (dir, to) = store();
    let refused = |bundle: Vec<u8>| {
        let told = join_all(&to, tree, &[bundle]).unwrap_err().to_string();
        assert!(is_empty(dir.path()), "{told}");
        told.replace(&tree.to_string(), "TREE")
            .replace(&other.to_string(), "OTHER")
    };
    let more = |record: Vec<u8>| packed(&[&good[..], &record].concat());
    let mut bomb = zstd::bulk::compress(&vec![0; 32 << 20], 3).unwrap();
    let told = [
        refused(Vec::new()),
        refused(packed(MAGIC)),
        refused(packed(b"mstore bundle 2\n.....")),
        refused(bomb.clone()),
        refused([&bundles[0][..], &bundles[0]].concat()),
        refused(more(one(9, 0, b""))),
        refused(more(one(3, u32::MAX, b""))),
        refused(more(one(1, 1, b"\x80"))),
        refused(more(one(2, 1, b"\x80"))),
        refused(more(one(3, 3, b"new"))),
        refused(more(one(4, 3, b"new"))),
        refused(packed(&good[..good.len() - 70_005])),
        refused(cut(&from, other, &[]).1.remove(0)),
        refused(packed(&[MAGIC, &one(3, 3, b"new")[..]].concat())),
    ];
    insta::assert_snapshot!(told.join("\n"), @"
    the bundles of tree TREE: bundle 0 is not one frame that tells its length
    the bundles of tree TREE: bundle 0 does not begin as a bundle does
    the bundles of tree TREE: bundle 0 does not begin as a bundle does
    the bundles of tree TREE: bundle 0 is not one frame that tells its length
    the bundles of tree TREE: bundle 0 is not one frame that tells its length
    the bundles of tree TREE: a record of bundle 0 makes no sense
    the bundles of tree TREE: a record of bundle 0 makes no sense
    the bundles of tree TREE: there is a second tree
    the bundles of tree TREE: a directory: record cannot be read: invalid length 0, expected a tuple of size 2
    the bundles of tree TREE: the tree does not name wiflbibausgtjhqmmtiqtrcb7b6jxrb5jh6hahckl5xrwfvkjyza
    the bundles of tree TREE: a piece is too short
    the bundles of tree TREE: blob tbpcjx25qljgd3lwjaryy35uqotvowbzob3fmhrmomfqnjwcbxpq is lacking
    the bundles of tree TREE: it is tree OTHER, not TREE
    the bundles of tree TREE: tree TREE is not among it
    ");
    // One that lies about its length.
    bomb[5] = 1;
    refused(bomb);
    // One that has another name.
    let wrong = join(&to, tree, &[Digest::of(b"x")], &mut |_, _| {
        Ok(bundles[0].clone())
    });
    assert!(
        wrong
            .unwrap_err()
            .to_string()
            .contains("is not what it is called")
    );
    let gone = join(&to, tree, &[Digest::of(b"x")], &mut |_, _| {
        Err(std::io::ErrorKind::NotFound.into())
    });
    assert!(matches!(gone, Err(JoinError::Get { number: 0, .. })));
    assert!(join(&to, tree, &[], &mut |_, _| unreachable!()).is_err());
    assert!(is_empty(dir.path()));
    // What is right is taken after all that, and once.
    join_all(&to, tree, &bundles).unwrap();
    join(&to, tree, &[Digest::of(b"x")], &mut |_, _| unreachable!()).unwrap();
}

fn files() -> impl Strategy<Value = Files> {
    let path = "[a-c]{1,2}(/[a-c]{1,2}){0,2}/f[0-9]";
    let content = (0..6u32, 0..3000usize).prop_map(|(seed, len)| noise(seed, len));
    prop::collection::btree_map(path, content, 0..12)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(16))]

    #[test]
    fn what_is_cut_is_joined_and_history_shows_nowhere(files in files(), other in files()) {
        let (_a, first) = store();
        let tree = add(&first, &files);
        let (_b, second) = store();
        add(&second, &other);
        // One by one, so that its packs are others.
        for (path, content) in &files {
            add(&second, &[(path.clone(), content.clone())].into());
        }
        prop_assert_eq!(add(&second, &files), tree);
        let (digests, bundles) = cut(&first, tree, &[]);
        prop_assert_eq!(&digests, &cut(&second, tree, &[]).0);
        let (_c, third) = store();
        join_all(&third, tree, &bundles).unwrap();
        prop_assert_eq!(&digests, &cut(&third, tree, &[]).0);
        prop_assert_eq!(faults(&third), 0);
        // And over another tree.
        let base = add(&first, &other);
        let (_, layer) = cut(&first, tree, &[base]);
        let (_, whole) = cut(&first, base, &[]);
        let (_d, fourth) = store();
        join_all(&fourth, base, &whole).unwrap();
        if !layer.is_empty() {
            join_all(&fourth, tree, &layer).unwrap();
        }
        prop_assert_eq!(&digests, &cut(&fourth, tree, &[]).0);
    }

    #[test]
    fn mutilated_bundles_leave_nothing(
        files in files(),
        at in any::<prop::sample::Index>(),
        len in 0..9usize,
        new in prop::collection::vec(any::<u8>(), 0..9),
        inside in any::<bool>(),
    ) {
        let (_a, from) = store();
        let tree = add(&from, &files);
        let (_, bundles) = cut(&from, tree, &[]);
        let good = if inside { raw(&bundles[0]) } else { bundles[0].clone() };
        let at = at.index(good.len());
        let mut bad = good.clone();
        bad.splice(at..good.len().min(at + len), new);
        prop_assume!(bad != good);
        let bundle = if inside { packed(&bad) } else { bad };
        let (dir, to) = store();
        if join_all(&to, tree, &[bundle]).is_err() {
            prop_assert!(is_empty(dir.path()));
        } else {
            // A change of the compressed form alone.
            prop_assert_eq!(faults(&to), 0);
        }
    }
}
