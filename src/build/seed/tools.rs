//! Programs that a seed takes, and their places on this machine.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::{MissingTool, SeedError, SeedEvent, SurveyOptions};

/// Programs and the packages that bring them: Debian, Fedora, Arch, Gentoo, Alpine.
struct Group {
    packages: [&'static str; 5],
    /// Without these there is no seed.
    required: &'static [&'static str],
    /// These come along where they are.
    optional: &'static [&'static str],
}

const GROUPS: &[Group] = &[
    Group {
        packages: ["dash", "dash", "dash", "app-shells/dash", "busybox"],
        required: &["sh"],
        optional: &["dash", "bash"],
    },
    Group {
        packages: [
            "coreutils",
            "coreutils",
            "coreutils",
            "sys-apps/coreutils",
            "coreutils",
        ],
        required: &[
            "basename",
            "cat",
            "chmod",
            "chown",
            "cp",
            "cut",
            "date",
            "dirname",
            "echo",
            "env",
            "expr",
            "false",
            "head",
            "id",
            "install",
            "ln",
            "ls",
            "mkdir",
            "mktemp",
            "mv",
            "od",
            "printf",
            "pwd",
            "readlink",
            "rm",
            "rmdir",
            "sha256sum",
            "sleep",
            "sort",
            "tail",
            "tee",
            "test",
            "touch",
            "tr",
            "true",
            "uname",
            "uniq",
            "wc",
        ],
        optional: &[
            "[",
            "arch",
            "b2sum",
            "base32",
            "base64",
            "basenc",
            "chgrp",
            "chroot",
            "cksum",
            "comm",
            "csplit",
            "dd",
            "df",
            "dir",
            "dircolors",
            "du",
            "expand",
            "factor",
            "fmt",
            "fold",
            "groups",
            "hostid",
            "join",
            "link",
            "logname",
            "md5sum",
            "mkfifo",
            "mknod",
            "nice",
            "nl",
            "nohup",
            "nproc",
            "numfmt",
            "paste",
            "pathchk",
            "pinky",
            "pr",
            "printenv",
            "ptx",
            "realpath",
            "seq",
            "sha1sum",
            "sha224sum",
            "sha384sum",
            "sha512sum",
            "shred",
            "shuf",
            "split",
            "stat",
            "stdbuf",
            "stty",
            "sum",
            "sync",
            "tac",
            "timeout",
            "truncate",
            "tsort",
            "tty",
            "unexpand",
            "unlink",
            "users",
            "vdir",
            "who",
            "whoami",
            "yes",
        ],
    },
    Group {
        packages: ["sed", "sed", "sed", "sys-apps/sed", "sed"],
        required: &["sed"],
        optional: &[],
    },
    Group {
        packages: ["grep", "grep", "grep", "sys-apps/grep", "grep"],
        required: &["grep"],
        optional: &["egrep", "fgrep"],
    },
    Group {
        packages: ["mawk", "gawk", "gawk", "sys-apps/gawk", "gawk"],
        required: &["awk"],
        optional: &["mawk", "gawk"],
    },
    Group {
        packages: [
            "findutils",
            "findutils",
            "findutils",
            "sys-apps/findutils",
            "findutils",
        ],
        required: &["find", "xargs"],
        optional: &[],
    },
    Group {
        packages: ["tar", "tar", "tar", "app-arch/tar", "tar"],
        required: &["tar"],
        optional: &[],
    },
    Group {
        packages: ["gzip", "gzip", "gzip", "app-arch/gzip", "gzip"],
        required: &["gzip"],
        optional: &["gunzip", "zcat"],
    },
    Group {
        packages: ["xz-utils", "xz", "xz", "app-arch/xz-utils", "xz"],
        required: &["xz"],
        optional: &["unxz", "xzcat"],
    },
    Group {
        packages: ["make", "make", "make", "dev-build/make", "make"],
        required: &["make"],
        optional: &["gmake"],
    },
    Group {
        packages: [
            "gcc libc6-dev",
            "gcc",
            "gcc",
            "sys-devel/gcc",
            "gcc musl-dev",
        ],
        required: &["gcc"],
        optional: &["cc", "cpp", "c99", "gcc-ar", "gcc-nm", "gcc-ranlib"],
    },
    Group {
        packages: [
            "binutils",
            "binutils",
            "binutils",
            "sys-devel/binutils",
            "binutils",
        ],
        required: &["ar", "as", "ld", "nm", "objcopy", "ranlib", "strip"],
        optional: &["ld.bfd", "objdump", "readelf", "size", "strings"],
    },
    Group {
        packages: [
            "diffutils",
            "diffutils",
            "diffutils",
            "sys-apps/diffutils",
            "diffutils",
        ],
        required: &[],
        optional: &["cmp", "diff"],
    },
    Group {
        packages: ["patch", "patch", "patch", "sys-devel/patch", "patch"],
        required: &[],
        optional: &["patch"],
    },
    Group {
        packages: ["bzip2", "bzip2", "bzip2", "app-arch/bzip2", "bzip2"],
        required: &[],
        optional: &["bzip2", "bunzip2"],
    },
];

/// Programs that stand in for a compiler and need a cache or other machines.
const WRAPPERS: &[&str] = &["ccache", "sccache", "distcc", "icecc", "colorgcc"];

/// The programs of this machine.
#[derive(Debug)]
pub struct Tools {
    /// All of them, sorted.
    pub paths: Vec<PathBuf>,
    /// The shell.
    pub sh: PathBuf,
    /// The compiler.
    pub gcc: PathBuf,
    /// `env`, which scripts name by its path.
    pub env: PathBuf,
}

/// The packages that bring `gcc`, for parts of it that are missing.
pub fn compiler_packages() -> [&'static str; 5] {
    [
        "gcc libc6-dev",
        "gcc glibc-devel",
        "gcc",
        "sys-devel/gcc",
        "gcc musl-dev",
    ]
}

/// Looks for all programs; every one that is missing is in the error.
pub fn find(
    options: &SurveyOptions,
    events: &mut dyn FnMut(SeedEvent),
) -> Result<Tools, SeedError> {
    let mut tools = Tools {
        paths: Vec::new(),
        sh: PathBuf::new(),
        gcc: PathBuf::new(),
        env: PathBuf::new(),
    };
    let mut missing = Vec::new();
    for group in GROUPS {
        for name in group.required {
            let Some(path) = find_program(&options.programs, name) else {
                missing.push(MissingTool {
                    name: (*name).to_owned(),
                    packages: group.packages,
                });
                continue;
            };
            events(SeedEvent::Tool {
                name: (*name).to_owned(),
                path: path.clone(),
            });
            match *name {
                "sh" => tools.sh.clone_from(&path),
                "gcc" => tools.gcc.clone_from(&path),
                "env" => tools.env.clone_from(&path),
                _ => {}
            }
            tools.paths.push(path);
        }
        for name in group.optional {
            tools.paths.extend(find_program(&options.programs, name));
        }
    }
    for name in &options.extra {
        match find_program(&options.programs, name) {
            Some(path) => tools.paths.push(path),
            None => missing.push(MissingTool {
                name: name.clone(),
                packages: ["(asked for)"; 5],
            }),
        }
    }
    if missing.is_empty() {
        tools.paths.sort();
        Ok(tools)
    } else {
        Err(SeedError::MissingTools { tools: missing })
    }
}

/// The first program `name` in the directories that is not a wrapper around another.
fn find_program(dirs: &[PathBuf], name: &str) -> Option<PathBuf> {
    dirs.iter().map(|dir| dir.join(name)).find(|path| {
        let runs =
            fs::metadata(path).is_ok_and(|m| m.is_file() && m.permissions().mode() & 0o111 != 0);
        let real = fs::canonicalize(path).ok();
        let wraps = real
            .as_deref()
            .and_then(Path::file_name)
            .is_some_and(|real| WRAPPERS.iter().any(|w| real == *w));
        runs && !wraps
    })
}

/// The programs that the first line of a script asks for: its interpreter, and for `env` also the one
/// that it looks for.
pub fn interpreters(words: &[String], programs: &[PathBuf]) -> Vec<PathBuf> {
    let Some(first) = words.first() else {
        return Vec::new();
    };
    let first = PathBuf::from(first);
    let mut found = Vec::new();
    if first.file_name().is_some_and(|n| n == "env") {
        let inner = words[1..]
            .iter()
            .find(|w| !w.starts_with('-') && !w.contains('='));
        if let Some(name) = inner {
            found.push(find_program(programs, name).unwrap_or_else(|| PathBuf::from(name)));
        }
    }
    found.push(first);
    found
}
