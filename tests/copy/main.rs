//! Copies through the real binary: folders, ssh, caches on web servers, signatures, substitution.

mod caches;
#[path = "../cli/environment.rs"]
mod environment;
mod folders;
mod killed;
mod smaller;
mod ssh;
mod sshd;
mod substitution;
mod support;
mod two_faces;
