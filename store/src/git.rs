//! Revisions of git repositories, read through `git archive`.
//!
//! A repository's configuration can name programs that git then runs (filters, helpers), so it is
//! trusted with nothing here. The revision is looked up in the repository itself; everything else is
//! read by way of an empty repository, with no configuration at all, that borrows the objects.
//! So neither the user's settings nor those of the repository change what is imported.

mod closed;

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus};

pub use closed::{Answer, Listed, command, finish, list, look_up, tidy};
use closed::{LONGEST, collect};

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
    /// The revision holds more than is read.
    #[error("{rev} of {} holds more than {limit} files and folders, or more than {MAX_SUBMODULES} submodules", repo.display())]
    TooMany {
        /// The commit.
        rev: String,
        /// The repository.
        repo: PathBuf,
        /// How many are read.
        limit: u64,
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

/// Submodules that are told of.
const MAX_SUBMODULES: usize = 1 << 16;
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
        let date = git.date(&plain, &commit)?;
        let submodules = git.submodules(&plain, &commit, options.limits.entries)?;
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
        let mut command = command(self.program, &[]);
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
        let mut command = command(self.program, &[]);
        command.env("GIT_DIR", plain).current_dir("/");
        command
    }

    /// When a commit was made. Nothing below the commit is looked at, as `show` would do.
    fn date(&self, plain: &Path, commit: &str) -> Result<i64, GitError> {
        let step = "rev-list";
        let mut command = self.within(plain);
        // Nor at those before it: a shallow repository does not have them.
        command.args([step, "--no-walk", "--timestamp", commit]);
        let (status, out, errors) = self.finish(step, command)?;
        if !status.success() {
            return Err(self.failed(step, status, &errors));
        }
        let date = out.split(' ').next().and_then(|date| date.parse().ok());
        date.ok_or_else(|| self.answer(step, &out))
    }

    /// Paths of the commit that are submodules. Folders are counted as well as files: a few kilobytes of
    /// objects can stand for any number of them.
    fn submodules(&self, plain: &Path, commit: &str, limit: u64) -> Result<Vec<String>, GitError> {
        let mut command = self.within(plain);
        command.args(["ls-tree", "-r", "-t", "-z", "--full-tree", commit]);
        let mut found = Vec::new();
        let mut seen = 0;
        let listed = list(command, &mut |entry| {
            seen += 1;
            if let (true, Some(tab)) = (
                entry.starts_with(b"160000 "),
                entry.iter().position(|&b| b == b'\t'),
            ) {
                found.push(String::from_utf8_lossy(&entry[tab + 1..]).into_owned());
            }
            seen <= limit && found.len() <= MAX_SUBMODULES
        });
        match listed.map_err(|source| self.no_program(source))? {
            Listed::Ended(status, _) if status.success() => Ok(found),
            Listed::Ended(status, errors) => Err(self.failed("ls-tree", status, &errors)),
            Listed::Stopped => Err(GitError::TooMany {
                rev: commit.to_owned(),
                repo: self.repo.to_path_buf(),
                limit,
            }),
        }
    }

    fn no_program(&self, source: io::Error) -> GitError {
        GitError::NoProgram {
            program: self.program.to_path_buf(),
            source,
        }
    }

    fn spawn(&self, mut command: Command) -> Result<Child, GitError> {
        command.spawn().map_err(|source| self.no_program(source))
    }

    /// Runs a command whose answer is short.
    fn finish(
        &self,
        step: &'static str,
        command: Command,
    ) -> Result<(ExitStatus, String, Vec<u8>), GitError> {
        let answer = finish(command).map_err(|source| self.no_program(source))?;
        let Answer {
            status,
            out,
            errors,
        } = answer;
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
    child.wait().map_err(|source| git.no_program(source))
}
