//! The tasks of a port, in their order, and what each of them needs to see.

use std::fmt;

/// Where a build finds what was fetched.
pub const FETCHED: &str = "/mstore/fetch";
/// Where it finds the folder `files` of the port.
pub const FILES: &str = "/mstore/port/files";
/// Where it finds the folder `patches` of the port.
pub const PATCHES: &str = "/mstore/port/patches";
/// Where the package step puts what it cut: a folder a subpackage, with the folders of [`Part`].
pub const PACKAGES: &str = "/port/packages";

/// A task of a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Task {
    /// A distfile is fetched.
    Fetch,
    /// The base and the layers of what the build needs become one root.
    Layers,
    /// What has to be run where something is installed is run in that root.
    Depends,
    /// The source is unpacked.
    Prepare,
    /// The patches of the port are applied.
    Patch,
    /// The source is configured.
    Configure,
    /// The source is built.
    Build,
    /// What was built is installed into a folder.
    Fake,
    /// That folder is cut into subpackages.
    Package,
    /// The base, the port and what it needs become one root.
    TestLayers,
    /// What has to be run where something is installed is run in that root.
    TestDepends,
    /// The port is tested in that root.
    Test,
}

impl Task {
    /// The tasks that are steps of a specification, `steps/port/NAME`, in their order.
    pub const STEPS: [Task; 7] = [
        Task::Prepare,
        Task::Patch,
        Task::Configure,
        Task::Build,
        Task::Fake,
        Task::Package,
        Task::Test,
    ];

    /// What the step is called.
    pub fn name(self) -> &'static str {
        match self {
            Task::Fetch => "fetch",
            Task::Layers => "layers",
            Task::Depends => "depends",
            Task::Prepare => "prepare",
            Task::Patch => "patch",
            Task::Configure => "configure",
            Task::Build => "build",
            Task::Fake => "fake",
            Task::Package => "package",
            Task::TestLayers => "test-layers",
            Task::TestDepends => "test-depends",
            Task::Test => "test",
        }
    }

    /// The word of dpb's pages for it.
    pub fn dpb(self) -> &'static str {
        match self {
            Task::Layers => "depends",
            Task::TestLayers | Task::TestDepends => "test",
            other => other.name(),
        }
    }
}

impl fmt::Display for Task {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A part of a subpackage.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Part {
    /// Its files.
    Image,
    /// What builds see of what is known of it.
    View,
}

impl Part {
    /// What it is called.
    pub fn name(self) -> &'static str {
        match self {
            Part::Image => "image",
            Part::View => "view",
        }
    }

    /// The folder of it, in the tree that the package step leaves.
    pub fn folder(self, subpackage: &str) -> String {
        format!("{PACKAGES}/{subpackage}/{}", self.name())
    }
}

/// The script that makes a composed root ready: libraries are found, and what is to be run where something is
/// installed was run, in the order of `hooks`, which are pkgpaths.
pub(super) fn depends(prefix: &str, hooks: &[String]) -> String {
    let mut text = format!(
        "if command -v ldconfig > /dev/null; then\n    ldconfig -X {prefix}/lib 2> /dev/null || ldconfig -X\n    \
         rm -f /var/cache/ldconfig/aux-cache\nfi\n"
    );
    for pkgpath in hooks {
        text.push_str(&format!("'/var/db/ports/{pkgpath}/install'\n"));
    }
    text
}
