//! A second evaluator, written from the rules of the language alone: slow, recursive, without memory.
//!
//! It exists to disagree with the real one where either has a rule wrong. So nothing is shared with the crate,
//! not even what a name or a line is, and clarity comes before everything. Specifications that cost it more
//! than a number of steps are given up.

#![allow(dead_code)] // Each user takes what it needs.

pub mod compare;
mod syntax;

use std::collections::{BTreeMap, BTreeSet};

use syntax::{Body, Collect, Condition, Definition, File};

/// The classes of errors, by name.
pub type Class = &'static str;

/// A value: its lines, which are one for a line element, and whether it is a block.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Line(String),
    Block(Vec<String>),
    Removed,
}

/// Why there is no value.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    Error(Class),
    /// Removed by a `:zap`.
    Removed,
    /// Too expensive to say.
    Steps,
}

/// What loading came to.
pub enum Loaded {
    Spec(Box<Naive>),
    /// The classes of all errors found.
    Errors(BTreeSet<Class>),
    GaveUp,
}

const STEPS: u32 = 20_000;
const DEPTH: u32 = 60;
const SIZE: usize = 1 << 13;

/// Which definition is in use: file and index.
type Slot = (usize, usize);

pub struct Naive {
    /// All files there are, by absolute path.
    disk: BTreeMap<String, Vec<u8>>,
    /// The files in use with their paths; the command line is one.
    files: Vec<(String, File)>,
    elements: BTreeMap<String, Vec<Slot>>,
    collected: Vec<String>,
}

/// One question to a specification.
struct Ask<'a> {
    spec: &'a Naive,
    steps: u32,
    /// Elements being evaluated (true) or chosen (false).
    busy: Vec<(String, bool)>,
    /// Undefined elements that were met.
    absent: BTreeSet<String>,
}

/// Where a text stands: its file and section, and whether undefined references in it are empty.
#[derive(Clone, Copy)]
struct Place<'a> {
    file: usize,
    section: Option<&'a str>,
    /// By `[option parse/lax]`: this text alone.
    lax_here: bool,
    /// By `:lax`: this text and all it refers to.
    lax: bool,
}

/// A line of an evaluated block.
struct Line {
    text: String,
    /// Whether the line of the source that it was made of is blank.
    was_blank: bool,
}

/// What a collect comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Came {
    False,
    Nothing,
    Path(String),
    Failed(Class),
}

/// Resolves `.` and `..` by spelling (L53).
fn resolve(dir: &str, path: &str) -> String {
    let whole = if path.starts_with('/') {
        path.to_owned()
    } else {
        format!("{dir}/{path}")
    };
    let mut parts: Vec<&str> = Vec::new();
    for part in whole.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

fn dir_of(path: &str) -> &str {
    match path.rfind('/') {
        Some(at) => &path[..at],
        None => "",
    }
}

fn is_blank(text: &str) -> bool {
    text.chars().all(|c| c == ' ' || c == '\t')
}

fn trim(text: &str) -> &str {
    text.trim_matches([' ', '\t'])
}

/// Loads a specification: its files by absolute path, its main file, and definitions of the command line.
pub fn load(disk: BTreeMap<String, Vec<u8>>, entry: &str, given: &[(String, String)]) -> Loaded {
    let mut errors = BTreeSet::new();
    let mut spec = Naive {
        disk,
        files: Vec::new(),
        elements: BTreeMap::new(),
        collected: Vec::new(),
    };
    if let Err(class) = spec.add(entry, &mut errors) {
        errors.insert(if class == "bad-collect" {
            "cannot-open"
        } else {
            class
        });
        return Loaded::Errors(errors);
    }
    spec.command_line(given, &mut errors);
    match spec.queue(&mut errors) {
        Err(Stop::Steps) => Loaded::GaveUp,
        _ if !errors.is_empty() => Loaded::Errors(errors),
        _ => Loaded::Spec(Box::new(spec)),
    }
}

impl Naive {
    /// The names of all elements with a definition.
    pub fn names(&self) -> Vec<&str> {
        self.elements.keys().map(String::as_str).collect()
    }

    /// The files read, in any order.
    pub fn collected(&self) -> BTreeSet<&str> {
        self.collected.iter().map(String::as_str).collect()
    }

    /// The value of an element; nothing if it is too expensive.
    pub fn value(&self, name: &str) -> Option<Result<Value, Class>> {
        let mut ask = self.ask();
        match ask.element(name, false) {
            Ok(value) => Some(Ok(value)),
            Err(Stop::Removed) => Some(Ok(Value::Removed)),
            Err(Stop::Error(class)) => Some(Err(class)),
            Err(Stop::Steps) => None,
        }
    }

    fn ask(&self) -> Ask<'_> {
        Ask {
            spec: self,
            steps: 0,
            busy: Vec::new(),
            absent: BTreeSet::new(),
        }
    }

    /// Reads a file and takes its definitions in.
    fn add(&mut self, path: &str, errors: &mut BTreeSet<Class>) -> Result<(), Class> {
        let Some(bytes) = self.disk.get(path) else {
            return Err("bad-collect");
        };
        let file = match String::from_utf8(bytes.clone()) {
            Ok(text) => syntax::parse(&text, errors),
            Err(_) => {
                errors.insert("bad-line");
                File::default()
            }
        };
        let number = self.files.len();
        self.files.push((path.to_owned(), file));
        self.collected.push(path.to_owned());
        for index in 0..self.files[number].1.definitions.len() {
            self.define((number, index), errors);
        }
        Ok(())
    }

    fn definition(&self, (file, index): Slot) -> &Definition {
        &self.files[file].1.definitions[index]
    }

    fn define(&mut self, slot: Slot, errors: &mut BTreeSet<Class>) {
        let new = self.definition(slot);
        let name = new.name.clone();
        let others = self
            .elements
            .get(&name)
            .map(Vec::as_slice)
            .unwrap_or_default();
        // L9, L46.
        let clash = others
            .iter()
            .any(|other| match (&self.definition(*other).when, &new.when) {
                (Some(one), Some(other)) => one.same(other),
                _ => true,
            });
        if clash {
            errors.insert("duplicate");
        } else {
            self.elements.entry(name).or_default().push(slot);
        }
    }

    fn command_line(&mut self, given: &[(String, String)], errors: &mut BTreeSet<Class>) {
        if given.is_empty() {
            return;
        }
        let number = self.files.len();
        let mut file = File::default();
        let mut replaced = Vec::new();
        for (name, value) in given {
            if !syntax::is_name(name) {
                errors.insert("bad-line");
                continue;
            }
            // L58: the section of the definition it replaces.
            let section = match self.elements.get(name) {
                Some(slots) if slots[0].0 == 0 => self.definition(slots[0]).section.clone(),
                _ => None,
            };
            match syntax::line_body(value) {
                Ok(body) => {
                    let definition = Definition {
                        name: name.clone(),
                        section,
                        when: None,
                        lax: false,
                        body,
                    };
                    file.definitions.push(definition);
                    replaced.push(name.clone());
                }
                Err(class) => {
                    errors.insert(class);
                }
            }
        }
        self.files.push((self.files[0].0.clone(), file));
        for (index, name) in replaced.into_iter().enumerate() {
            match self.elements.get(&name) {
                Some(slots) if slots[0].0 == 0 => {
                    self.elements.insert(name, vec![(number, index)]);
                }
                _ => self.define((number, index), errors),
            }
        }
    }

    /// Works on all collects until nothing can proceed (L47-L54).
    fn queue(&mut self, errors: &mut BTreeSet<Class>) -> Result<(), Stop> {
        let mut waiting: Vec<(usize, usize)> = Vec::new();
        let mut decided: Vec<((usize, usize), Came)> = Vec::new();
        let mut relied: BTreeSet<String> = BTreeSet::new();
        let mut seen = 0;
        let mut unreadable: BTreeSet<String> = BTreeSet::new();
        loop {
            while seen < self.files.len() {
                let count = self.files[seen].1.collects.len();
                waiting.extend((0..count).map(|index| (seen, index)));
                seen += 1;
            }
            // The first that needs nothing undefined.
            let mut next = None;
            for (at, which) in waiting.iter().enumerate() {
                let (came, absent) = self.try_collect(*which)?;
                if absent.is_empty() {
                    next = Some((at, came));
                    break;
                }
            }
            if let Some((at, came)) = next {
                let which = waiting.remove(at);
                self.decide(which, &came, &mut unreadable, errors);
                decided.push((which, came));
                continue;
            }
            // None: absence is decided for all that name a file.
            let mut batch = Vec::new();
            for which in waiting.clone() {
                let (came, absent) = self.try_collect(which)?;
                if matches!(came, Came::Path(_)) {
                    relied.extend(absent);
                    batch.push((which, came));
                    waiting.retain(|other| *other != which);
                }
            }
            if batch.is_empty() {
                break;
            }
            for (which, came) in batch {
                self.decide(which, &came, &mut unreadable, errors);
                decided.push((which, came));
            }
        }
        // What was relied on to be absent and has a definition that always holds is wrong whatever else is.
        let always = |slot: &Slot| self.definition(*slot).when.is_none();
        let defined = |name: &String| {
            self.elements
                .get(name)
                .is_some_and(|s| s.iter().any(always))
        };
        if relied.iter().any(defined) {
            errors.insert("conflict");
        }
        if !errors.is_empty() {
            return Ok(());
        }
        for which in waiting {
            if let (Came::Failed(class), _) = self.try_collect(which)? {
                errors.insert(class);
            }
        }
        // What was relied on to be absent still has to be.
        for name in relied {
            let mut ask = self.ask();
            match ask.choose(&name, false) {
                Ok(None) => {}
                Err(Stop::Steps) => return Err(Stop::Steps),
                _ => {
                    errors.insert("conflict");
                }
            }
        }
        if !errors.is_empty() {
            return Ok(());
        }
        for (which, before) in decided {
            match self.try_collect(which)?.0 {
                now if now == before => {}
                Came::Failed(class) => {
                    errors.insert(class);
                }
                _ => {
                    errors.insert("conflict");
                }
            }
        }
        Ok(())
    }

    fn try_collect(&self, (file, index): (usize, usize)) -> Result<(Came, BTreeSet<String>), Stop> {
        let collect: &Collect = &self.files[file].1.collects[index];
        let mut ask = self.ask();
        let came = match ask.collect(file, collect) {
            Ok(None) => Came::False,
            Ok(Some(path)) if path.is_empty() => Came::Nothing,
            Ok(Some(path)) => Came::Path(path),
            Err(Stop::Removed) => Came::Nothing,
            Err(Stop::Error(class)) => Came::Failed(class),
            Err(Stop::Steps) => return Err(Stop::Steps),
        };
        Ok((came, ask.absent))
    }

    fn decide(
        &mut self,
        (file, _): (usize, usize),
        came: &Came,
        unreadable: &mut BTreeSet<String>,
        errors: &mut BTreeSet<Class>,
    ) {
        match came {
            Came::False | Came::Nothing => {}
            Came::Failed(class) => {
                errors.insert(class);
            }
            Came::Path(path) => {
                let path = resolve(dir_of(&self.files[file].0), path);
                if self.collected.contains(&path) {
                    errors.insert("duplicate");
                } else if !unreadable.contains(&path)
                    && let Err(class) = self.add(&path, errors)
                {
                    unreadable.insert(path);
                    errors.insert(class);
                }
            }
        }
    }
}

impl Ask<'_> {
    fn step(&mut self) -> Result<(), Stop> {
        self.steps += 1;
        if self.steps > STEPS || self.busy.len() as u32 > DEPTH {
            Err(Stop::Steps)
        } else {
            Ok(())
        }
    }

    /// The path of a collect; nothing if its condition is false.
    fn collect(&mut self, file: usize, collect: &Collect) -> Result<Option<String>, Stop> {
        if let Some(when) = &collect.when
            && !self.holds(when, false)?
        {
            return Ok(None);
        }
        let section = collect.section.as_deref();
        let place = Place {
            file,
            section,
            lax_here: false,
            lax: false,
        };
        self.text(&collect.path, place).map(Some)
    }

    /// Which definition of an element holds (L45); nothing if it is undefined.
    fn choose(&mut self, name: &str, lax: bool) -> Result<Option<Slot>, Stop> {
        self.step()?;
        let spec = self.spec;
        let Some(slots) = spec.elements.get(name) else {
            self.absent.insert(name.to_owned());
            return Ok(None);
        };
        if let [slot] = slots.as_slice()
            && spec.definition(*slot).when.is_none()
        {
            return Ok(Some(*slot));
        }
        let mut found = Vec::new();
        let mut failed: Option<Class> = None;
        for slot in slots {
            let when = spec.definition(*slot).when.as_ref();
            let held = self.within(name, false, |ask| {
                when.map_or(Ok(true), |when| ask.holds(when, lax))
            });
            match held {
                Ok(true) => found.push(*slot),
                Ok(false) => {}
                // Of several errors it is always the same, whatever the order (L10).
                Err(Stop::Error(class)) => {
                    failed = Some(failed.map_or(class, |first| syntax::first_class(first, class)));
                }
                Err(stop) => return Err(stop),
            }
        }
        match (failed, found.as_slice()) {
            (Some(class), _) => Err(Stop::Error(class)),
            (None, []) => {
                self.absent.insert(name.to_owned());
                Ok(None)
            }
            (None, [slot]) => Ok(Some(*slot)),
            (None, _) => Err(Stop::Error("conflict")),
        }
    }

    /// Works on the choice or the value of an element, unless that is going on already (L18).
    fn within<T>(
        &mut self,
        name: &str,
        value: bool,
        work: impl FnOnce(&mut Self) -> Result<T, Stop>,
    ) -> Result<T, Stop> {
        let key = (name.to_owned(), value);
        if self.busy.contains(&key) {
            return Err(Stop::Error("circular"));
        }
        self.busy.push(key);
        let result = work(self);
        self.busy.pop();
        result
    }

    /// Whether a condition is true (L44).
    fn holds(&mut self, when: &Condition, lax: bool) -> Result<bool, Stop> {
        if self.choose(&when.element, lax)?.is_none() {
            return Ok(false);
        }
        if when.words.is_empty() {
            return Ok(true);
        }
        match self.one_text(&when.element, lax) {
            Ok(text) => Ok(when.words.contains(&text)),
            Err(Stop::Removed) => Ok(false),
            Err(stop) => Err(stop),
        }
    }

    /// The value of an element in its own kind.
    fn element(&mut self, name: &str, lax: bool) -> Result<Value, Stop> {
        let Some(slot) = self.choose(name, lax)? else {
            return Err(Stop::Error("undefined"));
        };
        match self.spec.definition(slot).body {
            Body::Block(_) => {
                let lines = self.lines(name, lax)?;
                let texts = lines.into_iter().map(|line| line.text).collect();
                Ok(Value::Block(texts))
            }
            _ => self.one_text(name, lax).map(Value::Line),
        }
    }

    /// The value of an element as one text (L36); it is defined.
    fn one_text(&mut self, name: &str, lax: bool) -> Result<String, Stop> {
        self.step()?;
        let spec = self.spec;
        let Some(slot) = self.choose(name, lax)? else {
            return Err(Stop::Error("undefined"));
        };
        let definition = spec.definition(slot);
        let section = definition.section.as_deref();
        let place = Place {
            file: slot.0,
            section,
            lax_here: definition.lax,
            lax,
        };
        let text = self.within(name, true, |ask| match &definition.body {
            Body::Line(text) => ask.text(text, place),
            Body::File(path) => {
                let path = ask.text(path, place)?;
                let path = resolve(dir_of(&spec.files[slot.0].0), &path);
                let bytes = spec.disk.get(&path).ok_or(Stop::Error("cannot-open"))?;
                let text = std::str::from_utf8(bytes).map_err(|_| Stop::Error("cannot-open"))?;
                Ok(syntax::lines(text).join(" "))
            }
            Body::Block(_) => {
                let lines = ask.block(definition, place, true)?;
                let first = lines.iter().position(|line| !line.was_blank);
                let last = lines.iter().rposition(|line| !line.was_blank);
                let kept = match (first, last) {
                    (Some(first), Some(last)) => &lines[first..=last],
                    _ => &[],
                };
                let texts: Vec<&str> = kept.iter().map(|line| line.text.as_str()).collect();
                Ok(texts.join(" "))
            }
        })?;
        if text.len() > SIZE {
            Err(Stop::Steps)
        } else {
            Ok(text)
        }
    }

    /// The lines of a block, which it is.
    fn lines(&mut self, name: &str, lax: bool) -> Result<Vec<Line>, Stop> {
        self.step()?;
        let spec = self.spec;
        let Some(slot) = self.choose(name, lax)? else {
            return Err(Stop::Error("undefined"));
        };
        let definition = spec.definition(slot);
        let section = definition.section.as_deref();
        let place = Place {
            file: slot.0,
            section,
            lax_here: definition.lax,
            lax,
        };
        let lines = self.within(name, true, |ask| ask.block(definition, place, false))?;
        let size: usize = lines.iter().map(|line| line.text.len() + 1).sum();
        if size > SIZE {
            Err(Stop::Steps)
        } else {
            Ok(lines)
        }
    }

    /// Evaluates the lines of a block, trimmed first if it is to become one text.
    fn block(
        &mut self,
        definition: &Definition,
        place: Place<'_>,
        trimmed: bool,
    ) -> Result<Vec<Line>, Stop> {
        let Body::Block(lines) = &definition.body else {
            return Ok(Vec::new());
        };
        let python = |line: &String| trim(line).split([' ', '\t']).next() == Some("<?python");
        if lines.iter().any(python) {
            return Err(Stop::Error("embedded-code"));
        }
        let mut out = Vec::new();
        for line in lines {
            self.step()?;
            let inner = trim(line);
            let result = if inner.len() >= 5 && inner.starts_with("$[[") && inner.ends_with("]]") {
                self.include(&inner[3..inner.len() - 2], place)
                    .map(|more| out.extend(more))
            } else {
                self.text(if trimmed { inner } else { line }, place)
                    .map(|text| {
                        out.push(Line {
                            text,
                            was_blank: inner.is_empty(),
                        })
                    })
            };
            match result {
                Ok(()) | Err(Stop::Removed) => {}
                Err(stop) => return Err(stop),
            }
        }
        Ok(out)
    }

    /// The lines that an inclusion stands for (L31-L35).
    fn include(&mut self, inner: &str, place: Place<'_>) -> Result<Vec<Line>, Stop> {
        let (relative, inner) = match inner.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, inner),
        };
        let (written, modifiers) = syntax::split_inclusion(inner);
        let lax = match modifiers {
            None => false,
            Some(":lax") => true,
            Some(_) => return Err(Stop::Error("bad-modifier")),
        };
        let relative = relative || written.is_empty();
        let own = self.text(written, place)?;
        let name = self.full_name(relative, &own, place)?;
        let excused = lax || place.lax_here || place.lax;
        let lax = lax || place.lax;
        // A computed name that came to nothing names nothing.
        let slot = match name.is_empty() {
            true => {
                self.absent.insert(String::new());
                None
            }
            false => self.choose(&name, lax)?,
        };
        match slot {
            None if excused => Ok(Vec::new()),
            None => Err(Stop::Error("undefined")),
            Some(slot) => match self.spec.definition(slot).body {
                Body::Block(_) => self.lines(&name, lax),
                _ => Err(Stop::Error("wrong-kind")),
            },
        }
    }

    fn full_name(&self, relative: bool, own: &str, place: Place<'_>) -> Result<String, Stop> {
        match (relative, place.section) {
            (false, _) => Ok(own.to_owned()),
            (true, None) => Err(Stop::Error("no-section")),
            (true, Some(section)) if own.is_empty() => Ok(section.to_owned()),
            (true, Some(section)) => Ok(format!("{section}/{own}")),
        }
    }

    /// Replaces the references in a text, from left to right (L14-L27).
    fn text(&mut self, text: &str, place: Place<'_>) -> Result<String, Stop> {
        let mut out = String::new();
        let mut rest = text;
        while let Some(at) = rest.find("$[") {
            self.step()?;
            if rest[at + 2..].starts_with('[') {
                // L33: text, behind which references are looked for again.
                out.push_str(&rest[..at + 3]);
                rest = &rest[at + 3..];
                continue;
            }
            out.push_str(&rest[..at]);
            let Some(end) = rest[at..].find(']') else {
                return Err(Stop::Error("unterminated"));
            };
            out.push_str(&self.reference(&rest[at + 2..at + end], place)?);
            rest = &rest[at + end + 1..];
        }
        out.push_str(rest);
        if out.len() > SIZE {
            Err(Stop::Steps)
        } else {
            Ok(out)
        }
    }

    fn reference(&mut self, inner: &str, place: Place<'_>) -> Result<String, Stop> {
        let (relative, inner) = match inner.strip_prefix(':') {
            Some(rest) => (true, rest),
            None => (false, inner),
        };
        let (own, modifier) = match inner.find(':') {
            Some(at) => (&inner[..at], &inner[at..]),
            None => (inner, ""),
        };
        let (own, modifier) = match (own.strip_suffix('?'), modifier) {
            (None, "" | ":zap" | ":lax") => (own, modifier),
            (Some(own), "") if !own.ends_with('?') => (own, "?"),
            _ => return Err(Stop::Error("bad-modifier")),
        };
        let relative = relative || own.is_empty();
        let name = self.full_name(relative, own, place)?;
        let lax = place.lax || modifier == ":lax";
        let Some(slot) = self.choose(&name, lax)? else {
            return match modifier {
                "?" => Ok("no".to_owned()),
                ":zap" => Err(Stop::Removed),
                ":lax" => Ok(String::new()),
                _ if place.lax || place.lax_here => Ok(String::new()),
                _ => Err(Stop::Error("undefined")),
            };
        };
        if modifier == "?" {
            let yes = match &self.spec.definition(slot).body {
                Body::Line(text) => !is_blank(text),
                Body::File(_) => true,
                Body::Block(lines) => !lines.is_empty(),
            };
            return Ok(if yes { "yes" } else { "no" }.to_owned());
        }
        let text = self.one_text(&name, lax)?;
        if modifier == ":zap" && text.is_empty() {
            Err(Stop::Removed)
        } else {
            Ok(text)
        }
    }
}
