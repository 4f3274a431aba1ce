//! A repository in the layout of Metro, through the binary: what there is, what is planned, what is built.

#[path = "../sandbox/base.rs"]
mod base;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use base::make_base;

/// A copy of the repository in `tree`, and an empty store.
struct Repository {
    dir: tempfile::TempDir,
}

/// What a command printed, and its exit status.
struct Ran {
    stdout: String,
    stderr: String,
    status: Option<i32>,
}

impl Ran {
    #[track_caller]
    fn ok(self) -> String {
        assert_eq!(self.status, Some(0), "{}{}", self.stdout, self.stderr);
        self.stdout
    }

    #[track_caller]
    fn fails(self, status: i32) -> String {
        assert_eq!(self.status, Some(status), "{}{}", self.stdout, self.stderr);
        self.stderr
    }
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let to = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &to),
            false => drop(fs::copy(entry.path(), to).unwrap()),
        }
    }
}

impl Repository {
    fn new() -> Repository {
        let dir = tempfile::tempdir().unwrap();
        let tree = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/metro_layout/tree");
        copy(&tree, &dir.path().join("repository"));
        fs::create_dir(dir.path().join("home")).unwrap();
        let this = Repository { dir };
        let mirror = this.path("mirror").display().to_string();
        this.change("metro.conf", "/srv/meadow-mirror", &mirror);
        this
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn change(&self, file: &str, old: &str, new: &str) {
        let path = self.path("repository").join(file);
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(old), "{file} has no {old}");
        fs::write(path, text.replace(old, new)).unwrap();
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.dir.path().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    fn run(&self, arguments: &[&str]) -> Ran {
        let output = Command::new(env!("CARGO_BIN_EXE_mstore"))
            .args(arguments)
            .current_dir(self.path("repository"))
            .stdin(Stdio::null())
            .env_clear()
            .env("PATH", "/usr/sbin:/usr/bin:/sbin:/bin")
            .env("HOME", self.path("home"))
            .env("MSTORE_STORE", self.path("store"))
            .output()
            .unwrap();
        let text = |bytes: Vec<u8>| {
            let text = String::from_utf8(bytes).unwrap();
            text.replace(self.dir.path().to_str().unwrap(), "DIR")
        };
        Ran {
            stdout: text(output.stdout),
            stderr: text(output.stderr),
            status: output.status.code(),
        }
    }

    /// The names that a name or mode stands for.
    #[track_caller]
    fn names(&self, name: &str) -> String {
        let listed = self.run(&["list", name]).ok();
        listed.split_whitespace().collect::<Vec<_>>().join(" ")
    }

    fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.run(arguments).ok()).unwrap()
    }

    /// What the first step of a target starts from, and what it reads.
    fn start(&self, target: &str) -> String {
        let view = self.json(&["show", target, "--json"]);
        let inputs = view["steps"][0]["inputs"].as_array().unwrap();
        let root = inputs.iter().find(|input| input["role"] == "root").unwrap();
        let known = ["from", "tree", "unpinned"]
            .iter()
            .find_map(|key| root[key].as_str());
        known.unwrap().to_owned()
    }

    fn remove_store(&self) {
        mstore_store::remove_tree(&self.path("store")).unwrap();
    }
}

#[test]
fn folders_tell_what_there_is() {
    let repository = Repository::new();
    let view = repository.json(&["list", "--json"]);
    assert_eq!(view["default_build"], "meadow-current");
    assert_eq!(
        view["builds"],
        serde_json::json!(["meadow-current", "meadow-stable"])
    );
    assert_eq!(
        view["targets"],
        serde_json::json!([
            "lxd",
            "openvz",
            "snapshot",
            "stage1",
            "stage2",
            "stage3-freshen",
            "stage3-quick",
            "stage3"
        ])
    );
    let arches = view["subarches"].as_object().unwrap().keys();
    assert_eq!(arches.collect::<Vec<_>>(), ["arm-64bit", "x86-64bit"]);
    // Subarches of Metro's later repositories have no file; those of the mirror count, else the usual ones.
    let of = |arch: &str| view["subarches"][arch].as_array().unwrap().len();
    assert!(of("x86-64bit") > 20 && of("arm-64bit") > 5, "{view}");
    repository.write(
        "mirror/meadow-stable/x86-64bit/clover/.control/strategy/build",
        "local\n",
    );
    let view = repository.json(&["list", "--json"]);
    assert_eq!(
        view["subarches"]["x86-64bit"],
        serde_json::json!(["clover"])
    );
    // A snapshot is imported, and no pattern means it.
    assert_eq!(
        repository.names("meadow-stable/s*-clover"),
        "meadow-stable/stage1-clover meadow-stable/stage2-clover meadow-stable/stage3-freshen-clover \
         meadow-stable/stage3-quick-clover meadow-stable/stage3-clover"
    );
    assert_eq!(repository.names("snapshot-clover"), "snapshot-clover");
    // Below the repository, and with the file named.
    assert_eq!(repository.names("stage3-clover"), "stage3-clover");
    let etc = repository.path("repository/etc");
    let listed = repository
        .run(&["-C", etc.to_str().unwrap(), "list", "--json"])
        .ok();
    assert_eq!(
        serde_json::from_str::<serde_json::Value>(&listed).unwrap(),
        view
    );
}

#[test]
fn a_folder_that_path_install_names_is_the_repository() {
    let repository = Repository::new();
    let installed = repository.path("installed");
    fs::rename(repository.path("repository"), &installed).unwrap();
    repository.write(
        "repository/.metro",
        &fs::read_to_string(installed.join("metro.conf")).unwrap(),
    );
    fs::remove_file(installed.join("metro.conf")).unwrap();
    let missing = repository.run(&["list", "-f", ".metro"]).fails(2);
    assert!(
        missing.contains("/opt/meadow-metro/etc/master.conf"),
        "{missing}"
    );
    repository.change(".metro", "/opt/meadow-metro", installed.to_str().unwrap());
    let view = repository.json(&["list", "-f", ".metro", "--json"]);
    assert_eq!(
        view["builds"],
        serde_json::json!(["meadow-current", "meadow-stable"])
    );
}

#[test]
fn what_is_wrong_with_an_entry_file_for_mstore_is_told() {
    let repository = Repository::new();
    for text in [
        "[collect /usr/share/mstore/specs/metro.conf]\n[collect ./none.conf]\n",
        "list/targets: stage1\n[collect ./none.conf]\n",
    ] {
        repository.write("repository/metro.conf", text);
        let error = repository.run(&["list"]).fails(2);
        assert!(
            error.contains("cannot collect DIR/repository/none.conf"),
            "{error}"
        );
    }
    // A line of the original's that is wrong.
    repository.write(
        "repository/metro.conf",
        "path/install: /opt/meadow-metro\nnot an element\n",
    );
    let error = repository.run(&["list"]).fails(2);
    assert!(error.contains("neither element nor annotation"), "{error}");
}

#[test]
fn files_of_subarches_say_what_architecture_they_are_of() {
    let repository = Repository::new();
    repository.change(
        "etc/master.conf",
        "[section target]",
        "[collect ../subarch/$[target/subarch:zap].spec]\n[section target]",
    );
    for (name, arch) in [
        ("clover", "x86-64bit"),
        ("thyme", "arm-32bit/thyme"),
        ("sorrel", "x86-32bit"),
    ] {
        repository.write(
            &format!("repository/subarch/{name}.spec"),
            &format!("[section target]\narch_desc: {arch}\n[section portage]\nCHOST: x86_64-pc-linux-gnu\n"),
        );
        if !arch.starts_with("x86-64") {
            repository.write(
                &format!("repository/etc/builds/packages/{arch}.conf"),
                "emerge/packages:\n",
            );
        }
    }
    let view = repository.json(&["list", "--json"]);
    assert_eq!(
        view["subarches"],
        serde_json::json!({"arm-32bit": ["thyme"], "x86-32bit": ["sorrel"], "x86-64bit": ["clover"]})
    );
    let shown = repository.run(&["show", "stage1-thyme"]).ok();
    assert!(
        shown.contains("grass:meadow/1/arch/arm-32bit/thyme/subarch/thyme"),
        "{shown}"
    );
    let view = repository.json(&["show", "stage1-sorrel", "--json"]);
    assert_eq!(view["steps"][0]["platform"], "i686", "{view}");
    // Each has a file of its own, so each is looked at.
    let checked = repository.run(&["check"]);
    assert!(
        checked.stderr.contains("in 48 targets"),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
}

#[test]
fn modes_choose_the_targets_that_the_original_does() {
    let repository = Repository::new();
    for (name, want) in [
        ("full-corei7", "stage1-corei7 stage2-corei7 stage3-corei7"),
        (
            "full+openvz-corei7",
            "stage1-corei7 stage2-corei7 stage3-corei7 openvz-corei7",
        ),
        (
            "full+openvz+lxd-corei7",
            "stage1-corei7 stage2-corei7 stage3-corei7 openvz-corei7 lxd-corei7",
        ),
        ("freshen-corei7", "stage3-freshen-corei7"),
        (
            "freshen+openvz-corei7",
            "stage3-freshen-corei7 openvz-corei7",
        ),
        ("quick-corei7", "stage3-quick-corei7"),
        ("quick+lxd-corei7", "stage3-quick-corei7 lxd-corei7"),
        ("stage1-corei7", "stage1-corei7"),
        ("stage1+lxd-corei7", "stage1-corei7 lxd-corei7"),
        (
            "meadow-stable/full-corei7",
            "meadow-stable/stage1-corei7 meadow-stable/stage2-corei7 meadow-stable/stage3-corei7",
        ),
        (
            "meadow-stable/x86-64bit/freshen-corei7",
            "meadow-stable/stage3-freshen-corei7",
        ),
    ] {
        assert_eq!(repository.names(name), want, "{name}");
    }
    let unknown = repository.run(&["list", "full+barn-corei7"]).fails(2);
    assert!(
        unknown.contains("the kind of build `barn` needs `barn`"),
        "{unknown}"
    );
    let unknown = repository.run(&["list", "fulll-corei7"]).fails(2);
    assert!(
        unknown.contains("no target is called `fulll-corei7`"),
        "{unknown}"
    );
    // The standard specifications have modes as well.
    let home = repository.path("home");
    let standard = |name: &str| repository.run(&["-C", home.to_str().unwrap(), "list", name]);
    assert_eq!(
        standard("gentoo/full+openvz-corei7").ok(),
        "gentoo/stage1-corei7\ngentoo/stage2-corei7\ngentoo/stage3-corei7\ngentoo/openvz-corei7\n"
    );
    assert_eq!(standard("freshen-corei7").ok(), "stage3-freshen-corei7\n");
    // A mirror whose subarch begins with a stage1.
    repository.write(
        "mirror/meadow-current/x86-64bit/corei7/.control/strategy/seed",
        "stage1\n",
    );
    assert_eq!(
        repository.names("full-corei7"),
        "stage2-corei7 stage3-corei7"
    );
    assert_eq!(
        repository.start("stage2-corei7"),
        "meadow-current/x86-64bit/corei7/stage1"
    );
}

#[test]
fn targets_start_from_what_the_original_takes() {
    let repository = Repository::new();
    let seed = "meadow-current/x86-64bit/corei7/stage3";
    for (target, want) in [
        ("stage1-corei7", seed),
        ("stage2-corei7", "stage1-corei7:postclean"),
        ("stage3-corei7", "stage2-corei7:test"),
        // It makes the very archive that it starts from: that is the last one.
        ("stage3-freshen-corei7", seed),
        ("stage3-quick-corei7", seed),
        ("openvz-corei7", "stage3-corei7:test"),
        ("lxd-corei7", "stage3-corei7:test"),
    ] {
        assert_eq!(repository.start(target), want, "{target}");
    }
    // In a run that freshens, images are made of what was freshened.
    let graph = repository
        .json(&["graph", "freshen+openvz-corei7", "--json"])
        .to_string();
    assert!(
        !graph.contains("stage2-corei7") && graph.contains("openvz-corei7"),
        "{graph}"
    );
    // A remote build.
    for (file, text) in [
        ("strategy/build", "remote"),
        ("remote/build", "meadow-stable"),
        ("remote/arch_desc", "x86-64bit"),
        ("remote/subarch", "generic_64"),
    ] {
        repository.write(
            &format!("mirror/meadow-current/x86-64bit/corei7/.control/{file}"),
            &format!("{text}\n"),
        );
    }
    assert_eq!(
        repository.start("stage1-corei7"),
        "meadow-stable/x86-64bit/generic_64/stage3"
    );
    assert_eq!(repository.start("stage2-corei7"), "stage1-corei7:postclean");
    fs::remove_file(
        repository.path("mirror/meadow-current/x86-64bit/corei7/.control/remote/subarch"),
    )
    .unwrap();
    let missing = repository.run(&["show", "stage1-corei7"]).fails(2);
    assert!(
        missing.contains(".control/remote/subarch`: no such file"),
        "{missing}"
    );
}

#[test]
fn what_metro_does_on_the_host_is_done_by_mstore() {
    let repository = Repository::new();
    insta::assert_snapshot!(repository.run(&["show", "stage3-corei7"]).ok().lines().filter(|line| !line.contains("derivation")).collect::<Vec<_>>().join("\n"), @r#"
    stage3-corei7 (meadow-current/x86-64bit/corei7/stage3), version 1980-01-01
      tree not built

    stage3-corei7:unpack
      root at /: stage2-corei7:test
        #!/bin/sh -e
        [ ! -L /etc/portage/make.profile ] || rm /etc/portage/make.profile
        mkdir -p /etc/portage/make.profile
        cat > /etc/portage/make.profile/parent <<'EOF'
        grass:meadow/1/arch/x86-64bit
        grass:meadow/1/arch/x86-64bit/subarch/corei7
        grass:meadow/1/build/current
        EOF
        mkdir -p /etc
        cat > /etc/ego.conf <<'EOF'
        [global]
        sync_base_url = git://meadow.example.org/{repo}
        release = 2
        EOF
        mkdir -p /etc
        cat > /etc/locale.gen <<'EOF'
        C.UTF-8 UTF-8
        EOF

    stage3-corei7:run
      root at /: stage3-corei7:unpack
      snapshot at /var/git/meta-repo: meadow-current
        #!/bin/bash
        export MAKEOPTS="$MAKEOPTS"
        eopts="--jobs=2"
        echo "stage3 $eopts app-field/hay" >> /etc/way

    stage3-corei7:postrun
      root at /: stage3-corei7:run
      snapshot at /var/git/meta-repo: meadow-current
        #!/bin/bash
        cat > /etc/os-release << "EOT"
        VERSION="1980-01-01"
        EOT
        cat > /etc/motd << "EOT"
        
         >>> stage3-corei7-meadow-current-1980-01-01 by the meadow
        
        EOT

    stage3-corei7:clean
      root at /: stage3-corei7:postrun
        #!/bin/bash
        rm() { for arg; do shift; case $arg in /dev/*|//dev/*|/proc/*|//proc/*|/sys/*|//sys/*) ;; *) set -- "$@" "$arg";; esac; done; command rm "$@"; }
        export ROOT=/
        for f in /etc/profile.env /etc/resolv.conf; do
        	rm -f "$f" || exit 1
        done
        rm -rf $ROOT/tmp/* $ROOT/var/git || exit 5
        rm -rf $ROOT/run/*
        rm -rf $ROOT/dev/*

    stage3-corei7:postclean
      root at /: stage3-corei7:clean
        #!/bin/sh -e
        rm() { for arg; do shift; case $arg in /dev/*|//dev/*|/proc/*|//proc/*|/sys/*|//sys/*) ;; *) set -- "$@" "$arg";; esac; done; command rm "$@"; }
        rm -rf //tmp/*

    stage3-corei7:test
      root at /: stage3-corei7:postclean
        #!/bin/bash
        [ ! -e //var/git/meta-repo/hay ] || exit 1
    "#);
    let snapshot = repository
        .run(&["show", "meadow-stable/snapshot-corei7"])
        .fails(2);
    insta::assert_snapshot!(snapshot, @r"
    error: meadow-stable/x86-64bit/corei7/snapshot is a snapshot, which is imported and not built: the name that is wanted is `meadow-stable`
    hint: import it: `mstore snapshot import DIR --name meadow-stable`
    ");
}

#[test]
fn embedded_code_is_refused_where_it_is_needed() {
    let repository = Repository::new();
    // What only steps/unpack needs is no mistake.
    let checked = repository.run(&["check", "--format", "short"]);
    insta::assert_snapshot!(format!("{}{}", checked.stdout, checked.stderr), @r#"
    DIR/repository is a repository of Metro: of each architecture, one subarch stands for all that have no file of their own. steps/unpack, steps/capture and triggers touch the host and are not run: mstore does itself what they do (doc/metro.md)
    nothing found in 32 targets
    "#);
    assert_ne!(checked.status, Some(2));
    // Modes are looked at as well, for what is asked of them.
    repository.change(
        "etc/multi-targets/quick",
        "$[multi/extras:lax]",
        "$[multi/more]",
    );
    let checked = repository.run(&["check", "--format", "short"]);
    assert_eq!(checked.status, Some(1), "{}", checked.stderr);
    assert!(
        checked
            .stdout
            .contains("multi-targets/quick:1:47: error[undefined]: `multi/more` is not defined"),
        "{}",
        checked.stdout
    );
    repository.change("etc/multi-targets/quick", "$[multi/more]", "");
    repository.change(
        "targets/meadow/target/files.spec",
        ">>> $[target/name]",
        ">>>\n<?python\nprint(1)\n?>\n $[target/name]",
    );
    let refused = repository.run(&["show", "stage3-corei7"]).fails(2);
    insta::assert_snapshot!(refused, @r#"
    error[embedded-code]: `files/motd` has code embedded in line 14, which is never executed
      --> DIR/repository/targets/meadow/target/files.spec:14:1
       |
    14 | <?python
       | ^^^^^^^^ the code starts here
       |
      ::: DIR/repository/targets/meadow/steps/stage.spec:17:1
       |
    17 | $[[files/motd]]
       | --------------- needed by `steps/chroot/postrun`
       |
       = help: replace the code, from `<?python` to `?>`, by the lines that it prints

    while loading meadow-current/x86-64bit/corei7/stage3
    "#);
    let checked = repository.run(&["check", "--format", "short"]);
    assert_eq!(
        checked.status,
        Some(1),
        "{}{}",
        checked.stdout,
        checked.stderr
    );
    assert!(
        checked
            .stdout
            .contains("files.spec:14:1: error[embedded-code]"),
        "{}",
        checked.stdout
    );
}

#[test]
fn stages_are_built_from_a_seed_and_a_snapshot() {
    let repository = Repository::new();
    let base = repository.path("base");
    make_base(&base);
    repository.write("tree/hay", "dry\n");
    let seed = "meadow-current/x86-64bit/corei7/stage3";
    repository
        .run(&["seed", "import", base.to_str().unwrap(), "--name", seed])
        .ok();
    let tree = repository.path("tree");
    let import = [
        "snapshot",
        "import",
        tree.to_str().unwrap(),
        "--name",
        "meadow-current",
        "--epoch",
        "1424217600",
    ];
    repository.run(&import).ok();
    let built = repository.run(&["realise", "full+openvz-corei7"]);
    if built.status == Some(3) {
        println!("skipped: {}", built.stderr);
        return repository.remove_store();
    }
    built.ok();
    let view = repository.json(&["show", "stage3-corei7", "--json"]);
    let version = view["version"].as_str().unwrap();
    let cat = |path: &str| repository.run(&["store", "cat", path]).ok();
    assert_eq!(
        cat("openvz-corei7:/etc/way"),
        "stage1\nstage2\nstage3 --jobs=2 app-field/hay\nopenvz\n"
    );
    assert_eq!(
        cat("stage3-corei7:/etc/os-release"),
        format!("VERSION=\"{version}\"\n")
    );
    assert_eq!(
        cat("stage3-corei7:/etc/motd"),
        format!("\n >>> stage3-corei7-meadow-current-{version} by the meadow\n\n")
    );
    assert_eq!(
        cat("stage3-corei7:/etc/ego.conf"),
        "[global]\nsync_base_url = git://meadow.example.org/{repo}\nrelease = 2\n"
    );
    assert_eq!(cat("stage3-corei7:/etc/locale.gen"), "C.UTF-8 UTF-8\n");
    let files = repository.run(&["store", "ls", "stage3-corei7:/"]).ok();
    assert!(
        !files.contains("var/git") && files.contains("etc"),
        "{files}"
    );
    // Nothing is built anew, and an image of a freshened stage is another one.
    let again = repository.run(&["realise", "full+openvz-corei7"]).ok();
    assert!(!again.is_empty());
    repository.run(&["realise", "freshen+openvz-corei7"]).ok();
    repository.remove_store();
}

#[test]
fn what_comes_next_in_the_mirror_is_built_and_published() {
    let repository = Repository::new();
    let base = repository.path("base");
    make_base(&base);
    repository.write("tree/hay", "dry\n");
    let seed = "meadow-stable/x86-64bit/corei7/stage3";
    let tree = repository.path("tree");
    for import in [
        ["seed", "import", base.to_str().unwrap(), "--name", seed],
        [
            "snapshot",
            "import",
            tree.to_str().unwrap(),
            "--name",
            "meadow-stable",
        ],
    ] {
        repository.run(&import).ok();
    }
    repository.change("etc/master.conf", "compression: xz", "compression: gz");
    // What was set up by hand for the original.
    for (file, text) in [("build", "local"), ("seed", "stage3")] {
        repository.write(
            &format!("mirror/meadow-stable/x86-64bit/corei7/.control/strategy/{file}"),
            &format!("{text}\n"),
        );
    }
    repository.write(
        "home/.buildbot",
        "builds = ('meadow-stable',)\narches = ('x86-64bit',)\nsubarches = ('corei7',)\n\
         def map_build(build, subarch, full, full_date):\n\treturn 'freshen+openvz' if full else 'full+openvz'\n",
    );
    let next = |today: &str| repository.run(&["repo", "--today", today, "next"]);
    let pretend = repository
        .run(&["repo", "--today", "2015-02-18", "next", "--pretend"])
        .ok();
    for word in ["meadow-stable", "corei7", "full", "openvz", "2015-02-18"] {
        assert!(pretend.contains(word), "{pretend}");
    }
    let first = next("2015-02-18");
    if first.status == Some(3) {
        println!("skipped: {}", first.stderr);
        return repository.remove_store();
    }
    first.ok();
    let place = repository.path("mirror/meadow-stable/x86-64bit/corei7");
    let text =
        |path: &str| fs::read_to_string(place.join(path)).unwrap_or_else(|e| panic!("{path}: {e}"));
    assert_eq!(text("2015-02-18/status"), "ok");
    assert_eq!(text(".control/version/stage3"), "2015-02-18\n");
    for archive in [
        "stage1-corei7-meadow-stable",
        "stage2-corei7-meadow-stable",
        "stage3-corei7-meadow-stable",
        "meadow-stable-corei7-openvz",
    ] {
        let archive = place.join(format!("2015-02-18/{archive}-2015-02-18.tar.gz"));
        assert!(archive.is_file(), "{}", archive.display());
    }
    // Some days later the stage3 is freshened: it is the seed that it then starts from, and the image is made of it.
    let newest = place.join("stage3-latest.tar.gz");
    let newest = ["seed", "import", newest.to_str().unwrap(), "--name", seed];
    repository.run(&newest).ok();
    next("2015-02-25").ok();
    let made = text("2015-02-25/.targets");
    assert_eq!(made, "stage3-freshen\nopenvz\n");
    assert_eq!(text("2015-02-25/status"), "ok");
    assert_eq!(text(".control/version/stage3"), "2015-02-25\n");
    let way = Command::new("tar")
        .arg("-xzOf")
        .arg(place.join("2015-02-25/meadow-stable-corei7-openvz-2015-02-25.tar.gz"))
        .args(["--wildcards", "*etc/way"])
        .output()
        .unwrap();
    let way = String::from_utf8(way.stdout).unwrap();
    assert_eq!(
        way,
        "stage1\nstage2\nstage3 --jobs=2 app-field/hay\nfresh\nopenvz\n"
    );
    repository.remove_store();
}

#[test]
fn a_metro_of_the_home_names_the_mirror_of_the_standard_specifications() {
    let repository = Repository::new();
    let conf = fs::read_to_string(repository.path("repository/metro.conf")).unwrap();
    let root = repository.path("repository").display().to_string();
    repository.write("home/.metro", &conf.replace("/opt/meadow-metro", &root));
    for (file, text) in [
        ("strategy/build", "remote"),
        ("remote/build", "gentoo"),
        ("remote/arch_desc", "x86-64bit"),
        ("remote/subarch", "core2_64"),
    ] {
        repository.write(
            &format!("mirror/gentoo/x86-64bit/corei7/.control/{file}"),
            &format!("{text}\n"),
        );
    }
    let home = repository.path("home");
    let build = ["gentoo", "x86-64bit", "corei7", "stage1", "2015-02-18"];
    let arguments = [&["-C", home.to_str().unwrap(), "repo", "build"], &build[..]].concat();
    let lacks = repository.run(&arguments);
    assert_ne!(lacks.status, Some(0));
    // Its files of control are given to specifications that do not read them.
    let remote = "gentoo/x86-64bit/core2_64/stage3";
    assert!(lacks.stderr.contains(remote), "{}", lacks.stderr);
}

#[test]
fn a_run_over_a_mirror_leaves_what_metro_left() {
    let repository = Repository::new();
    let base = repository.path("base");
    make_base(&base);
    repository.write("tree/hay", "dry\n");
    repository.change("etc/master.conf", "compression: xz", "compression: gz");
    let place = "mirror/meadow-current/x86-64bit/corei7";
    let (old, day) = ("2026-11-01", "2026-11-20");
    let seed = format!("{place}/{old}/stage3-corei7-meadow-current-{old}.tar.gz");
    repository.write(&format!("{place}/.control/version/stage3"), old);
    fs::create_dir_all(repository.path(&seed).parent().unwrap()).unwrap();
    let packed = Command::new("tar")
        .arg("-czf")
        .arg(repository.path(&seed))
        .arg("-C")
        .arg(&base)
        .arg(".")
        .status();
    assert!(packed.unwrap().success());
    let tree = repository.path("tree");
    let tree = tree.to_str().unwrap();
    let import = ["snapshot", "import", tree, "--name", "meadow-current"];
    repository.run(&import).ok();

    let mut words = vec!["metro", "multi:", "yes", "multi/mode:", "full"];
    words.extend(["multi/extras:", "openvz", "target/build:", "meadow-current"]);
    words.extend([
        "target/arch_desc:",
        "x86-64bit",
        "target/subarch:",
        "corei7",
    ]);
    words.extend(["target/version:", day]);
    let preview = repository.run(&[&words[..], &["-n"]].concat()).ok();
    assert_eq!(
        preview,
        format!(
            "snapshot: would be published, if it is not there\n\
             stage1: would be built from meadow-current/x86-64bit/corei7/{old}/stage3-corei7-meadow-current-{old}.tar.gz\n\
             stage2: would be built from stage1 of this run\n\
             stage3: would be built from stage2 of this run\n\
             openvz: would be built from stage3 of this run\n"
        )
    );
    let value = |key: &str| repository.run(&[&words[..], &["-k", key]].concat()).ok();
    assert_eq!(value("multi/targets"), "snapshot stage1 stage2 stage3\n");
    assert_eq!(value("path/mirror"), "DIR/mirror\n");
    let of_target = ["target:", "stage3", "-k", "target/name"];
    let name = repository.run(&[&words[..], &of_target].concat()).ok();
    assert_eq!(name, format!("stage3-corei7-meadow-current-{day}\n"));
    let built = repository.run(&words);
    if built.status == Some(3) {
        println!("skipped: {}", built.stderr);
        return repository.remove_store();
    }
    built.ok();
    let read =
        |path: &str| fs::read_to_string(repository.path(&format!("{place}/{path}"))).unwrap();
    assert_eq!(
        read(&format!("{day}/.targets")),
        "stage1\nstage2\nstage3\nopenvz\n"
    );
    assert_eq!(read(&format!("{day}/status")), "ok");
    assert_eq!(read(".control/version/stage3"), format!("{day}\n"));
    let log = read(&format!("{day}/log/stage1.txt"));
    let from = format!("stage1 starts from meadow-current/x86-64bit/corei7/{old}/");
    assert!(log.contains(&from), "{log}");
    let snapshots = repository.path("mirror/meadow-current/snapshots");
    assert!(fs::metadata(snapshots.join(format!("portage-{day}.tar.xz"))).is_ok());
    // Again, all is there; in a few days the newest stage3 is freshened.
    let again = repository.run(&words);
    assert_eq!(
        again.stderr.matches("is there already").count(),
        5,
        "{}",
        again.stderr
    );
    let mut words: Vec<&str> = words
        .iter()
        .map(|w| if *w == day { "2026-11-23" } else { w })
        .collect();
    words[4] = "freshen";
    repository.run(&words).ok();
    let log = read("2026-11-23/log/stage3-freshen.txt");
    let from = format!("stage3-freshen starts from meadow-current/x86-64bit/corei7/{day}/stage3-");
    assert!(log.contains(&from), "{log}");
    let log = read("2026-11-23/log/openvz.txt");
    assert!(
        log.contains("openvz starts from meadow-current/x86-64bit/corei7/2026-11-23/stage3-"),
        "{log}"
    );
    repository.remove_store();
}
