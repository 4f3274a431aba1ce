//! What the specifications say, and how they configure Portage.

use std::fs;

use crate::support::{Asked, Root, functions, load, optional, text};

const CONFIGURE: [&str; 3] = [
    "portage/configure",
    "portage/files",
    "portage/profile-folder",
];

/// A tree of ebuilds as far as its profiles go.
fn tree(profiles: &[&str]) -> Root {
    let tree = Root::new();
    for profile in profiles {
        tree.write(&format!("profiles/{profile}/eapi"), "8\n");
    }
    tree
}

const GENTOO: &str = "default/linux/amd64/23.0";

#[test]
fn the_environment_leaves_flags_to_make_conf_and_the_profile() {
    for target in ["stage1", "stage2", "stage3", "stage3-freshen"] {
        let spec = Asked {
            target,
            ..Asked::default()
        }
        .load();
        for name in ["CFLAGS", "CXXFLAGS", "LDFLAGS", "CHOST", "USE"] {
            assert_eq!(optional(&spec, &format!("env/{name}")), None, "{target}");
        }
        let configure = text(&spec, "portage/configure");
        assert!(!configure.contains("LDFLAGS="), "{configure}");
        assert!(configure.contains("\nCHOST=\"x86_64-pc-linux-gnu\"\n"));
    }
    let own = Asked {
        own: "[section user]\nLDFLAGS: -Wl,-z,now\n",
        ..Asked::default()
    };
    assert!(text(&own.load(), "portage/configure").contains("\nLDFLAGS=\"-Wl,-z,now\"\n"));
}

#[test]
fn every_step_ends_settled_and_begins_with_the_systems_environment() {
    let all = [
        "stage1",
        "stage2",
        "stage3",
        "stage3-freshen",
        "stage3-quick",
        "stage4",
    ];
    for target in all {
        let spec = Asked {
            target,
            own: "[section user]\nfinish: [\ntrue\n]\nseed-update: @system\n[section stage4]\nfinish: [\ntrue\n]\n",
            ..Asked::default()
        }
        .load();
        for step in text(&spec, "steps/chroot").split_whitespace() {
            let script = text(&spec, &format!("steps/chroot/{step}"));
            if step == "configure" {
                // Nothing of Portage runs in it.
                continue;
            }
            assert!(script.contains(". /etc/profile\n"), "{target}:{step}");
            // How many processors there are, and when Python wrote something, must not be recorded.
            for word in [
                "CONFIG_PROTECT=\"-*\"",
                "PYTHONDONTWRITEBYTECODE=1",
                "BINPKG_COMPRESS=gzip",
            ] {
                assert!(script.contains(word), "{target}:{step}: {word}");
            }
            let last = script.trim_end().lines().last().unwrap_or_default();
            let settles = last.starts_with("settle ") || last.starts_with("clean ");
            assert!(settles, "{target}:{step} ends with {last}");
        }
        assert!(text(&spec, "steps/chroot/setup").contains("\nenv-update\n"));
        assert!(text(&spec, "portage/clean").contains("\n    settle \"$1\"\n"));
    }
}

#[test]
fn stage1_merges_the_layout_before_all_else() {
    let stage1 = Asked {
        target: "stage1",
        ..Asked::default()
    };
    let script = text(&stage1.load(), "steps/chroot/build");
    let first = script.find("emerge --oneshot --nodeps sys-apps/baselayout");
    let others = script.find("$(cat /tmp/packages.build)");
    assert!(first.unwrap() < others.unwrap(), "{script}");
    // Atoms are no text in today's Portage.
    assert!(script.contains("str(atom)"), "{script}");
    assert!(script.contains("export USE=\"-* build $(portageq envvar BOOTSTRAP_USE)\""));

    let own = Asked {
        own: "[section user]\nbootstrap-USE: -* tiny\n",
        ..stage1
    };
    assert!(text(&own.load(), "steps/chroot/build").contains("export USE=\"-* tiny\"\n"));
}

#[test]
fn hooks_reach_portage() {
    let own = "[section user]\nbuild: gentoo\nFEATURES: ccache\nemerge-options: --jobs=2\n\
               ACCEPT_KEYWORDS: ~amd64\nACCEPT_LICENSE: *\nbootstrap: sys-libs/musl sys-devel/clang\n";
    assert_eq!(text(&load(own, &[]), "default/build"), "gentoo");
    assert_eq!(text(&load("", &[]), "default/build"), "seedling");
    let spec = Asked {
        own,
        ..Asked::default()
    }
    .load();
    assert!(text(&spec, "env/FEATURES").ends_with(" -distlocks ccache"));
    assert!(text(&spec, "env/EMERGE_DEFAULT_OPTS").ends_with("--nospinner --jobs=2"));
    let configure = text(&spec, "portage/configure");
    assert!(configure.contains("\nACCEPT_KEYWORDS=\"~amd64\"\nACCEPT_LICENSE=\"*\"\n"));
    let plain = text(&Asked::default().load(), "portage/configure");
    assert!(!plain.contains("ACCEPT_"), "{plain}");
    let stage2 = Asked {
        target: "stage2",
        own,
        ..Asked::default()
    };
    assert!(
        text(&stage2.load(), "steps/chroot/bootstrap")
            .contains("for package in sys-libs/musl sys-devel/clang; do")
    );
}

#[test]
fn a_strategy_without_stage2() {
    let source = |own: &str| {
        let spec = Asked {
            own,
            ..Asked::default()
        }
        .load();
        (text(&spec, "source"), optional(&spec, "source/seed"))
    };
    let none = |name: &str| (name.to_owned(), None);
    assert_eq!(source(""), none("stage2"));
    assert_eq!(source("[section strategy]\nstage2: yes\n"), none("stage2"));
    assert_eq!(source("[section strategy]\nstage2: no\n"), none("stage1"));
    assert_eq!(
        source("[section strategy]\nstage2: no\nseed: stage1\n"),
        (
            String::new(),
            Some("gentoo/x86-64bit/corei7/stage1".to_owned())
        )
    );
}

#[test]
fn freshen_starts_from_the_pinned_stage3() {
    let source = |own: &str| {
        let spec = Asked {
            target: "stage3-freshen",
            own,
            ..Asked::default()
        }
        .load();
        assert_eq!(optional(&spec, "source"), None);
        text(&spec, "source/seed")
    };
    assert_eq!(source(""), "gentoo/x86-64bit/corei7/stage3");
    // Another subarch's stage3 starts a chain, but is nothing to freshen.
    assert_eq!(
        source("[section strategy]\nbuild: remote\n[section remote]\nsubarch: generic_64\n"),
        "gentoo/x86-64bit/corei7/stage3"
    );
    assert_eq!(source("[section user]\nseed: mine\n"), "mine");
}

#[test]
fn steps_that_need_little_of_the_tree_read_little() {
    let spec = Asked {
        own: "[section user]\nportage-confdir: release/portage\n",
        ..Asked::default()
    }
    .load();
    assert_eq!(
        text(&spec, "reads/setup"),
        "profiles metadata/layout.conf release/portage"
    );
    assert_eq!(
        text(&spec, "reads/configure").trim(),
        "metadata/layout.conf"
    );
    assert_eq!(text(&spec, "reads/clean"), "profiles metadata/layout.conf");
    for step in ["build", "tailor"] {
        assert_eq!(optional(&spec, &format!("reads/{step}")), None);
    }
}

#[test]
fn one_parent_alone_is_a_link() {
    let (root, tree) = (Root::new(), tree(&[GENTOO]));
    let spec = Asked::default().load();
    let call = format!("configure '{}'", root.path("").display());
    let ran = functions(&spec, &CONFIGURE, &call, &tree.path(""));
    assert!(ran.ok, "{}", ran.stderr);
    let target = fs::read_link(root.path("etc/portage/make.profile")).unwrap();
    let place = tree.path("profiles").join(GENTOO);
    assert_eq!(
        target.to_str().unwrap(),
        format!("../..{}", place.display())
    );
    assert!(!root.read("etc/portage/make.conf").contains("LDFLAGS"));
    assert!(!root.path("etc/portage/package.use").exists());
}

#[test]
fn several_parents_are_a_folder() {
    let base = "funtoo/1.0/linux-gnu";
    let parts = [
        "arch/x86-64bit",
        "build/current",
        "arch/x86-64bit/subarch/amd64-zen",
        "flavor/desktop",
        "mix-ins/gnome",
        "mix-ins/print",
    ];
    let own = "[section user]\nprofile/flavor: desktop\nprofile/mix-ins: gnome print\n";
    let spec = Asked {
        build: "funtoo-current",
        subarch: "amd64-zen1",
        own,
        ..Asked::default()
    }
    .load();
    let paths: Vec<String> = parts.iter().map(|part| format!("{base}/{part}")).collect();
    let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
    let (root, tree) = (Root::new(), tree(&paths));
    let call = format!("configure '{}'", root.path("").display());
    let ran = functions(&spec, &CONFIGURE, &call, &tree.path(""));
    assert!(ran.ok, "{}", ran.stderr);
    let want: String = paths
        .iter()
        .map(|path| format!("core-kit:{path}\n"))
        .collect();
    assert_eq!(root.read("etc/portage/make.profile/parent"), want);
    let repos = root.read("etc/portage/repos.conf/core-kit.conf");
    assert!(repos.contains("main-repo = core-kit\n\n[core-kit]\nlocation = "));
}

#[test]
fn a_profile_that_the_tree_lacks_is_named_with_those_that_it_has() {
    let base = "funtoo/1.0/linux-gnu";
    let asked = Asked {
        build: "funtoo-current",
        subarch: "amd64-zen4",
        ..Asked::default()
    };
    let tree = tree(&[
        &format!("{base}/arch/x86-64bit/subarch/amd64-zen"),
        &format!("{base}/arch/x86-64bit/subarch/corei7"),
        &format!("{base}/build/current"),
        &format!("{base}/flavor/core"),
    ]);
    let root = Root::new();
    let call = format!("configure '{}'", root.path("").display());
    let ran = functions(&asked.load(), &CONFIGURE, &call, &tree.path(""));
    assert!(!ran.ok);
    assert_eq!(
        ran.stderr,
        "the snapshot funtoo-current has no profile funtoo/1.0/linux-gnu/arch/x86-64bit/subarch/amd64-zen4\n\
         in that place are: amd64-zen corei7 \n\
         name one of them with user/profile, user/profile/subarch, user/profile/flavor or \
         user/profile/mix-ins in your metro.conf\n"
    );
    for (own, parts) in [
        ("[section user]\nprofile/subarch: amd64-zen\n", 4),
        ("[section user]\nprofile/subarch: none\n", 3),
    ] {
        let root = Root::new();
        let call = format!("configure '{}'", root.path("").display());
        let spec = Asked { own, ..asked }.load();
        let ran = functions(&spec, &CONFIGURE, &call, &tree.path(""));
        assert!(ran.ok, "{}", ran.stderr);
        let parent = root.read("etc/portage/make.profile/parent");
        assert_eq!(parent.lines().count(), parts, "{parent}");
    }
}

#[test]
fn files_of_the_configuration() {
    let (root, tree) = (Root::new(), tree(&[GENTOO]));
    let own = "\
[section user]
portage-confdir: release/portage
[section user/portage]
package.use: [
dev-lang/python -X
# a remark

sys-apps/util-linux  caps
]
profile/package.use.force: [
app-alternatives/awk gawk
]
make.conf: [
LINGUAS=\"de\"
]
package.env: [
app-misc/hello o3
]
";
    let spec = Asked {
        own,
        ..Asked::default()
    }
    .load();
    tree.write("release/portage/env/o3", "CFLAGS=\"-O3\"\n");
    tree.write("release/portage/patches/app-misc/hello/a.patch", "--- a\n");
    tree.write("release/portage/package.use/releng", "sys-apps/sed acl\n");
    tree.write("release/portage/package.env", "app-misc/other o3\n");
    tree.write("release/portage/make.profile/parent", "nowhere\n");
    // What the stage before was configured with, and what a package has there.
    root.write("etc/portage/package.mask", "=old/one-1\n");
    root.write("etc/portage/gnupg/keyring", "keys\n");
    let call = format!("configure '{}'", root.path("").display());
    for _ in 0..2 {
        let ran = functions(&spec, &CONFIGURE, &call, &tree.path(""));
        assert!(ran.ok, "{}", ran.stderr);
        let read = |name: &str| root.read(&format!("etc/portage/{name}"));
        assert_eq!(read("package.use/releng"), "sys-apps/sed acl\n");
        assert_eq!(
            read("package.use/zz-mstore"),
            "dev-lang/python -X\n# a remark\n\nsys-apps/util-linux  caps\n"
        );
        assert_eq!(
            read("profile/package.use.force"),
            "app-alternatives/awk gawk\n"
        );
        assert_eq!(
            read("package.env"),
            "app-misc/other o3\napp-misc/hello o3\n"
        );
        assert_eq!(read("env/o3"), "CFLAGS=\"-O3\"\n");
        assert_eq!(read("patches/app-misc/hello/a.patch"), "--- a\n");
        assert!(read("make.conf").ends_with("\nLC_MESSAGES=C.UTF-8\nLINGUAS=\"de\"\n"));
        assert_eq!(read("gnupg/keyring"), "keys\n");
        assert!(!root.path("etc/portage/package.mask").exists());
        let profile = fs::symlink_metadata(root.path("etc/portage/make.profile")).unwrap();
        assert!(profile.is_symlink());
    }
}

#[test]
fn a_confdir_that_the_snapshot_lacks_is_an_error() {
    let (root, tree) = (Root::new(), tree(&[GENTOO]));
    let spec = Asked {
        own: "[section user]\nportage-confdir: nowhere\n",
        ..Asked::default()
    }
    .load();
    let call = format!("configure '{}'", root.path("").display());
    let ran = functions(&spec, &CONFIGURE, &call, &tree.path(""));
    assert!(!ran.ok);
    assert!(ran.stderr.contains("nowhere"), "{}", ran.stderr);
}

/// What `settle` and `clean` make of a root: leavings go, times in records are those of the files.
#[test]
fn a_settled_root_tells_nothing_of_its_build() {
    let root = Root::new();
    let package = "var/db/pkg/app-misc/a b-1";
    let contents = "dir /usr\nobj /usr/an old file 0123 981173106\nobj /usr/new 4567 1790000000\n\
                    sym /usr/link -> a 17 1790000000\nobj /usr/1790000000 89ab 5\n";
    let leavings = [
        "etc/._cfg0000_fstab",
        "etc/.pwd.lock",
        "etc/group-",
        "etc/gshadow-",
        "etc/ld.so.cache~",
        "etc/passwd-",
        "etc/shadow-",
        "etc/subgid-",
        "etc/subuid-",
        "etc/machine-id",
        "etc/resolv.conf",
        "etc/ssh/ssh_host_rsa_key",
        "root/.bash_history",
        "usr/share/._cfg0001_x",
        "var/cache/binpkgs/a.gpkg.tar",
        "var/cache/distfiles/a.tar",
        "var/cache/edb/mtimedb",
        "var/cache/ldconfig/aux-cache",
        "var/lib/dbus/machine-id",
        "var/lib/gentoo/news/news-gentoo.unread",
        "var/lib/portage/config",
        "var/lib/systemd/random-seed",
        "var/log/portage/elog/summary.log",
        "var/tmp/portage/x/y",
        &format!("{package}/metadata"),
    ];
    let kept = [
        "etc/fstab",
        "etc/._cfg_of_my_own",
        "var/log/chrony/.keep_net-misc_chrony-0",
        &format!("{package}/SLOT"),
    ];
    for path in leavings.into_iter().chain(kept) {
        root.write(path, "x\n");
    }
    root.write(&format!("{package}/CONTENTS"), contents);
    root.write(&format!("{package}/BUILD_TIME"), "1790000001\n");
    std::os::unix::fs::symlink("../proc/self/mounts", root.path("etc/mtab")).unwrap();
    let spec = Asked::default().load();
    let names = ["portage/folders", "portage/settle", "portage/clean"];
    let call = format!("clean '{}'", root.path("").display());
    let ran = functions(&spec, &names, &call, &root.path(""));
    assert!(ran.ok, "{}", ran.stderr);
    for path in leavings {
        assert!(!root.path(path).exists(), "{path} is still there");
    }
    for path in kept {
        assert!(root.path(path).exists(), "{path} is gone");
    }
    assert!(root.path("etc/mtab").is_symlink());
    assert!(root.path("var/log/chrony").is_dir());
    assert_eq!(root.read(&format!("{package}/BUILD_TIME")), "1000000000\n");
    assert_eq!(
        root.read(&format!("{package}/CONTENTS")),
        "dir /usr\nobj /usr/an old file 0123 981173106\nobj /usr/new 4567 1000000000\n\
         sym /usr/link -> a 17 1000000000\nobj /usr/1790000000 89ab 5\n"
    );
}
