//! A small root to run things in, an ordinary user to run as, and descriptions of trees.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;

use mstore::build::cancel::CancelToken;
use mstore::build::clean;
use mstore::build::sandbox::{Finished, Job, Sandbox, SandboxError};

/// Why a test could not be run here.
pub struct Skip(pub String);

/// What a test gives.
pub type Outcome = Result<(), Skip>;

/// The uid and gid of the ordinary user; nobody else's on any system we know.
const USER: u32 = 54_321;

const TOOLS: &[&str] = &[
    "sh", "bash", "cat", "chmod", "chown", "cp", "env", "head", "hostname", "id", "ln", "ls",
    "mkdir", "mkfifo", "mknod", "mount", "mv", "rm", "rmdir", "setpriv", "setsid", "sleep", "stat",
    "sync", "touch", "true", "tty", "umount", "uname", "unshare", "perl", "setcap", "dd",
];

/// Directories shared by all tests of one run.
pub struct Env {
    pub base: PathBuf,
    top: PathBuf,
    mode: &'static str,
}

impl Env {
    pub fn new(mode: &'static str) -> Env {
        let top = std::env::temp_dir().join(format!("mstore-sandbox-{}", std::process::id()));
        clean::remove_tree(&top).unwrap();
        fs::DirBuilder::new().mode(0o755).create(&top).unwrap();
        let base = top.join("base");
        make_base(&base);
        Env { base, top, mode }
    }

    /// Whether there is no id but root.
    pub fn single(&self) -> bool {
        self.mode == "single"
    }

    /// Whether this is the machine's root.
    pub fn is_root(&self) -> bool {
        self.mode == "root"
    }

    /// An empty directory for one test.
    pub fn dir(&self, name: &str) -> PathBuf {
        let dir = self.top.join(name);
        clean::remove_tree(&dir).unwrap();
        fs::create_dir(&dir).unwrap();
        dir
    }

    /// A job over the base, with its upper layer and scratch in a directory of their own.
    pub fn job(&self, name: &str, script: &str) -> Job {
        job_in(&self.base, &self.dir(name), script)
    }
}

/// A job over a base, with its upper layer and scratch in a directory of their own.
pub fn job_in(base: &Path, dir: &Path, script: &str) -> Job {
    let scratch = dir.join("scratch");
    fs::create_dir(&scratch).unwrap();
    Job {
        layers: vec![base.to_owned()],
        upper: Some(dir.join("upper")),
        scratch,
        binds: Vec::new(),
        script: script.as_bytes().to_vec(),
        env: BTreeMap::from([(
            "PATH".to_owned(),
            "/usr/sbin:/usr/bin:/sbin:/bin".to_owned(),
        )]),
        platform: mstore::build::host::machine(),
        tmp_on_root: false,
        timeout: Some(Duration::from_secs(60)),
    }
}

impl Drop for Env {
    fn drop(&mut self) {
        clean::remove_tree(&self.top).unwrap();
    }
}

/// Runs a job and gives what it wrote.
pub fn run(job: &Job) -> Result<(Finished, String), SandboxError> {
    let mut log = Vec::new();
    let cancel = CancelToken::new().unwrap();
    let finished = Sandbox::new().run(job, &mut |b| log.extend_from_slice(b), &cancel)?;
    Ok((finished, String::from_utf8_lossy(&log).into_owned()))
}

/// Runs a job that must succeed.
#[track_caller]
pub fn succeed(job: &Job) -> String {
    let (finished, log) = run(job).unwrap_or_else(|e| panic!("{e}: {:?}", source(&e)));
    assert!(finished.status.is_success(), "{}\n{log}", finished.status);
    log
}

fn source(error: &SandboxError) -> Option<String> {
    std::error::Error::source(error).map(ToString::to_string)
}

/// Copies this machine's shell and a few tools, with the libraries they load.
fn make_base(base: &Path) {
    fs::DirBuilder::new().mode(0o755).create(base).unwrap();
    for dir in ["etc", "root", "bin", "tmp", "data", "data/old"] {
        fs::DirBuilder::new()
            .mode(0o755)
            .create(base.join(dir))
            .unwrap();
    }
    fs::set_permissions(base.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    fs::write(base.join("etc/passwd"), "root:x:0:0::/root:/bin/sh\n").unwrap();
    fs::write(base.join("data/file"), "from the base\n").unwrap();
    fs::write(base.join("data/old/one"), "1\n").unwrap();
    fs::write(base.join("data/old/two"), "2\n").unwrap();
    for tool in TOOLS {
        let found = ["/bin", "/usr/bin", "/sbin", "/usr/sbin"]
            .iter()
            .map(|d| Path::new(d).join(tool))
            .find(|p| p.exists());
        let Some(found) = found else { continue };
        let listed = Command::new("ldd").arg(&found).output().unwrap();
        for word in String::from_utf8_lossy(&listed.stdout).split_whitespace() {
            let to = base.join(word.trim_start_matches('/'));
            if word.starts_with('/') && !to.exists() {
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::copy(word, &to).unwrap();
            }
        }
        fs::copy(&found, base.join("bin").join(tool)).unwrap();
    }
    fs::set_permissions(base, fs::Permissions::from_mode(0o711)).unwrap();
}

/// Describes a tree, one line an entry; times are left out.
pub fn describe(root: &Path) -> String {
    let mut out = String::new();
    let mut stack = vec![root.to_owned()];
    let mut all = Vec::new();
    while let Some(path) = stack.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            stack.extend(fs::read_dir(&path).unwrap().map(|e| e.unwrap().path()));
        }
        all.push(path);
    }
    all.sort();
    for path in all {
        let meta = fs::symlink_metadata(&path).unwrap();
        let kind = meta.file_type();
        let what = if kind.is_dir() {
            "dir".to_owned()
        } else if kind.is_symlink() {
            format!("link {}", fs::read_link(&path).unwrap().display())
        } else if kind.is_char_device() {
            format!("char {:x}", meta.rdev())
        } else if kind.is_fifo() {
            "fifo".to_owned()
        } else {
            format!(
                "file {:?}",
                String::from_utf8_lossy(&fs::read(&path).unwrap())
            )
        };
        let shown = path.strip_prefix(root).unwrap().display().to_string();
        let (mode, uid, gid) = (meta.mode() & 0o7777, meta.uid(), meta.gid());
        write!(out, "/{shown} {mode:o} {uid}:{gid} {what}").unwrap();
        for (name, value) in xattrs(&path) {
            write!(out, " {name}={value}").unwrap();
        }
        out.push('\n');
    }
    out
}

fn xattrs(path: &Path) -> Vec<(String, String)> {
    let mut names = vec![0; 4096];
    let size = rustix::fs::llistxattr(path, &mut names[..]).unwrap();
    let mut all = Vec::new();
    for name in names[..size].split(|&b| b == 0).filter(|n| !n.is_empty()) {
        let name = String::from_utf8_lossy(name).into_owned();
        let mut value = vec![0; 4096];
        let size = rustix::fs::lgetxattr(path, &name, &mut value[..]).unwrap();
        // Overlayfs's notes to itself that name no change.
        if ![
            "user.overlay.origin",
            "user.overlay.impure",
            "user.overlay.uuid",
        ]
        .contains(&&*name)
        {
            all.push((name, value[..size].escape_ascii().to_string()));
        }
    }
    all.sort();
    all
}

/// Runs this program again as an ordinary user, without changing the machine: the user and the
/// subordinate ids exist in a private copy of three files in /etc alone.
pub fn become_user(mode: &str, filter: &[String]) -> ExitCode {
    let prepare = || -> std::io::Result<()> {
        let dir = std::env::temp_dir().join(format!("mstore-etc-{}", std::process::id()));
        fs::create_dir(&dir)?;
        #[allow(deprecated)] // the variant that is `unsafe` matters for file descriptors only
        rustix::thread::unshare(rustix::thread::UnshareFlags::NEWNS)?;
        use rustix::mount::MountPropagationFlags;
        rustix::mount::mount_change(
            "/",
            MountPropagationFlags::PRIVATE | MountPropagationFlags::REC,
        )?;
        let passwd = fs::read_to_string("/etc/passwd")?;
        let range = match mode {
            "ranges" => "mstoretest:1900000:65536\n",
            _ => "",
        };
        for (name, text) in [
            (
                "passwd",
                format!("{passwd}mstoretest:x:{USER}:{USER}::/nonexistent:/bin/sh\n"),
            ),
            ("subuid", range.to_owned()),
            ("subgid", range.to_owned()),
        ] {
            let copy = dir.join(name);
            fs::write(&copy, text)?;
            rustix::mount::mount_bind(&copy, Path::new("/etc").join(name))?;
        }
        fs::remove_dir_all(&dir)?;
        Ok(())
    };
    if let Err(error) = prepare() {
        println!("skipped {mode}: {error}");
        return ExitCode::SUCCESS;
    }
    let error = Command::new("/proc/self/exe")
        .args(filter)
        .current_dir("/")
        .uid(USER)
        .gid(USER)
        .exec();
    println!("skipped {mode}: cannot run this test as another user: {error}");
    ExitCode::SUCCESS
}
