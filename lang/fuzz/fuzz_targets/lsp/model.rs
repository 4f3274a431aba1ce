//! A document as an editor has it: UTF-16 units, and positions counted one by one.

#[derive(Clone)]
pub(super) struct Model(Vec<u16>);

impl Model {
    pub fn new(text: &str) -> Model {
        Model(text.encode_utf16().collect())
    }

    pub fn text(&self) -> String {
        String::from_utf16(&self.0).expect("whole characters were replaced by whole characters")
    }

    /// The unit at a position: the end of its line, or of the text, if it lies behind; the beginning of a
    /// character if it lies inside.
    fn index(&self, line: u32, character: u32) -> usize {
        const CR: u16 = b'\r' as u16;
        const LF: u16 = b'\n' as u16;
        let units = &self.0;
        let mut at = 0;
        for _ in 0..line {
            while at < units.len() && units[at] != CR && units[at] != LF {
                at += 1;
            }
            if at == units.len() {
                return at;
            }
            at += if units[at] == CR && units.get(at + 1) == Some(&LF) { 2 } else { 1 };
        }
        let mut left = character;
        while left > 0 && at < units.len() && units[at] != CR && units[at] != LF {
            at += 1;
            left -= 1;
        }
        let inside = |at: usize| {
            at > 0 && at < units.len() && (0xD800..0xDC00).contains(&units[at - 1]) && (0xDC00..0xE000).contains(&units[at])
        };
        if inside(at) { at - 1 } else { at }
    }

    pub fn replace(&mut self, start: (u32, u32), end: (u32, u32), text: &str) {
        let start = self.index(start.0, start.1);
        let end = self.index(end.0, end.1).max(start);
        self.0.splice(start..end, text.encode_utf16());
    }
}
