//! Packages: stages made of packages of Portage, each a derivation of its own, which Portage chose and builds.
//!
//! - [`graph`]: the package graph, which a resolve step writes and which is all that is known of packages; [`read`]: how
//!   it is read, without being believed.
//! - [`build`]: a package as a derivation, with [`view`] (what it sees of trees of ebuilds), [`frozen`] (its settings)
//!   and [`normalise`] (what two builds leave differently).
//! - [`base`]: the root that packages are built in, without what they replace.
//! - [`compose`]: roots made of packages, to build in and as stages.
//! - [`closed`]: whether a package is linked only with what it says that it needs, by [`linked`] and [`elf`].
//! - [`binary`]: packages in the form in which Portage installs what was built elsewhere.
//! - [`expand`]: from a graph to derivations; [`grow`]: packages as nodes of a plan; [`explain`]: why they are built
//!   again.
//!
//! - [`compare`]: the packages of two plans side by side; [`version`]: the order of their versions.
//!
//! What a package is built of is said by the graph and by nothing else.

pub mod base;
pub mod binary;
pub mod build;
pub mod closed;
pub mod compare;
pub mod compose;
mod elf;
pub mod expand;
pub mod explain;
pub mod frozen;
pub mod graph;
pub mod grow;
pub mod linked;
pub mod normalise;
pub mod read;
pub mod snapshot;
pub mod version;
pub mod view;

#[cfg(test)]
pub(crate) mod samples;

pub use graph::PackageGraph;
