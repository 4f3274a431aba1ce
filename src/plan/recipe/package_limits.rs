//! What single packages may use of a machine: `packages/timeout/CATEGORY/NAME`, `packages/memory/…`, `packages/jobs/…`.
//! None of it is in a key.

use std::collections::BTreeMap;
use std::num::NonZeroU16;

use serde::Serialize;

use super::{PlanError, Reader};
use crate::drv::derivation::{Policy, UseLimits, Width};

const BELOW: &str = "packages/";
/// What can be said of a package.
const KINDS: [&str; 3] = ["timeout", "memory", "jobs"];

/// What a package may use.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct PackageLimits {
    /// Seconds after which it is ended.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout: Option<u64>,
    /// Bytes of memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory: Option<u64>,
    /// How much of a machine it has.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub width: Option<Width>,
}

impl PackageLimits {
    /// Puts it down where a step is told what it may do.
    pub fn apply(&self, policy: &mut Policy) {
        let PackageLimits {
            timeout,
            memory,
            width,
        } = *self;
        policy.timeout = timeout.or(policy.timeout);
        policy.width = width.or(policy.width);
        if let Some(memory) = memory {
            let limits = policy.limits.take().map_or_else(UseLimits::default, |l| *l);
            policy.limits = Some(Box::new(UseLimits {
                memory: Some(memory),
                ..limits
            }));
        }
    }
}

/// The kind and the package of an element, if it says what a package may use.
fn parts(element: &str) -> Option<(&str, &str)> {
    let (kind, package) = element.strip_prefix(BELOW)?.split_once('/')?;
    KINDS.contains(&kind).then_some((kind, package))
}

/// Whether an element says what a package may use.
pub(super) fn is_limit(element: &str) -> bool {
    parts(element).is_some()
}

impl Reader<'_> {
    /// What packages may use of which something is said, by `CATEGORY/NAME`.
    pub(super) fn package_limits(&self) -> Result<BTreeMap<String, PackageLimits>, PlanError> {
        let mut found: BTreeMap<String, PackageLimits> = BTreeMap::new();
        for element in self.elements.names_below(BELOW) {
            let Some((kind, package)) = parts(element) else {
                continue;
            };
            let is_name = package.split_once('/').is_some_and(|(category, name)| {
                !category.is_empty() && !name.is_empty() && !name.contains('/')
            });
            if !is_name {
                let message = format!("`{package}` does not name a package");
                let help = "it is CATEGORY/NAME, for example sys-devel/gcc";
                return Err(self.bad(element, message, help));
            }
            let limits = found.entry(package.to_owned()).or_default();
            match kind {
                "timeout" => limits.timeout = self.seconds(element)?,
                "memory" => limits.memory = self.amount(element, true)?,
                _ => limits.width = self.places(element)?,
            }
        }
        Ok(found)
    }

    /// How many steps' places a package has on a machine.
    fn places(&self, element: &str) -> Result<Option<Width>, PlanError> {
        let Some(text) = self.text(element)? else {
            return Ok(None);
        };
        if text == "lonesome" {
            return Ok(Some(Width::Host));
        }
        match text.parse::<NonZeroU16>() {
            Ok(slots) if slots.get() <= 4096 => Ok(Some(Width::Slots(slots))),
            _ => Err(self.bad(
                element,
                format!("`{text}` is neither a number from 1 to 4096 nor `lonesome`"),
                "say how many steps' places on a machine it may have; leave it out for one",
            )),
        }
    }
}
