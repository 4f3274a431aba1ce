//! Revisions of real repositories. Skipped, saying so, where git is not installed.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use mstore_store::{GitError, GitOptions, Kind, OpenOptions, Store, StoreError};

struct World {
    folder: tempfile::TempDir,
    store: Store,
}

impl World {
    /// A store and an empty repository, unless git is missing.
    fn new() -> Option<World> {
        if Command::new("git").arg("--version").output().is_err() {
            println!("skipped: git is not installed");
            return None;
        }
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("store"), &OpenOptions::create()).unwrap();
        let world = World { folder, store };
        fs::create_dir(world.repo()).unwrap();
        world.git(&["init", "--quiet", "--initial-branch=main"]);
        Some(world)
    }

    fn repo(&self) -> std::path::PathBuf {
        self.folder.path().join("repo")
    }

    fn git(&self, arguments: &[&str]) -> String {
        let output = Command::new("git")
            .args([
                "-c",
                "user.name=A",
                "-c",
                "user.email=a@b.c",
                "-c",
                "protocol.file.allow=always",
            ])
            .args(arguments)
            .current_dir(self.repo())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("GIT_COMMITTER_DATE", "1700000000 +0200")
            .env("GIT_AUTHOR_DATE", "1600000000 +0000")
            .output()
            .unwrap();
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        String::from_utf8(output.stdout).unwrap().trim().into()
    }

    fn commit(&self, files: &[(&str, &str)]) -> String {
        for (path, text) in files {
            let path = self.repo().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        self.git(&["add", "--all"]);
        self.git(&["commit", "--quiet", "-m", "text"]);
        self.git(&["rev-parse", "HEAD"])
    }

    fn import(&self, rev: &str) -> Result<mstore_store::GitImported, StoreError> {
        self.store
            .import_git(&self.repo(), rev, &GitOptions::default())
    }
}

#[test]
fn a_revision_is_its_content() {
    let Some(world) = World::new() else { return };
    let first = world.commit(&[("a.txt", "one\n"), ("dir/run", "#!/bin/sh\n")]);
    fs::set_permissions(
        world.repo().join("dir/run"),
        fs::Permissions::from_mode(0o755),
    )
    .unwrap();
    std::os::unix::fs::symlink("a.txt", world.repo().join("link")).unwrap();
    let second = world.commit(&[("a.txt", "two\n")]);
    world.git(&["tag", "-a", "-m", "x", "v1", &first]);

    let old = world.import("v1").unwrap();
    let new = world.import("main").unwrap();
    assert_eq!((&old.commit, &new.commit), (&first, &second));
    assert_eq!(new.date, 1_700_000_000);
    assert_eq!(
        world.import("HEAD~1").unwrap().imported.tree,
        old.imported.tree
    );
    assert_eq!(
        world.import(&second[..8]).unwrap().imported.tree,
        new.imported.tree
    );

    let root = world
        .store
        .manifest(world.store.tree(new.imported.tree).unwrap().dir)
        .unwrap();
    let found: Vec<_> = root
        .entries()
        .iter()
        .map(|e| {
            (
                String::from_utf8_lossy(&e.name).into_owned(),
                e.meta.mode,
                e.meta.mtime.secs,
            )
        })
        .collect();
    let time = 315_532_800;
    assert_eq!(
        found,
        [
            ("a.txt".to_string(), 0o644, time),
            ("dir".to_string(), 0o755, time),
            ("link".to_string(), 0o777, time)
        ]
    );
    let Kind::File { blob, .. } = root.entries()[0].kind else {
        panic!("a.txt is no file");
    };
    assert_eq!(world.store.blob(blob).unwrap(), b"two\n");
}

#[test]
fn the_same_content_as_a_folder_has_the_same_hash() {
    let Some(world) = World::new() else { return };
    world.commit(&[("a", "1"), ("b/c", "2")]);
    let revision = world.import("main").unwrap();
    fs::remove_dir_all(world.repo().join(".git")).unwrap();
    let folder = world
        .store
        .import_dir(&world.repo(), &mstore_store::ImportOptions::snapshot())
        .unwrap();
    assert_eq!(revision.imported.tree, folder.tree);
}

#[test]
fn what_the_repository_configures_is_neither_run_nor_heeded() {
    let Some(world) = World::new() else { return };
    world.commit(&[
        (".gitattributes", "*.txt filter=evil\n"),
        ("a.txt", "text\n"),
    ]);
    let before = world.import("main").unwrap();
    let mark = world.folder.path().join("mark");
    let run = format!("touch {}; cat", mark.display());
    world.git(&["config", "filter.evil.smudge", &run]);
    world.git(&["config", "core.fsmonitor", &run]);
    world.git(&["config", "core.autocrlf", "true"]);
    world.git(&["config", "tar.umask", "0077"]);
    assert_eq!(
        world.import("main").unwrap().imported.tree,
        before.imported.tree
    );
    assert!(!mark.exists());
}

#[test]
fn repositories_of_other_users_can_be_read() {
    let Some(world) = World::new() else { return };
    world.commit(&[("a", "1")]);
    let chown = Command::new("chown")
        .args(["-R", "12345"])
        .arg(world.repo())
        .output();
    if !chown.is_ok_and(|o| o.status.success()) {
        println!("skipped: only root can give files away");
        return;
    }
    assert!(world.import("main").is_ok());
}

#[test]
fn submodules_are_noted() {
    let Some(world) = World::new() else { return };
    let other = world.folder.path().join("other");
    let make = |arguments: &[&str]| world.git(arguments);
    make(&["init", "--quiet", other.to_str().unwrap()]);
    let other = other.to_str().unwrap();
    make(&["-C", other, "commit", "--quiet", "--allow-empty", "-m", "x"]);
    make(&["submodule", "--quiet", "add", other, "lib/näme"]);
    world.commit(&[("a", "1")]);
    let found = world.import("main").unwrap();
    assert_eq!(found.submodules, ["lib/näme"]);
}

#[test]
fn files_that_git_lfs_has_are_noted() {
    let Some(world) = World::new() else { return };
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:77\nsize 5\n";
    let files = [("d/big", pointer), ("small", "content"), ("z", pointer)];
    world.commit(&files);
    let found = world.import("main").unwrap();
    assert_eq!(found.lfs_pointers, [""; 0], "nothing says that they are");
    world.commit(&[("d/.gitattributes", "big filter=lfs diff=lfs -text\n")]);
    let found = world.import("main").unwrap();
    assert_eq!(found.lfs_pointers, ["d/big", "z"]);
}

#[test]
fn mistakes_are_named() {
    let Some(world) = World::new() else { return };
    world.commit(&[("a", "1")]);
    let git = |rev: &str| match world.import(rev) {
        Err(StoreError::Git(error)) => error,
        other => panic!("{rev}: {other:?}"),
    };
    assert!(matches!(
        git("--output=/tmp/x"),
        GitError::BadRevision { .. }
    ));
    assert!(matches!(git(""), GitError::BadRevision { .. }));
    assert!(matches!(git("a\nb"), GitError::BadRevision { .. }));
    assert!(matches!(git("nothing"), GitError::NoRevision { .. }));
    assert!(matches!(git("main:a"), GitError::NoRevision { .. }));
    let empty = world.folder.path().join("empty");
    fs::create_dir(&empty).unwrap();
    let at = |path: &Path| world.store.import_git(path, "main", &GitOptions::default());
    for path in [&empty, Path::new("/does/not/exist")] {
        let error = at(path).unwrap_err();
        assert!(
            matches!(error, StoreError::Git(GitError::NotARepository { .. })),
            "{error}"
        );
    }
    let options = GitOptions {
        program: "/does/not/exist/git".into(),
        ..GitOptions::default()
    };
    let error = world
        .store
        .import_git(&world.repo(), "main", &options)
        .unwrap_err();
    assert!(error.to_string().contains("git is needed"), "{error}");
}

#[test]
fn a_damaged_repository_says_what_git_says() {
    let Some(world) = World::new() else { return };
    let commit = world.commit(&[("a", &"x".repeat(1000))]);
    let blob = world.git(&["rev-parse", "HEAD:a"]);
    fs::remove_file(
        world
            .repo()
            .join(".git/objects")
            .join(&blob[..2])
            .join(&blob[2..]),
    )
    .unwrap();
    let error = world.import(&commit).unwrap_err();
    assert!(
        matches!(error, StoreError::Git(GitError::Failed { .. })),
        "{error}"
    );
    assert!(error.to_string().contains(&blob), "{error}");
}
