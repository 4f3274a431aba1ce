//! Writing a compressed stream whose bytes depend on content and setting alone.

use std::io::{self, Write};

use flate2::GzBuilder;
use liblzma::stream::{Check, MtStreamBuilder};

use super::Compression;

/// Text that names no compression.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not a compression (none, gzip, xz or zstd, with a level behind a colon): {text}")]
pub struct ParseCompressionError {
    /// The refused text, shortened.
    pub text: String,
}

/// Compresses what is written to it. [`Encoder::finish`] must be called, or the stream lacks its end.
pub struct Encoder<W: Write> {
    state: State<W>,
    /// What was written but not passed on. Compressors see pieces of one size only, because some
    /// give other bytes when the same data come in other pieces.
    piece: Vec<u8>,
}

/// The size of those pieces.
const PIECE: usize = 1 << 20;

enum State<W: Write> {
    None(W),
    Gzip(flate2::write::GzEncoder<W>),
    Xz(liblzma::write::XzEncoder<W>),
    Zstd(zstd::stream::write::Encoder<'static, W>),
}

/// How much each zstd job takes. Fixed, so that neither the number of processors nor the library's
/// own choice decides where the stream is cut.
const ZSTD_JOB: u32 = 4 << 20;

/// The same at the usual level: more is denser, and takes twice as much memory for each thread.
const ZSTD_JOB_TUNED: u32 = 7 << 20;

/// The usual level, for which the parameters are chosen here.
const ZSTD_TUNED: i32 = 3;

impl<W: Write> Encoder<W> {
    /// Begins a stream. `threads` changes the speed only, never a byte.
    pub fn new(inner: W, setting: Compression, threads: usize) -> io::Result<Encoder<W>> {
        if !setting.is_valid() {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("there is no such level: {setting}"),
            ));
        }
        // At least one worker: without any, both libraries take another path that gives other bytes.
        let threads = threads.clamp(1, 64) as u32;
        let state = match setting {
            Compression::None => State::None(inner),
            Compression::Gzip(level) => {
                // No name and no time in the header; 255 is "unknown system".
                let builder = GzBuilder::new().mtime(0).operating_system(255);
                State::Gzip(builder.write(inner, flate2::Compression::new(level)))
            }
            Compression::Xz(level) => {
                let stream = MtStreamBuilder::new()
                    .preset(level)
                    .check(Check::Crc64)
                    .block_size(xz_block(level))
                    .threads(threads)
                    .timeout_ms(0)
                    .encoder()?;
                State::Xz(liblzma::write::XzEncoder::new_stream(inner, stream))
            }
            Compression::Zstd(level) => {
                use zstd::zstd_safe::{CParameter, Strategy};
                let mut encoder = zstd::stream::write::Encoder::new(inner, level)?;
                encoder.include_checksum(true)?;
                encoder.multithread(threads)?;
                if level == ZSTD_TUNED {
                    // On stages this is smaller than the library's own level 3, in five sixths of its time:
                    // much repeats there, far apart and at length.
                    for parameter in [
                        CParameter::Strategy(Strategy::ZSTD_fast),
                        CParameter::WindowLog(23),
                        CParameter::HashLog(17),
                        CParameter::MinMatch(7),
                        CParameter::OverlapSizeLog(6),
                        CParameter::JobSize(ZSTD_JOB_TUNED),
                    ] {
                        encoder.set_parameter(parameter)?;
                    }
                } else if level < 16 {
                    // Higher levels have windows larger than this and choose for themselves, by level alone.
                    encoder.set_parameter(CParameter::JobSize(ZSTD_JOB))?;
                }
                State::Zstd(encoder)
            }
        };
        Ok(Encoder {
            state,
            piece: Vec::with_capacity(PIECE),
        })
    }

    /// Writes the end of the stream and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.pass_on()?;
        match self.state {
            State::None(inner) => Ok(inner),
            State::Gzip(encoder) => encoder.finish(),
            State::Xz(encoder) => encoder.finish(),
            State::Zstd(encoder) => encoder.finish(),
        }
    }
}

/// The size of an xz block: three dictionaries of the preset, but at least 4 MiB so that low presets stay dense.
fn xz_block(level: u32) -> u64 {
    const DICTIONARY_LOG: [u32; 10] = [18, 20, 21, 22, 22, 23, 23, 24, 25, 26];
    let log = DICTIONARY_LOG[level.min(9) as usize];
    (3 << log).max(4 << 20)
}

impl<W: Write> Encoder<W> {
    fn pass_on(&mut self) -> io::Result<()> {
        let piece = &self.piece;
        match &mut self.state {
            State::None(inner) => inner.write_all(piece),
            State::Gzip(encoder) => encoder.write_all(piece),
            State::Xz(encoder) => encoder.write_all(piece),
            State::Zstd(encoder) => encoder.write_all(piece),
        }?;
        self.piece.clear();
        Ok(())
    }
}

impl<W: Write> Write for Encoder<W> {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if self.piece.len() == PIECE {
            self.pass_on()?;
        }
        let count = data.len().min(PIECE - self.piece.len());
        self.piece.extend_from_slice(&data[..count]);
        Ok(count)
    }

    /// Flushing a compressor would leave a mark in its bytes, so this reaches plain output only.
    fn flush(&mut self) -> io::Result<()> {
        if matches!(self.state, State::None(_)) {
            self.pass_on()?;
        }
        match &mut self.state {
            State::None(inner) => inner.flush(),
            _ => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neither_threads_nor_the_size_of_writes_change_a_byte() {
        let data: Vec<u8> = (0..9_000_000u32)
            .map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8 & 0x3f)
            .collect();
        for setting in [
            Compression::Gzip(1),
            Compression::Xz(0),
            Compression::Zstd(1),
            Compression::Zstd(3),
        ] {
            let pack = |threads, step| {
                let mut encoder = Encoder::new(Vec::new(), setting, threads).unwrap();
                for part in data.chunks(step) {
                    encoder.write_all(part).unwrap();
                    encoder.flush().unwrap();
                }
                encoder.finish().unwrap()
            };
            let first = pack(1, 1 << 20);
            assert!(first == pack(2, 1 << 20), "{setting}: 2 threads");
            assert!(first == pack(5, 70_001), "{setting}: 5 threads, odd writes");
        }
    }

    #[test]
    fn levels_that_do_not_exist_are_refused() {
        for setting in [
            Compression::Gzip(0),
            Compression::Xz(10),
            Compression::Zstd(20),
        ] {
            assert!(Encoder::new(Vec::new(), setting, 1).is_err());
        }
    }
}
