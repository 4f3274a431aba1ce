//! Copies through the real binary: folders, ssh, caches on web servers, signatures, substitution.

#[path = "../cli/environment.rs"]
mod environment;
mod folders;
mod ssh;
mod support;
