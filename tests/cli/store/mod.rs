//! `mstore store`: a file a subcommand.

mod look;
mod repack;
mod verify;
