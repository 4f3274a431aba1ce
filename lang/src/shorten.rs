//! Texts of bearable length, for messages.

/// Cuts the middle out of a text that is too long to be read.
pub(crate) fn shorten(text: impl Into<String>) -> String {
    const MOST: usize = 400;
    let text = text.into();
    if text.len() <= MOST {
        return text;
    }
    let cut = |mut at: usize| {
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        at
    };
    let (front, back) = (cut(MOST / 2), cut(text.len() - MOST / 4));
    format!("{} [...] {}", &text[..front], &text[back..])
}

#[cfg(test)]
mod tests {
    use super::shorten;

    #[test]
    fn the_middle_goes() {
        assert_eq!(shorten("short"), "short");
        // Characters of three bytes: the cuts must fall between them.
        let long = shorten("€".repeat(1000));
        assert!(long.len() < 400 && long.contains("€ [...] €"), "{long}");
    }
}
