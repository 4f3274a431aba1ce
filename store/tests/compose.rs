//! Unions of trees: what becomes of links, directories, files that several members have, and what a union costs.

use std::sync::OnceLock;

use mstore_store::*;
use proptest::prelude::*;

mod cases;
use cases::cases;

struct World {
    store: Store,
    _dir: tempfile::TempDir,
}

fn world() -> World {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("store"), &OpenOptions::create()).unwrap();
    World { store, _dir: dir }
}

fn meta(mode: u16) -> Meta {
    Meta {
        mode,
        ..Meta::default()
    }
}

impl World {
    /// A tree of lines `PATH/` (a directory), `PATH -> TARGET`, `PATH = OTHER` (one file) and `PATH CONTENT`.
    fn tree(&self, lines: &[&str]) -> TreeHash {
        let mut builder = self.store.tree_builder().unwrap();
        for line in lines {
            if let Some((path, target)) = line.split_once(" -> ") {
                builder
                    .symlink(path.as_bytes(), meta(0o777), target.as_bytes())
                    .unwrap();
            } else if let Some((path, other)) = line.split_once(" = ") {
                builder
                    .hard_link(path.as_bytes(), other.as_bytes())
                    .unwrap();
            } else if let Some(path) = line.strip_suffix('/') {
                builder.dir(path.as_bytes(), meta(0o750)).unwrap();
            } else {
                let (path, content) = line.split_once(' ').unwrap();
                builder
                    .file(path.as_bytes(), meta(0o644), &mut content.as_bytes())
                    .unwrap();
            }
        }
        builder.finish().unwrap().tree
    }

    fn union(&self, trees: &[TreeHash]) -> Result<TreeHash, ComposeError> {
        let members = trees.iter().enumerate().map(|(number, tree)| Member {
            at: String::new(),
            tree: *tree,
            owner: format!("m{number}"),
            yields: false,
        });
        self.store.compose(&members.collect::<Vec<_>>())
    }

    /// The union of trees given as lines, the first of which yields with `base`.
    fn of(&self, base: bool, all: &[&[&str]]) -> Result<Vec<String>, String> {
        let members = all.iter().enumerate().map(|(number, lines)| Member {
            at: String::new(),
            tree: self.tree(lines),
            owner: format!("m{number}"),
            yields: base && number == 0,
        });
        let members: Vec<Member> = members.collect();
        match self.store.compose(&members) {
            Ok(tree) => Ok(self.list(tree)),
            Err(error) => Err(error.to_string()),
        }
    }

    /// All that is in a tree, as lines.
    fn list(&self, tree: TreeHash) -> Vec<String> {
        let tree = self.store.tree(tree).unwrap();
        let mut lines = Vec::new();
        self.list_dir(tree.dir, "", &mut lines);
        for group in tree.links {
            let names: Vec<_> = group.iter().map(|p| String::from_utf8_lossy(p)).collect();
            lines.push(format!("one file: {}", names.join(" ")));
        }
        lines
    }

    fn list_dir(&self, dir: DirHash, above: &str, lines: &mut Vec<String>) {
        for entry in self.store.manifest(dir).unwrap().entries() {
            let path = format!("{above}{}", String::from_utf8_lossy(&entry.name));
            match &entry.kind {
                Kind::Dir { manifest } => {
                    lines.push(format!("{path}/ {:o}", entry.meta.mode));
                    self.list_dir(*manifest, &format!("{path}/"), lines);
                }
                Kind::Symlink { target } => {
                    lines.push(format!("{path} -> {}", String::from_utf8_lossy(target)));
                }
                Kind::File { blob, .. } => {
                    let content = self.store.blob(*blob).unwrap();
                    lines.push(format!("{path} {}", String::from_utf8_lossy(&content)));
                }
                other => panic!("{other:?}"),
            }
        }
    }
}

#[test]
fn directories_become_one_and_empty_ones_stay() {
    let world = world();
    let found = world.of(
        false,
        &[&["usr/", "usr/a 1"], &["usr/b 2", "var/"], &["usr/c/"]],
    );
    assert_eq!(
        found.unwrap(),
        ["usr/ 750", "usr/a 1", "usr/b 2", "usr/c/ 750", "var/ 750"],
        "the first says what a directory is like"
    );
    assert_eq!(world.union(&[]).unwrap(), world.tree(&[]));
}

#[test]
fn what_is_the_same_may_be_there_twice_and_what_differs_names_both_owners() {
    let world = world();
    let found = world.of(false, &[&["usr/a 1", "l -> x"], &["usr/a 1", "l -> x"]]);
    assert_eq!(found.unwrap(), ["l -> x", "usr/ 755", "usr/a 1"]);
    for (first, second, said) in [
        (
            "usr/a 1",
            "usr/a 2",
            "m0 and m1 both have usr/a: the files differ",
        ),
        (
            "l -> x",
            "l -> y",
            "m0 and m1 both have l: one leads to x, the other to y",
        ),
        (
            "a 1",
            "a/b 1",
            "m0 and m1 both have a: one is a file, the other a directory",
        ),
        (
            "a/b 1",
            "a -> /a/c",
            "m1 has a symbolic link a to /a/c, and m0 a directory there: the link leads in a circle",
        ),
        (
            "a/b 1",
            "a -> a",
            "m1 has a symbolic link a to a, and m0 a directory there: the link leads in a circle",
        ),
    ] {
        assert_eq!(world.of(false, &[&[first], &[second]]).unwrap_err(), said);
    }
    // One that yields gives way, and only to others.
    let found = world.of(true, &[&["a 1", "b 1"], &["a 2"], &["a 2"]]);
    assert_eq!(found.unwrap(), ["a 2", "b 1"]);
    assert!(world.of(true, &[&["a 1"], &["a 2"], &["a 3"]]).is_err());
    assert!(world.of(true, &[&["a 1"], &["a/b 2"]]).is_err());
}

#[test]
fn what_lies_at_an_alias_moves_behind_it() {
    let world = world();
    let usual: &[&str] = &[
        "bin -> usr/bin",
        "lib -> usr/lib",
        "usr/bin/sh 1",
        "usr/lib/",
        "usr/lib64 -> lib",
    ];
    let found = world
        .of(true, &[usual, &["bin/ed 2"], &["usr/lib64/x 3", "lib/y 4"]])
        .unwrap();
    assert_eq!(
        found,
        [
            "bin -> usr/bin",
            "lib -> usr/lib",
            "usr/ 755",
            "usr/bin/ 755",
            "usr/bin/ed 2",
            "usr/bin/sh 1",
            "usr/lib/ 750",
            "usr/lib/x 3",
            "usr/lib/y 4",
            "usr/lib64 -> lib",
        ]
    );
    // Also a link of a member that comes later, one that leads out of the root, and where nothing is yet.
    let found = world
        .of(false, &[&["a/f 1"], &["a -> ../../b/./c"]])
        .unwrap();
    assert_eq!(found, ["a -> ../../b/./c", "b/ 755", "b/c/ 755", "b/c/f 1"]);
    // Aliases of aliases; two that lead to each other are refused.
    let found = world
        .of(false, &[&["a/f 1"], &["a -> b"], &["b -> c"]])
        .unwrap();
    assert_eq!(found, ["a -> b", "b -> c", "c/ 755", "c/f 1"]);
    let error = world
        .of(false, &[&["a/f 1"], &["a -> b"], &["b -> a"]])
        .unwrap_err();
    assert!(error.ends_with("the link leads in a circle"), "{error}");
    // What collides behind it is still the member's.
    let error = world
        .of(false, &[&["a -> b", "b/f 1"], &["a/f 2"]])
        .unwrap_err();
    assert_eq!(error, "m0 and m1 both have b/f: the files differ");
}

#[test]
fn a_member_may_lie_below_a_folder() {
    let world = world();
    let member = |tree, at: &str| Member {
        tree,
        at: at.into(),
        owner: at.into(),
        yields: false,
    };
    let base = world.tree(&["lib -> usr/lib", "usr/a 1"]);
    let low = world.tree(&["x 1", "y = x", "z/"]);
    let all = [member(base, ""), member(low, "/lib/p"), member(low, "q")];
    let tree = world.store.compose(&all).unwrap();
    assert_eq!(
        world.list(tree),
        [
            "lib -> usr/lib",
            "q/ 755",
            "q/x 1",
            "q/y 1",
            "q/z/ 750",
            "usr/ 755",
            "usr/a 1",
            "usr/lib/ 755",
            "usr/lib/p/ 755",
            "usr/lib/p/x 1",
            "usr/lib/p/y 1",
            "usr/lib/p/z/ 750",
            "one file: q/x q/y",
            "one file: usr/lib/p/x usr/lib/p/y",
        ]
    );
    let out = world.store.compose(&[member(low, "../q")]).unwrap_err();
    assert!(out.to_string().contains("../q"), "{out}");
}

#[test]
fn a_union_is_made_again_when_it_is_no_longer_there() {
    let world = world();
    let [a, b] = ["a 1", "b 2"].map(|line| world.tree(&[line]));
    let first = world.union(&[a, b]).unwrap();
    assert_eq!(world.union(&[a, b]).unwrap(), first);
    let path = world.store.path().to_owned();
    let dir = world._dir;
    drop(world.store);
    // Nothing is leased any more, and nothing is kept: the union is collected, and its members come back.
    let store = Store::open(&path, &OpenOptions::create()).unwrap();
    store.gc(&GcPolicy::newest(0), false).unwrap();
    assert!(!store.has_tree(first).unwrap());
    let world = World { store, _dir: dir };
    assert_eq!([a, b], ["a 1", "b 2"].map(|line| world.tree(&[line])));
    assert_eq!(world.union(&[a, b]).unwrap(), first);
    assert!(world.store.has_tree(first).unwrap());
}

#[test]
fn drafts_become_trees_of_text_and_of_entries_of_others() {
    let world = world();
    let tree = world.tree(&[
        "cat/name/x.ebuild 1",
        "cat/name/files/patch 2",
        "big/rest 3",
    ]);
    let mut one = Draft::new();
    for path in ["cat/name/x.ebuild", "cat/name/files"] {
        let entry = world.store.entry(tree, path).unwrap().unwrap();
        one.entry(path, entry).unwrap();
    }
    one.text("profiles/categories", "cat\n").unwrap();
    one.link("to", "cat/name").unwrap();
    one.folder("empty").unwrap();
    one.folder("empty").unwrap();
    for bad in [
        "to",
        "to/x",
        "profiles",
        "profiles/categories/x",
        "",
        "a/../b",
    ] {
        assert!(one.text(bad, "").is_err(), "{bad}");
    }
    let mut two = Draft::new();
    two.text("cat/name/x.ebuild", "1").unwrap();
    let trees = world.store.weave(&[one, two, Draft::new()]).unwrap();
    assert_eq!(
        world.list(trees[0]),
        [
            "cat/ 755",
            "cat/name/ 755",
            "cat/name/files/ 755",
            "cat/name/files/patch 2",
            "cat/name/x.ebuild 1",
            "empty/ 755",
            "profiles/ 755",
            "profiles/categories cat\n",
            "to -> cat/name",
        ]
    );
    assert_eq!(trees[1], world.tree(&["cat/name/x.ebuild 1"]));
    assert_eq!(trees[2], world.tree(&[]));
}

#[test]
fn a_tree_is_edited_by_paths() {
    let world = world();
    let tree = world.tree(&[
        "a/x 1",
        "a/y = a/x",
        "a/z = a/x",
        "b/c/d 2",
        "l -> a",
        "m 3",
    ]);
    let edit = |edits: &[(&str, Option<&str>)]| {
        let edits = edits.iter().map(|(path, text)| {
            let edit = text.map_or(Edit::Remove, |text| Edit::Text(text.into()));
            ((*path).to_owned(), edit)
        });
        world.store.edit(tree, &edits.collect())
    };
    let found = edit(&[
        ("a/x", None),
        ("b/c", None),
        ("l/x", None),
        ("m", Some("4")),
        ("n/o", Some("5")),
        ("p/q", None),
    ]);
    assert_eq!(
        world.list(found.unwrap()),
        [
            "a/ 755",
            "a/y 1",
            "a/z 1",
            "b/ 755",
            "l -> a",
            "m 4",
            "n/ 755",
            "n/o 5",
            "one file: a/y a/z",
        ]
    );
    let found = edit(&[("a/x", Some("6")), ("a/z", None)]).unwrap();
    assert_eq!(world.list(found)[..3], ["a/ 755", "a/x 6", "a/y 1"]);
    assert_eq!(edit(&[]).unwrap(), tree);
    for bad in ["", "../x", "m/x"] {
        assert!(edit(&[(bad, Some("7"))]).is_err(), "{bad}");
    }
}

#[test]
fn hard_links_stay_within_a_member() {
    let world = world();
    let found = world.of(
        false,
        &[
            &["a 1", "b = a", "lib -> usr"],
            &["c 1", "lib/d = c", "lib/e = c"],
        ],
    );
    assert_eq!(
        found.unwrap()[3..],
        [
            "lib -> usr",
            "usr/ 755",
            "usr/d 1",
            "usr/e 1",
            "one file: a b",
            "one file: usr/d usr/e"
        ]
    );
    // A name that another member has made something else is not one of the file.
    let found = world
        .of(true, &[&["a 1", "b = a", "c = a"], &["b 2"]])
        .unwrap();
    assert_eq!(found, ["a 1", "b 2", "c 1", "one file: a c"]);
    let found = world.of(true, &[&["a 1", "b = a"], &["b 2"]]).unwrap();
    assert_eq!(found, ["a 1", "b 2"]);
}

#[test]
fn a_union_that_is_laid_over_its_base_is_on_disk_as_one_layer() {
    let world = world();
    let base = world.tree(&["bin -> usr/bin", "usr/bin/sh 1", "usr/lib/a 1"]);
    let member = |tree, yields| Member {
        at: String::new(),
        tree,
        owner: "m".into(),
        yields,
    };
    let image = world.tree(&["bin/ed 2", "usr/lib/a 2"]);
    let tree = world
        .store
        .compose(&[member(base, true), member(image, false)])
        .unwrap();
    world.store.checkout_over(base, tree, None).unwrap();
    world.store.checkout_over(base, tree, None).unwrap();
    let checkout = world.store.checkout(tree).unwrap();
    let [top, below] = checkout.layers() else {
        panic!("{:?}", checkout.layers());
    };
    let there = |at: &std::path::Path| {
        (
            at.join("usr/bin/ed").exists(),
            at.join("usr/bin/sh").exists(),
        )
    };
    assert_eq!((there(top), there(below)), ((true, false), (false, true)));
    assert_eq!(std::fs::read_to_string(top.join("usr/lib/a")).unwrap(), "2");
    assert!(checkout.dropped().is_empty());
}

#[test]
fn a_tree_that_is_not_there_is_an_error_of_the_store() {
    let world = world();
    let error = world.union(&[TreeHash(Hash::of(b"none"))]).unwrap_err();
    assert!(
        matches!(error, ComposeError::Store(StoreError::Missing { .. })),
        "{error}"
    );
}

/// What one name of a made-up tree is.
#[derive(Clone, Debug)]
enum Made {
    Dir,
    File(u8),
    Symlink(String),
}

fn entries() -> impl Strategy<Value = Vec<(String, Made)>> {
    let path = prop::collection::vec("[abc]", 1..4).prop_map(|names| names.join("/"));
    let made = prop_oneof![
        2 => Just(Made::Dir),
        6 => (0..2u8).prop_map(Made::File),
        1 => prop_oneof![Just("a"), Just("b"), Just("../c"), Just("/a/b")].prop_map(|t| Made::Symlink(t.into())),
    ];
    prop::collection::vec((path, made), 0..5)
}

impl World {
    /// The tree of what can be in one tree of these.
    fn made(&self, entries: &[(String, Made)], top: &str) -> TreeHash {
        let mut builder = self.store.tree_builder().unwrap();
        for (path, made) in entries {
            let path = format!("{top}{path}");
            // What does not fit with what came before is left out.
            let _ = match made {
                Made::Dir => builder.dir(path.as_bytes(), meta(0o700)),
                Made::File(content) => builder
                    .file(path.as_bytes(), meta(0o644), &mut &[*content][..])
                    .map(drop),
                Made::Symlink(to) => builder.symlink(path.as_bytes(), meta(0o777), to.as_bytes()),
            };
        }
        builder.finish().unwrap().tree
    }
}

/// One store for all cases: to make one takes longer than a union.
fn shared() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(world)
}

proptest! {
    #![proptest_config(cases(24))]

    #[test]
    fn a_union_is_associative(a in entries(), b in entries(), c in entries()) {
        let world = shared();
        let [a, b, c] = [a, b, c].map(|entries| world.made(&entries, ""));
        let left = world.union(&[a, b]).and_then(|ab| world.union(&[ab, c]));
        let right = world.union(&[b, c]).and_then(|bc| world.union(&[a, bc]));
        let whole = world.union(&[a, b, c]);
        let lines = |tree: Result<TreeHash, ComposeError>| tree.ok().map(|tree| (tree, world.list(tree)));
        let whole = lines(whole);
        prop_assert_eq!(lines(left), whole.clone());
        prop_assert_eq!(lines(right), whole);
    }

    #[test]
    fn the_order_of_what_is_disjoint_does_not_count(a in entries(), b in entries(), c in entries()) {
        let world = shared();
        // Each below a folder of its own, beside folders that all have alike.
        let own = |entries: &[(String, Made)], top: &str| world.made(entries, &format!("usr/{top}/"));
        let [a, b, c] = [own(&a, "x"), own(&b, "y"), own(&c, "z")];
        let first = world.union(&[a, b, c]).unwrap();
        for order in [[a, c, b], [b, a, c], [b, c, a], [c, a, b], [c, b, a]] {
            prop_assert_eq!(world.union(&order).unwrap(), first);
        }
    }
}

/// Prints what a union of a base and 100 layers costs, the first time and again.
#[test]
#[ignore = "measures"]
fn what_a_hundred_layers_cost() {
    let world = world();
    let mut lines = Vec::new();
    for dir in 0..400 {
        for file in 0..50 {
            lines.push(format!("usr/share/d{dir}/f{file} {file}"));
        }
    }
    let layers: Vec<TreeHash> = (0..100)
        .map(|n| {
            let files = [
                "bin/p",
                "include/p.h",
                "lib/libp.so",
                "share/man/man1/p.1",
                "share/doc/p/README",
            ];
            let mut all: Vec<String> = files
                .iter()
                .map(|f| format!("usr/local/{f}{n} {n}"))
                .collect();
            all.push(format!("var/db/ports/c/p{n} {n}"));
            world.tree(&all.iter().map(String::as_str).collect::<Vec<_>>())
        })
        .collect();
    let base = world.tree(&lines.iter().map(String::as_str).collect::<Vec<_>>());
    let all: Vec<TreeHash> = std::iter::once(base).chain(layers).collect();
    for what in ["new", "again", "again"] {
        let clock = std::time::Instant::now();
        world.union(&all).unwrap();
        println!("{what}: {:.1} ms", clock.elapsed().as_secs_f64() * 1000.0);
    }
}
