//! Packages: stages made of packages of Portage, each a derivation of its own, which Portage chose and builds.
//!
//! - [`graph`]: the package graph, which a resolve step writes and which is all that is known of packages.
//!
//! What a package is built of is said by the graph and by nothing else.

pub mod graph;

pub use graph::PackageGraph;
