//! Mentions: the places of a file that name elements, be it as definitions, references, inclusions or conditions.
//!
//! This is what the text says, without evaluation: a mention is found in a value that no target uses, and
//! under a condition that is never true.

use crate::span::Span;
use crate::syntax::{
    CollectId, ConditionId, DefinitionId, File, FullName, Kind, Modifier, Part, Parts, Target,
    block_lines, inclusion,
};

/// How an element is mentioned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The name of a definition.
    Definition,
    /// `$[name]` with a modifier or none.
    Reference(Modifier),
    /// `$[[name]]` on a line of its own in a block; whether it is `:lax`.
    Inclusion(bool),
    /// The element that a condition tests.
    Condition,
}

/// What a mention is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Within {
    /// The value of a definition, or its name.
    Definition(DefinitionId),
    /// The path of a collect.
    Collect(CollectId),
    /// A condition.
    Condition(ConditionId),
}

/// One mention of an element.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mention {
    /// The name as written, without section, brackets and modifiers; may be empty.
    pub name: Span,
    /// From the `$` to the last bracket; the name itself for definitions and conditions.
    pub whole: Span,
    /// How it is mentioned.
    pub role: Role,
    /// Whether the section in force stands before the name (L11, L15).
    pub relative: bool,
    /// The name of the section in force, if there is one.
    pub section: Option<Span>,
    /// Whether the name is computed from references in it (L34).
    pub computed: bool,
    /// What it is written in.
    pub within: Within,
}

impl Mention {
    /// The full name, unless it is computed or wants a section where none is in force.
    pub fn full<'a>(&self, file: &'a File) -> Option<FullName<'a>> {
        let own = file.text(self.name);
        match (self.computed, self.relative, self.section) {
            (true, ..) | (_, true, None) => None,
            (_, true, Some(section)) => Some(FullName {
                section: Some(file.text(section)),
                own,
            }),
            (_, false, _) => Some(FullName { section: None, own }),
        }
    }

    /// Whether a computed name could come to be this one: its text begins and ends in the same way.
    pub fn could_be(&self, file: &File, name: &str) -> bool {
        let Some(full) = (Mention {
            computed: false,
            ..*self
        })
        .full(file) else {
            return false;
        };
        if !self.computed {
            return full.is(name);
        }
        let full = full.join();
        let Some(start) = full.find("$[") else {
            return full == name;
        };
        let end = full.rfind(']').map_or(full.len(), |at| at + 1).max(start);
        let (head, tail) = (&full[..start], &full[end..]);
        name.len() >= head.len() + tail.len() && name.starts_with(head) && name.ends_with(tail)
    }

    /// The span to select for it: the name, or what stands for an empty one.
    pub fn shown(&self) -> Span {
        if self.name.is_empty() {
            self.whole
        } else {
            self.name
        }
    }

    /// Whether it needs the element to be there.
    pub fn is_definition(&self) -> bool {
        self.role == Role::Definition
    }
}

/// All mentions in a file, in the order of the text.
pub fn mentions(file: &File) -> Vec<Mention> {
    let mut found = Finder {
        file,
        mentions: Vec::new(),
        section: None,
    };
    for (id, definition) in file.definitions.entries() {
        found.section = definition
            .section()
            .map(|section| file.sections[section].name);
        found.mentions.push(Mention {
            name: definition.name,
            whole: file.name_span(definition),
            role: Role::Definition,
            relative: found.section.is_some(),
            section: found.section,
            computed: false,
            within: Within::Definition(id),
        });
        match definition.kind() {
            Kind::Line | Kind::FileValue => {
                found.references(definition.value, Within::Definition(id))
            }
            Kind::Block => {
                for line in block_lines(file.source(), definition.value) {
                    found.block_line(line, Within::Definition(id));
                }
            }
        }
    }
    for id in file.collects.ids() {
        found.collect(id);
    }
    for (id, condition) in file.conditions.entries() {
        found.mentions.push(Mention {
            name: condition.element,
            whole: condition.element,
            role: Role::Condition,
            relative: false,
            section: None,
            computed: false,
            within: Within::Condition(id),
        });
    }
    let mut mentions = found.mentions;
    mentions.sort_by_key(|mention| (mention.whole.start, mention.whole.end));
    mentions
}

/// The references in the path of a collect, in the order of the text.
pub fn in_collect(file: &File, collect: CollectId) -> Vec<Mention> {
    let mut found = Finder {
        file,
        mentions: Vec::new(),
        section: None,
    };
    found.collect(collect);
    found.mentions
}

struct Finder<'a> {
    file: &'a File,
    mentions: Vec<Mention>,
    section: Option<Span>,
}

impl Finder<'_> {
    fn collect(&mut self, id: CollectId) {
        let collect = &self.file.collects[id];
        let section = collect.section();
        self.section = section.map(|section| self.file.sections[section].name);
        self.references(collect.path, Within::Collect(id));
    }

    fn push(&mut self, target: Target, whole: Span, role: Role, computed: bool, within: Within) {
        self.mentions.push(Mention {
            name: target.name,
            whole,
            role,
            relative: target.relative,
            section: self.section,
            computed,
            within,
        });
    }

    fn references(&mut self, text: Span, within: Within) {
        let source = self.file.source();
        for part in Parts::new(source, text) {
            if let Part::Reference(reference) = part
                && let Ok((target, modifier)) = reference.parse(source)
            {
                self.push(
                    target,
                    reference.span,
                    Role::Reference(modifier),
                    false,
                    within,
                );
            }
        }
    }

    fn block_line(&mut self, line: Span, within: Within) {
        let source = self.file.source();
        if memchr::memmem::find(line.of(source).as_bytes(), b"$[").is_none() {
            return;
        }
        let Some(found) = inclusion(source, line) else {
            self.references(line, within);
            return;
        };
        let Ok(lax) = found.lax else { return };
        let computed =
            Parts::new(source, found.target.name).any(|part| matches!(part, Part::Reference(_)));
        self.push(
            found.target,
            found.span,
            Role::Inclusion(lax),
            computed,
            within,
        );
        if computed {
            self.references(found.target.name, within);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::PathBuf;

    #[test]
    fn every_mention_is_found_once() {
        let source = concat!(
            "a: $[b] $[:c:zap]\n",
            "[collect ./$[k/$[x]].conf when m is 1]\n",
            "[section s]\n",
            ": $[]\n",
            "t: [\n  $[[steps/$[:kind]/run:lax]]\n# $[d?]\n  echo $[[e]] $[::lax]\n]\n",
            "[section u when f]\nv: << $[g]/h\n",
        );
        let file = File::parse(PathBuf::new(), source.to_owned());
        assert_eq!(file.errors, []);
        let got: Vec<String> = mentions(&file)
            .iter()
            .map(|mention| {
                let name = mention.full(&file).map(|name| name.join());
                format!(
                    "{} {:?} {:?}",
                    mention.whole.of(source),
                    name.unwrap_or("?".to_owned()),
                    mention.role
                )
            })
            .collect();
        let want = [
            "a \"a\" Definition",
            "$[b] \"b\" Reference(Plain)",
            "$[:c:zap] \"?\" Reference(Zap)",
            "$[k/$[x] \"k/$[x\" Reference(Plain)",
            "m \"m\" Condition",
            ": \"s\" Definition",
            "$[] \"s\" Reference(Plain)",
            "t \"s/t\" Definition",
            "$[[steps/$[:kind]/run:lax]] \"?\" Inclusion(true)",
            "$[:kind] \"s/kind\" Reference(Plain)",
            "$[d?] \"d\" Reference(Question)",
            "$[::lax] \"s\" Reference(Lax)",
            "f \"f\" Condition",
            "v \"u/v\" Definition",
            "$[g] \"g\" Reference(Plain)",
        ];
        assert_eq!(got, want);
        let computed = mentions(&file)
            .into_iter()
            .find(|mention| mention.computed)
            .expect("one");
        assert!(computed.could_be(&file, "steps/x/run") && computed.could_be(&file, "steps//run"));
        assert!(
            !computed.could_be(&file, "steps/run") && !computed.could_be(&file, "a/steps/x/run")
        );
    }
}
