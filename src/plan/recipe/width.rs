//! What a step asks of the machine that builds it: `policy/parallel`, `policy/lonesome`, `policy/tag`, each for all
//! steps of a target, or for one with its name behind it.

use std::num::NonZeroU16;

use super::{PlanError, Reader};
use crate::drv::derivation::Width;

const PARALLEL: &str = "policy/parallel";
const LONESOME: &str = "policy/lonesome";
const TAG: &str = "policy/tag";

/// Longest tag, in bytes.
const LONGEST: usize = 64;

impl Reader<'_> {
    /// Says that whatever stands behind these names is read.
    pub(super) fn asks_for_widths(&self) {
        for element in [PARALLEL, LONESOME, TAG] {
            self.elements.asks_below(&format!("{element}/"));
        }
    }

    /// What is said of one step, or else of all: the element, and its text if it is not blank.
    fn of_step(&self, element: &str, step: &str) -> Result<Option<(String, String)>, PlanError> {
        let own = format!("{element}/{step}");
        let name = match self.elements.is_defined(&own) {
            true => own,
            false => element.to_owned(),
        };
        Ok(self.text(&name)?.map(|text| (name, text)))
    }

    /// How much of a machine a step may have to itself.
    pub(super) fn width(&self, step: &str) -> Result<Option<Width>, PlanError> {
        let slots = match self.of_step(PARALLEL, step)? {
            None => None,
            Some((element, text)) => match text.parse::<NonZeroU16>() {
                Ok(slots) if slots.get() <= 4096 => Some(Width::Slots(slots)),
                _ => {
                    return Err(self.bad(
                        &element,
                        format!("`{text}` is not a number from 1 to 4096"),
                        "say how many steps' places on a machine it may have; leave it out for one",
                    ));
                }
            },
        };
        let lonesome = match self.of_step(LONESOME, step)? {
            None => false,
            Some((element, text)) => match text.as_str() {
                "yes" => true,
                "no" => false,
                _ => {
                    return Err(self.bad(
                        &element,
                        format!("`{text}` is neither `yes` nor `no`"),
                        "with `yes` no other step runs on its machine meanwhile",
                    ));
                }
            },
        };
        Ok(match lonesome {
            true => Some(Width::Host),
            false => slots.filter(|width| *width != Width::Slots(NonZeroU16::MIN)),
        })
    }

    /// The word of which one step runs at a time.
    pub(super) fn tag(&self, step: &str) -> Result<Option<String>, PlanError> {
        let Some((element, tag)) = self.of_step(TAG, step)? else {
            return Ok(None);
        };
        let plain = |c: char| !c.is_whitespace() && !c.is_control();
        if tag.len() > LONGEST || !tag.chars().all(plain) {
            return Err(self.bad(
                &element,
                format!("`{tag}` is not one word of at most {LONGEST} bytes"),
                "of steps with the same word one runs at a time",
            ));
        }
        Ok(Some(tag))
    }
}
