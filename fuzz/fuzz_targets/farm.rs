//! Whatever a scheduler or a worker is sent, it gets frames or an error; and whatever is taken for a frame has the same
//! bytes when it is sent on.
//!
//! An input is bytes, or frames whose lengths are the truth: without that hardly any would be read.
#![no_main]

use libfuzzer_sys::arbitrary::{self, Arbitrary};
use libfuzzer_sys::fuzz_target;

#[derive(Arbitrary, Debug)]
enum Input {
    Bytes(Vec<u8>),
    Frames(Vec<Vec<u8>>),
}

fuzz_target!(|input: Input| {
    let bytes = match input {
        Input::Bytes(bytes) => bytes,
        Input::Frames(frames) => {
            let mut all = Vec::new();
            for frame in frames {
                all.extend((frame.len() as u32).to_le_bytes());
                all.extend(frame);
            }
            all
        }
    };
    mstore::farm::frames(&bytes);
});
