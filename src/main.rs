//! The `mstore` command.

fn main() {
    mstore::build::hidden_main();
}
