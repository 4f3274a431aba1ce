//! Text for shells and for people: no name can end a line or a word that it stands in.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::os::unix::ffi::OsStrExt;

/// Characters that no shell takes for anything but themselves.
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"._+:@%/,=-".contains(&byte)
}

/// A word for `sh`, in single quotes whatever it is.
pub fn quoted(text: impl AsRef<OsStr>) -> Vec<u8> {
    let mut out = vec![b'\''];
    for byte in text.as_ref().as_bytes() {
        match byte {
            b'\'' => out.extend(b"'\\''"),
            byte => out.push(*byte),
        }
    }
    out.push(b'\'');
    out
}

/// A word for `sh`, in quotes where it needs them.
pub fn word(text: impl AsRef<OsStr>) -> Vec<u8> {
    let bytes = text.as_ref().as_bytes();
    match !bytes.is_empty() && bytes.iter().copied().all(is_plain) {
        true => bytes.to_vec(),
        false => quoted(text),
    }
}

/// Text for a line that people read: control characters as `\n` and `\xNN`, and so bytes that are not UTF-8.
pub fn shown(text: impl AsRef<OsStr>) -> String {
    let mut out = String::new();
    for chunk in text.as_ref().as_bytes().utf8_chunks() {
        for c in chunk.valid().chars() {
            match c {
                '\n' => out.push_str("\\n"),
                c if c.is_control() => {
                    let mut bytes = [0; 4];
                    for byte in c.encode_utf8(&mut bytes).bytes() {
                        let _ = write!(out, "\\x{byte:02x}");
                    }
                }
                c => out.push(c),
            }
        }
        for byte in chunk.invalid() {
            let _ = write!(out, "\\x{byte:02x}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::process::Command;

    #[test]
    fn names_cannot_leave_their_line() {
        assert_eq!(shown("a\nb\x07é\u{85}"), "a\\nb\\x07é\\xc2\\x85");
        assert_eq!(shown(OsStr::from_bytes(b"a\xffb")), "a\\xffb");
        assert_eq!(word("corei7"), b"corei7");
        assert_eq!(word(""), b"''");
        assert_eq!(word("it's"), b"'it'\\''s'");
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(40))]
        #[test]
        fn a_shell_reads_a_word_as_it_was(text in "[^\0]*") {
            for quoted in [quoted(&text), word(&text)] {
                let mut script = b"printf %s ".to_vec();
                script.extend(quoted);
                let out = Command::new("sh").arg("-c").arg(OsStr::from_bytes(&script)).output().unwrap();
                prop_assert_eq!(&out.stdout, text.as_bytes());
            }
        }
    }
}
