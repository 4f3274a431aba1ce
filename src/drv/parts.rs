//! The parts of a derivation that decide its key, as one list.
//!
//! The key is the encoding of this list, and what tells two derivations apart (`why rebuild`, `diff`)
//! walks the same list: a part cannot be in one and forgotten in the other. A new field of a derivation
//! does not compile until it is either here or named as one that decides nothing.

use std::fmt;

use serde::ser::SerializeStruct;
use serde::{Serialize, Serializer};

use super::derivation::{Derivation, Env, Impure, Network, Output, Phase, Policy, Role};

/// Which part it is. In the order in which differences are told: what people write comes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// The scripts.
    Phases,
    /// The environment.
    Env,
    /// What it starts from.
    Inputs,
    /// The machine that must run it.
    Platform,
    /// The directory that is captured.
    Root,
    /// What becomes of the root.
    Output,
    /// Access to a network.
    Network,
    /// Folders of the machine that are no input.
    Impure,
    /// The isolation.
    Sandbox,
    /// The latest time stamp.
    Epoch,
}

impl Field {
    /// The name within the encoding, which is a contract.
    fn key(self) -> &'static str {
        match self {
            Field::Phases => "phases",
            Field::Env => "env",
            Field::Inputs => "inputs",
            Field::Platform => "platform",
            Field::Root => "root",
            Field::Output => "output",
            Field::Network => "network",
            Field::Impure => "impure",
            Field::Sandbox => "sandbox",
            Field::Epoch => "epoch",
        }
    }

    /// The name that people know it by, where it is not the same.
    pub fn label(self) -> &'static str {
        match self {
            Field::Phases => "steps",
            Field::Root => "portage/ROOT",
            Field::Network => "policy/network",
            Field::Epoch => "SOURCE_DATE_EPOCH",
            other => other.key(),
        }
    }
}

/// What stands in a part. `T` is how the tree of an input is written.
#[derive(Debug, Clone, Serialize)]
#[serde(untagged)]
pub enum Part<'a, T> {
    /// Environment variables.
    Env(&'a Env),
    /// A line of text.
    Text(&'a str),
    /// A number.
    Number(i64),
    /// Inputs, in their order.
    Inputs(Vec<PartInput<'a, T>>),
    /// What becomes of the root.
    Output(Output),
    /// Scripts, in their order.
    Phases(&'a [Phase]),
    /// Access to a network.
    Network(&'a Network),
    /// Folders of the machine.
    Impure(&'a [Impure]),
}

impl<T> Part<'_, T> {
    /// Whether the encoding does without it, as it did before there was such a part.
    fn is_left_out(&self) -> bool {
        matches!(self, Part::Impure([]))
    }
}

/// One input.
#[derive(Debug, Clone, Serialize)]
pub struct PartInput<'a, T> {
    /// Where it appears in the build.
    pub at: &'a str,
    /// What it is for.
    pub role: Role,
    /// Its tree, or what stands for that.
    pub tree: T,
}

impl<T> fmt::Display for Part<'_, T> {
    /// Writes it in one line for people. Trees of inputs are left out: they are told of one by one.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Part::Text(text) => f.write_str(text),
            Part::Number(number) => write!(f, "{number}"),
            Part::Output(Output::Captured) => f.write_str("a new tree"),
            Part::Output(Output::Input) => f.write_str("none, a test"),
            Part::Output(Output::Folder) => f.write_str("a folder, as a new tree"),
            Part::Network(Network::None) => f.write_str("none"),
            Part::Network(Network::FixedOutput(fixed)) => write!(f, "{fixed}"),
            Part::Impure([]) => f.write_str("none"),
            Part::Impure(folders) => list(f, ", ", folders.iter(), |f, impure| {
                write!(f, "{} at {}", impure.folder, impure.at)
            }),
            Part::Env(env) => list(f, " ", env.0.iter(), |f, (name, value)| {
                write!(f, "{name}={value}")
            }),
            Part::Phases(phases) => {
                list(f, " ", phases.iter(), |f, phase| f.write_str(&phase.name))
            }
            Part::Inputs(inputs) => list(f, ", ", inputs.iter(), |f, input| {
                write!(f, "{} at {}", input.role, input.at)
            }),
        }
    }
}

fn list<I>(
    f: &mut fmt::Formatter<'_>,
    between: &str,
    items: impl Iterator<Item = I>,
    one: impl Fn(&mut fmt::Formatter<'_>, I) -> fmt::Result,
) -> fmt::Result {
    for (at, item) in items.enumerate() {
        if at > 0 {
            f.write_str(between)?;
        }
        one(f, item)?;
    }
    Ok(())
}

/// All parts that decide the key of one derivation, in the order of canonical CBOR.
#[derive(Debug, Clone)]
pub struct Parts<'a, T>([(Field, Part<'a, T>); 10]);

impl<'a, T> Parts<'a, T> {
    /// The parts of `derivation`, with one of `trees` for each input.
    pub fn of(derivation: &'a Derivation, trees: impl Iterator<Item = T>) -> Self {
        let Derivation {
            env,
            root,
            epoch,
            inputs,
            output,
            phases,
            policy,
            sandbox,
            platform,
            // Labels: they decide nothing.
            name: _,
            build: _,
            class: _,
            target: _,
            subarch: _,
            arch_desc: _,
        } = derivation;
        let Policy {
            network,
            impure,
            // How long a step may take, and beside what it may run, is not what it makes; neither is where something
            // came from.
            timeout: _,
            tag: _,
            width: _,
            limits: _,
            silence: _,
            from: _,
        } = policy;
        let inputs = inputs.iter().zip(trees).map(|(input, tree)| PartInput {
            at: &input.at,
            role: input.role,
            tree,
        });
        Parts([
            (Field::Env, Part::Env(env)),
            (Field::Root, Part::Text(root)),
            (Field::Epoch, Part::Number(*epoch)),
            (Field::Impure, Part::Impure(impure)),
            (Field::Inputs, Part::Inputs(inputs.collect())),
            (Field::Output, Part::Output(*output)),
            (Field::Phases, Part::Phases(phases)),
            (Field::Network, Part::Network(network)),
            (Field::Sandbox, Part::Text(sandbox)),
            (Field::Platform, Part::Text(platform)),
        ])
    }

    /// Walks over two derivations side by side, in the order in which differences are told.
    pub fn each<E>(
        &self,
        other: &Self,
        mut visit: impl FnMut(Field, &Part<'a, T>, &Part<'a, T>) -> Result<(), E>,
    ) -> Result<(), E> {
        let mut pairs: Vec<_> = self.0.iter().zip(&other.0).collect();
        pairs.sort_by_key(|((field, _), _)| *field);
        for ((field, old), (_, new)) in pairs {
            visit(*field, old, new)?;
        }
        Ok(())
    }
}

impl<T: Serialize> Serialize for Parts<'_, T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let written = || self.0.iter().filter(|(_, part)| !part.is_left_out());
        let mut map = serializer.serialize_struct("Parts", written().count())?;
        for (field, part) in written() {
            map.serialize_field(field.key(), part)?;
        }
        map.end()
    }
}
