//! Any text may be `~/.buildbot`: it is run within bounds or refused with a line of it, whatever `map_build` is
//! asked. What can be written as Metro text is written.
#![no_main]

use std::path::Path;

use libfuzzer_sys::fuzz_target;
use mstore::repo::config::{Buildbot, BuildbotError, Last, to_metro};
use mstore::repo::name::{Name, Place};

fuzz_target!(|text: &str| {
    let file = Path::new("buildbot");
    // Python has a line more behind each of these.
    let lines = text.split(['\n', '\r']).count() + 1;
    let check = |error: BuildbotError| match error {
        BuildbotError::At { line, .. } => assert!((1..=lines).contains(&line), "line {line}"),
        other => panic!("{other}"),
    };
    // Much of what is random is no configuration: with this much before it, more is.
    let source = match text.strip_prefix('!') {
        Some(rest) => format!("builds = arches = subarches = ('a', 'b'); {rest}"),
        None => text.to_owned(),
    };
    match Buildbot::parse(file, &source) {
        Err(error) => check(error),
        Ok(mut buildbot) => {
            let name = || Name::new("a").expect("a name");
            let place = Place {
                build: name(),
                arch: name(),
                subarch: name(),
            };
            for (full, date) in [
                (true, Some("2015-02-20")),
                (false, Some("2015-2-9")),
                (false, None),
            ] {
                let full_date = date.map(str::to_owned);
                if let Err(error) = buildbot.mode(&place, &Last { full, full_date }) {
                    check(error);
                }
            }
            assert!(buildbot.take_printed().len() <= 4000);
            let _ = to_metro(&mut buildbot);
        }
    }
});
