//! Remedies: what to do about a machine that refuses a sandbox.

use std::io;

use rustix::io::Errno;

use crate::build::sandbox::SetupStage;
use crate::build::userns;

/// Tells what to do about a stage of setting up a sandbox that failed, where that is known.
pub(crate) fn hint(stage: SetupStage, errno: i32) -> Option<String> {
    let errno = Errno::from_raw_os_error(errno);
    if errno == Errno::NOSPC && stage != SetupStage::Namespaces {
        return Some("the file system is full".into());
    }
    let text = match (stage, errno) {
        (SetupStage::Namespaces, _) => {
            return Some(
                userns::refusal(&io::Error::from_raw_os_error(errno.raw_os_error())).to_string(),
            );
        }
        (SetupStage::Identities, Errno::PERM) => {
            "in a container, root must keep the capabilities SETUID, SETGID and SETFCAP"
        }
        (SetupStage::Propagation, Errno::PERM | Errno::ACCESS) => {
            return Some(
                match userns::refusal(&io::Error::from_raw_os_error(errno.raw_os_error())) {
                    userns::UsernsError::AppArmor => userns::UsernsError::AppArmor.to_string(),
                    _ => "a security module takes all rights from user namespaces".into(),
                },
            );
        }
        (SetupStage::Overlay, Errno::NODEV) => {
            "this kernel has no overlayfs: as root, run `modprobe overlay`"
        }
        (SetupStage::Overlay, Errno::PERM) => {
            "overlayfs in user namespaces needs Linux 5.11 or later"
        }
        (SetupStage::Overlay, Errno::INVAL) => {
            "the store's file system must support user.* extended attributes (not NFS or another \
             overlay; tmpfs only since Linux 6.6), and Linux must be 5.11 or later"
        }
        (SetupStage::Layer, Errno::ACCESS) => {
            "every directory above the store must be accessible to this user"
        }
        (SetupStage::Proc, Errno::PERM) => {
            "parts of /proc are covered, as in most containers; with Docker, add \
             `--security-opt systempaths=unconfined`"
        }
        (SetupStage::Upper | SetupStage::Layer, Errno::INVAL | Errno::OVERFLOW) => {
            "files of other owners need subordinate ids: add a line for this user to /etc/subuid \
             and /etc/subgid, and install newuidmap"
        }
        (SetupStage::PivotRoot, Errno::INVAL) => {
            "the machine's root must not be an initial ramdisk"
        }
        (SetupStage::Seccomp, Errno::NOSYS | Errno::INVAL) => {
            "builds are filtered on x86_64, aarch64 and riscv64 kernels with CONFIG_SECCOMP_FILTER"
        }
        (_, Errno::NOSYS) => "Linux 5.12 or later is needed",
        _ => return None,
    };
    Some(text.into())
}
