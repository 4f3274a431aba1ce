//! A farm of four hosts with faults at random, see `tests/farm/run.py`.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "takes many minutes"]
fn ten_minutes_of_everything_at_once() {
    if !rustix::process::geteuid().is_root() {
        println!("skipped: network namespaces are made by root");
        return;
    }
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new("python3")
        .arg(top.join("tests/farm/run.py"))
        .args(["--storm", "600"])
        .env("MSTORE", env!("CARGO_BIN_EXE_mstore"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(top)
        .status();
    assert!(status.expect("python3").success());
}
