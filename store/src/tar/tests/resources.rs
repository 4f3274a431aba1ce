//! What an archive may cost to refuse or to read: little, whatever it says.

use std::io::{self, Read};
use std::time::{Duration, Instant};

use super::{Archive, gnu};
use crate::manifest::Meta;
use crate::tar::TarOptions;
use crate::tar::import::{Sink, read_into};
use crate::{Node, StoreError};

/// Takes everything and keeps nothing.
#[derive(Default)]
struct Void {
    bytes: u64,
}

impl Sink for Void {
    fn dir(&mut self, _: &[u8], _: Meta) -> Result<(), StoreError> {
        Ok(())
    }

    fn file(&mut self, _: &[u8], _: Meta, content: &mut dyn Read) -> Result<(), StoreError> {
        self.bytes +=
            io::copy(content, &mut io::sink()).map_err(|e| StoreError::io("read", "content", e))?;
        Ok(())
    }

    fn symlink(&mut self, _: &[u8], _: Meta, _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn node(&mut self, _: &[u8], _: Meta, _: Node) -> Result<(), StoreError> {
        Ok(())
    }

    fn hard_link(&mut self, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }

    fn copy(&mut self, _: &[u8], _: &[u8]) -> Result<(), StoreError> {
        Ok(())
    }
}

#[test]
fn a_promise_of_sixty_gigabytes_costs_nothing_when_they_are_missing() {
    let archive = Archive::new()
        .header(b"huge", b'0', 0, |b| {
            gnu(b);
            b[124..136].copy_from_slice(b"700000000000");
        })
        .cut();
    let start = Instant::now();
    let result = read_into(&archive[..], &mut Void::default(), &TarOptions::default());
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
    assert!(read_into(endless, &mut Void::default(), &options).is_err());
}

#[test]
fn many_entries_are_read_in_linear_time() {
    let mut archive = Archive::new();
    for n in 0..20_000 {
        archive = archive.file(&format!("dir{}/deep/er/file{n}", n % 100), b"");
    }
    let archive = archive.end();
    let start = Instant::now();
    read_into(&archive[..], &mut Void::default(), &TarOptions::default()).unwrap();
    assert!(start.elapsed() < Duration::from_secs(5));
}
