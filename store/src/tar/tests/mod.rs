//! Archives made byte by byte, and trees held in memory.

mod dialects;
mod export;
mod hostile;
mod memory;
mod resources;
mod tools;

use super::header::BLOCK;
use super::pax::write_record;

/// Puts an archive together block by block, right or wrong as asked.
#[derive(Clone, Default)]
pub struct Archive {
    bytes: Vec<u8>,
}

impl Archive {
    pub fn new() -> Archive {
        Archive::default()
    }

    /// A header alone, which `change` may alter before its checksum is set.
    pub fn header(
        mut self,
        name: &[u8],
        flag: u8,
        size: u64,
        change: impl FnOnce(&mut [u8; BLOCK]),
    ) -> Archive {
        let mut block = [0u8; BLOCK];
        block[..name.len()].copy_from_slice(name);
        block[100..108].copy_from_slice(b"0000644\0");
        block[108..116].copy_from_slice(b"0000000\0");
        block[116..124].copy_from_slice(b"0000000\0");
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
        block[136..148].copy_from_slice(b"00000000144\0");
        block[156] = flag;
        block[257..265].copy_from_slice(b"ustar\x0000");
        change(&mut block);
        seal(&mut block);
        self.bytes.extend(block);
        self
    }

    /// Content and what fills its last block.
    pub fn data(mut self, data: &[u8]) -> Archive {
        self.bytes.extend(data);
        let rest = self.bytes.len().next_multiple_of(BLOCK);
        self.bytes.resize(rest, 0);
        self
    }

    /// Anything at all.
    pub fn raw(mut self, data: &[u8]) -> Archive {
        self.bytes.extend(data);
        self
    }

    pub fn file(self, name: &str, data: &[u8]) -> Archive {
        self.header(name.as_bytes(), b'0', data.len() as u64, |_| {})
            .data(data)
    }

    pub fn dir(self, name: &str) -> Archive {
        self.header(name.as_bytes(), b'5', 0, |b| {
            b[100..108].copy_from_slice(b"0000755\0")
        })
    }

    pub fn link(self, flag: u8, name: &str, target: &str) -> Archive {
        self.header(name.as_bytes(), flag, 0, |b| {
            b[157..157 + target.len()].copy_from_slice(target.as_bytes());
        })
    }

    pub fn device(self, flag: u8, name: &str, major: u32, minor: u32) -> Archive {
        self.header(name.as_bytes(), flag, 0, |b| {
            b[329..337].copy_from_slice(format!("{major:07o}\0").as_bytes());
            b[337..345].copy_from_slice(format!("{minor:07o}\0").as_bytes());
        })
    }

    /// An extended header of any type.
    pub fn extension(self, flag: u8, data: &[u8]) -> Archive {
        let name: &[u8] = match flag {
            b'L' | b'K' => b"././@LongLink",
            _ => b"PaxHeaders/x",
        };
        self.header(name, flag, data.len() as u64, |_| {})
            .data(data)
    }

    pub fn pax(self, records: &[(&str, &[u8])]) -> Archive {
        self.extension(b'x', &pax(records))
    }

    /// The archive with its end marker.
    pub fn end(self) -> Vec<u8> {
        self.raw(&[0; 2 * BLOCK]).bytes
    }

    /// The archive without its end marker.
    pub fn cut(self) -> Vec<u8> {
        self.bytes
    }
}

/// PAX records, each with a right length.
pub fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut data = Vec::new();
    for (key, value) in records {
        write_record(&mut data, key.as_bytes(), value);
    }
    data
}

/// Sets the checksum.
pub fn seal(block: &mut [u8; BLOCK]) {
    block[148..156].fill(b' ');
    let sum: u32 = block.iter().map(|&b| u32::from(b)).sum();
    block[148..155].copy_from_slice(format!("{sum:06o}\0").as_bytes());
}

/// Makes a header one of old GNU tar.
pub fn gnu(block: &mut [u8; BLOCK]) {
    block[257..265].copy_from_slice(b"ustar  \0");
}
