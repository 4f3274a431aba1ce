//! The section `impure/NAME` of a specification: folders of the machine that steps work with although they are
//! no input, read and checked.

use super::{Reader, SnapshotUse, StepRecipe, lies_in};
use crate::drv::derivation::Impure;
use crate::drv::fetch::is_file_name;
use crate::plan::error::PlanError;

/// Elements with words that switch such folders on. Both are Metro's own.
const OPTIONS: [&str; 2] = ["metro/options", "metro/options/stage"];

impl Reader<'_> {
    /// Gives steps the folders that `impure` names, as far as they are switched on.
    pub(super) fn impure(
        &self,
        snapshots: &[&SnapshotUse],
        steps: &mut [StepRecipe],
        test: &mut Option<StepRecipe>,
    ) -> Result<(), PlanError> {
        let mut options = Vec::new();
        for element in OPTIONS {
            options.extend(self.words(element)?);
        }
        for name in self.words("impure")? {
            let of = |what: &str| format!("impure/{name}/{what}");
            if !is_file_name(&name) {
                let message = format!("`{name}` cannot name a folder");
                return Err(self.bad("impure", message, ""));
            }
            // All of it is read, so that what is wrong in a section is told before somebody switches it on.
            let impure = self.impure_folder(&name, snapshots)?;
            let wanted = match self.elements.is_defined(&of("steps")) {
                true => Some(self.words(&of("steps"))?),
                false => None,
            };
            let switch = self.text(&of("option"))?;
            if switch.is_some_and(|word| !options.contains(&word)) {
                continue;
            }
            for step in steps.iter_mut().chain(test.iter_mut()) {
                let wants = wanted.as_ref().is_none_or(|all| all.contains(&step.name));
                let taken = step.impure.iter().any(|other| meet(&other.at, &impure.at));
                if wants && taken {
                    let message = format!("another one appears at {}", impure.at);
                    return Err(self.bad(&of("path"), message, ""));
                }
                if wants {
                    step.impure.push(impure.clone());
                }
            }
        }
        Ok(())
    }

    fn impure_folder(&self, name: &str, snapshots: &[&SnapshotUse]) -> Result<Impure, PlanError> {
        let element = format!("impure/{name}/folder");
        let folder = self.text(&element)?.unwrap_or_else(|| name.to_owned());
        if !is_file_name(&folder) {
            return Err(self.bad(
                &element,
                format!("`{folder}` cannot name a folder"),
                "give one name, without slashes and blanks, that does not begin with a dot",
            ));
        }
        let element = format!("impure/{name}/path");
        let at = self.place(&element, &format!("/mstore/impure/{name}"))?;
        if let Some(other) = snapshots.iter().find(|s| meet(&s.at, &at)) {
            let message = format!("`{}` appears at {}", other.name, other.at);
            return Err(self.bad(&element, message, ""));
        }
        Ok(Impure { at, folder })
    }
}

/// Whether one of two paths lies in the other.
fn meet(a: &str, b: &str) -> bool {
    lies_in(a, b) || lies_in(b, a)
}
