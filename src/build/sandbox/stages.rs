//! Stages of setting up a sandbox, by name: the errors before a script runs.

use std::fmt;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

macro_rules! stages {
    ($($(#[$doc:meta])* $name:ident = $text:literal,)*) => {
        /// A stage of setting up a sandbox.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[non_exhaustive]
        pub enum SetupStage {
            $($(#[$doc])* $name,)*
        }

        impl SetupStage {
            const ALL: &[SetupStage] = &[$(SetupStage::$name),*];
        }

        impl fmt::Display for SetupStage {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(match self { $(SetupStage::$name => $text),* })
            }
        }
    };
}

stages! {
    /// The helper and its caller did not understand each other.
    Protocol = "talking to the sandbox helper",
    /// `unshare`.
    Namespaces = "creating namespaces",
    /// Writing `uid_map` and `gid_map`.
    Identities = "mapping user and group ids",
    /// `fork`.
    Fork = "starting a process in the sandbox",
    /// Cutting the mount namespace off from the machine's.
    Propagation = "detaching from the machine's mounts",
    /// The working directories beside the upper layer.
    Scratch = "preparing the working directory",
    /// A lower layer.
    Layer = "opening a layer of the root",
    /// The upper layer.
    Upper = "preparing the layer that takes the changes",
    /// The overlay mount.
    Overlay = "mounting the root (overlayfs)",
    /// A directory to mount on.
    MountPoint = "finding a mount point in the root",
    /// `/dev`.
    Dev = "making /dev",
    /// `/proc`.
    Proc = "mounting /proc",
    /// Another private file system.
    Tmpfs = "mounting a private file system",
    /// An input.
    Bind = "showing an input",
    /// `/mstore/step`.
    Script = "writing the step's script",
    /// `/mstore/jobs`.
    Jobserver = "making the jobserver",
    /// `pivot_root`.
    PivotRoot = "entering the root",
    /// The loopback interface.
    Network = "starting the loopback network",
    /// The host name.
    Hostname = "setting the host name",
    /// Resource limits.
    Limits = "setting resource limits",
    /// Capabilities.
    Capabilities = "dropping capabilities",
    /// The system call filter.
    Seccomp = "installing the system call filter",
    /// The terminal of a shell.
    Terminal = "making a terminal",
    /// The first process of the sandbox.
    Init = "watching over the sandbox",
}

impl SetupStage {
    pub(crate) fn code(self) -> u8 {
        self as u8
    }

    pub(crate) fn from_code(code: u8) -> SetupStage {
        *SetupStage::ALL
            .get(usize::from(code))
            .unwrap_or(&SetupStage::Protocol)
    }
}

/// A stage that failed, inside the helper.
#[derive(Debug)]
pub(crate) struct Trouble {
    pub stage: SetupStage,
    pub path: Option<PathBuf>,
    pub errno: i32,
}

/// Names the stage (and the path) of an error.
pub(crate) trait During<T> {
    fn during(self, stage: SetupStage) -> Result<T, Trouble>;
    fn at(self, stage: SetupStage, path: &Path) -> Result<T, Trouble>;
}

/// Errors that come down to an error number.
pub(crate) trait ErrorNumber {
    fn number(&self) -> i32;
}

impl ErrorNumber for Errno {
    fn number(&self) -> i32 {
        self.raw_os_error()
    }
}

impl ErrorNumber for std::io::Error {
    fn number(&self) -> i32 {
        // Errors of the library's own making (malformed data) have no number.
        self.raw_os_error().unwrap_or(Errno::PROTO.raw_os_error())
    }
}

impl<T, E: ErrorNumber> During<T> for Result<T, E> {
    fn during(self, stage: SetupStage) -> Result<T, Trouble> {
        self.map_err(|e| Trouble {
            stage,
            path: None,
            errno: e.number(),
        })
    }

    fn at(self, stage: SetupStage, path: &Path) -> Result<T, Trouble> {
        self.map_err(|e| Trouble {
            stage,
            path: Some(path.to_owned()),
            errno: e.number(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_come_back() {
        for &stage in SetupStage::ALL {
            assert_eq!(SetupStage::from_code(stage.code()), stage);
        }
        assert_eq!(SetupStage::from_code(255), SetupStage::Protocol);
    }
}
