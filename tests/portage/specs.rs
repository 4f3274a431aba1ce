//! What the specifications say, and how they configure Portage.

use std::fs;

use crate::support::{Asked, Root, functions, functions_below, load, optional, text};

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
                // Nobody is there to think better of it.
                "CLEAN_DELAY=0 EMERGE_WARNING_DELAY=0",
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

/// The files that hooks.conf promises, each with a text of its own.
#[test]
fn every_file_of_the_hooks_is_written() {
    let files = [
        "make.conf",
        "bashrc",
        "package.use",
        "package.mask",
        "package.unmask",
        "package.accept_keywords",
        "package.license",
        "package.properties",
        "package.accept_restrict",
        "package.env",
        "repos.conf",
        "binrepos.conf",
        "profile/use.force",
        "profile/use.mask",
        "profile/package.use",
        "profile/package.use.force",
        "profile/package.use.mask",
        "profile/package.mask",
        "profile/package.unmask",
        "profile/package.provided",
        "profile/packages",
    ];
    // The hooks list just these.
    let hooks = include_str!("../../stdlib-specs/hooks.conf").replace("\n#", " ");
    let (_, rest) = hooks.split_once("FILE is").unwrap();
    let (told, _) = rest.split_once("user/portage-confdir").unwrap();
    let told: Vec<&str> = told
        .split([' ', ',', ':'])
        .map(|word| word.trim_end_matches('.'))
        .filter(|word| word.contains('.') || *word == "bashrc" || *word == "packages")
        .collect();
    let names = files.map(|file| file.trim_start_matches("profile/"));
    assert_eq!(told, names);

    let mut own = String::from("[section user/portage]\n");
    for file in files {
        own += &format!("{file}: [\n# the block {file}\n]\n");
    }
    let spec = Asked {
        own: &own,
        ..Asked::default()
    }
    .load();
    let (root, tree) = (Root::new(), tree(&[GENTOO]));
    let call = format!("configure '{}'", root.path("").display());
    let ran = functions(&spec, &CONFIGURE, &call, &tree.path(""));
    assert!(ran.ok, "{}", ran.stderr);
    for file in files {
        let place = match file {
            "repos.conf" => "repos.conf/zz-mstore",
            other => other,
        };
        let text = root.read(&format!("etc/portage/{place}"));
        assert!(
            text.ends_with(&format!("# the block {file}\n")),
            "{file}: {text}"
        );
    }
}

/// What trees of Funtoo call the parts of their profile for subarches: those of core-kit in October 2024, and of
/// pure64, which went before that, in February 2019.
const FUNTOO_PARTS: [(&str, &str); 4] = [
    (
        "x86-64bit",
        "amd64-bulldozer amd64-excavator amd64-jaguar amd64-k10 amd64-k8 amd64-k8+sse3 amd64-piledriver amd64-pumaplus \
         amd64-steamroller amd64-zen amd64-zen2 amd64-zen3 atom_64 btver1_64 core-avx-i core2_64 corei7 generic_64 \
         generic_64-v2 generic_64-v3 generic_64-v4 intel64-broadwell intel64-haswell intel64-ivybridge \
         intel64-nehalem intel64-sandybridge intel64-silvermont intel64-skylake intel64-skylake-avx512 \
         intel64-westmere native_64 nocona opteron_64 xen-pentium4+sse3_64",
    ),
    (
        "pure64",
        "amd64-bulldozer-pure64 amd64-excavator-pure64 amd64-jaguar-pure64 amd64-k10-pure64 amd64-k8+sse3-pure64 \
         amd64-k8-pure64 amd64-piledriver-pure64 amd64-steamroller-pure64 amd64-zen-pure64 atom_64-pure64 \
         btver1_64-pure64 core-avx-i-pure64 core2_64-pure64 corei7-pure64 generic_64-pure64 \
         intel64-broadwell-pure64 intel64-haswell-pure64 intel64-ivybridge-pure64 intel64-nehalem-pure64 \
         intel64-sandybridge-pure64 intel64-silvermont-pure64 intel64-skylake-avx512-pure64 \
         intel64-skylake-pure64 intel64-westmere-pure64 native_64-pure64 nocona-pure64 opteron_64-pure64",
    ),
    (
        "x86-32bit",
        "amd64-k8+sse3_32 amd64-k8_32 athlon athlon-4 athlon-mp athlon-tbird athlon-xp atom_32 btver1 core2_32 \
         generic_32 geode i486 i686 k6 k6-2 k6-3 native_32 pentium pentium-m pentium-mmx pentium2 pentium3 pentium4 \
         pentiumpro prescott",
    ),
    (
        "arm-32bit",
        "armv6j_hardfp armv6j_vfp_hardfp armv7a_hardfp armv7a_vfpv3_hardfp odroid-xu4 raspi raspi2 raspi3",
    ),
];

#[test]
fn subarches_have_the_names_of_funtoos_trees() {
    let index = load("", &[]);
    let mut lacking = Vec::new();
    for (arch, parts) in FUNTOO_PARTS {
        let parts: Vec<&str> = parts.split_whitespace().collect();
        for subarch in text(&index, &format!("list/subarches/{arch}")).split_whitespace() {
            let spec = Asked {
                build: "funtoo-current",
                arch,
                subarch,
                ..Asked::default()
            }
            .load();
            let part = text(&spec, "chosen/subarch-profile");
            if !parts.contains(&part.as_str()) {
                lacking.push(format!("{arch}/{subarch}"));
            }
        }
    }
    // Processors that are younger than the trees, or that these never knew: `user/profile/subarch` says what to
    // take, and a build without it ends before anything is built.
    let want = "x86-64bit/intel64-cascadelake x86-64bit/intel64-icelake x86-64bit/intel64-icelake-server \
                x86-64bit/intel64-tigerlake x86-64bit/intel64-rocketlake x86-64bit/intel64-alderlake \
                x86-64bit/intel64-raptorlake x86-64bit/intel64-meteorlake x86-64bit/intel64-sapphirerapids \
                x86-64bit/intel64-goldmont x86-64bit/intel64-tremont x86-64bit/amd64-zen4 x86-64bit/amd64-zen5 \
                pure64/x86-64-v2-pure64 pure64/x86-64-v3-pure64 pure64/x86-64-v4-pure64 \
                pure64/intel64-cascadelake-pure64 pure64/intel64-icelake-pure64 pure64/intel64-icelake-server-pure64 \
                pure64/intel64-tigerlake-pure64 pure64/intel64-rocketlake-pure64 pure64/intel64-alderlake-pure64 \
                pure64/intel64-raptorlake-pure64 pure64/intel64-meteorlake-pure64 \
                pure64/intel64-sapphirerapids-pure64 pure64/intel64-goldmont-pure64 pure64/intel64-tremont-pure64 \
                pure64/amd64-zen2-pure64 pure64/amd64-zen3-pure64 pure64/amd64-zen4-pure64 pure64/amd64-zen5-pure64 \
                x86-32bit/i586 arm-32bit/armv5te arm-32bit/armv6j arm-32bit/armv7a arm-32bit/armv7a_neon_hardfp \
                arm-32bit/cortex-a7_hardfp";
    assert_eq!(lacking, want.split_whitespace().collect::<Vec<_>>());
}

#[test]
fn subarches_of_arm_have_the_names_of_gentoos_trees() {
    let index = load("", &[]);
    for subarch in text(&index, "list/subarches/arm-32bit").split_whitespace() {
        let spec = Asked {
            arch: "arm-32bit",
            subarch,
            ..Asked::default()
        }
        .load();
        let profile = text(&spec, "portage/profile");
        let last = profile.trim_end().rsplit('/').next().unwrap();
        let known = ["armv5te", "armv6j", "armv6j_hf", "armv7a", "armv7a_hf"];
        assert!(known.contains(&last), "{subarch}: {profile}");
    }
}

/// Portage hears from the seed's make.conf what it hears from the environment for the root that is built.
#[test]
fn what_is_built_for_the_seed_has_the_same_settings() {
    let spec = Asked {
        target: "stage1",
        ..Asked::default()
    }
    .load();
    let script = text(&spec, "steps/chroot/build");
    let at = |words: &str| {
        script
            .find(words)
            .unwrap_or_else(|| panic!("{words}: {script}"))
    };
    assert!(at("\ntell_seed\n") < at("\nexport ROOT="));
    assert!(at("--root-deps=rdeps $(cat") < at("\nuntell_seed\n"));

    let root = Root::new();
    let before = "USE=\"a\"\nFEATURES=\"mine\"\n";
    root.write("etc/portage/make.conf", before);
    let told = root.path("told");
    let call = format!(
        "export FEATURES='-ipc-sandbox -merge-sync' PORTAGE_RO_DISTDIRS='/a/distfiles /b/distfiles' MAKEOPTS=-j3 \
         CONFIG_PROTECT='-*' CLEAN_DELAY=0 EMERGE_WARNING_DELAY=0 BINPKG_COMPRESS=gzip
         tell_seed '{0}'; cp '{0}/etc/portage/make.conf' '{1}'; untell_seed '{0}'",
        root.path("").display(),
        told.display()
    );
    // `/tmp` is a step's own.
    let elsewhere = Root::new();
    let ran = functions_below(
        &spec,
        &["portage/seed-settings"],
        &call,
        "/tmp/make.conf",
        &elsewhere.path("make.conf"),
    );
    assert!(ran.ok, "{}", ran.stderr);
    assert_eq!(
        root.read("told"),
        format!(
            "{before}FEATURES=\"${{FEATURES}} -ipc-sandbox -merge-sync\"\n\
             PORTAGE_RO_DISTDIRS=\"/a/distfiles /b/distfiles\"\nMAKEOPTS=\"-j3\"\nCONFIG_PROTECT=\"-*\"\n\
             CLEAN_DELAY=\"0\"\nEMERGE_WARNING_DELAY=\"0\"\nBINPKG_COMPRESS=\"gzip\"\n"
        )
    );
    assert_eq!(root.read("etc/portage/make.conf"), before);
}

/// Ends of a build in a seed where Portage finds nothing installed.
#[test]
fn a_build_that_fails_in_a_seed_without_records_says_so() {
    let spec = Asked {
        target: "stage1",
        ..Asked::default()
    }
    .load();
    for step in ["build", "update"] {
        let script = text(&spec, &format!("steps/chroot/{step}"));
        let at = script.find("has_records \"\" || trap 'tell_of_records $?' EXIT");
        assert!(
            at.unwrap() < script.find("emerge --oneshot").unwrap(),
            "{step}"
        );
    }
    let seed = Root::new();
    let end = |status: &str| {
        // The line that looks at the seed itself is for a step.
        let call = format!(
            "trap - EXIT; has_records '{}' || trap 'tell_of_records $?' EXIT; (exit {status})",
            seed.path("").display()
        );
        functions(&spec, &["portage/seed-records"], &call, &seed.path(""))
    };
    let said = end("7");
    assert!(!said.ok);
    assert!(
        said.stderr
            .starts_with("the seed has no records of packages in /var/db/pkg: "),
        "{}",
        said.stderr
    );
    let sound = end("0");
    assert!(sound.ok && sound.stderr.is_empty(), "{}", sound.stderr);
    // A stage3 that cannot build something has another reason.
    seed.write("var/db/pkg/sys-apps/sed-4/CONTENTS", "");
    let other = end("7");
    assert!(!other.ok && other.stderr.is_empty(), "{}", other.stderr);
}

#[test]
fn a_snapshot_has_metadata_if_that_is_asked_for() {
    let steps = |own: &str| {
        let asked = Asked {
            target: "snapshot",
            own,
            ..Asked::default()
        };
        text(&asked.load(), "steps/chroot").trim().to_owned()
    };
    assert_eq!(steps(""), "copy");
    assert_eq!(steps("[section user]\nmetadata: no\n"), "copy");
    assert_eq!(steps("[section user]\nmetadata: yes\n"), "copy metadata");

    let all = Root::new();
    all.write("gentoo/profiles/repo_name", "gentoo\n");
    all.write(
        "one/metadata/layout.conf",
        "masters = gentoo\nrepo-name = first\n",
    );
    let spec = Asked::default().load();
    let call = format!(
        "copied_repositories '{0}' > '{0}/told'",
        all.path("").display()
    );
    let ran = functions(&spec, &["portage/repositories"], &call, &all.path(""));
    assert!(ran.ok, "{}", ran.stderr);
    let place = all.path("");
    assert_eq!(
        all.read("told"),
        format!(
            "[DEFAULT]\nmain-repo = gentoo\n[gentoo]\nlocation = {0}/gentoo\n[first]\nlocation = {0}/one\n",
            place.display()
        )
    );
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
