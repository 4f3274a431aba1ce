//! What the files of control of a mirror say that does not have them yet.
//!
//! Specifications of Metro read from `BUILD/ARCH/SUBARCH/.control` of the mirror what a build starts from. Somebody had to
//! write these by hand before the first build. Without a mirror, or before that, a build is local and begins with a
//! stage3.

use std::path::Path;

/// `target/version` as long as there is no snapshot to take a date from.
pub(super) const NO_VERSION: &str = "1980-01-01";

/// What stands for a file of control that is not there. `None` for all other files.
pub(super) fn usual(path: &Path) -> Option<&'static str> {
    let parts: Vec<&str> = path
        .iter()
        .rev()
        .take(4)
        .filter_map(|part| part.to_str())
        .collect();
    match parts.as_slice() {
        ["build", "strategy", ".control", ..] => Some("local"),
        ["seed", "strategy", ".control", ..] => Some("stage3"),
        // Never built. The lock file, not this, says what a build starts from.
        [_, "version", ".control", ..] | [_, _, "version", ".control"] => Some(NO_VERSION),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_of_control_alone_have_a_usual_content() {
        for (path, want) in [
            ("/m/b/a/s/.control/strategy/build", Some("local")),
            ("/m/b/a/s/.control/strategy/seed", Some("stage3")),
            ("/m/b/a/s/.control/version/stage3", Some(NO_VERSION)),
            ("/m/b/a/s/.control/version/stage4/lxd", Some(NO_VERSION)),
            ("/m/b/a/s/.control/remote/build", None),
            ("/m/b/a/s/control/strategy/build", None),
            ("/strategy/build", None),
            ("/", None),
        ] {
            assert_eq!(usual(Path::new(path)), want, "{path}");
        }
    }
}
