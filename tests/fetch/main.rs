//! Fetching through the real binary: files over http with all that servers do, folders, git, Manifests.

#[path = "../cli/environment.rs"]
mod environment;
mod git;
mod manifests;
mod mistakes;
mod pins;
mod server;
mod tls;
mod web;
mod world;
