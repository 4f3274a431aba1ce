//! The rule by which packs are kept few.

/// When packs are folded together, and when they go to a catalogue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rule {
    /// The sizes of small packs: packs shorter than a number of bytes, and not than the one before; and how many
    /// of them are folded into one.
    pub levels: [(u64, usize); 3],
    /// How many packs that are not small are loose before they go to a catalogue.
    pub list: usize,
}

impl Default for Rule {
    fn default() -> Rule {
        Rule {
            // The collector, too, leaves packs of 4 MiB alone.
            levels: [(16 << 10, 16), (256 << 10, 8), (4 << 20, 8)],
            list: 16,
        }
    }
}

impl Rule {
    /// The level of a small pack; none for one that stays as it is.
    pub fn level_of(&self, bytes: u64) -> Option<usize> {
        self.levels.iter().position(|(below, _)| bytes < *below)
    }
}
