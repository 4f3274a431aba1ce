//! Numbers as PAX records spell them, and the fault of a value that cannot be.

use super::error::{EntryFault, show};

/// A decimal number without a sign, below 2^63.
pub(crate) fn decimal(key: &[u8], value: &[u8]) -> Result<u64, EntryFault> {
    if value.first() == Some(&b'-') {
        let field = match key {
            b"size" => "size",
            b"uid" => "owner",
            b"gid" => "group",
            _ => "number in its PAX header",
        };
        return Err(EntryFault::NegativeNumber { field });
    }
    digits(value)
        .filter(|n| *n <= i64::MAX as u64)
        .ok_or_else(|| bad(key, value))
}

/// Decimal digits and nothing else.
pub(crate) fn digits(value: &[u8]) -> Option<u64> {
    if value.is_empty() || !value.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(value).ok()?.parse().ok()
}

/// The fault of a record whose value makes no sense.
pub(crate) fn bad(key: &[u8], value: &[u8]) -> EntryFault {
    EntryFault::PaxValue {
        key: show(key),
        value: show(&value[..value.len().min(60)]),
    }
}
