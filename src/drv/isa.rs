//! What engines of the Remote Execution API call the instruction sets that platforms have.

use std::borrow::Cow;

/// The value of the property `ISA` for a platform, given as `uname -m` prints it. Of a family that has a name with the
/// engines all members get it; others keep the name that they have.
pub fn isa(platform: &str) -> Cow<'static, str> {
    match platform {
        "x86_64" => "x86-64".into(),
        "i386" | "i486" | "i586" | "i686" => "x86-32".into(),
        "aarch64" => "arm-a64".into(),
        "armv5tel" | "armv6l" | "armv7l" | "armv8l" => "arm-a32".into(),
        other => other.to_owned().into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn families_have_one_name() {
        assert_eq!(isa("x86_64"), "x86-64");
        assert_eq!(isa("i686"), isa("i486"));
        assert_eq!(isa("riscv64"), "riscv64");
    }
}
