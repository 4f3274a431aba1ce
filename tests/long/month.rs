//! Sixty days of a large mirror, see `tests/mirror/month.py`.

use std::path::Path;
use std::process::Command;

#[test]
#[ignore = "takes many minutes"]
fn sixty_days_of_forty_subarches_and_three_builds() {
    let top = Path::new(env!("CARGO_MANIFEST_DIR"));
    let status = Command::new("python3")
        .arg(top.join("tests/mirror/month.py"))
        .args(["--subarches", "40", "--builds", "3", "--days", "60"])
        .env("MSTORE", env!("CARGO_BIN_EXE_mstore"))
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .current_dir(top)
        .status();
    assert!(status.expect("python3").success());
}
