//! The `mstore` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    mstore::build::hidden_main();
    mstore::cli::main()
}
