//! Headers that a seed takes: those of the compiler, the C library and the kernel.
//!
//! `/usr/include` of a machine that people work on is full of other things, which would make the
//! seed large and change it whenever a library is installed. So the names are listed.

use std::fs;
use std::path::{Path, PathBuf};

use super::SeedError;
use super::compiler::Compiler;

/// A header or a directory of headers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Header {
    /// A directory with all that is in it.
    All(PathBuf),
    /// One file.
    One(PathBuf),
}

/// Directories of glibc, musl and the kernel.
const DIRS: &[&str] = &[
    "arpa",
    "asm",
    "asm-generic",
    "bits",
    "drm",
    "finclude",
    "gnu",
    "linux",
    "misc",
    "mtd",
    "net",
    "netash",
    "netatalk",
    "netax25",
    "neteconet",
    "netinet",
    "netipx",
    "netiucv",
    "netpacket",
    "netrom",
    "netrose",
    "nfs",
    "protocols",
    "rdma",
    "rpc",
    "rpcsvc",
    "scsi",
    "sound",
    "sys",
    "video",
    "xen",
];

/// Files of glibc and musl.
const FILES: &[&str] = &[
    "a.out.h",
    "aio.h",
    "aliases.h",
    "alloca.h",
    "ar.h",
    "argp.h",
    "argz.h",
    "assert.h",
    "byteswap.h",
    "complex.h",
    "cpio.h",
    "crypt.h",
    "ctype.h",
    "dirent.h",
    "dlfcn.h",
    "elf.h",
    "endian.h",
    "envz.h",
    "err.h",
    "errno.h",
    "error.h",
    "execinfo.h",
    "fcntl.h",
    "features-time64.h",
    "features.h",
    "fenv.h",
    "float.h",
    "fmtmsg.h",
    "fnmatch.h",
    "fpu_control.h",
    "fstab.h",
    "fts.h",
    "ftw.h",
    "gconv.h",
    "getopt.h",
    "glob.h",
    "gnu-versions.h",
    "grp.h",
    "gshadow.h",
    "iconv.h",
    "ieee754.h",
    "ifaddrs.h",
    "inttypes.h",
    "iso646.h",
    "langinfo.h",
    "lastlog.h",
    "libgen.h",
    "libintl.h",
    "limits.h",
    "link.h",
    "locale.h",
    "malloc.h",
    "math.h",
    "mcheck.h",
    "memory.h",
    "mntent.h",
    "monetary.h",
    "mqueue.h",
    "netdb.h",
    "nl_types.h",
    "nss.h",
    "obstack.h",
    "paths.h",
    "poll.h",
    "printf.h",
    "proc_service.h",
    "pthread.h",
    "pty.h",
    "pwd.h",
    "re_comp.h",
    "regex.h",
    "regexp.h",
    "resolv.h",
    "sched.h",
    "search.h",
    "semaphore.h",
    "setjmp.h",
    "sgtty.h",
    "shadow.h",
    "signal.h",
    "spawn.h",
    "stab.h",
    "stdalign.h",
    "stdarg.h",
    "stdbool.h",
    "stdc-predef.h",
    "stddef.h",
    "stdint.h",
    "stdio.h",
    "stdio_ext.h",
    "stdlib.h",
    "stdnoreturn.h",
    "string.h",
    "strings.h",
    "stropts.h",
    "syscall.h",
    "sysexits.h",
    "syslog.h",
    "tar.h",
    "termio.h",
    "termios.h",
    "tgmath.h",
    "thread_db.h",
    "threads.h",
    "time.h",
    "ttyent.h",
    "uchar.h",
    "ucontext.h",
    "ulimit.h",
    "unistd.h",
    "utime.h",
    "utmp.h",
    "utmpx.h",
    "values.h",
    "wait.h",
    "wchar.h",
    "wctype.h",
    "wordexp.h",
];

/// The headers of the compiler's search path that a seed takes.
pub fn find(gcc: &Compiler) -> Result<Vec<Header>, SeedError> {
    let mut headers = Vec::new();
    for dir in &gcc.include_dirs {
        if gcc.owns(dir) {
            headers.push(Header::All(dir.clone()));
        } else if !dir.starts_with("/usr/local") {
            select(dir, &mut headers);
        }
    }
    Ok(headers)
}

fn select(dir: &Path, headers: &mut Vec<Header>) {
    for name in DIRS {
        let path = dir.join(name);
        if fs::metadata(&path).is_ok_and(|m| m.is_dir()) {
            headers.push(Header::All(path));
        }
    }
    for name in FILES {
        let path = dir.join(name);
        if fs::metadata(&path).is_ok_and(|m| m.is_file()) {
            headers.push(Header::One(path));
        }
    }
}
