//! Maps of sparse files: where in the expanded file the stored bytes belong.

use super::error::EntryFault;
use super::number::{bad, decimal, digits};

/// The stored runs of a sparse file, in order, and the size with holes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SparseMap {
    /// Offset and length of each run; no run is empty.
    pub runs: Vec<(u64, u64)>,
    /// The size with holes.
    pub size: u64,
}

impl SparseMap {
    /// Checks that the runs are in order, lie inside the file, and together are what is stored.
    pub fn new(pairs: Vec<(u64, u64)>, size: u64, stored: u64) -> Result<SparseMap, EntryFault> {
        let mut end = 0u64;
        let mut sum = 0u64;
        for &(offset, length) in &pairs {
            let stop = offset.checked_add(length);
            let Some(stop) = stop.filter(|&stop| offset >= end && stop <= size) else {
                return Err(fault(
                    "its runs overlap, go backwards or pass the end of the file",
                ));
            };
            end = stop;
            // Cannot overflow: runs do not overlap and end below 2^64.
            sum += length;
        }
        if sum != stored {
            return Err(EntryFault::Sparse {
                why: format!("its runs need {sum} bytes but {stored} are stored"),
            });
        }
        let runs = pairs
            .into_iter()
            .filter(|(_, length)| *length > 0)
            .collect();
        Ok(SparseMap { runs, size })
    }

    /// The map of a file without holes.
    pub fn solid(size: u64) -> SparseMap {
        let runs = if size > 0 {
            vec![(0, size)]
        } else {
            Vec::new()
        };
        SparseMap { runs, size }
    }
}

/// The `GNU.sparse.*` records, of which there are three generations.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct SparseKeys {
    major: Option<u64>,
    minor: Option<u64>,
    /// The real name, where the header's name is a made-up one.
    pub name: Option<Vec<u8>>,
    size: Option<u64>,
    count: Option<u64>,
    pairs: Vec<(u64, u64)>,
    offset: Option<u64>,
    map: bool,
}

/// Where the map of a sparse file in PAX form is.
pub(crate) enum PaxSparse {
    /// The entry is not sparse.
    No,
    /// In the header (versions 0.0 and 0.1).
    Known { pairs: Vec<(u64, u64)>, size: u64 },
    /// Before the content (version 1.0).
    InContent { size: u64 },
}

impl SparseKeys {
    /// Whether no record concerned sparseness.
    pub fn is_empty(&self) -> bool {
        *self == SparseKeys::default()
    }

    /// Takes a record if it is one of these; only the two keys that may come many times give `true`.
    pub fn takes(&mut self, key: &[u8], value: &[u8], max: usize) -> Result<bool, EntryFault> {
        let number = || decimal(key, value);
        match key.strip_prefix(b"GNU.sparse.") {
            Some(b"major") => self.major = Some(number()?),
            Some(b"minor") => self.minor = Some(number()?),
            Some(b"numblocks") => self.count = Some(number()?),
            Some(b"name") => {
                if value.is_empty() || value.contains(&0) {
                    return Err(bad(key, value));
                }
                self.name = Some(value.to_vec());
            }
            Some(b"size" | b"realsize") => {
                let size = number()?;
                if self.size.is_some_and(|other| other != size) {
                    return Err(fault("it has two sizes"));
                }
                self.size = Some(size);
            }
            Some(b"offset") => {
                if self.offset.replace(number()?).is_some() {
                    return Err(fault("an offset has no length"));
                }
                return Ok(true);
            }
            Some(b"numbytes") => {
                let offset = self
                    .offset
                    .take()
                    .ok_or_else(|| fault("a length has no offset"))?;
                if self.pairs.len() >= max {
                    return Err(too_many(max));
                }
                self.pairs.push((offset, number()?));
                return Ok(true);
            }
            Some(b"map") => {
                self.map = true;
                let mut numbers = value.split(|&b| b == b',').map(digits);
                while let Some(offset) = numbers.next() {
                    let (Some(offset), Some(Some(length))) = (offset, numbers.next()) else {
                        return Err(bad(key, value));
                    };
                    if self.pairs.len() >= max {
                        return Err(too_many(max));
                    }
                    self.pairs.push((offset, length));
                }
            }
            _ => {}
        }
        Ok(false)
    }

    /// Decides which generation this is and whether it is complete.
    pub fn resolve(&self) -> Result<PaxSparse, EntryFault> {
        if self.is_empty() {
            return Ok(PaxSparse::No);
        }
        let size = self.size.ok_or_else(|| fault("it lacks the real size"))?;
        match (self.major, self.minor) {
            (Some(1), Some(0)) => {
                if !self.pairs.is_empty() || self.map {
                    return Err(fault(
                        "it has both a map in its header and one in its content",
                    ));
                }
                Ok(PaxSparse::InContent { size })
            }
            (None, None) | (Some(0), Some(0 | 1)) => {
                if self.offset.is_some() {
                    return Err(fault("an offset has no length"));
                }
                if self
                    .count
                    .is_some_and(|count| count != self.pairs.len() as u64)
                {
                    return Err(fault("it has another number of runs than it says"));
                }
                Ok(PaxSparse::Known {
                    pairs: self.pairs.clone(),
                    size,
                })
            }
            _ => Err(fault("its version is none of 0.0, 0.1 and 1.0")),
        }
    }
}

/// Reads the map that precedes the content in version 1.0: decimal lines, fed byte by byte until it says it is complete.
pub(crate) struct ContentMap {
    count: Option<u64>,
    numbers: Vec<u64>,
    current: Option<u64>,
    max: usize,
}

impl ContentMap {
    /// Begins a map of at most `max` runs.
    pub fn new(max: usize) -> ContentMap {
        ContentMap {
            count: None,
            numbers: Vec::new(),
            current: None,
            max,
        }
    }

    /// Takes one block; `true` when the map ended in it.
    pub fn feed(&mut self, block: &[u8]) -> Result<bool, EntryFault> {
        for &byte in block {
            match byte {
                b'0'..=b'9' => {
                    let value = self.current.unwrap_or(0);
                    let value = value
                        .checked_mul(10)
                        .and_then(|v| v.checked_add(u64::from(byte - b'0')))
                        .filter(|v| *v <= i64::MAX as u64)
                        .ok_or_else(|| fault("a number is too large"))?;
                    self.current = Some(value);
                }
                b'\n' => {
                    let value = self
                        .current
                        .take()
                        .ok_or_else(|| fault("a number is missing"))?;
                    match self.count {
                        None => {
                            if value > self.max as u64 {
                                return Err(too_many(self.max));
                            }
                            self.count = Some(value);
                        }
                        Some(_) => self.numbers.push(value),
                    }
                    if self.count == Some(self.numbers.len() as u64 / 2)
                        && self.numbers.len().is_multiple_of(2)
                    {
                        return Ok(true);
                    }
                }
                _ => return Err(fault("it holds something other than numbers")),
            }
        }
        Ok(false)
    }

    /// The pairs of a complete map.
    pub fn pairs(self) -> Vec<(u64, u64)> {
        self.numbers
            .chunks_exact(2)
            .map(|pair| (pair[0], pair[1]))
            .collect()
    }
}

pub(crate) fn too_many(max: usize) -> EntryFault {
    EntryFault::Sparse {
        why: format!("it has more than {max} runs"),
    }
}

pub(crate) fn fault(why: &str) -> EntryFault {
    EntryFault::Sparse { why: why.into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_must_be_in_order_and_add_up() {
        assert!(SparseMap::new(vec![(0, 5), (10, 5), (20, 0)], 20, 10).is_ok());
        assert!(SparseMap::new(vec![(0, 5), (4, 5)], 20, 10).is_err());
        assert!(SparseMap::new(vec![(10, 5), (0, 5)], 20, 10).is_err());
        assert!(SparseMap::new(vec![(16, 5)], 20, 5).is_err());
        assert!(SparseMap::new(vec![(u64::MAX, 5)], 20, 5).is_err());
        assert!(SparseMap::new(vec![(0, 5)], 20, 6).is_err());
    }

    #[test]
    fn a_map_in_the_content_may_span_blocks() {
        let mut map = ContentMap::new(10);
        assert_eq!(map.feed(b"2\n0\n5"), Ok(false));
        assert_eq!(map.feed(b"12\n1024\n100\n\0\0\0"), Ok(true));
        assert_eq!(map.pairs(), vec![(0, 512), (1024, 100)]);
        assert_eq!(ContentMap::new(10).feed(b"0\n\0\0"), Ok(true));
        assert!(ContentMap::new(10).feed(b"11\n").is_err());
        assert!(ContentMap::new(10).feed(b"\n").is_err());
        assert!(ContentMap::new(10).feed(b"x").is_err());
        assert!(ContentMap::new(10).feed(b"99999999999999999999\n").is_err());
    }
}
