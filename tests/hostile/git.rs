//! Hostile repositories: programs in their configuration, missing objects, bombs, words for the terminal.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::Test;
use crate::place::{Place, Ran};
use crate::tally::Tally;

pub const ALL: &[Test] = &[
    ("bombs_of_folders_and_files", bombs_of_folders_and_files),
    ("programs_in_a_configuration", programs_in_a_configuration),
    (
        "missing_objects_are_not_fetched",
        missing_objects_are_not_fetched,
    ),
    ("the_caller_has_no_say", the_caller_has_no_say),
    ("git_says_what_is_wrong", git_says_what_is_wrong),
];

/// A repository with the specifications of the place and what else belongs to a ports tree.
struct Repo<'a> {
    place: &'a Place,
}

impl Repo<'_> {
    fn new(place: &Place) -> Option<Repo<'_>> {
        Command::new("git").arg("--version").output().ok()?;
        let repo = Repo { place };
        repo.git(&["init", "--quiet", "--initial-branch=main"]);
        fs::write(place.path(".gitignore"), "store\n").unwrap();
        repo.git(&["add", "--all"]);
        repo.git(&["commit", "--quiet", "-m", "first"]);
        Some(repo)
    }

    fn path(&self) -> PathBuf {
        self.place.path("")
    }

    fn with_input(&self, arguments: &[&str], input: &[u8]) -> String {
        let mut child = Command::new("git")
            .args(["-c", "user.name=a", "-c", "user.email=a@b"])
            .args(arguments)
            .current_dir(self.path())
            .env("GIT_CONFIG_GLOBAL", "/dev/null")
            .env("HOME", self.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        child.stdin.take().unwrap().write_all(input).unwrap();
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "git {arguments:?}");
        String::from_utf8(output.stdout).unwrap().trim().to_owned()
    }

    fn git(&self, arguments: &[&str]) -> String {
        self.with_input(arguments, b"")
    }

    fn run(&self, arguments: &[&str], envs: &[(&str, &Path)]) -> Ran {
        let mut command = self.place.command(arguments);
        command.envs(envs.iter().copied());
        let output = command.output().unwrap();
        Ran {
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
            status: output.status.code(),
        }
    }

    fn diff(&self, revision: &str, envs: &[(&str, &Path)]) -> Ran {
        self.run(&["diff", "--from", revision], envs)
    }

    /// Reads the repository in both ways that there are.
    fn read(&self, revision: &str, envs: &[(&str, &Path)]) -> Vec<(&'static str, Ran)> {
        let import = ["snapshot", "import", ".", "--rev", revision, "--name", "p"];
        let import = self.run(&import, envs);
        vec![("import", import), ("diff", self.diff(revision, envs))]
    }
}

/// A program that tells that it ran.
fn tattler(place: &Place) -> (PathBuf, PathBuf) {
    let (program, mark) = (place.path("tattler"), place.path("mark"));
    let text = format!("#!/bin/sh\necho \"$0 $*\" >> {}\ncat\n", mark.display());
    fs::write(&program, text).unwrap();
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o755);
    fs::set_permissions(&program, mode).unwrap();
    (program, mark)
}

fn told(mark: &Path) -> String {
    fs::read_to_string(mark).unwrap_or_default()
}

fn programs_in_a_configuration(place: &Place, tally: &Tally) -> Option<&'static str> {
    let Some(repo) = Repo::new(place) else {
        return Some("git is not installed");
    };
    let (program, mark) = tattler(place);
    fs::write(
        place.path(".gitattributes"),
        "* filter=x diff=x merge=x ident\n",
    )
    .unwrap();
    repo.git(&["add", "--all"]);
    repo.git(&["commit", "--quiet", "-m", "second"]);
    let program = program.to_str().unwrap();
    let shell = format!("!{program}");
    let hooks = place.path(".git/hooks");
    fs::create_dir_all(&hooks).unwrap();
    for hook in [
        "post-checkout",
        "reference-transaction",
        "post-index-change",
        "pre-auto-gc",
        "fsmonitor-watchman",
    ] {
        fs::copy(program, hooks.join(hook)).unwrap();
    }
    let settings = [
        ("core.fsmonitor", program),
        ("core.sshCommand", program),
        ("core.pager", program),
        ("core.askPass", program),
        ("core.editor", program),
        ("core.gitProxy", program),
        ("core.hooksPath", hooks.to_str().unwrap()),
        ("core.alternateRefsCommand", program),
        ("diff.external", program),
        ("diff.x.textconv", program),
        ("diff.x.command", program),
        ("filter.x.smudge", program),
        ("filter.x.clean", program),
        ("filter.x.process", program),
        ("filter.x.required", "true"),
        ("merge.x.driver", program),
        ("credential.helper", &shell),
        ("gpg.program", program),
        ("log.showSignature", "true"),
        ("tar.tar.command", program),
        ("alias.archive", &shell),
        ("alias.ls-tree", &shell),
        ("alias.rev-parse", &shell),
        ("pager.show", program),
        ("pager.ls-tree", program),
        ("uploadpack.packObjectsHook", program),
        ("trace2.eventTarget", mark.to_str().unwrap()),
    ];
    for (name, value) in settings {
        repo.git(&["config", name, value]);
        // Making the setting may run what it names.
        let _ = fs::remove_file(&mark);
        for (way, ran) in repo.read("main", &[]) {
            let said = told(&mark);
            tally.held(format!("{way} {name}"), said.is_empty(), said);
            let done = ran.status == Some(0) || way == "diff" && ran.status == Some(1);
            assert!(done, "{name}: {}", ran.stderr);
        }
    }
    None
}

fn missing_objects_are_not_fetched(place: &Place, tally: &Tally) -> Option<&'static str> {
    let Some(repo) = Repo::new(place) else {
        return Some("git is not installed");
    };
    let (program, mark) = tattler(place);
    let program = program.display();
    let remotes = [
        format!("ext::{program} %S"),
        format!("ssh://-oProxyCommand={program}/x"),
        "ssh://host/x".to_owned(),
        format!("file://{}", place.path("elsewhere").display()),
        "git://127.0.0.1:1/x".to_owned(),
        "http://127.0.0.1:1/x".to_owned(),
    ];
    for (name, value) in [
        ("core.repositoryFormatVersion", "1"),
        ("extensions.partialClone", "origin"),
        ("remote.origin.promisor", "true"),
        ("remote.origin.uploadpack", &program.to_string()),
        ("remote.origin.vcs", ""),
        ("protocol.allow", "always"),
        ("protocol.ext.allow", "always"),
        ("core.sshCommand", &program.to_string()),
        ("core.gitProxy", &program.to_string()),
    ] {
        match value {
            "" => continue,
            value => repo.git(&["config", name, value]),
        };
    }
    let commit = repo.git(&["rev-parse", "main"]);
    let tree = repo.git(&["rev-parse", "main^{tree}"]);
    let blob = repo.git(&["rev-parse", "main:metro.conf"]);
    for missing in [blob, tree, commit.clone()] {
        let object = place
            .path(".git/objects")
            .join(&missing[..2])
            .join(&missing[2..]);
        let kept = fs::read(&object).unwrap();
        fs::remove_file(&object).unwrap();
        for remote in &remotes {
            fs::remove_file(place.path(".git/remote")).ok();
            repo.git(&["config", "remote.origin.url", remote]);
            let _ = fs::remove_file(&mark);
            for revision in ["main", &commit] {
                for (way, ran) in repo.read(revision, &[]) {
                    let said = told(&mark);
                    tally.held(format!("{way} {remote}"), said.is_empty(), said);
                    assert!(matches!(ran.status, Some(2 | 3)), "{}", ran.stderr);
                    assert!(!ran.stderr.contains("panicked"), "{}", ran.stderr);
                }
            }
        }
        fs::write(&object, kept).unwrap();
    }
    None
}

fn the_caller_has_no_say(place: &Place, tally: &Tally) -> Option<&'static str> {
    let Some(repo) = Repo::new(place) else {
        return Some("git is not installed");
    };
    let (program, mark) = tattler(place);
    let config = place.path("other.conf");
    let text = format!(
        "[core]\n\tfsmonitor = {0}\n\tpager = {0}\n[tar]\n\tumask = 0777\n",
        program.display()
    );
    fs::write(&config, text).unwrap();
    let envs = [
        ("GIT_DIR", Path::new("/nonexistent")),
        ("GIT_WORK_TREE", Path::new("/")),
        ("GIT_OBJECT_DIRECTORY", Path::new("/nonexistent")),
        ("GIT_CONFIG_GLOBAL", &config),
        ("GIT_CONFIG_SYSTEM", &config),
        ("GIT_EXTERNAL_DIFF", &program),
        ("GIT_SSH_COMMAND", &program),
        ("GIT_ASKPASS", &program),
        ("GIT_PAGER", &program),
        ("GIT_PROXY_COMMAND", &program),
        ("GIT_EXEC_PATH", Path::new("/nonexistent")),
        ("GIT_TRACE", &mark),
        ("GIT_TRACE2_EVENT", &mark),
        ("GIT_INDEX_FILE", Path::new("/nonexistent")),
        ("GIT_NAMESPACE", Path::new("x")),
        ("LD_PRELOAD_NOT", Path::new("x")),
    ];
    let plain = repo.read("main", &[]).remove(0).1.ok();
    for env in envs {
        for (way, ran) in repo.read("main", &[env]) {
            let said = told(&mark);
            let same = ran.status == Some(0) && (way == "diff" || ran.stdout == plain);
            tally.held(
                format!("{way} {}", env.0),
                said.is_empty() && same,
                format!("{said}{}{}", ran.stdout, ran.stderr),
            );
        }
    }
    None
}

fn git_says_what_is_wrong(place: &Place, tally: &Tally) -> Option<&'static str> {
    let Some(repo) = Repo::new(place) else {
        return Some("git is not installed");
    };
    // What git says of it has words of the repository in it.
    repo.git(&["config", "core.repositoryFormatVersion", "99"]);
    for (way, ran) in repo.read("main", &[]) {
        let error = ran.fails(2);
        let tells = error.contains("Expected git repo version");
        tally.held(format!("{way}: git's message"), tells, error);
    }
    fs::write(place.path(".git/config"), "[core\x1b]0;owned\x07\x1b[2J\n").unwrap();
    for (way, ran) in repo.read("main", &[]) {
        let error = ran.stderr;
        let raw = error.contains(['\x1b', '\x07']);
        let tells = error.contains("bad config");
        tally.held(
            format!("{way}: its escapes"),
            tells && !raw,
            format!("{error:?}"),
        );
    }
    fs::remove_dir_all(place.path(".git")).unwrap();
    for (way, ran) in repo.read("main", &[]) {
        let error = ran.stderr;
        let tells = error.contains("not a git repository") || error.contains("not in a git");
        tally.held(format!("{way}: not a repository"), tells, error);
    }
    None
}

/// Levels of folders, each with ten names for the next one: a few kilobytes for any number of entries.
fn bomb(repo: &Repo<'_>, leaf: &str) -> String {
    let mut kind = leaf.to_owned();
    for _ in 0..8 {
        let names: String = (0..10).map(|n| format!("{kind}\td{n}\n")).collect();
        let tree = repo.with_input(&["mktree"], names.as_bytes());
        kind = format!("040000 tree {tree}");
    }
    let tree = kind.rsplit(' ').next().unwrap().to_owned();
    let commit = repo.git(&["commit-tree", "-m", "bomb", &tree]);
    repo.git(&["update-ref", "refs/heads/bomb", &commit]);
    commit
}

fn bombs_of_folders_and_files(place: &Place, tally: &Tally) -> Option<&'static str> {
    let Some(repo) = Repo::new(place) else {
        return Some("git is not installed");
    };
    let empty = repo.with_input(&["mktree"], b"");
    let blob = repo.with_input(&["hash-object", "-w", "--stdin"], b"");
    let module = "1234567890123456789012345678901234567890";
    for leaf in [
        format!("040000 tree {empty}"),
        format!("100644 blob {blob}"),
        format!("160000 commit {module}"),
    ] {
        bomb(&repo, &leaf);
        let began = Instant::now();
        // Importing reads four times as far, but not past many submodules.
        let slow = leaf.starts_with("100644") || leaf.starts_with("04") && !place.is_root();
        let ways = match slow {
            true => vec![("diff", repo.diff("bomb", &[]))],
            false => repo.read("bomb", &[]),
        };
        for (way, ran) in ways {
            let error = ran.stderr;
            let ends = matches!(ran.status, Some(2 | 3)) && error.contains("holds more than");
            let seconds = began.elapsed() < Duration::from_secs(60);
            let short = error.len() < 10_000;
            let left = fs::read_dir(place.store().join("tmp")).unwrap().count();
            tally.held(
                format!("{way} {leaf}"),
                ends && seconds && short && left == 0,
                &error,
            );
        }
    }
    None
}
