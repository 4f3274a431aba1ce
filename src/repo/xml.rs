//! Writes XML: elements with attributes, nothing else.

/// A document that is being written.
pub struct Xml {
    text: String,
    depth: usize,
}

impl Xml {
    /// Begins a document.
    pub fn new() -> Xml {
        Xml {
            text: "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n".to_owned(),
            depth: 0,
        }
    }

    /// Begins an element, in which others follow until [`Xml::end`].
    pub fn begin(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, ">\n");
        self.depth += 1;
    }

    /// Ends an element.
    pub fn end(&mut self, name: &str) {
        self.depth -= 1;
        self.indent();
        self.text.extend(["</", name, ">\n"]);
    }

    /// Writes an element without content.
    pub fn empty(&mut self, name: &str, attributes: &[(&str, &str)]) {
        self.tag(name, attributes, "/>\n");
    }

    /// The document.
    pub fn finish(self) -> String {
        self.text
    }

    fn indent(&mut self) {
        self.text.extend(std::iter::repeat_n("  ", self.depth));
    }

    fn tag(&mut self, name: &str, attributes: &[(&str, &str)], close: &str) {
        self.indent();
        self.text.extend(["<", name]);
        for (name, value) in attributes {
            self.text.extend([" ", name, "=\""]);
            for c in value.chars() {
                match c {
                    '&' => self.text.push_str("&amp;"),
                    '<' => self.text.push_str("&lt;"),
                    '>' => self.text.push_str("&gt;"),
                    '"' => self.text.push_str("&quot;"),
                    // Readers make blanks of them otherwise.
                    '\n' => self.text.push_str("&#10;"),
                    '\t' => self.text.push_str("&#9;"),
                    '\r' => self.text.push_str("&#13;"),
                    c => self.text.push(c),
                }
            }
            self.text.push('"');
        }
        self.text.push_str(close);
    }
}

/// Whether XML can carry a text at all.
pub fn can_carry(text: &str) -> bool {
    text.chars().all(|c| match c {
        '\t' | '\n' | '\r' => true,
        '\u{fffe}' | '\u{ffff}' => false,
        c => c >= ' ',
    })
}

/// Whether a text can name an attribute, by the letters of ASCII: what else XML allows nobody reads alike. Names
/// with a colon, and `xmlns`, mean something.
pub fn is_attribute_name(text: &str) -> bool {
    let starts = |c: char| c.is_ascii_alphabetic() || c == '_';
    let mut chars = text.chars();
    chars.next().is_some_and(starts)
        && chars.all(|c| starts(c) || c.is_ascii_digit() || c == '-' || c == '.')
        && text != "xmlns"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attributes_carry_any_text_that_xml_can() {
        let mut xml = Xml::new();
        xml.begin("a", &[("x", "<&\">\n\té")]);
        xml.empty("b", &[]);
        xml.end("a");
        assert_eq!(
            xml.finish(),
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<a x=\"&lt;&amp;&quot;&gt;&#10;&#9;é\">\n  <b/>\n</a>\n"
        );
        assert!(can_carry("a\n\u{85}\u{10ffff}"));
        assert!(!can_carry("\u{1}") && !can_carry("\u{0}") && !can_carry("\u{ffff}"));
        assert!(is_attribute_name("CPU_FLAGS_X86") && is_attribute_name("_a-b.c"));
        for name in ["", "a b", "1a", "xmlns", "xml:space", "a=", "-a", "a\u{e9}"] {
            assert!(!is_attribute_name(name), "{name}");
        }
    }
}
