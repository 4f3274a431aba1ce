//! A small root to run things in, of this machine's programs.

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::Command;

const TOOLS: &[&str] = &[
    "sh",
    "bash",
    "cat",
    "chmod",
    "chown",
    "cp",
    "env",
    "head",
    "hostname",
    "id",
    "ln",
    "ls",
    "mkdir",
    "mkfifo",
    "mknod",
    "mount",
    "mv",
    "rm",
    "rmdir",
    "setpriv",
    "setsid",
    "sleep",
    "stat",
    "sync",
    "touch",
    "true",
    "tty",
    "umount",
    "uname",
    "unshare",
    "perl",
    "setcap",
    "dd",
    "truncate",
    "nproc",
    "nice",
    "find",
    "sort",
    "seq",
    "setfattr",
    "getfattr",
    "chrt",
    "tail",
    "grep",
    "tr",
    "tar",
    "gzip",
    "sed",
    "sha256sum",
];

/// Copies this machine's shell and a few tools, with the libraries they load.
pub fn make_base(base: &Path) {
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
