//! Any text may be a lock, a build.log, a size.log or the name of a port: it is read or passed over. What was read of a
//! build is the same when it was written and read again.
#![no_main]

use std::collections::HashMap;

use libfuzzer_sys::fuzz_target;
use mstore::dpb::build_log::{BuildHistory, BuildLine};
use mstore::dpb::display::{Shown, cut};
use mstore::dpb::lines::{read_dependencies, read_size, size};
use mstore::dpb::lock::LockFile;
use mstore::dpb::PkgPath;

fuzz_target!(|bytes: &[u8]| {
    let text = String::from_utf8_lossy(bytes);
    let lock = LockFile::parse(&text);
    let ends = ["end=", "status=", "error="];
    let says = text.lines().any(|line| ends.iter().any(|end| line.starts_with(end)));
    assert_eq!(lock.has_ended(), says);
    let factors = HashMap::from([("yak".to_owned(), 2.0), ("ox".to_owned(), 0.5)]);
    let history = BuildHistory::parse(&text, &factors);
    assert!(history.len() + history.malformed <= text.lines().count());
    for line in text.lines() {
        if let Some(read) = BuildLine::parse(line) {
            assert!(read.seconds.is_finite() && read.seconds >= 0.0);
            let again = BuildLine::parse(&read.line()).expect("what was written can be read");
            assert_eq!((again.path, again.host, again.failed), (read.path, read.host, read.failed));
            assert_eq!(again.tasks.len(), read.tasks.len());
        }
        if let Some((path, kib)) = read_size(line) {
            assert_eq!(read_size(&size(path, kib, None)), Some((path, kib)));
        }
        if let Ok(path) = line.parse::<PkgPath>() {
            assert!(!path.lock().contains('/') && !path.base_lock().starts_with('.'));
        }
        let shown = Shown {
            path: line.to_owned(),
            ..Shown::default()
        };
        assert!(!cut(&shown.line(), 80).chars().any(char::is_control));
    }
    read_dependencies(&text);
});
