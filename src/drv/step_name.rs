//! Names of the nodes of a plan: a target, or one step of a target.
//!
//! A step's text form is `TARGET:STEP`. The target in it is written short in a derivation
//! (`stage3-corei7:run`, which leaves the build out) and in full where a realisation or a log is recorded
//! (`funtoo-current/x86-64bit/corei7/stage3:run`). Text becomes a name here, at the door; nothing else
//! looks for the colon. What a name in the store is of says the `kind` of the realisation beside it.
//!
//! Ports and packages are nodes too. A phase of a port is a [`StepName`] whose target is the pkgpath. People name a
//! package of a target `TARGET:CATEGORY/NAME`, or with its slot behind one more colon, which is a [`PackageName`]: no
//! step has a slash in its name.

use std::fmt;
use std::str::FromStr;

use mstore_store::RealisationKind;
use serde::{Deserialize, Serialize, Serializer};

/// Stands between a target and a step.
const SEPARATOR: char = ':';
/// Stands in the place of a target where something is fetched.
pub(super) const FETCH: &str = "fetch";

/// Text that is not the name of a node.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NodeNameError {
    /// A target's name that is empty or has a colon.
    #[error("`{0}` is not the name of a target")]
    Target(String),
    /// Text that is not a target, a colon and a step.
    #[error("`{0}` is not the name of a step, which is TARGET:STEP")]
    Step(String),
}

/// The name of a target, short or full: not empty, and without a colon.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TargetName(String);

impl TargetName {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for TargetName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, NodeNameError> {
        if text.is_empty() || text.contains(SEPARATOR) {
            return Err(NodeNameError::Target(text));
        }
        Ok(TargetName(text))
    }
}

impl FromStr for TargetName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        text.to_owned().try_into()
    }
}

impl From<TargetName> for String {
    fn from(name: TargetName) -> String {
        name.0
    }
}

impl fmt::Display for TargetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The name of one step of a target. Sorted as its text is.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Deserialize)]
#[serde(try_from = "String")]
pub struct StepName {
    /// `TARGET:STEP`.
    text: String,
    /// Where the colon is.
    colon: usize,
}

impl Serialize for StepName {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.text)
    }
}

impl StepName {
    /// The step `step` of `target`, which is written as it displays.
    pub fn new(target: impl fmt::Display, step: &str) -> Result<Self, NodeNameError> {
        format!("{target}{SEPARATOR}{step}").try_into()
    }

    /// The fetch of `file`. No target is called so: theirs have a subarch.
    pub fn fetch(file: &str) -> Result<Self, NodeNameError> {
        // A file may be called what a step may not.
        Self::new(FETCH, &file.replace(SEPARATOR, "_"))
    }

    /// Whether it is that of a fetch.
    pub fn is_fetch(&self) -> bool {
        self.target() == FETCH
    }

    /// The whole text, `TARGET:STEP`.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The target.
    pub fn target(&self) -> &str {
        &self.text[..self.colon]
    }

    /// The step.
    pub fn step(&self) -> &str {
        &self.text[self.colon + SEPARATOR.len_utf8()..]
    }
}

impl TryFrom<String> for StepName {
    type Error = NodeNameError;

    fn try_from(text: String) -> Result<Self, NodeNameError> {
        match text.split_once(SEPARATOR) {
            Some((target, step))
                if !target.is_empty() && !step.is_empty() && !step.contains(SEPARATOR) =>
            {
                let colon = target.len();
                Ok(StepName { text, colon })
            }
            _ => Err(NodeNameError::Step(text)),
        }
    }
}

impl FromStr for StepName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        text.to_owned().try_into()
    }
}

impl fmt::Display for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for StepName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

/// The name of a node, of whichever kind: what people type, and what a realisation is recorded under.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum NodeName {
    /// A whole target.
    Target(TargetName),
    /// One step of a target.
    Step(StepName),
    /// One package of a target, as people name it. Nothing is recorded under it.
    Package(PackageName),
}

/// How people name a package of a target: `TARGET:CATEGORY/NAME`, or that and `:SLOT`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PackageName {
    text: String,
    colon: usize,
}

impl fmt::Display for PackageName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl PackageName {
    /// The target.
    pub fn target(&self) -> &str {
        &self.text[..self.colon]
    }

    /// `CATEGORY/NAME`, or that and `:SLOT`.
    pub fn package(&self) -> &str {
        &self.text[self.colon + SEPARATOR.len_utf8()..]
    }

    /// Reads it; `None` where the text has another form.
    fn read(text: &str) -> Option<Self> {
        let (target, package) = text.split_once(SEPARATOR)?;
        let (name, slot) = match package.split_once(SEPARATOR) {
            Some((name, slot)) => (name, Some(slot)),
            None => (package, None),
        };
        let (category, own) = name.split_once('/')?;
        let is_part = |part: &str| !part.is_empty() && !part.contains([SEPARATOR, '/']);
        let whole = is_part(category) && is_part(own) && slot.is_none_or(is_part);
        (whole && !target.is_empty() && target != FETCH).then(|| PackageName {
            text: text.to_owned(),
            colon: target.len(),
        })
    }
}

impl NodeName {
    /// The name of what a realisation or an attempt of this kind is of. Parts of trees have none.
    pub fn recorded(kind: RealisationKind, name: &str) -> Option<Self> {
        match kind {
            RealisationKind::Step => name.parse().map(NodeName::Step).ok(),
            RealisationKind::Target => name.parse().map(NodeName::Target).ok(),
            RealisationKind::Part => None,
        }
    }

    /// The target that it is, or is a step of.
    pub fn target(&self) -> &str {
        match self {
            NodeName::Target(name) => name.as_str(),
            NodeName::Step(name) => name.target(),
            NodeName::Package(name) => name.target(),
        }
    }

    /// The step, if it names one, or what names a package in its place.
    pub fn step(&self) -> Option<&str> {
        match self {
            NodeName::Target(_) => None,
            NodeName::Step(name) => Some(name.step()),
            NodeName::Package(name) => Some(name.package()),
        }
    }

    /// The whole text.
    pub fn as_str(&self) -> &str {
        match self {
            NodeName::Target(name) => name.as_str(),
            NodeName::Step(name) => name.as_str(),
            NodeName::Package(name) => &name.text,
        }
    }
}

impl FromStr for NodeName {
    type Err = NodeNameError;

    fn from_str(text: &str) -> Result<Self, NodeNameError> {
        if let Some(package) = PackageName::read(text) {
            return Ok(NodeName::Package(package));
        }
        if text.contains(SEPARATOR) {
            text.parse().map(NodeName::Step)
        } else {
            text.parse().map(NodeName::Target)
        }
    }
}

impl fmt::Display for NodeName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_step_is_told_from_its_target() {
        let name: StepName = "funtoo/x86-64bit/corei7/stage3:run".parse().unwrap();
        assert_eq!(name.target(), "funtoo/x86-64bit/corei7/stage3");
        assert_eq!(name.step(), "run");
        assert_eq!(name, StepName::new(name.target(), "run").unwrap());
        // A pkgpath with flavours needs no other separator.
        let port = StepName::new("editors/vim,gtk3-main", "test").unwrap();
        assert_eq!(
            (port.target(), port.step()),
            ("editors/vim,gtk3-main", "test")
        );
    }

    #[test]
    fn a_package_is_told_from_a_step_by_its_slash() {
        let of = |text: &str| text.parse::<NodeName>().unwrap();
        let step = |text: &str| match of(text) {
            NodeName::Package(name) => format!("{} {}", name.target(), name.package()),
            NodeName::Step(_) => "a step".to_owned(),
            NodeName::Target(_) => "a target".to_owned(),
        };
        assert_eq!(step("stage3:sys-libs/zlib"), "stage3 sys-libs/zlib");
        assert_eq!(
            step("a/b/c/stage3:sys-libs/zlib:0"),
            "a/b/c/stage3 sys-libs/zlib:0"
        );
        assert_eq!(step("a/b/c/stage3:run"), "a step");
        assert_eq!(step("a/b/c/stage3"), "a target");
        assert_eq!(step("fetch:a/b"), "a step");
        assert_eq!(of("s:a/b:1").step(), Some("a/b:1"));
        for text in ["s:a/b:", "s:a/b:1:2", ":a/b:1", "s:a/:1", "s:/b:1"] {
            assert!(text.parse::<NodeName>().is_err(), "{text}");
        }
    }

    #[test]
    fn text_of_another_form_is_refused_at_the_door() {
        for text in ["", ":", "a", "a:", ":b", "a:b:c", "a::b"] {
            assert!(text.parse::<StepName>().is_err(), "{text}");
        }
        for text in ["", ":", "a:", "a:b"] {
            assert!(text.parse::<TargetName>().is_err(), "{text}");
        }
        assert!(StepName::new("a", "b:c").is_err());
        for text in ["", "a:", ":b", "a:b:c"] {
            assert!(text.parse::<NodeName>().is_err(), "{text}");
        }
        let message = "a:".parse::<NodeName>().unwrap_err().to_string();
        assert_eq!(
            message,
            "`a:` is not the name of a step, which is TARGET:STEP"
        );
    }

    proptest! {
        #[test]
        fn names_come_back_and_sort_as_their_text(a in "[a-c/,-]{1,4}(:[a-c]{1,2})?", b in "[a-c/,-]{1,4}:[a-c]{1,2}") {
            let node: NodeName = a.parse().unwrap();
            prop_assert_eq!(node.to_string(), a.clone());
            prop_assert_eq!(node.step().is_some(), matches!(node, NodeName::Step(_)));
            let step: StepName = b.parse().unwrap();
            prop_assert_eq!(format!("{}:{}", step.target(), step.step()), b.clone());
            if let NodeName::Step(other) = node {
                prop_assert_eq!(other.cmp(&step), a.cmp(&b));
            }
        }
    }
}
