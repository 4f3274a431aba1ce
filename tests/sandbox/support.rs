//! Jobs over a small root, and descriptions of trees.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use mstore::build::cancel::CancelToken;
use mstore::build::clean;
use mstore::build::sandbox::{Finished, Job, Sandbox, SandboxError};

use crate::base::make_base;

/// Why a test could not be run here.
pub struct Skip(pub String);

/// What a test gives.
pub type Outcome = Result<(), Skip>;

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
        silence: None,
        most_output: None,
        bounds: Default::default(),
        fewer_processors: false,
        jobserver: None,
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
