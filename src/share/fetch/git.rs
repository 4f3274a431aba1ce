//! Commits of git repositories elsewhere, through the system's git with nothing of the caller's in it.

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, Command, ExitStatus};
use std::thread;
use std::time::Duration;

use mstore_store::git::{self, tidy};
use mstore_store::{Cancel, GitImported, GitOptions, Store};
use rustix::process::{Pid, Resource, Rlimit, prlimit};

use super::{MOST, Trouble, failed_to};
use crate::drv::fetch::{FetchError, Tried, is_commit};

/// Most of what git says that is kept, in bytes.
const LONGEST: u64 = 64 << 10;
/// Time between two looks at a running git.
const LOOK: Duration = Duration::from_millis(20);
/// The ways to other repositories that may be taken.
const PROTOCOLS: [&str; 4] = ["https", "http", "git", "file"];
/// What may be followed, and how slow a server may be.
const SETTINGS: [&str; 6] = [
    "-c",
    "http.followRedirects=initial",
    "-c",
    "http.lowSpeedLimit=1000",
    "-c",
    "http.lowSpeedTime=30",
];

/// Asks a repository for the newest commit of `branch`, or of the branch that it names first.
pub fn head(
    store: &Store,
    address: &str,
    branch: Option<&str>,
    cancel: &Cancel,
) -> Result<String, FetchError> {
    let name = match branch {
        Some(branch) => format!("refs/heads/{branch}"),
        None => "HEAD".to_owned(),
    };
    let nowhere = |why: String| FetchError::Nowhere {
        name: name.clone(),
        tried: vec![Tried {
            url: address.to_owned(),
            why,
        }],
    };
    let scratch = store.scratch("git")?;
    let mut command = git(scratch.path());
    command.args(["ls-remote", "--exit-code", "--", address, &name]);
    let (status, out, errors) = match finish(command, cancel) {
        Ok(done) => done,
        Err(Trouble::There(why)) => return Err(nowhere(why)),
        Err(Trouble::Here(error)) => return Err(error),
    };
    if status.code() == Some(2) {
        return Err(nowhere(format!("it has no {name}")));
    }
    if !status.success() {
        return Err(nowhere(tidy(&errors)));
    }
    let found = out.lines().find_map(|line| {
        let (commit, reference) = line.split_once('\t')?;
        (reference == name && is_commit(commit)).then(|| commit.to_owned())
    });
    match found {
        Some(commit) => Ok(commit),
        None => Err(nowhere(format!("it has no {name}"))),
    }
}

/// Fetches a commit and imports its files. `address` is as git takes it.
pub fn import_commit(
    store: &Store,
    address: &str,
    commit: &str,
    options: &GitOptions,
    cancel: &Cancel,
) -> Result<GitImported, FetchError> {
    match import(store, address, commit, options, cancel) {
        Ok(imported) => Ok(imported),
        Err(Trouble::Here(error)) => Err(error),
        Err(Trouble::There(why)) => Err(FetchError::Nowhere {
            name: format!("commit {commit}"),
            tried: vec![Tried {
                url: address.to_owned(),
                why,
            }],
        }),
    }
}

pub(super) fn import(
    store: &Store,
    address: &str,
    commit: &str,
    options: &GitOptions,
    cancel: &Cancel,
) -> Result<GitImported, Trouble> {
    if !is_commit(commit) {
        return Err(Trouble::There(format!("`{commit}` is not a commit")));
    }
    let scratch = store.scratch("git").map_err(FetchError::from)?;
    let repository = scratch.path().join("repository");
    std::fs::create_dir(&repository).map_err(failed_to("make the folder", &repository))?;
    let format = match commit.len() {
        64 => "--object-format=sha256",
        _ => "--object-format=sha1",
    };
    let mut init = git(&repository);
    init.args(["init", "--quiet", "--bare", "--template=", format, "."]);
    must(init, cancel)?;
    let fetch = |what: &[&str]| {
        let mut command = git(&repository);
        command
            .args(["fetch", "--quiet", "--no-write-fetch-head", "--no-tags"])
            .args(["--no-recurse-submodules", "--force"])
            .args(&what[..what.len() - 1])
            .args(["--", address])
            .arg(what[what.len() - 1]);
        must(command, cancel)
    };
    let own = format!("{commit}:refs/heads/fetched");
    // The commit alone where the server gives any that is asked for; else all that it has.
    if let Err(trouble) = fetch(&["--depth=1", &own]) {
        if matches!(trouble, Trouble::Here(_)) {
            return Err(trouble);
        }
        fetch(&["--prune", "+refs/*:refs/fetched/*"])?;
    }
    let mut there = git(&repository);
    there.args(["cat-file", "-e", &format!("{commit}^{{commit}}")]);
    if !finish(there, cancel)?.0.success() {
        return Err(Trouble::There(format!("it has no commit {commit}")));
    }
    let imported = store
        .import_git(&repository, commit, options)
        .map_err(FetchError::from)?;
    if imported.commit != commit {
        return Err(Trouble::There(format!(
            "commit {commit} was expected, and {} came",
            imported.commit
        )));
    }
    Ok(imported)
}

fn git(folder: &Path) -> Command {
    let mut command = git::command(Path::new("git"), &PROTOCOLS);
    command.args(SETTINGS).arg("-C").arg(folder);
    command
}

fn must(command: Command, cancel: &Cancel) -> Result<(), Trouble> {
    let (status, _, errors) = finish(command, cancel)?;
    match status.success() {
        true => Ok(()),
        false => Err(Trouble::There(tidy(&errors))),
    }
}

/// Runs git to its end, or until it is cancelled.
fn finish(mut command: Command, cancel: &Cancel) -> Result<(ExitStatus, String, Vec<u8>), Trouble> {
    let run = |source| FetchError::Io {
        action: "run",
        path: "git".into(),
        source,
    };
    let mut child = command.spawn().map_err(run)?;
    bound(&child);
    let (out, errors) = (child.stdout.take(), child.stderr.take());
    thread::scope(|scope| {
        let errors = scope.spawn(move || read(errors));
        let out = scope.spawn(move || read(out));
        let status = loop {
            if cancel.is_cancelled() {
                let _ = child.kill();
                let _ = child.wait();
                return Err(FetchError::Cancelled.into());
            }
            match child.try_wait().map_err(run)? {
                Some(status) => break status,
                None => thread::sleep(LOOK),
            }
        };
        let out = out.join().unwrap_or_default();
        let out = String::from_utf8_lossy(&out).into_owned();
        Ok((status, out, errors.join().unwrap_or_default()))
    })
}

/// Reads a pipe to its end, so that git can go on writing, and keeps the beginning.
fn read(pipe: Option<impl Read>) -> Vec<u8> {
    let mut bytes = Vec::new();
    if let Some(mut pipe) = pipe {
        // What is missing makes a message shorter, or an answer that nobody understands.
        let _ = (&mut pipe).take(LONGEST).read_to_end(&mut bytes);
        let _ = io::copy(&mut pipe, &mut io::sink());
    }
    bytes
}

/// Bounds the files that git and what it starts write. Where that cannot be, the disk is the bound.
fn bound(child: &Child) {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
    let limit = Rlimit {
        current: Some(MOST),
        maximum: Some(MOST),
    };
    let _ = prlimit(pid, Resource::Fsize, limit);
}
