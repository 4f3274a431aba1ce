//! The `mstore` command.

fn main() {}
