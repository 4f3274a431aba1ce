//! What Portage says in a log about ebuilds that failed: the list that goes into `errors.json`.

use std::io::{self, BufRead, Read};

use serde::Serialize;

/// Longest line that is looked at, in bytes.
const MAX_LINE: u64 = 64 << 10;
/// How many failures are listed at most.
const MAX_FAILURES: usize = 1000;

/// An ebuild that failed, and where.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct EbuildFailure {
    /// Category, name and version.
    pub ebuild: String,
    /// The phase, such as `compile`.
    pub phase: String,
}

/// Reads a log, and gives the failures in it, each once, in their order.
pub fn ebuild_failures(mut log: impl BufRead) -> io::Result<Vec<EbuildFailure>> {
    let mut found = Vec::new();
    let mut line = Vec::new();
    loop {
        line.clear();
        if (&mut log).take(MAX_LINE).read_until(b'\n', &mut line)? == 0 {
            return Ok(found);
        }
        if let Some(failure) = failure(&String::from_utf8_lossy(&line))
            && found.len() < MAX_FAILURES
            && !found.contains(&failure)
        {
            found.push(failure);
        }
    }
}

/// ` * ERROR: cat/name-1.0::repository failed (compile phase):`
fn failure(line: &str) -> Option<EbuildFailure> {
    let (_, rest) = line.split_once("ERROR: ")?;
    let (ebuild, rest) = rest.split_once(" failed (")?;
    let (phase, _) = rest.split_once(" phase)")?;
    let ebuild = ebuild.split("::").next()?;
    let fits = |text: &str, more: &str| {
        !text.is_empty()
            && text.len() <= 255
            && text
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
    };
    (ebuild.matches('/').count() == 1 && fits(ebuild, "/._-+") && fits(phase, "_")).then(|| {
        EbuildFailure {
            ebuild: ebuild.to_owned(),
            phase: phase.to_owned(),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_of_ebuilds_are_found() {
        let log = b" * ERROR: sys-libs/glibc-2.40-r3::gentoo failed (compile phase):\n\
            * ERROR: sys-libs/glibc-2.40-r3::gentoo failed (compile phase):\n\
            \x1b[31;01m*\x1b[0m ERROR: app-misc/a+b_c-1 failed (install phase):\r\n\
            ERROR: no ebuild failed (x phase)\nERROR: a/b/c failed (x phase)\n\xff\xfe\n\
            ERROR: a/b-1 failed (\n"
            .as_slice();
        let found: Vec<String> = ebuild_failures(log)
            .unwrap()
            .into_iter()
            .map(|f| format!("{} {}", f.ebuild, f.phase))
            .collect();
        assert_eq!(
            found,
            ["sys-libs/glibc-2.40-r3 compile", "app-misc/a+b_c-1 install"]
        );
    }
}
