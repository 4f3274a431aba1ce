//! Bounds on what a specification may ask of the machine.

/// How large inputs and results may become before loading or evaluation gives up.
///
/// Every bound is a property of the specification alone, so whether it is met does not depend on
/// the order in which elements are asked for. Bounds of single files and values that are above 4 GiB count as 4 GiB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of one specification file.
    pub file: u64,
    /// Files of one specification.
    pub files: usize,
    /// Bytes of all files of one specification, file values included.
    pub total: u64,
    /// Bytes of one file read with `<<`.
    pub file_value: u64,
    /// Bytes of one evaluated value; a line of a block counts one byte more than its text.
    pub value: u64,
    /// Bytes of an expanded path.
    pub path: u64,
    /// Errors of one load that are kept; the others are only counted.
    pub errors: usize,
}

impl Limits {
    /// The same limits, with single texts short enough for the 32 bits in which they are counted.
    pub(crate) fn countable(self) -> Limits {
        let most = u64::from(u32::MAX - 1);
        Limits {
            file: self.file.min(most),
            file_value: self.file_value.min(most),
            value: self.value.min(most),
            path: self.path.min(most),
            ..self
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            file: 256 << 20,
            files: 1 << 16,
            total: 1 << 30,
            file_value: 16 << 20,
            value: 16 << 20,
            path: 4096,
            errors: 1000,
        }
    }
}
