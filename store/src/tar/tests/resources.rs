//! Resources: an archive costs little to refuse or to read, whatever it says.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::{Archive, gnu};
use crate::tar::import::read_into;
use crate::tar::{Checked, TarOptions, check};

#[test]
fn a_promise_of_sixty_gigabytes_costs_nothing_when_they_are_missing() {
    let archive = Archive::new()
        .header(b"huge", b'0', 0, |b| {
            gnu(b);
            b[124..136].copy_from_slice(b"700000000000");
        })
        .cut();
    let start = Instant::now();
    let result = read_into(
        &archive[..],
        &mut Checked::default(),
        &TarOptions::default(),
    );
    let message = result.unwrap_err().to_string();
    assert!(
        message.contains("in the middle of the content of \"huge\""),
        "{message}"
    );
    assert!(start.elapsed() < Duration::from_secs(1));
}

#[test]
fn endless_zeros_behind_the_end_are_bounded() {
    let archive = Archive::new().file("a", b"x").cut();
    let mut options = TarOptions::default();
    options.limits.total_bytes = 1 << 20;
    let endless = io::BufReader::new(archive.chain(io::repeat(0)));
    assert!(read_into(endless, &mut Checked::default(), &options).is_err());
}

#[test]
fn many_entries_are_read_in_linear_time() {
    let mut archive = Archive::new();
    for n in 0..20_000 {
        archive = archive.file(&format!("dir{}/deep/er/file{n}", n % 100), b"");
    }
    let archive = archive.end();
    let start = Instant::now();
    read_into(
        &archive[..],
        &mut Checked::default(),
        &TarOptions::default(),
    )
    .unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}

#[test]
fn a_reader_that_fails_is_not_the_archives_fault() {
    struct Fails;
    impl Read for Fails {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::from_raw_os_error(5))
        }
    }
    let archive = Archive::new().file("a", &[1; 5000]).cut();
    let error = check(archive[..2000].chain(Fails), &TarOptions::default()).unwrap_err();
    assert_eq!(error.kind(), crate::ErrorKind::Machine);
    assert_eq!(
        error.to_string(),
        "cannot read the archive after 2000 bytes of it"
    );
}
