//! Spec files as they were in a git revision, read from git's objects without a checkout.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Mutex;

use mstore_lang::{DiskFiles, Files};
use mstore_store::git::{Listed, finish, list, look_up, tidy};

/// Why a revision cannot be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The program is missing or cannot be run.
    #[error("cannot run git: {0}")]
    Run(#[source] io::Error),
    /// The entry file is not in a repository.
    #[error("{} is not in a git repository: {message}", .path.display())]
    NoRepository {
        /// The folder that was looked at.
        path: PathBuf,
        /// What git said.
        message: String,
    },
    /// The repository does not have the revision.
    #[error("`{0}` is not a revision that git knows")]
    NoRevision(String),
    /// git said no.
    #[error("git {what} failed: {message}")]
    Failed {
        /// The command.
        what: &'static str,
        /// What it said.
        message: String,
    },
    /// The revision holds more than is read.
    #[error(
        "{revision} holds more than {limit} files and folders, which is more than specifications are"
    )]
    TooMany {
        /// The revision.
        revision: String,
        /// How many are read.
        limit: u64,
    },
}

impl GitError {
    /// What the reader can do, where that is not plain from the message.
    pub fn help(&self) -> Option<&'static str> {
        match self {
            GitError::Run(_) => Some("install git, or compare two entry files instead"),
            _ => None,
        }
    }
}

/// Links followed before a ring is assumed.
const MAX_LINKS: usize = 16;
/// Files and folders of a revision. A few kilobytes of objects can stand for any number of them.
const MAX_ENTRIES: u64 = 1_000_000;
/// Bytes of their names.
const MAX_NAMES: usize = 128 << 20;

/// One file of the revision.
#[derive(Debug, Clone)]
struct Blob {
    object: String,
    link: bool,
}

/// The files of one revision of a repository at the places they have in its working tree. Paths
/// outside the repository are read from the disk.
pub struct GitFiles {
    top: PathBuf,
    commit: String,
    blobs: BTreeMap<PathBuf, Blob>,
    reader: Mutex<CatFile>,
}

impl std::fmt::Debug for GitFiles {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("GitFiles")
            .field("top", &self.top)
            .field("commit", &self.commit)
            .finish_non_exhaustive()
    }
}

struct CatFile {
    child: Child,
    requests: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Drop for CatFile {
    fn drop(&mut self) {
        // It ends when its input does; a failure to wait leaves nothing to do.
        self.requests.take();
        let _ = self.child.wait();
    }
}

fn git(folder: &Path) -> Command {
    look_up(Path::new("git"), folder)
}

fn run(command: Command, what: &'static str) -> Result<Vec<u8>, GitError> {
    let answer = finish(command).map_err(GitError::Run)?;
    if answer.status.success() {
        return Ok(answer.out);
    }
    Err(GitError::Failed {
        what,
        message: tidy(&answer.errors),
    })
}

/// The files of a commit.
fn listing(top: &Path, commit: &str, revision: &str) -> Result<BTreeMap<PathBuf, Blob>, GitError> {
    let mut command = git(top);
    command.args(["ls-tree", "-r", "-t", "-z", "--full-tree", commit]);
    let mut blobs = BTreeMap::new();
    let (mut seen, mut bytes) = (0, 0);
    let listed = list(command, &mut |entry| {
        seen += 1;
        bytes += entry.len();
        blobs.extend(parse_entry(entry));
        seen <= MAX_ENTRIES && bytes <= MAX_NAMES
    });
    match listed.map_err(GitError::Run)? {
        Listed::Ended(status, _) if status.success() => Ok(blobs),
        Listed::Ended(_, errors) => Err(GitError::Failed {
            what: "ls-tree",
            message: tidy(&errors),
        }),
        Listed::Stopped => Err(GitError::TooMany {
            revision: revision.to_owned(),
            limit: MAX_ENTRIES,
        }),
    }
}

impl GitFiles {
    /// Opens `revision` of the repository that `folder` is in.
    pub fn open(folder: &Path, revision: &str) -> Result<GitFiles, GitError> {
        let mut command = git(folder);
        command.args(["rev-parse", "--show-toplevel"]);
        let top = run(command, "rev-parse").map_err(|error| match error {
            GitError::Failed { message, .. } => GitError::NoRepository {
                path: folder.to_owned(),
                message,
            },
            other => other,
        })?;
        let top = PathBuf::from(OsStr::from_bytes(top.trim_ascii_end()));
        let mut command = git(&top);
        command
            .args(["rev-parse", "--verify", "--quiet", "--end-of-options"])
            .arg(format!("{revision}^{{commit}}"));
        let commit = run(command, "rev-parse").map_err(|error| match error {
            GitError::Failed { .. } => GitError::NoRevision(revision.to_owned()),
            other => other,
        })?;
        let commit = String::from_utf8_lossy(commit.trim_ascii_end()).into_owned();
        let blobs = listing(&top, &commit, revision)?;
        let mut child = git(&top)
            .args(["cat-file", "--batch"])
            .stdin(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(GitError::Run)?;
        let pipes = (child.stdin.take(), child.stdout.take());
        let (Some(requests), Some(answers)) = pipes else {
            return Err(GitError::Run(io::ErrorKind::BrokenPipe.into()));
        };
        Ok(GitFiles {
            blobs,
            // A working tree reached through a link still has one name.
            top: top.canonicalize().unwrap_or(top),
            commit,
            reader: Mutex::new(CatFile {
                child,
                requests: Some(requests),
                answers: BufReader::new(answers),
            }),
        })
    }

    /// The full hash of the commit.
    pub fn commit(&self) -> &str {
        &self.commit
    }

    /// The top folder of the working tree.
    pub fn top(&self) -> &Path {
        &self.top
    }

    /// `path` relative to the top, if it lies under it.
    fn inside(&self, path: &Path) -> Option<PathBuf> {
        if let Ok(rel) = path.strip_prefix(&self.top) {
            return Some(rel.to_owned());
        }
        // The same folder under another name: look for an ancestor that is the top.
        let top = path
            .ancestors()
            .find(|a| a.canonicalize().is_ok_and(|c| c == self.top))?;
        path.strip_prefix(top).ok().map(Path::to_owned)
    }

    /// Finds a file, following links in the revision.
    fn find(&self, rel: &Path) -> io::Result<Option<&Blob>> {
        let mut at = rel.to_owned();
        for _ in 0..MAX_LINKS {
            // A link may stand for any folder on the way.
            let mut through: Option<(PathBuf, &Blob)> = None;
            for part in at.ancestors() {
                if let Some(blob) = self.blobs.get(part) {
                    if part == at && !blob.link {
                        return Ok(Some(blob));
                    }
                    if blob.link {
                        through = Some((part.to_owned(), blob));
                    }
                }
            }
            let Some((link, blob)) = through else {
                return Ok(None);
            };
            let target = self.object(&blob.object, 4096)?;
            let rest = at.strip_prefix(&link).unwrap_or(Path::new("")).to_owned();
            let folder = link.parent().unwrap_or(Path::new(""));
            let Some(next) = normal(&folder.join(OsStr::from_bytes(&target)).join(rest)) else {
                return Ok(None);
            };
            at = next;
        }
        Err(io::Error::other("too many levels of symbolic links"))
    }

    fn object(&self, name: &str, limit: u64) -> io::Result<Vec<u8>> {
        let mut reader = self
            .reader
            .lock()
            .map_err(|_| io::Error::other("reading from git failed before"))?;
        let requests = reader
            .requests
            .as_mut()
            .ok_or_else(|| io::Error::other("git has ended"))?;
        writeln!(requests, "{name}")?;
        requests.flush()?;
        let mut head = String::new();
        reader.answers.by_ref().take(1024).read_line(&mut head)?;
        let words: Vec<&str> = head.split_whitespace().collect();
        let size = match words.as_slice() {
            [_, "blob", size] => size.parse::<u64>().ok(),
            _ => None,
        };
        let Some(size) = size else {
            return Err(io::Error::other(format!("git cannot read {name}")));
        };
        if size > limit {
            // Skip it, so that the next answer is found.
            io::copy(&mut reader.answers.by_ref().take(size + 1), &mut io::sink())?;
            return Err(io::Error::new(
                io::ErrorKind::FileTooLarge,
                format!("is larger than {limit} bytes"),
            ));
        }
        let mut data = Vec::new();
        reader.answers.by_ref().take(size).read_to_end(&mut data)?;
        let mut end = [0];
        reader.answers.read_exact(&mut end)?;
        if data.len() as u64 != size || end != *b"\n" {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(data)
    }
}

/// Reads `MODE TYPE OBJECT\tPATH`.
fn parse_entry(line: &[u8]) -> Option<(PathBuf, Blob)> {
    let tab = line.iter().position(|b| *b == b'\t')?;
    let head = std::str::from_utf8(&line[..tab]).ok()?;
    let mut words = head.split(' ');
    let (mode, kind, object) = (words.next()?, words.next()?, words.next()?);
    (kind == "blob").then(|| {
        (
            PathBuf::from(OsStr::from_bytes(&line[tab + 1..])),
            Blob {
                object: object.to_owned(),
                link: mode == "120000",
            },
        )
    })
}

/// Resolves `.` and `..`; nothing if the path leaves the repository.
fn normal(path: &Path) -> Option<PathBuf> {
    let mut out = PathBuf::new();
    for part in path.components() {
        match part {
            Component::Normal(part) => out.push(part),
            Component::CurDir => {}
            Component::ParentDir => {
                if !out.pop() {
                    return None;
                }
            }
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    Some(out)
}

impl Files for GitFiles {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        self.read_limited(path, u64::MAX)
    }

    fn read_limited(&self, path: &Path, limit: u64) -> io::Result<Vec<u8>> {
        let Some(rel) = self.inside(path) else {
            return DiskFiles.read_limited(path, limit);
        };
        match self.find(&rel)? {
            Some(blob) => self.object(&blob.object, limit),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        match self.inside(path) {
            Some(rel) => Ok(self.find(&rel)?.is_some()),
            None => DiskFiles.is_file(path),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commit(dir: &Path, message: &str) {
        for args in [
            vec!["add", "-A"],
            vec![
                "-c",
                "user.name=t",
                "-c",
                "user.email=t@example.org",
                "commit",
                "-q",
                "-m",
                message,
            ],
        ] {
            let done = git(dir).args(args).output().unwrap();
            assert!(done.status.success(), "{done:?}");
        }
    }

    #[test]
    fn reads_revisions_without_a_checkout() {
        let dir = tempfile::tempdir().unwrap();
        let top = dir.path().canonicalize().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        assert!(
            git(&top)
                .args(["init", "-q"])
                .output()
                .unwrap()
                .status
                .success()
        );
        std::fs::create_dir_all(top.join("specs/a b")).unwrap();
        std::fs::write(top.join("metro.conf"), "one\n").unwrap();
        std::fs::write(top.join("specs/a b/x.conf"), "").unwrap();
        std::os::unix::fs::symlink("../metro.conf", top.join("specs/link.conf")).unwrap();
        std::os::unix::fs::symlink("specs", top.join("alias")).unwrap();
        std::os::unix::fs::symlink("ring", top.join("ring")).unwrap();
        std::os::unix::fs::symlink("../../etc/passwd", top.join("escape")).unwrap();
        commit(&top, "first");
        std::fs::write(top.join("metro.conf"), "two\n").unwrap();
        std::fs::remove_dir_all(top.join("specs/a b")).unwrap();
        commit(&top, "second");
        std::fs::write(top.join("metro.conf"), "not committed\n").unwrap();

        let old = GitFiles::open(&top.join("specs"), "HEAD~1").unwrap();
        let new = GitFiles::open(&top, "HEAD").unwrap();
        assert_eq!((old.top(), old.commit().len()), (top.as_path(), 40));
        let conf = top.join("metro.conf");
        assert_eq!(old.read(&conf).unwrap(), b"one\n");
        assert_eq!(new.read(&conf).unwrap(), b"two\n");
        assert_eq!(old.read(&top.join("specs/link.conf")).unwrap(), b"one\n");
        assert_eq!(old.read(&top.join("alias/link.conf")).unwrap(), b"one\n");
        assert!(old.is_file(&top.join("specs/a b/x.conf")).unwrap());
        assert!(old.is_file(&top.join("alias/a b/x.conf")).unwrap());
        assert!(!new.is_file(&top.join("specs/a b/x.conf")).unwrap());
        assert!(!new.is_file(&top.join("specs")).unwrap());
        assert!(!new.is_file(&top.join("escape")).unwrap());
        assert!(new.read(&top.join("ring")).is_err());
        assert!(new.read_limited(&conf, 2).is_err());
        assert_eq!(new.read(&conf).unwrap(), b"two\n", "still in step");
        assert!(new.is_file(outside.path()).unwrap());
    }

    #[test]
    fn what_git_does_not_know_is_named() {
        let dir = tempfile::tempdir().unwrap();
        assert!(matches!(
            GitFiles::open(dir.path(), "HEAD"),
            Err(GitError::NoRepository { .. })
        ));
        git(dir.path()).args(["init", "-q"]).output().unwrap();
        std::fs::write(dir.path().join("f"), "").unwrap();
        commit(dir.path(), "first");
        for revision in ["nonsense", "--help", "HEAD:f"] {
            assert!(matches!(
                GitFiles::open(dir.path(), revision),
                Err(GitError::NoRevision(r)) if r == revision
            ));
        }
    }
}
