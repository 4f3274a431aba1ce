//! Properties: any tree survives the disk; any sequence of operations agrees with a simple model.

use std::collections::{BTreeMap, BTreeSet};

use mstore_store::*;
use proptest::prelude::*;

#[derive(Clone, Debug)]
enum Made {
    Dir,
    File(Vec<u8>),
    Sparse(u32),
    Symlink(Vec<u8>),
    Node(Node),
    Link(Vec<u8>),
}

fn name() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        "[a-d]".prop_map(String::into_bytes),
        prop::collection::vec(
            any::<u8>().prop_filter("name", |b| *b != b'/' && *b != 0),
            1..12
        )
        .prop_filter("name", |n| n != b"." && n != b".."),
    ]
}

fn path() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(name(), 1..4).prop_map(|names| names.join(&b'/'))
}

fn made() -> impl Strategy<Value = Made> {
    prop_oneof![
        2 => Just(Made::Dir),
        4 => prop::collection::vec(any::<u8>(), 0..3000).prop_map(Made::File),
        1 => prop_oneof![9 => 0u32..300_000, 1 => 4_000_000u32..6_000_000].prop_map(Made::Sparse),
        2 => prop::collection::vec(1u8..255, 1..30).prop_map(Made::Symlink),
        1 => prop_oneof![
            Just(Node::Fifo),
            Just(Node::Socket),
            // 0:0 is what overlayfs uses for itself: it is no device of any tree.
            (1u32..200, 0u32..200).prop_map(|(major, minor)| Node::Char { major, minor }),
            (1u32..200, 0u32..200).prop_map(|(major, minor)| Node::Block { major, minor }),
        ]
        .prop_map(Made::Node),
        2 => path().prop_map(Made::Link),
    ]
}

fn meta() -> impl Strategy<Value = Meta> {
    let xattrs = prop::collection::btree_map(
        "user\\.[a-z]{1,5}",
        prop::collection::vec(any::<u8>(), 0..40),
        0..3,
    );
    // Before 1970 and after 2038.
    let secs = -1_000_000_000i64..8_000_000_000;
    (
        0u16..=0o7777,
        0u32..70_000,
        0u32..70_000,
        secs,
        0u32..1_000_000_000,
        xattrs,
        0..8u8,
    )
        .prop_map(|(mode, uid, gid, secs, nanos, xattrs, extra)| {
            let mut xattrs: Vec<_> = xattrs
                .into_iter()
                .map(|(n, v)| (n.into_bytes(), v))
                .collect();
            if extra == 0 {
                xattrs.push((b"user.overlay.opaque".to_vec(), b"y".to_vec()));
                xattrs.push((b"user.overlay.overlay.x".to_vec(), b"z".to_vec()));
            }
            Meta {
                mode,
                uid,
                gid,
                mtime: Mtime { secs, nanos },
                xattrs,
            }
        })
}

/// Version 2 of the kernel's capability attribute: cap_net_raw=ep.
const CAPABILITY: [u8; 20] = [1, 0, 0, 2, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
/// user::rw- user:1000:rw- group::r-- mask::rw- other::r--
const ACL: [u8; 44] = [
    2, 0, 0, 0, 1, 0, 6, 0, 255, 255, 255, 255, 2, 0, 6, 0, 232, 3, 0, 0, 4, 0, 4, 0, 255, 255,
    255, 255, 16, 0, 6, 0, 255, 255, 255, 255, 32, 0, 4, 0, 255, 255, 255, 255,
];

fn build(store: &Store, root: Meta, entries: Vec<(Vec<u8>, Meta, Made, u8)>) -> TreeHash {
    let mut b = store.tree_builder().unwrap();
    b.dir(b"", root).unwrap();
    let mut files = BTreeSet::new();
    for (path, mut meta, made, extra) in entries {
        // Collisions are refused; that leaves some entries out.
        let added = match made {
            Made::Dir => b.dir(&path, meta),
            Made::File(content) => {
                if extra == 0 {
                    meta.xattrs
                        .push((b"security.capability".to_vec(), CAPABILITY.to_vec()));
                }
                if extra == 1 {
                    meta.mode = 0o664;
                    meta.xattrs
                        .push((b"system.posix_acl_access".to_vec(), ACL.to_vec()));
                }
                b.file(&path, meta, &mut &content[..]).map(|_| ())
            }
            Made::Sparse(len) => {
                let mut content = vec![0u8; len as usize];
                if let Some(middle) = content.get_mut(len as usize / 2) {
                    *middle = 1;
                }
                b.file(&path, meta, &mut &content[..]).map(|_| ())
            }
            Made::Symlink(target) => {
                // The system gives links no mode of their own.
                meta.mode = 0o777;
                meta.xattrs.clear();
                b.symlink(&path, meta, &target)
            }
            Made::Node(node) => {
                meta.xattrs.clear();
                b.node(&path, meta, node)
            }
            Made::Link(target) => {
                if !files.contains(&target) || target == path {
                    continue;
                }
                b.hard_link(&path, &target)
            }
        };
        match added {
            Ok(()) => drop(files.insert(path)),
            Err(StoreError::Duplicate { .. } | StoreError::Conflict { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    match b.finish() {
        Ok(done) => done.tree,
        // A link to a directory.
        Err(StoreError::BadLink { .. }) => store.tree_builder().unwrap().finish().unwrap().tree,
        Err(error) => panic!("{error}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_tree_survives_the_disk(
        root in meta(),
        entries in prop::collection::vec((path(), meta(), made(), 0..6u8), 0..40),
    ) {
        if !rustix::process::geteuid().is_root() {
            println!("skipped: owners and devices need root");
            return Ok(());
        }
        let tmp = tempfile::tempdir().unwrap();
        let store = Store::open(&tmp.path().join("store"), &OpenOptions::create()).unwrap();
        let tree = build(&store, root, entries);
        let copy = tmp.path().join("copy");
        store.copy_out(tree, &copy).unwrap();
        let full = ImportOptions::default();
        let back = store.import_dir(&copy, &full).unwrap();
        if back.tree != tree {
            let (a, b) = (store.tree(tree).unwrap(), store.tree(back.tree).unwrap());
            prop_assert_eq!(&a, &b);
        }
        prop_assert_eq!(back.tree, tree);
        // And again, from what the stat cache remembers.
        prop_assert_eq!(store.import_dir(&copy, &full).unwrap().tree, tree);
        // Laid under an empty upper directory, nothing changes either.
        store.prepare_upper(tree, &tmp.path().join("upper")).unwrap();
        let options = CaptureOptions { epoch: i64::MAX };
        let captured = store.capture(tree, &tmp.path().join("upper"), &options).unwrap();
        prop_assert_eq!((captured.tree, captured.changed), (tree, 0));
        prop_assert_eq!(store.verify(&VerifyOptions::default(), &mut |_| ()).unwrap().faults, vec![]);
    }
}

#[derive(Clone, Debug)]
enum Op {
    Import(u8),
    Root(u8, u8),
    Unroot(u8),
    Record(u8, u8),
    Collect(usize),
    Shrink(u64),
    Reopen,
    Checkout(u8),
    Pick(u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (0..8u8).prop_map(Op::Import),
        3 => (0..4u8, 0..8u8).prop_map(|(n, t)| Op::Root(n, t)),
        2 => (0..4u8).prop_map(Op::Unroot),
        2 => (0..3u8, 0..8u8).prop_map(|(n, t)| Op::Record(n, t)),
        3 => (0..3usize).prop_map(Op::Collect),
        1 => (0..400_000u64).prop_map(Op::Shrink),
        2 => Just(Op::Reopen),
        2 => (0..8u8).prop_map(Op::Checkout),
        1 => (0..8u8).prop_map(Op::Pick),
    ]
}

/// What must be true of the store.
#[derive(Default)]
struct Model {
    here: BTreeSet<TreeHash>,
    held: BTreeSet<TreeHash>,
    roots: BTreeMap<String, TreeHash>,
    /// Newest last.
    records: Vec<(String, TreeHash)>,
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn any_sequence_of_operations_agrees_with_the_model(ops in prop::collection::vec(op(), 1..40)) {
        let tmp = tempfile::tempdir().unwrap();
        let path = tmp.path().join("store");
        let mut store = Store::open(&path, &OpenOptions::create()).unwrap();
        let source = |n: u8| {
            let dir = tmp.path().join(format!("source{n}"));
            if !dir.exists() {
                std::fs::create_dir_all(dir.join("d")).unwrap();
                std::fs::write(dir.join("own"), [n].repeat(5000)).unwrap();
                std::fs::write(dir.join("d/half"), [n / 2].repeat(9000)).unwrap();
                std::fs::write(dir.join("d/all"), "the same everywhere").unwrap();
            }
            dir
        };
        let mut known: BTreeMap<u8, TreeHash> = BTreeMap::new();
        let mut model = Model::default();
        let mut clock = 0;
        for op in ops {
            match op {
                Op::Import(n) => {
                    let tree = store.import_dir(&source(n), &ImportOptions::snapshot()).unwrap().tree;
                    known.insert(n, tree);
                    model.here.insert(tree);
                    model.held.insert(tree);
                }
                Op::Root(name, n) => if let Some(tree) = known.get(&n) {
                    let name = format!("root{name}");
                    let added = store.add_root(&name, *tree);
                    prop_assert_eq!(added.is_ok(), model.here.contains(tree));
                    if added.is_ok() {
                        model.roots.insert(name, *tree);
                    }
                },
                Op::Unroot(name) => {
                    let name = format!("root{name}");
                    let had = model.roots.remove(&name).is_some();
                    prop_assert_eq!(store.remove_root(&name).unwrap(), had);
                }
                Op::Record(name, n) => if let Some(tree) = known.get(&n) {
                    clock += 1;
                    let name = format!("target{name}");
                    let recorded = store.record(&Realisation {
                        key: Hash::of(&[clock]),
                        drv: Hash::of(b"d"),
                        name: name.clone(),
                        tree: *tree,
                        started: i64::from(clock),
                        seconds: 0.0,
                        host: "h".into(),
                        log: None,
                    });
                    prop_assert_eq!(recorded.is_ok(), model.here.contains(tree));
                    if recorded.is_ok() {
                        model.records.push((name, *tree));
                    }
                },
                Op::Collect(keep) => {
                    let mut alive: BTreeSet<TreeHash> = model.roots.values().copied().collect();
                    alive.extend(&model.held);
                    let mut groups: BTreeMap<&str, BTreeSet<TreeHash>> = BTreeMap::new();
                    for (name, tree) in model.records.iter().rev() {
                        let group = groups.entry(name).or_default();
                        if group.len() < keep && model.here.contains(tree) {
                            group.insert(*tree);
                        }
                    }
                    alive.extend(groups.into_values().flatten());
                    let policy = GcPolicy::newest(keep);
                    let dry = store.gc(&policy, true).unwrap();
                    let real = store.gc(&policy, false).unwrap();
                    prop_assert_eq!(&dry, &real);
                    let found: BTreeSet<_> = real.alive.iter().map(|s| s.tree).collect();
                    prop_assert_eq!(&found, &alive);
                    model.here = alive;
                }
                Op::Shrink(max) => {
                    let policy = GcPolicy { max_size: Some(max), ..GcPolicy::newest(3) };
                    let dry = store.gc(&policy, true).unwrap();
                    let real = store.gc(&policy, false).unwrap();
                    prop_assert_eq!(&dry, &real);
                    let found: BTreeSet<_> = real.alive.iter().map(|s| s.tree).collect();
                    prop_assert!(model.roots.values().chain(&model.held).all(|t| found.contains(t)));
                    model.here = found;
                }
                Op::Reopen => {
                    drop(store);
                    store = Store::open(&path, &OpenOptions::create()).unwrap();
                    model.held.clear();
                }
                Op::Checkout(n) => if let Some(tree) = known.get(&n) {
                    match store.checkout(*tree) {
                        Ok(checkout) => {
                            prop_assert!(model.here.contains(tree));
                            let own = std::fs::read(checkout.layers()[0].join("own")).unwrap();
                            prop_assert_eq!(own, [n].repeat(5000));
                        }
                        Err(StoreError::Missing { .. }) => prop_assert!(!model.here.contains(tree)),
                        Err(error) => panic!("{error}"),
                    }
                },
                Op::Pick(n) => if let Some(tree) = known.get(&n) {
                    match store.pick(*tree, &["d"]) {
                        Ok(picked) => {
                            prop_assert!(model.here.contains(tree));
                            model.here.insert(picked);
                            model.held.insert(picked);
                        }
                        Err(StoreError::Missing { .. }) => prop_assert!(!model.here.contains(tree)),
                        Err(error) => panic!("{error}"),
                    }
                },
            }
            for tree in known.values() {
                prop_assert_eq!(store.has_tree(*tree).unwrap(), model.here.contains(tree));
            }
        }
        let report = store.verify(&VerifyOptions::default(), &mut |_| ()).unwrap();
        prop_assert_eq!(report.faults, vec![]);
    }
}
