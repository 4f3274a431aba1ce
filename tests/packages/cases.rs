//! The cases, by name.

use mstore::build::host;
use mstore::drv::derivation::{
    Derivation, Env, Input, InputSource, Network, Output, Phase, Policy, Role, SANDBOX_PROFILE,
};
use mstore::packages::snapshot::Snapshots;
use mstore::packages::{base, frozen};
use mstore_store::{Edit, TreeHash};

use crate::table::{Built, EPOCH, ROWS, Row, graph};
use crate::world::World;

/// A case, by name; it panics when it fails.
type Case = (&'static str, fn(&World));

pub const ALL: &[Case] = &[
    ("a_package_has_its_folders", a_package_has_its_folders),
    (
        "a_comment_changes_the_record_alone",
        a_comment_changes_the_record_alone,
    ),
    (
        "a_stage_is_what_portage_merges",
        a_stage_is_what_portage_merges,
    ),
    (
        "so_is_one_in_a_folder_of_its_own",
        so_is_one_in_a_folder_of_its_own,
    ),
    ("owners_are_known_by_name", owners_are_known_by_name),
    ("collisions_name_both_owners", collisions_name_both_owners),
    (
        "a_new_soname_leaves_nothing_stale",
        a_new_soname_leaves_nothing_stale,
    ),
];

fn a_package_has_its_folders(world: &World) {
    let built = Built::new(world, world.ebuilds);
    let tide = built.packages[built.place("sys-libs/tide")];
    let tree = world.realise(tide).unwrap();
    println!("tree of sys-libs/tide: {tree}");
    let found = world.look(tree);
    let names = |folder: &str| -> Vec<String> {
        let all = found.keys().filter_map(|path| path.strip_prefix(folder));
        all.map(str::to_owned).collect()
    };
    assert_eq!(names("hooks/"), Vec::<String>::new());
    assert_eq!(
        names("image/"),
        [
            "usr",
            "usr/lib",
            "usr/lib/x86_64-linux-gnu",
            "usr/lib/x86_64-linux-gnu/libtide.so",
            "usr/lib/x86_64-linux-gnu/libtide.so.1",
        ]
    );
    assert_eq!(
        names("view/"),
        [
            "EAPI",
            "IUSE",
            "IUSE_EFFECTIVE",
            "KEYWORDS",
            "PROVIDES",
            "SLOT",
            "USE",
            "repository",
        ]
    );
    let contents = world.text(tree, "record/CONTENTS");
    assert_eq!(contents.lines().count(), 5, "{contents}");
    assert!(contents.ends_with(" -> libtide.so.1 1700000000\n"));
    for processors in [1, 8] {
        let again = world.again(tide, processors);
        assert_eq!(again, tree, "with {processors} processors");
    }
    let odd = built.packages[built.place("app-misc/privileges")];
    let tree = world.realise(odd).unwrap();
    println!("tree of app-misc/privileges: {tree}");
    let found = world.look(tree);
    assert!(found["image/var/spool/maildrop"].starts_with("folder 2730 208 208"));
    assert!(found["image/usr/bin/show-root"].contains(" 4711 0 0"));
    let hooks: Vec<_> = found.keys().filter(|p| p.starts_with("hooks/")).collect();
    assert_eq!(
        hooks,
        [
            "hooks/DEFINED_PHASES",
            "hooks/environment.bz2",
            "hooks/owners",
            "hooks/privileges-1.ebuild",
        ]
    );
    assert_eq!(
        world.text(tree, "hooks/owners"),
        "[[\"/var/spool/maildrop\",\"maildrop\",\"maildrop\"]]\n"
    );
    // What a build is told reaches it as it was written.
    let environment = world.file(tree, "record/environment.bz2").unwrap();
    assert!(!environment.is_empty());
}

fn a_comment_changes_the_record_alone(world: &World) {
    let before = Built::new(world, world.ebuilds);
    let path = "sys-libs/tide/tide-1.ebuild";
    let ebuild = world.text(world.ebuilds, path);
    let commented = format!("{ebuild}# A comment.\n");
    let after = Built::new(world, changed(world, &[(path, &commented)]));
    let (tide, boat) = (before.place("sys-libs/tide"), before.place("app-misc/boat"));
    for place in 0..before.packages.len() {
        let is_changed = place == tide || place == boat;
        assert_eq!(
            before.packages[place] != after.packages[place],
            is_changed,
            "{}",
            before.graph.packages[place]
        );
    }
    world.realise(before.packages[boat]).unwrap();
    world.built.borrow_mut().clear();
    world.realise(after.packages[boat]).unwrap();
    // It is built again, and what needs it is not: the root is the same.
    let built = world.built.borrow().clone();
    assert!(
        built.iter().all(|name| name == "stage:sys-libs/tide"),
        "{built:?}"
    );
    let [old, new] = [before.packages[tide], after.packages[tide]].map(|p| world.realise(p));
    let (old, new) = (world.look(old.unwrap()), world.look(new.unwrap()));
    let differ: Vec<_> = old
        .keys()
        .filter(|path| old.get(*path) != new.get(*path))
        .collect();
    assert_eq!(differ, ["record/tide-1.ebuild"]);
}

/// The tree of ebuilds with other text in some files.
fn changed(world: &World, files: &[(&str, &str)]) -> TreeHash {
    let edits = files.iter();
    let edits = edits.map(|(path, text)| ((*path).to_owned(), Edit::Text((*text).into())));
    world.store.edit(world.ebuilds, &edits.collect()).unwrap()
}

/// What Portage makes when it merges all packages itself, with the same settings and the whole tree.
fn emerged(world: &World, prefix: &str) -> Derivation {
    let graph = graph(ROWS);
    let repositories = [("gentoo".to_owned(), world.ebuilds)].into();
    let snapshots = Snapshots::new(&world.store, &repositories, None);
    // The settings of a package without archives lead to no archives.
    let with_archives = graph.packages.iter().find(|p| !p.distfiles.is_empty());
    let settings = frozen::settings(&snapshots, &graph, with_archives.unwrap()).unwrap();
    let settings = world.store.weave(&[settings]).unwrap()[0];
    let atoms: Vec<String> = graph
        .packages
        .iter()
        .map(|p| format!("={}/{}", p.category, p.name_version()))
        .collect();
    let input = |at: &str, role, source| Input {
        at: at.to_owned(),
        role,
        owner: None,
        source,
    };
    let mut inputs = vec![
        input(
            "/var/db/repos/gentoo",
            Role::Snapshot,
            InputSource::Tree(world.ebuilds),
        ),
        input("/etc/portage", Role::Snapshot, InputSource::Tree(settings)),
    ];
    for (name, source) in &world.distfiles {
        let at = format!("/mstore/fetch/{name}");
        inputs.push(input(&at, Role::File, source.clone()));
    }
    // One after the other, since nothing is there that they need to be merged together. What goes into a folder is built
    // in the root first, where the users are that own it.
    let mut script = "set -e\nexport PKGDIR=/tmp/packages\n".to_owned();
    let emerge = "emerge --oneshot --nodeps --jobs=1 --quiet --quiet-build=y";
    let keep = if prefix.is_empty() { "" } else { "--buildpkg" };
    for atom in &atoms {
        script.push_str(&format!("{emerge} {keep} '{atom}'\n"));
    }
    if !prefix.is_empty() {
        script.push_str(&format!("mkdir {prefix}\nexport ROOT={prefix}/\n"));
        for atom in &atoms {
            script.push_str(&format!("{emerge} --usepkgonly '{atom}'\n"));
        }
    }
    let mut step = step(InputSource::Tree(world.seed), &script);
    step.inputs.append(&mut inputs);
    if !prefix.is_empty() {
        step.root = prefix.to_owned();
        step.output = Output::Folder;
    }
    step
}

/// A script in a root.
fn step(root: InputSource, script: &str) -> Derivation {
    Derivation {
        env: Env::default(),
        name: "stage:script".parse().unwrap(),
        root: "/".to_owned(),
        build: String::new(),
        class: "script".to_owned(),
        epoch: EPOCH,
        inputs: vec![Input {
            at: "/".to_owned(),
            role: Role::Root,
            owner: None,
            source: root,
        }],
        output: Output::Captured,
        phases: vec![Phase {
            name: "script".to_owned(),
            script: script.into(),
        }],
        policy: Policy {
            tag: None,
            from: None,
            width: None,
            impure: Vec::new(),
            limits: None,
            network: Network::None,
            silence: None,
            timeout: Some(900),
        },
        target: "stage".to_owned(),
        sandbox: SANDBOX_PROFILE.to_owned(),
        subarch: String::new(),
        platform: host::machine(),
        arch_desc: String::new(),
    }
}

fn a_stage_is_what_portage_merges(world: &World) {
    compare(world, "");
}

fn so_is_one_in_a_folder_of_its_own(world: &World) {
    compare(world, "/stage");
}

/// What Portage leaves where it merges, and what a stage is not to have or has in another form.
fn may_differ(path: &str) -> bool {
    let of_records = [
        "BINPKGMD5",
        "BUILD_ID",
        "BUILD_TIME",
        "COUNTER",
        "environment.bz2",
        "metadata",
    ];
    let alone = [
        "etc/.pwd.lock",
        "etc/group-",
        "etc/gshadow-",
        "etc/passwd-",
        "etc/shadow-",
        "var/db/pkg/.cache",
        "var/lib/portage",
        "var/tmp/portage",
    ];
    let folders = ["var/cache/", "var/lib/portage/", "var/log/", "var/tmp/"];
    let name = path.rsplit('/').next().unwrap_or(path);
    (path.starts_with("var/db/pkg/") && (of_records.contains(&name) || name.starts_with('.')))
        || alone.contains(&path)
        || folders.iter().any(|folder| path.starts_with(folder))
        || path.contains("__pycache__")
}

/// What a package loses or gets on the way through a binary package of Portage.
fn differs_in_binaries(path: &str) -> bool {
    path == "usr/share/privileges/attribute" || path.ends_with("/FEATURES")
}

/// Whether a file of a record says the same in both: lines in any order, times left out.
fn is_said_alike(path: &str, [ours, theirs]: [&str; 2]) -> bool {
    let lines = |text: &str| {
        let lines = text.lines().map(|line| match line.split_once(' ') {
            Some(("obj" | "sym", _)) => line.rsplit_once(' ').unwrap().0.to_owned(),
            _ => line.to_owned(),
        });
        let mut lines: Vec<String> = lines.collect();
        lines.sort();
        lines
    };
    let name = path.rsplit('/').next().unwrap();
    ["CONTENTS", "NEEDED", "NEEDED.ELF.2"].contains(&name) && lines(ours) == lines(theirs)
}

fn compare(world: &World, prefix: &str) {
    let built = Built::new(world, world.ebuilds);
    let stage = world
        .realise(built.stage(prefix, &["app-misc/boat".to_owned()]))
        .unwrap();
    println!("tree of the stage: {stage}");
    let merged = world.realise(world.know([emerged(world, prefix)])).unwrap();
    let (ours, theirs) = (world.look(stage), world.look(merged));
    assert!(ours.len() > 20 && ours.contains_key("usr/bin/boat"));
    let mut differ = Vec::new();
    for path in ours
        .keys()
        .chain(theirs.keys().filter(|p| !ours.contains_key(*p)))
    {
        let (one, other) = (ours.get(path), theirs.get(path));
        if one == other || may_differ(path) || !prefix.is_empty() && differs_in_binaries(path) {
            continue;
        }
        let is_record = path.starts_with("var/db/pkg/") && one.is_some() && other.is_some();
        if !is_record || !is_said_alike(path, [&world.text(stage, path), &world.text(merged, path)])
        {
            differ.push(format!(
                "{path}\n   composed {one:?}\n   merged   {other:?}"
            ));
        }
    }
    assert!(
        differ.is_empty(),
        "{} differ:\n{}",
        differ.len(),
        differ.join("\n")
    );
    assert_eq!(
        world.text(stage, "var/lib/portage/world"),
        "app-misc/boat\n"
    );
    let counter = |p: &str| world.text(stage, &format!("var/db/pkg/{p}/COUNTER"));
    assert_eq!(counter("acct-group/maildrop-0"), "1");
    assert_eq!(counter("app-misc/greeting-1"), "9");
    // Links of folders lead where they led, and what a hook did to an image before it was merged is there.
    assert!(!prefix.is_empty() || ours["bin"].starts_with("link usr/bin "));
    assert!(!prefix.is_empty() || ours.contains_key("usr/bin/odd"));
    assert_eq!(world.text(stage, "usr/share/odd/changed"), "by a hook\n");
    assert!(!ours.contains_key("usr/share/odd/gone") && ours.contains_key("usr/share/odd/added"));
}

/// A base has a library and a program that is linked with it. The library gets another soname: what is built with it is
/// linked with the new one, the base's own program still runs where things are built, and a stage has the new one alone.
/// A program that does not say that it uses it is linked with the old one, and makes no stage.
fn a_new_soname_leaves_nothing_stale(world: &World) {
    let old = Built::new(world, world.ebuilds);
    let stage = world.realise(old.stage("", &[])).unwrap();
    let base = base::reduce(&world.store, stage).unwrap();
    let tide = world.text(world.ebuilds, "sys-libs/tide/tide-1.ebuild");
    let ebuilds = changed(world, &[("sys-libs/tide/tide-2.ebuild", &tide)]);
    let says: [Row; 2] = [
        ("sys-libs/tide-2", "0", "compile install", "", "", "", ""),
        (
            "app-misc/raft-1",
            "0",
            "compile install",
            "",
            "",
            "sys-libs/tide",
            "sys-libs/tide",
        ),
    ];
    let new = Built::over(world, ebuilds, base, &says);
    let raft = world.realise(new.packages[1]).unwrap();
    assert_eq!(
        world.text(raft, "record/REQUIRES"),
        "x86_64: libc.so.6 libtide.so.2\n"
    );
    let InputSource::Derivation { hash, .. } = new.build_root(1) else {
        panic!("it has a layer");
    };
    let root = world.look(world.realise(hash).unwrap());
    let library = |name: &str| {
        root.get(&format!("usr/lib/x86_64-linux-gnu/{name}"))
            .map(String::as_str)
    };
    assert!(library("libtide.so.1").is_some() && library("libtide.so.2").is_some());
    assert!(
        library("libtide.so")
            .unwrap()
            .starts_with("link libtide.so.2 ")
    );
    assert!(root.contains_key("var/db/pkg/sys-libs/tide-2/SLOT"));
    assert!(!root.contains_key("var/db/pkg/sys-libs/tide-1"));
    let runs = step(
        InputSource::Derivation {
            hash,
            path: "/".to_owned(),
        },
        "boat\n",
    );
    world.realise(world.know([runs])).unwrap();
    let stage = world.realise(new.stage("/stage", &[])).unwrap();
    let stage = world.look(stage);
    assert!(
        stage.contains_key("usr/bin/raft")
            && stage.contains_key("usr/lib/x86_64-linux-gnu/libtide.so.2")
    );
    assert!(!stage.contains_key("usr/lib/x86_64-linux-gnu/libtide.so.1"));
    // The same, but nothing says that it needs the library.
    let silent: [Row; 2] = [
        says[0],
        ("app-misc/raft-1", "0", "compile install", "", "", "", ""),
    ];
    let new = Built::over(world, ebuilds, base, &silent);
    let raft = world.realise(new.packages[1]).unwrap();
    assert_eq!(
        world.text(raft, "record/REQUIRES"),
        "x86_64: libc.so.6 libtide.so.1\n"
    );
    assert!(
        world
            .said()
            .contains("undeclared: sys-libs/tide-1 (libtide.so.1)"),
        "{}",
        world.said()
    );
    let failed = world.realise(new.stage("/stage", &[])).unwrap_err();
    let said = "app-misc/raft-1 is linked with libtide.so.1 of sys-libs/tide-1, which the stage does not have";
    assert!(failed.contains(said), "{failed}");
}

/// Packages that were built where a user has one number, in a root where it has another.
fn owners_are_known_by_name(world: &World) {
    let mut built = Built::new(world, world.ebuilds);
    let own = "maildrop:x:999:999:maildrop:/var/empty:/sbin/nologin\n";
    let table = |path: &str, line: &str| {
        let text = world.text(world.seed, path);
        (path.to_owned(), Edit::Text((text + line).into_bytes()))
    };
    let edits = [
        table("etc/passwd", own),
        table("etc/group", "maildrop:x:998:\n"),
    ];
    built.base = world.store.edit(world.seed, &edits.into()).unwrap();
    let stage = world.realise(built.stage("", &[])).unwrap();
    let spool = &world.look(stage)["var/spool/maildrop"];
    assert!(spool.starts_with("folder 2730 999 998"), "{spool}");
    assert!(world.text(stage, "etc/passwd").ends_with(own));
}

fn collisions_name_both_owners(world: &World) {
    let rows: [Row; 2] = [
        ("app-misc/clash-1", "0", "install", "", "", "", ""),
        (
            "app-misc/odd-1",
            "0",
            "install postinst preinst",
            "",
            "",
            "",
            "",
        ),
    ];
    let built = Built::over(world, world.ebuilds, world.seed, &rows);
    let error = world.realise(built.stage("", &[])).unwrap_err();
    let said = "app-misc/clash-1:0 and app-misc/odd-1:0 both have usr/bin/odd: the files differ";
    assert!(error.contains(said), "{error}");
}
