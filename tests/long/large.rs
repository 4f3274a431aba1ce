//! Archives that are whole, and expand beyond what is taken unasked.

use std::fs::File;
use std::io::Write;
use std::process::Command;

use crate::environment::Environment;

/// A zstd frame of zeros: blocks that say of one byte how often it comes, 128 KiB at a time.
fn zeros(out: &mut impl Write, bytes: u64) {
    // No content size, no checksum, a window of 128 KiB.
    out.write_all(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38])
        .unwrap();
    let blocks = bytes >> 17;
    for n in 0..blocks {
        let last = u32::from(n + 1 == blocks);
        let head = last | 1 << 1 | (128 << 10) << 3;
        out.write_all(&head.to_le_bytes()[..3]).unwrap();
        out.write_all(&[0]).unwrap();
    }
}

#[test]
#[ignore = "long"]
fn an_image_of_zeros_is_no_damage() {
    let env = Environment::new();
    // A file of nine GiB, as tar would write it: a header, the content, the end.
    let size = 9u64 << 30;
    let mut header = [0u8; 512];
    header[..4].copy_from_slice(b"disk");
    header[100..108].copy_from_slice(b"0000644\0");
    header[108..116].copy_from_slice(b"0000000\0");
    header[116..124].copy_from_slice(b"0000000\0");
    header[124..136].copy_from_slice(format!("{size:012o}").as_bytes());
    header[136..148].copy_from_slice(b"00000000000\0");
    header[148..156].fill(b' ');
    header[156] = b'0';
    header[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = header.iter().map(|b| u32::from(*b)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    let path = env.work().join("z.tar.zst");
    let mut file = std::io::BufWriter::new(File::create(&path).unwrap());
    // The header in a frame of its own, as one raw block.
    file.write_all(&[0x28, 0xb5, 0x2f, 0xfd, 0x00, 0x38])
        .unwrap();
    let head = 1u32 | 512 << 3;
    file.write_all(&head.to_le_bytes()[..3]).unwrap();
    file.write_all(&header).unwrap();
    zeros(&mut file, size);
    zeros(&mut file, 128 << 10);
    file.flush().unwrap();
    drop(file);
    let error = env
        .run(&["seed", "import", "z.tar.zst", "--name", "z"])
        .fails(2);
    assert!(error.contains("may be whole"), "{error}");
    assert!(!error.contains("damaged"), "{error}");
    let command = error
        .split('`')
        .nth(1)
        .unwrap()
        .replace("ARCHIVE", "z.tar.zst");
    let unpacked = Command::new("sh")
        .args(["-c", &format!("{command} --sparse -q")])
        .current_dir(env.work())
        .status();
    assert!(unpacked.unwrap().success());
    let tree = env.run(&["seed", "import", "z.tar", "--name", "z"]).ok();
    let stat = env
        .run(&["store", "stat", &format!("{}:disk", tree.trim())])
        .ok();
    assert!(stat.contains(&format!("size: {size}")), "{stat}");
}
