//! Several repositories side by side, and what the targets start from.

use std::fs;
use std::path::Path;

use crate::support::{Asked, Root, functions_below, load, optional, text};

const CONFIGURE: [&str; 3] = [
    "portage/configure",
    "portage/files",
    "portage/profile-folder",
];
const GENTOO: &str = "default/linux/amd64/23.0";

/// A folder of repositories: `gentoo`, and two that give themselves other names than their snapshots have.
fn repositories() -> Root {
    let all = Root::new();
    all.write(&format!("gentoo/profiles/{GENTOO}/eapi"), "8\n");
    all.write(
        "one/metadata/layout.conf",
        "masters = gentoo\nrepo-name = first\n",
    );
    all.write("one/profiles/plus/eapi", "8\n");
    all.write("one/profiles/features/loud/eapi", "8\n");
    all.write("two/profiles/repo_name", "second\n");
    all.write("none/profiles/eapi", "8\n");
    all
}

fn configured(own: &str, all: &Root) -> Result<Root, String> {
    let spec = Asked {
        own,
        ..Asked::default()
    }
    .load();
    let root = Root::new();
    let call = format!("configure '{}'", root.path("").display());
    let ran = functions_below(&spec, &CONFIGURE, &call, "/var/db/repos", &all.path(""));
    if ran.ok { Ok(root) } else { Err(ran.stderr) }
}

#[test]
fn snapshots_become_sections_of_repos_conf() {
    let all = repositories();
    let place = all.path("").display().to_string();
    let own = "\
[section user]
repositories: overlays/one two
[section user/portage]
repos.conf: [
[first]
priority = 50
]
binrepos.conf: [
[gentoo]
sync-uri = https://example.org/binpackages
verify-signature = true
]
";
    let root = configured(own, &all).unwrap();
    let read = |name: &str| root.read(&format!("etc/portage/{name}"));
    assert_eq!(
        read("repos.conf/gentoo.conf"),
        format!("[DEFAULT]\nmain-repo = gentoo\n\n[gentoo]\nlocation = {place}/gentoo\n")
    );
    assert_eq!(
        read("repos.conf/first.conf"),
        format!("[first]\nlocation = {place}/one\n")
    );
    assert_eq!(
        read("repos.conf/second.conf"),
        format!("[second]\nlocation = {place}/two\n")
    );
    assert_eq!(read("repos.conf/zz-mstore"), "[first]\npriority = 50\n");
    assert!(read("binrepos.conf").contains("verify-signature = true\n"));

    let spec = Asked {
        own,
        ..Asked::default()
    }
    .load();
    assert_eq!(text(&spec, "snapshot/beside"), "overlays/one two");
    assert_eq!(text(&spec, "snapshot/beside/path"), "/var/db/repos");
    // Where they are is what Funtoo's own tool would make of them.
    let kits = Asked {
        build: "funtoo-current",
        own: "[section user]\nrepositories: funtoo-current/lang-kit\n",
        ..Asked::default()
    }
    .load();
    assert_eq!(
        text(&kits, "snapshot/beside/path"),
        "/var/git/meta-repo/kits"
    );
    assert_eq!(
        text(&kits, "snapshot/path"),
        "/var/git/meta-repo/kits/core-kit"
    );
}

#[test]
fn profiles_of_other_repositories() {
    let all = repositories();
    let one = "[section user]\nrepositories: one\n";
    let root = configured(&format!("{one}profile: first:plus\n"), &all).unwrap();
    let link = fs::read_link(root.path("etc/portage/make.profile")).unwrap();
    assert_eq!(
        link,
        Path::new(&format!("../..{}/profiles/plus", all.path("one").display()))
    );

    let root = configured(
        &format!("{one}profile/mix-ins: first:features/loud\n"),
        &all,
    )
    .unwrap();
    assert_eq!(
        root.read("etc/portage/make.profile/parent"),
        format!("gentoo:{GENTOO}\nfirst:features/loud\n")
    );

    assert_eq!(
        configured(&format!("{one}profile: first:minus\n"), &all)
            .err()
            .unwrap(),
        "the repository first has no profile minus\n\
         in that place are: features plus \n\
         name one of them with user/profile, user/profile/subarch, user/profile/flavor or \
         user/profile/mix-ins in your metro.conf\n"
    );
    let said = configured("[section user]\nprofile: third:x\n", &all)
        .err()
        .unwrap();
    assert!(
        said.starts_with(
            "not a repository here: third, which the profile third:x is of; name its snapshot in user/repositories\n"
        ),
        "{said}"
    );
}

#[test]
fn snapshots_that_are_no_repositories_or_the_same_one() {
    let all = repositories();
    assert_eq!(
        configured("[section user]\nrepositories: none\n", &all)
            .err()
            .unwrap(),
        "the snapshot none is not a repository: neither profiles/repo_name nor metadata/layout.conf says its name\n"
    );
    all.write("again/profiles/repo_name", "second\n");
    assert_eq!(
        configured("[section user]\nrepositories: two again\n", &all)
            .err()
            .unwrap(),
        "the snapshot again is a repository called second, and so is another one\n"
    );
}

#[test]
fn strategies_and_seeds() {
    let seed = |target: &str, own: &str| {
        let spec = Asked {
            target,
            own,
            ..Asked::default()
        }
        .load();
        (text(&spec, "source"), optional(&spec, "source/seed"))
    };
    let from = |target: &str| (target.to_owned(), None);
    let of = |name: &str| (String::new(), Some(name.to_owned()));
    let remote = "[section remote]\nsubarch: generic_64\n[section strategy]\nbuild: remote\n";
    let stage1 = "[section strategy]\nseed: stage1\n";
    assert_eq!(seed("stage1", ""), of("gentoo/x86-64bit/corei7/stage3"));
    assert_eq!(
        seed("stage1", remote),
        of("gentoo/x86-64bit/generic_64/stage3")
    );
    assert_eq!(seed("stage2", stage1), of("gentoo/x86-64bit/corei7/stage1"));
    assert_eq!(
        seed("stage2", &format!("{remote}seed: stage1\n")),
        of("gentoo/x86-64bit/generic_64/stage1")
    );
    assert_eq!(seed("stage2", remote), from("stage1"));
    for target in ["stage3-quick", "stage3-freshen"] {
        assert_eq!(seed(target, remote), of("gentoo/x86-64bit/corei7/stage3"));
    }
    assert_eq!(seed("stage4", ""), from("stage3"));
    for target in ["openvz", "lxc", "lxd", "livecd", "diskimage"] {
        assert_eq!(seed(target, ""), from("stage3"));
        assert_eq!(
            seed(target, "[section user]\nimage-source: stage4\n"),
            from("stage4")
        );
    }
}

#[test]
fn the_seed_is_updated_where_that_is_asked_for() {
    let stage1 = |own: &str| {
        Asked {
            target: "stage1",
            own,
            ..Asked::default()
        }
        .load()
    };
    let steps = |own: &str| -> Vec<String> {
        let steps = text(&stage1(own), "steps/chroot");
        steps.split_whitespace().map(str::to_owned).collect()
    };
    assert_eq!(steps(""), ["setup", "build", "clean"]);
    let own = "[section user]\nseed-update: --update --deep --newuse @system\n";
    assert_eq!(steps(own), ["setup", "update", "build", "clean"]);
    let script = text(&stage1(own), "steps/chroot/update");
    assert!(
        script.contains("\nemerge --oneshot --update --deep --newuse @system\n"),
        "{script}"
    );
}

#[test]
fn the_targets_of_portage_belong_to_its_builds() {
    let index = load("[section list/targets]\nmine: $[list/portage]\n", &[]);
    for build in ["gentoo", "funtoo-stable", "mine"] {
        let targets = text(&index, &format!("list/targets/{build}"));
        for target in ["stage4", "snapshot", "livecd"] {
            assert!(
                targets.split(' ').any(|t| t == target),
                "{build}: {targets}"
            );
        }
    }
    assert!(!index.is_defined("list/targets/seedling"));
}

#[test]
fn binary_packages_are_in_a_folder_that_is_no_input() {
    for target in ["stage1", "stage3", "stage4"] {
        let asked = Asked {
            target,
            ..Asked::default()
        };
        let spec = asked.load();
        assert_eq!(text(&spec, "impure"), "package");
        // Nobody has it who does not ask for it in metro/options.
        assert_eq!(text(&spec, "impure/package/option"), "cache/package");
        assert_eq!(
            text(&spec, "impure/package/folder"),
            "package,gentoo,x86-64bit,corei7"
        );
        assert_eq!(text(&spec, "impure/package/steps"), "build tailor");
        let begin = text(&spec, "portage/begin");
        let (_, folder) = begin
            .split_once("if [ -d /mstore/impure/package ]; then")
            .expect("a step looks for the folder");
        for words in [
            "gcc -dumpfullversion",
            "CHOST CFLAGS CXXFLAGS LDFLAGS",
            "--buildpkg --usepkg",
        ] {
            assert!(folder.contains(words), "{words}: {folder}");
        }
    }
}
