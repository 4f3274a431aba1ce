//! Ports: a tree of small specifications, `CATEGORY/NAME/port.spec`, each a program that is built by itself in a base
//! with layers of what it needs.
//!
//! - [`pkgpath`]: names of ports; [`tree`]: the folder and what holds for all; [`read`]: one port in one flavor;
//!   [`plist`]: packing lists;
//! - [`chain`]: a port as derivations, task by task; [`walk`]: from pkgpaths to chains, each as soon as it can be built;
//! - [`grow`]: ports as targets of a graph, beside those of a specification;
//! - [`counts`]: the most needed ports of the last walk, which are walked first.
//!
//! doc/ports.md is for who writes ports.

pub mod chain;
pub mod counts;
mod cut;
pub mod files;
pub mod grow;
pub mod pkgpath;
pub mod plist;
pub mod read;
pub mod scripts;
pub mod tree;
pub mod walk;

pub use chain::{Base, Chain, Job};
pub use counts::Counts;
pub use pkgpath::{PkgPath, PkgPathError, PortId, PortPath};
pub use read::Port;
pub use scripts::Task;
pub use tree::PortsTree;
pub use walk::{Ignored, Reason, Walk, Walked};
