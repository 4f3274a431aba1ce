//! Revisions of git repositories, read through `git archive`.
//!
//! A repository's configuration can name programs that git then runs (filters, helpers), so it is
//! trusted with nothing here. The revision is looked up in the repository itself; everything else is
//! read by way of an empty repository, with no configuration at all, that borrows the objects.
//! So neither the user's settings nor those of the repository change what is imported.

use std::ffi::OsStr;
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;

use crate::manifest::{Kind, Mtime};
use crate::tar::{Devices, StripTop, TarLimits, TarOptions};
use crate::{BlobHash, ImportOptions, Imported, Store, StoreError, TreeHash};

/// How to read a revision.
#[derive(Debug, Clone)]
pub struct GitOptions {
    /// The program to run.
    pub program: PathBuf,
    /// As [`ImportOptions::normalise`]. Without it, files carry the date of the commit.
    pub normalise: Option<Mtime>,
    /// How much a revision may hold.
    pub limits: TarLimits,
}

impl Default for GitOptions {
    /// Content alone, as snapshots are imported, with the system's `git`.
    fn default() -> GitOptions {
        GitOptions {
            program: "git".into(),
            normalise: ImportOptions::snapshot().normalise,
            limits: TarLimits::default(),
        }
    }
}

/// What an import of a revision made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitImported {
    /// The tree and its numbers.
    pub imported: Imported,
    /// The commit that the revision stands for, in hexadecimal.
    pub commit: String,
    /// When it was committed, in seconds since 1970.
    pub date: i64,
    /// Paths of submodules, each an empty folder in the tree: their content lies in other repositories.
    pub submodules: Vec<String>,
    /// Paths of files that only point to their content, which Git LFS keeps elsewhere.
    pub lfs_pointers: Vec<String>,
}

/// Why a revision could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum GitError {
    /// The program is missing.
    #[error("cannot run {}: {source} (git is needed to import revisions)", program.display())]
    NoProgram {
        /// What was to be run.
        program: PathBuf,
        /// What the system says.
        source: io::Error,
    },
    /// The text is not a revision.
    #[error("not a revision: \"{rev}\" ({why})")]
    BadRevision {
        /// The text, escaped.
        rev: String,
        /// Why not.
        why: &'static str,
    },
    /// The folder is not a repository.
    #[error("not a git repository: {}: {detail}", repo.display())]
    NotARepository {
        /// The folder.
        repo: PathBuf,
        /// What git says.
        detail: String,
    },
    /// The repository has no such revision.
    #[error("no such revision in {}: \"{rev}\"", repo.display())]
    NoRevision {
        /// The folder.
        repo: PathBuf,
        /// The revision.
        rev: String,
    },
    /// git failed.
    #[error("git {step} failed ({status}) for {}: {detail}", repo.display())]
    Failed {
        /// What git was to do.
        step: &'static str,
        /// How it ended.
        status: ExitStatus,
        /// The repository.
        repo: PathBuf,
        /// What it says.
        detail: String,
    },
    /// git said something that makes no sense.
    #[error("git {step} gave an unexpected answer for {}: \"{detail}\"", repo.display())]
    Answer {
        /// What git was to do.
        step: &'static str,
        /// The repository.
        repo: PathBuf,
        /// What it said, escaped.
        detail: String,
    },
}

/// How much of git's answers and complaints is kept.
const LONGEST: u64 = 64 << 10;
/// How a file begins that stands for one in Git LFS, and how long it is at most, as its specification says.
const LFS_POINTER: &[u8] = b"version https://git-lfs.github.com/spec/";
const LFS_LONGEST: u64 = 1024;
/// The attribute that such files have.
const LFS_FILTER: &[u8] = b"filter=lfs";

/// Sees a file: path, content, length.
type SeeFile<'a> = dyn FnMut(&[u8], BlobHash, u64) -> Result<(), StoreError> + 'a;

impl Store {
    /// Reads a revision of a git repository into the store, durably.
    ///
    /// `rev` is anything that names a commit: a branch, a tag, a hash, `HEAD~3`. Attributes that the
    /// revision's own `.gitattributes` set for archives are honoured (`export-ignore`).
    pub fn import_git(
        &self,
        repo: &Path,
        rev: &str,
        options: &GitOptions,
    ) -> Result<GitImported, StoreError> {
        check_revision(rev)?;
        let git = Git {
            program: &options.program,
            repo,
        };
        let commit = git.commit(rev)?;
        let format = git.lookup("rev-parse", &["--show-object-format"])?;
        let objects = git.lookup(
            "rev-parse",
            &["--path-format=absolute", "--git-path", "objects"],
        )?;

        let scratch = self.scratch("git-import")?;
        let plain = scratch.path().join("repository");
        git.borrow(&plain, &format, &objects)?;
        let date = git.read(
            &plain,
            "show",
            &["-s", "--format=%ct", "--end-of-options", &commit],
        )?;
        let date = date.trim().parse().map_err(|_| git.answer("show", &date))?;
        let submodules = git.submodules(&plain, &commit)?;
        let imported = self.import_archive(&git, &plain, &commit, options)?;
        let lfs_pointers = self.lfs_pointers(imported.tree)?;
        Ok(GitImported {
            imported,
            commit,
            date,
            submodules,
            lfs_pointers,
        })
    }

    /// Files that hold the address of their content in Git LFS. They are looked for where some
    /// `.gitattributes` says that there are any.
    fn lfs_pointers(&self, tree: TreeHash) -> Result<Vec<String>, StoreError> {
        let mut any = false;
        self.each_file(tree, &mut |path, blob, size| {
            let name = path.rsplit(|b| *b == b'/').next();
            if !any && name == Some(b".gitattributes") && size <= LONGEST {
                let text = self.blob(blob)?;
                any = text.windows(LFS_FILTER.len()).any(|w| w == LFS_FILTER);
            }
            Ok(())
        })?;
        let mut found = Vec::new();
        if any {
            self.each_file(tree, &mut |path, blob, size| {
                if size <= LFS_LONGEST && self.blob(blob)?.starts_with(LFS_POINTER) {
                    found.push(String::from_utf8_lossy(path).into_owned());
                }
                Ok(())
            })?;
        }
        found.sort_unstable();
        Ok(found)
    }

    /// Shows every file of a tree.
    fn each_file(&self, tree: TreeHash, see: &mut SeeFile<'_>) -> Result<(), StoreError> {
        let mut open = vec![(Vec::new(), self.tree(tree)?.dir)];
        while let Some((above, dir)) = open.pop() {
            for entry in self.manifest(dir)?.entries() {
                let path = match above.is_empty() {
                    true => entry.name.clone(),
                    false => [&above[..], b"/", &entry.name].concat(),
                };
                match entry.kind {
                    Kind::Dir { manifest } => open.push((path, manifest)),
                    Kind::File { blob, size } => see(&path, blob, size)?,
                    _ => {}
                }
            }
        }
        Ok(())
    }

    /// Lets git write the revision as an archive and reads that.
    fn import_archive(
        &self,
        git: &Git<'_>,
        plain: &Path,
        commit: &str,
        options: &GitOptions,
    ) -> Result<Imported, StoreError> {
        let mut command = git.within(plain);
        command.args(["-c", "tar.umask=0022", "archive", "--format=tar", commit]);
        let mut child = git.spawn(command)?;
        let errors = collect(child.stderr.take());
        let options = TarOptions {
            normalise: options.normalise,
            strip_top: StripTop::No,
            devices: Devices::Refuse,
            limits: options.limits,
        };
        let result = match child.stdout.take() {
            Some(stdout) => self.import_tar(stdout, &options),
            None => self.import_tar(io::empty(), &options),
        };
        let status = wait(&mut child, git)?;
        let detail = errors.join().unwrap_or_default();
        match result {
            // An archive that ends early is git's fault if git says so.
            _ if !status.success() && !stopped_by_us(status, &result) => {
                Err(git.failed("archive", status, &detail).into())
            }
            result => result,
        }
    }
}

/// When the import gave up first, git dies of a closed pipe, and the import's reason counts.
fn stopped_by_us(status: ExitStatus, result: &Result<Imported, StoreError>) -> bool {
    use std::os::unix::process::ExitStatusExt;
    const SIGPIPE: i32 = 13;
    let broken_pipe = status.signal() == Some(SIGPIPE) || status.code() == Some(128 + SIGPIPE);
    result.is_err() && broken_pipe
}

fn check_revision(rev: &str) -> Result<(), GitError> {
    let bad = |why| {
        Err(GitError::BadRevision {
            rev: rev
                .chars()
                .take(100)
                .collect::<String>()
                .escape_debug()
                .to_string(),
            why,
        })
    };
    if rev.is_empty() {
        bad("it is empty")
    } else if rev.starts_with('-') {
        bad("it begins with a dash")
    } else if rev.len() > 1000 {
        bad("it is too long")
    } else if rev.chars().any(char::is_control) {
        bad("it has control characters")
    } else {
        Ok(())
    }
}

/// A git command with a plain environment, so that no setting of the user or the system has a say.
fn closed(program: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env(
            "PATH",
            "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        )
        .env("HOME", "/nonexistent")
        .env("LC_ALL", "C")
        .env("TZ", "UTC")
        .env("GIT_CONFIG_NOSYSTEM", "1")
        .env("GIT_CONFIG_GLOBAL", "/dev/null")
        .env("GIT_ATTR_NOSYSTEM", "1")
        .env("GIT_NO_REPLACE_OBJECTS", "1")
        .env("GIT_NO_LAZY_FETCH", "1")
        .env("GIT_OPTIONAL_LOCKS", "0")
        .env("GIT_TERMINAL_PROMPT", "0")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    command
}

/// A git command in a repository itself, for looking things up only: names, lists, objects as they are.
///
/// Nothing of the caller's environment and configuration has a say in it, `GIT_DIR` of a hook included.
/// git refuses repositories of other users because of what their configuration could make it run.
/// Looking something up runs nothing, so that this refusal is lifted here. Input is closed, output piped.
pub fn look_up(program: &Path, repo: &Path) -> Command {
    let mut command = closed(program);
    command
        .args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false", "-C"])
        .arg(repo);
    command
}

struct Git<'a> {
    program: &'a Path,
    repo: &'a Path,
}

impl Git<'_> {
    fn lookup(&self, step: &'static str, arguments: &[&str]) -> Result<String, GitError> {
        let (status, out, errors) = self.look(step, arguments)?;
        if status.success() {
            Ok(out)
        } else {
            Err(self.failed(step, status, &errors))
        }
    }

    fn look(
        &self,
        step: &'static str,
        arguments: &[&str],
    ) -> Result<(ExitStatus, String, Vec<u8>), GitError> {
        let mut command = look_up(self.program, self.repo);
        command.arg(step).args(arguments);
        self.finish(step, command)
    }

    /// The commit that a revision names.
    fn commit(&self, rev: &str) -> Result<String, GitError> {
        let (status, _, errors) = self.look("rev-parse", &["--git-dir"])?;
        if !status.success() {
            return Err(GitError::NotARepository {
                repo: self.repo.to_path_buf(),
                detail: tidy(&errors),
            });
        }
        let wanted = format!("{rev}^{{commit}}");
        let arguments = ["--verify", "--quiet", "--end-of-options", &wanted];
        let (status, out, _) = self.look("rev-parse", &arguments)?;
        if !status.success() {
            return Err(GitError::NoRevision {
                repo: self.repo.to_path_buf(),
                rev: rev.to_string(),
            });
        }
        let is_hash = matches!(out.len(), 40 | 64) && out.bytes().all(|b| b.is_ascii_hexdigit());
        if is_hash {
            Ok(out)
        } else {
            Err(self.answer("rev-parse", &out))
        }
    }

    /// Makes an empty repository that borrows all objects of the real one.
    fn borrow(&self, plain: &Path, format: &str, objects: &str) -> Result<(), StoreError> {
        let mut command = closed(self.program);
        command
            .args(["init", "--quiet", "--bare", "--template="])
            .arg(format!("--object-format={format}"))
            .arg(plain);
        let (status, _, errors) = self.finish("init", command)?;
        if !status.success() {
            return Err(self.failed("init", status, &errors).into());
        }
        let file = plain.join("objects/info/alternates");
        // The list is made of lines.
        if objects.contains('\n') || !objects.starts_with('/') {
            return Err(self.answer("rev-parse", objects).into());
        }
        let write = || {
            std::fs::create_dir_all(plain.join("objects/info"))?;
            std::fs::write(&file, [objects.as_bytes(), b"\n"].concat())
        };
        write().map_err(|e| StoreError::io("write", &file, e))
    }

    fn within(&self, plain: &Path) -> Command {
        let mut command = closed(self.program);
        command
            .env("GIT_DIR", plain)
            // The store's folder may belong to somebody else; nothing in this repository is foreign.
            .args(["-c", "safe.directory=*"])
            .current_dir("/");
        command
    }

    fn read(
        &self,
        plain: &Path,
        step: &'static str,
        arguments: &[&str],
    ) -> Result<String, GitError> {
        let mut command = self.within(plain);
        command.arg(step).args(arguments);
        let (status, out, errors) = self.finish(step, command)?;
        if status.success() {
            Ok(out)
        } else {
            Err(self.failed(step, status, &errors))
        }
    }

    /// Paths of the commit that are submodules.
    fn submodules(&self, plain: &Path, commit: &str) -> Result<Vec<String>, GitError> {
        let mut command = self.within(plain);
        command.args(["ls-tree", "-r", "-z", "--full-tree", commit]);
        let mut child = self.spawn(command)?;
        let errors = collect(child.stderr.take());
        let mut found = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            // Names may hold anything but NUL, and there may be very many: one at a time.
            let mut lines = io::BufReader::new(stdout);
            let mut line = Vec::new();
            loop {
                line.clear();
                let read = io::BufRead::read_until(&mut lines, 0, &mut line);
                if !matches!(read, Ok(n) if n > 0) {
                    break;
                }
                let entry = line.strip_suffix(b"\0").unwrap_or(&line);
                if let (true, Some(tab)) = (
                    entry.starts_with(b"160000 "),
                    entry.iter().position(|&b| b == b'\t'),
                ) {
                    found.push(String::from_utf8_lossy(&entry[tab + 1..]).into_owned());
                }
            }
        }
        let status = wait(&mut child, self)?;
        if !status.success() {
            let errors = errors.join().unwrap_or_default();
            return Err(self.failed("ls-tree", status, &errors));
        }
        Ok(found)
    }

    fn spawn(&self, mut command: Command) -> Result<Child, GitError> {
        command.spawn().map_err(|source| GitError::NoProgram {
            program: self.program.to_path_buf(),
            source,
        })
    }

    /// Runs a command whose answer is short.
    fn finish(
        &self,
        step: &'static str,
        command: Command,
    ) -> Result<(ExitStatus, String, Vec<u8>), GitError> {
        let mut child = self.spawn(command)?;
        let errors = collect(child.stderr.take());
        let out = collect(child.stdout.take()).join().unwrap_or_default();
        let status = wait(&mut child, self)?;
        let errors = errors.join().unwrap_or_default();
        let out = String::from_utf8(out)
            .map_err(|e| self.answer(step, &String::from_utf8_lossy(e.as_bytes())))?;
        let out = out.strip_suffix('\n').unwrap_or(&out).to_string();
        Ok((status, out, errors))
    }

    fn failed(&self, step: &'static str, status: ExitStatus, errors: &[u8]) -> GitError {
        GitError::Failed {
            step,
            status,
            repo: self.repo.to_path_buf(),
            detail: tidy(errors),
        }
    }

    fn answer(&self, step: &'static str, text: &str) -> GitError {
        GitError::Answer {
            step,
            repo: self.repo.to_path_buf(),
            detail: text
                .chars()
                .take(200)
                .collect::<String>()
                .escape_debug()
                .to_string(),
        }
    }
}

fn wait(child: &mut Child, git: &Git<'_>) -> Result<ExitStatus, GitError> {
    child.wait().map_err(|source| GitError::NoProgram {
        program: git.program.to_path_buf(),
        source,
    })
}

/// Reads a pipe to its end in a thread of its own, so that no other pipe can fill up meanwhile.
fn collect(pipe: Option<impl Read + Send + 'static>) -> thread::JoinHandle<Vec<u8>> {
    thread::spawn(move || {
        let mut kept = Vec::new();
        if let Some(mut pipe) = pipe {
            // What cannot be read is missing from a message or makes an answer unusable: both are seen later.
            let _ = (&mut pipe).take(LONGEST).read_to_end(&mut kept);
            let _ = io::copy(&mut pipe, &mut io::sink());
        }
        kept
    })
}

/// What git says, on one line.
fn tidy(errors: &[u8]) -> String {
    let text = OsStr::from_bytes(errors).to_string_lossy();
    let lines: Vec<String> = text
        .lines()
        .map(|line| {
            line.trim()
                .escape_debug()
                .to_string()
                .replace("\\'", "'")
                .replace("\\\"", "\"")
        })
        .filter(|line| !line.is_empty())
        .take(5)
        .collect();
    match lines.is_empty() {
        true => "no message".into(),
        false => lines.join("; "),
    }
}
