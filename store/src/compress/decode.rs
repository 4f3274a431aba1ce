//! Reading a compressed stream to its true end, never further than its bounds allow.

use std::io::{self, BufRead, BufReader, Chain, Cursor, Read};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use liblzma::stream::{Action, MtStreamBuilder, Status, Stream};

use super::Format;

/// Bounds for what a compressed stream may cost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DecodeLimits {
    /// How many bytes may come out for one that goes in...
    pub expansion: u64,
    /// ...once this many have come out. Small streams of zeros are harmless and compress very well.
    pub expansion_from: u64,
    /// How much memory a decompressor may take.
    pub memory: u64,
}

impl Default for DecodeLimits {
    fn default() -> DecodeLimits {
        DecodeLimits {
            expansion: 2_000,
            expansion_from: 4 << 30,
            memory: 256 << 20,
        }
    }
}

/// What is wrong with a compressed stream.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CompressError {
    /// The stream ends too early.
    #[error("the {format} stream is truncated: it ends after {at} bytes, before its own end mark")]
    Truncated {
        /// The form of compression.
        format: Format,
        /// How many compressed bytes there are.
        at: u64,
    },
    /// The stream is damaged.
    #[error("the {format} stream is damaged within its first {at} bytes: {detail}")]
    Damaged {
        /// The form of compression.
        format: Format,
        /// How many compressed bytes had been read.
        at: u64,
        /// What the decompressor says.
        detail: String,
    },
    /// Something else follows the stream.
    #[error("the {format} stream is followed by other data")]
    Trailing {
        /// The form of compression.
        format: Format,
    },
    /// The stream expands beyond measure.
    #[error(
        "the {format} stream expands more than {limit}-fold ({at} bytes became {produced}), which is more than is taken unasked"
    )]
    Bomb {
        /// The form of compression.
        format: Format,
        /// How many compressed bytes had been read.
        at: u64,
        /// How many bytes they became.
        produced: u64,
        /// The limit.
        limit: u64,
    },
    /// The decompressor would need too much memory.
    #[error("the {format} stream needs more than {limit} bytes of memory to decompress")]
    Memory {
        /// The form of compression.
        format: Format,
        /// The limit.
        limit: u64,
    },
}

impl CompressError {
    /// Finds the error that a [`Decoder`] reported as an error of reading.
    pub fn of(error: &io::Error) -> Option<&CompressError> {
        error.get_ref()?.downcast_ref()
    }
}

type Source<R> = BufReader<Chain<Cursor<Vec<u8>>, Counted<R>>>;

/// Decompresses a stream of any known form, or passes a plain one through.
///
/// Faults of the stream come out as errors that [`CompressError::of`] recognises; faults of the
/// reader below come out as they are.
pub struct Decoder<R: Read> {
    format: Format,
    limits: DecodeLimits,
    state: State<R>,
    seen: Arc<Seen>,
    produced: u64,
}

enum State<R: Read> {
    Plain(Source<R>),
    Gzip(flate2::bufread::GzDecoder<Source<R>>),
    Bzip2(bzip2::bufread::BzDecoder<Source<R>>),
    Xz(Stream, Source<R>),
    Zstd(Box<zstd::stream::read::Decoder<'static, Source<R>>>),
    Done,
}

/// What the reader below has given so far, for messages and for the ratio.
#[derive(Default)]
struct Seen {
    bytes: AtomicU64,
    failed: AtomicBool,
}

struct Counted<R> {
    inner: R,
    seen: Arc<Seen>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.inner.read(buffer) {
                Ok(count) => {
                    self.seen.bytes.fetch_add(count as u64, Ordering::Relaxed);
                    return Ok(count);
                }
                // Not every decompressor goes on after an interruption.
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    self.seen.failed.store(true, Ordering::Relaxed);
                    return Err(error);
                }
            }
        }
    }
}

impl<R: Read> Decoder<R> {
    /// Looks at the first bytes and chooses the decompressor.
    pub fn new(inner: R, limits: DecodeLimits) -> io::Result<Decoder<R>> {
        let seen = Arc::new(Seen::default());
        let mut inner = Counted {
            inner,
            seen: seen.clone(),
        };
        let mut first = Vec::with_capacity(Format::MAGIC);
        (&mut inner)
            .take(Format::MAGIC as u64)
            .read_to_end(&mut first)?;
        let format = Format::detect(&first);
        let source = BufReader::with_capacity(256 << 10, Cursor::new(first).chain(inner));
        let state = match format {
            Format::Plain => State::Plain(source),
            Format::Gzip => State::Gzip(flate2::bufread::GzDecoder::new(source)),
            Format::Bzip2 => State::Bzip2(bzip2::bufread::BzDecoder::new(source)),
            Format::Xz => State::Xz(xz_stream(&limits)?, source),
            Format::Zstd => {
                let mut decoder = zstd::stream::read::Decoder::with_buffer(source)?;
                // The largest power of two within the limit; zstd refuses windows beyond it.
                let log = limits.memory.max(1 << 10).ilog2().min(31);
                decoder.window_log_max(log)?;
                State::Zstd(Box::new(decoder))
            }
        };
        Ok(Decoder {
            format,
            limits,
            state,
            seen,
            produced: 0,
        })
    }

    /// The form that was recognised.
    pub fn format(&self) -> Format {
        self.format
    }

    fn at(&self) -> u64 {
        self.seen.bytes.load(Ordering::Relaxed)
    }

    /// Sorts an error of a decompressor by whose fault it is.
    fn blame(&self, error: io::Error) -> io::Error {
        if self.seen.failed.load(Ordering::Relaxed)
            || self.format == Format::Plain
            || CompressError::of(&error).is_some()
        {
            return error;
        }
        let (format, at) = (self.format, self.at());
        let text = error.to_string();
        let fault = if error.kind() == io::ErrorKind::UnexpectedEof {
            CompressError::Truncated { format, at }
        } else if error.kind() == io::ErrorKind::OutOfMemory || text.contains("too much memory") {
            CompressError::Memory {
                format,
                limit: self.limits.memory,
            }
        } else {
            CompressError::Damaged {
                format,
                at,
                detail: text,
            }
        };
        wrap(fault)
    }

    /// Goes on with the next member behind one that ended, if there is one.
    fn next_member(&mut self) -> io::Result<()> {
        let mut source = match std::mem::replace(&mut self.state, State::Done) {
            State::Gzip(decoder) => decoder.into_inner(),
            State::Bzip2(decoder) => decoder.into_inner(),
            State::Xz(_, source) => source,
            // zstd goes through its frames by itself.
            State::Plain(_) | State::Zstd(_) | State::Done => return Ok(()),
        };
        // Zeros behind the last member are padding: of a tape, or of xz itself.
        let more = loop {
            let buffer = source.fill_buf()?;
            let zeros = buffer.iter().take_while(|&&b| b == 0).count();
            if buffer.is_empty() {
                break false;
            }
            if zeros < buffer.len() {
                source.consume(zeros);
                break true;
            }
            source.consume(zeros);
        };
        if !more {
            return Ok(());
        }
        let byte = source.fill_buf()?.first().copied();
        self.state = match (self.format, byte) {
            (Format::Gzip, Some(0x1f)) => State::Gzip(flate2::bufread::GzDecoder::new(source)),
            (Format::Bzip2, Some(b'B')) => State::Bzip2(bzip2::bufread::BzDecoder::new(source)),
            (Format::Xz, Some(0xfd)) => State::Xz(xz_stream(&self.limits)?, source),
            (format, _) => return Err(wrap(CompressError::Trailing { format })),
        };
        Ok(())
    }
}

impl<R: Read> Read for Decoder<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if buffer.is_empty() {
            return Ok(0);
        }
        loop {
            let result = match &mut self.state {
                State::Plain(source) => source.read(buffer),
                State::Gzip(decoder) => decoder.read(buffer),
                State::Bzip2(decoder) => decoder.read(buffer),
                State::Xz(stream, source) => xz_read(stream, source, buffer),
                State::Zstd(decoder) => decoder.read(buffer),
                State::Done => return Ok(0),
            };
            let count = result.map_err(|error| self.blame(error))?;
            if count > 0 {
                self.produced += count as u64;
                let at = self.at();
                if self.format != Format::Plain
                    && self.produced > self.limits.expansion_from
                    && self.produced / self.limits.expansion.max(1) > at
                {
                    return Err(wrap(CompressError::Bomb {
                        format: self.format,
                        at,
                        produced: self.produced,
                        limit: self.limits.expansion,
                    }));
                }
                return Ok(count);
            }
            if matches!(self.state, State::Plain(_) | State::Zstd(_)) {
                return Ok(0);
            }
            self.next_member().map_err(|error| self.blame(error))?;
        }
    }
}

fn wrap(error: CompressError) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, error)
}

/// A decompressor for one xz stream. Blocks are decompressed in parallel where that fits the memory.
fn xz_stream(limits: &DecodeLimits) -> io::Result<Stream> {
    let threads = std::thread::available_parallelism().map_or(1, |n| n.get().min(8));
    MtStreamBuilder::new()
        .threads(threads as u32)
        .memlimit_threading(limits.memory / 2)
        .memlimit_stop(limits.memory)
        .timeout_ms(0)
        .decoder()
        .map_err(xz_error)
}

fn xz_read(stream: &mut Stream, source: &mut impl BufRead, buffer: &mut [u8]) -> io::Result<usize> {
    loop {
        let input = source.fill_buf()?;
        let ended = input.is_empty();
        let action = if ended { Action::Finish } else { Action::Run };
        let (before_in, before_out) = (stream.total_in(), stream.total_out());
        let status = stream.process(input, buffer, action);
        let consumed = (stream.total_in() - before_in) as usize;
        let produced = (stream.total_out() - before_out) as usize;
        source.consume(consumed);
        let status = status.map_err(xz_error)?;
        if produced > 0 || matches!(status, Status::StreamEnd) {
            return Ok(produced);
        }
        if ended {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
    }
}

fn xz_error(error: liblzma::stream::Error) -> io::Error {
    use liblzma::stream::Error;
    match error {
        Error::Mem | Error::MemLimit => io::Error::new(io::ErrorKind::OutOfMemory, error),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Compression, Encoder};
    use super::*;
    use std::io::Write;

    fn sample() -> Vec<u8> {
        (0..300_000u32)
            .flat_map(|n| (n.wrapping_mul(2_654_435_761) >> 12).to_le_bytes())
            .collect()
    }

    fn pack(data: &[u8], setting: Compression) -> Vec<u8> {
        let mut encoder = Encoder::new(Vec::new(), setting, 2).unwrap();
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn bzip2(data: &[u8]) -> Vec<u8> {
        let mut encoder = bzip2::write::BzEncoder::new(Vec::new(), bzip2::Compression::fast());
        encoder.write_all(data).unwrap();
        encoder.finish().unwrap()
    }

    fn unpack(packed: &[u8]) -> io::Result<Vec<u8>> {
        let mut out = Vec::new();
        Decoder::new(packed, DecodeLimits::default())?.read_to_end(&mut out)?;
        Ok(out)
    }

    fn all(data: &[u8]) -> Vec<(Format, Vec<u8>)> {
        vec![
            (Format::Gzip, pack(data, Compression::Gzip(1))),
            (Format::Bzip2, bzip2(data)),
            (Format::Xz, pack(data, Compression::Xz(0))),
            (Format::Zstd, pack(data, Compression::Zstd(1))),
        ]
    }

    #[test]
    fn every_form_is_recognised_and_read() {
        let data = sample();
        assert_eq!(unpack(&data).unwrap(), data);
        for (format, packed) in all(&data) {
            assert_eq!(Format::detect(&packed), format);
            assert_eq!(unpack(&packed).unwrap(), data, "{format}");
        }
        assert_eq!(unpack(b"").unwrap(), b"");
        assert_eq!(unpack(b"\x1f").unwrap(), b"\x1f");
    }

    #[test]
    fn many_members_are_one_stream() {
        let data = sample();
        for ((format, mut packed), (_, more)) in all(&data).into_iter().zip(all(b"the rest")) {
            packed.extend(&more);
            let mut whole = data.clone();
            whole.extend(b"the rest");
            assert_eq!(unpack(&packed).unwrap(), whole, "{format}");
        }
        // pzstd begins with a skippable frame.
        let mut packed = b"\x50\x2a\x4d\x18\x04\0\0\0abcd".to_vec();
        packed.extend(pack(b"x", Compression::Zstd(3)));
        assert_eq!(unpack(&packed).unwrap(), b"x");
    }

    #[test]
    fn a_cut_at_any_place_is_named_truncation() {
        for (format, packed) in all(b"some text, some text, some text") {
            for end in Format::MAGIC..packed.len() {
                let error = unpack(&packed[..end]).unwrap_err();
                match CompressError::of(&error) {
                    Some(CompressError::Truncated { format: f, at }) => {
                        assert_eq!((*f, *at), (format, end as u64));
                    }
                    other => panic!("{format} cut at {end}: {other:?}"),
                }
            }
        }
    }

    #[test]
    fn zeros_may_follow_but_nothing_else() {
        for (format, packed) in all(b"text") {
            if format != Format::Zstd {
                let padded = [&packed[..], &[0; 1024]].concat();
                assert_eq!(unpack(&padded).unwrap(), b"text", "{format}");
            }
            let error = unpack(&[&packed[..], b"garbage"].concat()).unwrap_err();
            assert!(
                matches!(
                    CompressError::of(&error),
                    Some(CompressError::Trailing { .. } | CompressError::Damaged { .. })
                ),
                "{format}: {error}"
            );
        }
    }

    #[test]
    fn damage_is_never_passed_on_silently() {
        let data = sample();
        for (format, packed) in all(&data) {
            for at in (20..packed.len()).step_by(packed.len() / 23) {
                let mut bad = packed.clone();
                bad[at] ^= 0x10;
                // A gzip header's time and the like may change without harm; content may not.
                if let Ok(out) = unpack(&bad) {
                    assert!(out == data, "{format} changed at {at}");
                }
            }
        }
    }

    #[test]
    fn bombs_are_stopped() {
        let zeros = vec![0u8; 32 << 20];
        let limits = DecodeLimits {
            expansion: 100,
            expansion_from: 1 << 20,
            ..DecodeLimits::default()
        };
        for (format, packed) in all(&zeros) {
            let mut decoder = Decoder::new(&packed[..], limits).unwrap();
            let error = io::copy(&mut decoder, &mut io::sink()).unwrap_err();
            assert!(
                matches!(CompressError::of(&error), Some(CompressError::Bomb { .. })),
                "{format}: {error}"
            );
        }
    }

    #[test]
    fn memory_is_bounded() {
        let limits = DecodeLimits {
            memory: 1 << 20,
            ..DecodeLimits::default()
        };
        let data = sample();
        for setting in [Compression::Xz(6), Compression::Zstd(19)] {
            let packed = pack(&[&data[..]; 4].concat(), setting);
            let result = Decoder::new(&packed[..], limits)
                .and_then(|mut decoder| io::copy(&mut decoder, &mut io::sink()));
            let error = result.unwrap_err();
            assert!(
                matches!(
                    CompressError::of(&error),
                    Some(CompressError::Memory { .. })
                ),
                "{setting}: {error}"
            );
        }
    }

    #[test]
    fn the_readers_own_errors_stay_what_they_are() {
        struct Fails;
        impl Read for Fails {
            fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
                Err(io::Error::from_raw_os_error(5))
            }
        }
        for (format, packed) in all(&sample()) {
            let half = &packed[..packed.len() / 2];
            let mut decoder = Decoder::new(half.chain(Fails), DecodeLimits::default()).unwrap();
            let error = io::copy(&mut decoder, &mut io::sink()).unwrap_err();
            assert_eq!(error.raw_os_error(), Some(5), "{format}: {error}");
        }
    }
}
