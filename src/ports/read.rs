//! One port in one flavor, read from its `port.spec` and checked.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;

use mstore_lang::{Definition, Session};

use super::cut::{self, Cut};
use super::files::Folder;
use super::pkgpath::{Flavors, MAIN, PkgPath, PortId, PortPath, is_word};
use super::plist::Plist;
use super::scripts::Task;
use super::tree::PortsTree;
use crate::drv::fetch::{Address, Content, Digest, Fixed, Origin, is_file_name};
use crate::plan::{Elements, Location, PlanError};

/// Most flavors or subpackages that a port has.
const MOST_WORDS: usize = 64;
/// Most entries of one list of dependencies, and of distfiles.
const MOST_ENTRIES: usize = 4096;
/// Variables that mstore sets itself.
const OWN_ENV: [&str; 3] = ["MAKEOPTS", "SOURCE_DATE_EPOCH", "PREFIX"];
/// What begins an address that stands for those of a list of mirrors.
const MIRROR: &str = "mirror://";

/// One port in one flavor.
#[derive(Debug)]
pub struct Port {
    /// Which one.
    pub id: PortId,
    /// `version`.
    pub version: String,
    /// `comment`: what it is, in a line.
    pub comment: String,
    /// `ignore`: why it is not to be built.
    pub ignore: Option<String>,
    /// `flavors`: those that it may be asked for in.
    pub flavors: Vec<String>,
    /// The subpackages, `main` first.
    pub subpackages: Vec<Subpackage>,
    /// `depends/build`.
    pub build: Vec<Dependency>,
    /// What is fetched.
    pub distfiles: Vec<(Fixed, Origin)>,
    /// The script of each step that it has.
    pub scripts: BTreeMap<Task, String>,
    /// The environment of every step.
    pub env: Arc<BTreeMap<String, String>>,
    /// Seconds that a step may take.
    pub timeout: Option<u64>,
    /// The folder `files`.
    pub files: Option<Folder>,
    /// The folder `patches`.
    pub patches: Option<Folder>,
    /// Its `port.spec`.
    pub spec: PathBuf,
}

/// What is installed together.
#[derive(Debug)]
pub struct Subpackage {
    /// Its name, without the dash.
    pub name: String,
    /// `depends/lib`: what its programs are linked to.
    pub lib: Vec<Dependency>,
    /// `depends/run`: what it needs where it is installed.
    pub run: Vec<Dependency>,
    /// What belongs to it; of `main` nothing means all that is left.
    pub plist: Option<Plist>,
    /// The script that is run where it is installed.
    pub hook: Option<String>,
}

impl Subpackage {
    fn cut(&self) -> Cut<'_> {
        Cut {
            name: &self.name,
            plist: self.plist.as_ref(),
            hook: self.hook.as_deref(),
        }
    }
}

/// Another port that is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// Which.
    pub on: PkgPath,
    /// Where that is said.
    pub location: Option<Location>,
}

impl Port {
    /// The subpackage of that name.
    pub fn subpackage(&self, name: &str) -> Option<&Subpackage> {
        self.subpackages.iter().find(|sub| sub.name == name)
    }

    /// Reads a port in the flavors that are asked for.
    pub(super) fn read(
        tree: &PortsTree,
        session: &Session<'_>,
        path: &PortPath,
        flavors: &Flavors,
    ) -> Result<Port, PlanError> {
        let first = match flavors {
            Flavors::Default => BTreeSet::new(),
            Flavors::These(flavors) => flavors.clone(),
        };
        let reader = Reader::load(tree, session, path, &first)?;
        let (known, usual) = reader.flavors()?;
        if flavors == &Flavors::Default && usual != first {
            let reader = Reader::load(tree, session, path, &usual)?;
            return reader.port(path, usual, true, known);
        }
        if let Some(unknown) = first.iter().find(|flavor| !known.contains(flavor)) {
            let there = match known.is_empty() {
                true => "it has none".to_owned(),
                false => format!("there is: {}", known.join(" ")),
            };
            return Err(reader.bad(
                "flavors",
                format!("`{unknown}` is not a flavor of it; {there}"),
                "",
            ));
        }
        let is_default = usual == first;
        reader.port(path, first, is_default, known)
    }
}

/// The settings of one port, being read.
struct Reader<'a> {
    tree: &'a PortsTree,
    elements: Elements,
    path: String,
    spec: PathBuf,
}

impl<'a> Reader<'a> {
    fn load(
        tree: &'a PortsTree,
        session: &Session<'_>,
        path: &PortPath,
        flavors: &BTreeSet<String>,
    ) -> Result<Self, PlanError> {
        let spec = tree.spec_of(path);
        let Some(text) = spec.to_str() else {
            return Err(PlanError::Io {
                path: spec,
                source: std::io::Error::other("the path is not UTF-8"),
            });
        };
        let words: Vec<&str> = flavors.iter().map(String::as_str).collect();
        let mut definitions = vec![
            Definition::new("port/spec", text),
            Definition::new("port/path", path.as_str()),
            Definition::new("port/category", path.category()),
            Definition::new("port/name", path.name()),
            Definition::new("port/flavor", words.join(" ")),
        ];
        let own = words
            .iter()
            .map(|word| Definition::new(format!("port/flavor/{word}"), "yes"));
        definitions.extend(own);
        let elements = tree
            .elements(session, definitions)
            .map_err(|error| match error {
                PlanError::Spec(mut error) => {
                    error.target = Some(path.to_string());
                    PlanError::Spec(error)
                }
                other => other,
            })?;
        Ok(Reader {
            tree,
            elements,
            path: path.to_string(),
            spec,
        })
    }

    fn bad(&self, element: &str, message: impl Into<String>, help: &str) -> PlanError {
        // What is missing is missing in the file.
        let file = || Location {
            file: self.spec.clone(),
            line: 1,
        };
        PlanError::Value {
            element: element.to_owned(),
            target: self.path.clone(),
            location: Some(Box::new(
                self.elements.location(element).unwrap_or_else(file),
            )),
            message: message.into(),
            help: (!help.is_empty()).then(|| help.to_owned()),
        }
    }

    fn of_port<T>(&self, result: Result<T, crate::plan::SpecError>) -> Result<T, PlanError> {
        result.map_err(|mut error| {
            error.target = Some(self.path.clone());
            error.into()
        })
    }

    fn text(&self, element: &str) -> Result<Option<String>, PlanError> {
        let line = self.of_port(self.elements.line(element))?;
        Ok(line
            .map(|line| line.trim().to_owned())
            .filter(|line| !line.is_empty()))
    }

    fn words(&self, element: &str) -> Result<Vec<String>, PlanError> {
        self.of_port(self.elements.words(element))
    }

    /// A block with line breaks, or nothing if it is blank.
    fn script(&self, element: &str) -> Result<Option<String>, PlanError> {
        let text = self.of_port(self.elements.any_text(element))?;
        Ok(text.filter(|text| !text.trim().is_empty()).map(|mut text| {
            if !text.ends_with('\n') {
                text.push('\n');
            }
            text
        }))
    }

    /// The flavors there are, and those that it has by itself.
    fn flavors(&self) -> Result<(Vec<String>, BTreeSet<String>), PlanError> {
        let known = self.names("flavors")?;
        let usual = self.words("flavor")?;
        if let Some(other) = usual.iter().find(|flavor| !known.contains(flavor)) {
            return Err(self.bad("flavor", format!("`{other}` is not among `flavors`"), ""));
        }
        Ok((known, usual.into_iter().collect()))
    }

    /// The words of an element that names flavors or subpackages, each once.
    fn names(&self, element: &str) -> Result<Vec<String>, PlanError> {
        let mut names: Vec<String> = Vec::new();
        for word in self.words(element)? {
            let name = word.strip_prefix('-').unwrap_or(&word);
            if !is_word(name) {
                let help = "names are letters, digits and . _ +";
                return Err(self.bad(element, format!("`{word}` cannot be a name"), help));
            }
            if !names.iter().any(|known| known == name) {
                names.push(name.to_owned());
            }
            if names.len() > MOST_WORDS {
                return Err(self.bad(element, format!("there are more than {MOST_WORDS}"), ""));
            }
        }
        Ok(names)
    }

    fn port(
        &self,
        path: &PortPath,
        flavors: BTreeSet<String>,
        is_default: bool,
        known: Vec<String>,
    ) -> Result<Port, PlanError> {
        let id = PortId {
            path: path.clone(),
            flavors,
            is_default,
        };
        let Some(version) = self.text("version")? else {
            return Err(self.bad(
                "version",
                "it is not defined",
                "every port has one: `version: 1.0`",
            ));
        };
        if !version
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b"._+~:-".contains(&b))
        {
            return Err(self.bad(
                "version",
                format!("`{version}` is not letters, digits and . _ + ~ : -"),
                "",
            ));
        }
        let folder = |name: &str| {
            let path = self.tree.folder().join(path.as_str()).join(name);
            Folder::find(path.clone()).map_err(|source| PlanError::Io { path, source })
        };
        let (files, patches) = (folder("files")?, folder("patches")?);
        let prefix = self.prefix()?;
        let subpackages = self.subpackages(&prefix)?;
        Ok(Port {
            comment: self.text("comment")?.unwrap_or_default(),
            ignore: self.text("ignore")?,
            build: self.dependencies("depends/build")?,
            distfiles: self.distfiles()?,
            scripts: self.scripts(&id, &version, &subpackages, patches.is_some())?,
            env: Arc::new(self.env(prefix)?),
            timeout: self.timeout()?,
            spec: self.spec.clone(),
            flavors: known,
            subpackages,
            files,
            patches,
            version,
            id,
        })
    }

    fn prefix(&self) -> Result<String, PlanError> {
        let Some(prefix) = self.text("prefix")? else {
            return Ok(self.tree.settings().prefix.clone());
        };
        match super::tree::is_prefix(&prefix) {
            true => Ok(prefix),
            false => Err(self.bad(
                "prefix",
                format!("`{prefix}` is not a folder such as /usr/local"),
                "",
            )),
        }
    }

    fn subpackages(&self, prefix: &str) -> Result<Vec<Subpackage>, PlanError> {
        let mut names = self.names("subpackages")?;
        names.retain(|name| name != MAIN);
        names.insert(0, MAIN.to_owned());
        for family in ["plist/", "depends/lib/", "depends/run/", "hooks/install/"] {
            for element in self.elements.names_below(family) {
                let name = &element[family.len()..];
                if !names.iter().any(|known| known == name) {
                    let message = format!("there is no subpackage -{name}");
                    let help = format!(
                        "there is: {}; `subpackages` names the others",
                        shown(&names)
                    );
                    return Err(self.bad(element, message, &help));
                }
            }
        }
        let mut all = Vec::new();
        for name in names {
            let is_main = name == MAIN;
            // What is said without a name is said of main.
            let of = |what: &str| {
                let own = format!("{what}/{name}");
                match is_main && !self.elements.is_defined(&own) {
                    true => what.to_owned(),
                    false => own,
                }
            };
            let element = format!("plist/{name}");
            let plist = match self.of_port(self.elements.block(&element))? {
                Some(lines) => {
                    let plist = Plist::read(&lines, prefix);
                    Some(plist.map_err(|error| self.bad(&element, error, ""))?)
                }
                None if is_main => None,
                None => {
                    let message = format!("the subpackage -{name} has no packing list");
                    return Err(self.bad(
                        &element,
                        message,
                        "define it: a block of paths and patterns",
                    ));
                }
            };
            all.push(Subpackage {
                lib: self.dependencies(&of("depends/lib"))?,
                run: self.dependencies(&of("depends/run"))?,
                hook: self.script(&of("hooks/install"))?,
                plist,
                name,
            });
        }
        Ok(all)
    }

    fn dependencies(&self, element: &str) -> Result<Vec<Dependency>, PlanError> {
        let words = self.words(element)?;
        if words.len() > MOST_ENTRIES {
            return Err(self.bad(element, format!("there are more than {MOST_ENTRIES}"), ""));
        }
        let mut all: Vec<Dependency> = Vec::new();
        for word in words {
            let on: PkgPath = word
                .parse()
                .map_err(|e| self.bad(element, format!("{e}"), ""))?;
            if !all.iter().any(|known| known.on == on) {
                let location = self.elements.location(element);
                all.push(Dependency { on, location });
            }
        }
        Ok(all)
    }

    /// Lines `FILE DIGEST... [size:N] [ADDRESS...]`; `distfiles/sites` are folders that have all of them.
    fn distfiles(&self) -> Result<Vec<(Fixed, Origin)>, PlanError> {
        const ELEMENT: &str = "distfiles";
        let sites = self.addresses("distfiles/sites", self.words("distfiles/sites")?)?;
        let lines = self
            .of_port(self.elements.block(ELEMENT))?
            .unwrap_or_default();
        let mut all: Vec<(Fixed, Origin)> = Vec::new();
        for line in lines {
            let mut words = line.split_whitespace();
            let Some(file) = words.next().filter(|word| !word.starts_with('#')) else {
                continue;
            };
            if !is_file_name(file) {
                return Err(self.bad(
                    ELEMENT,
                    format!("`{file}` cannot be the name of a file"),
                    FORM,
                ));
            }
            let (mut digests, mut size, mut urls): (Vec<Digest>, _, _) =
                (Vec::new(), None, Vec::new());
            for word in words {
                if word.contains("://") {
                    urls.push(word.to_owned());
                } else if let Some(number) = word.strip_prefix("size:") {
                    let number = number.parse::<u64>();
                    size =
                        Some(number.map_err(|_| {
                            self.bad(ELEMENT, format!("`{word}` is not a size"), FORM)
                        })?);
                } else {
                    digests.push(
                        word.parse()
                            .map_err(|e| self.bad(ELEMENT, format!("{file}: {e}"), FORM))?,
                    );
                }
            }
            digests.sort();
            if digests.is_empty() {
                return Err(self.bad(ELEMENT, format!("{file} has no hash"), FORM));
            }
            if digests
                .windows(2)
                .any(|two| two[0].algorithm() == two[1].algorithm())
            {
                return Err(self.bad(ELEMENT, format!("{file} has two hashes of one kind"), ""));
            }
            let mut urls = self.addresses(ELEMENT, urls)?;
            urls.extend(
                sites
                    .iter()
                    .map(|site| format!("{}/", site.trim_end_matches('/'))),
            );
            let urls = urls.into_iter().map(|url| match url.ends_with('/') {
                true => format!("{url}{file}"),
                false => url,
            });
            if all.iter().any(|(fixed, _)| fixed.name == file) {
                return Err(self.bad(ELEMENT, format!("{file} is there twice"), ""));
            }
            if all.len() == MOST_ENTRIES {
                return Err(self.bad(ELEMENT, format!("there are more than {MOST_ENTRIES}"), ""));
            }
            let urls = urls.collect();
            let fixed = Fixed {
                name: file.to_owned(),
                content: Content::File(digests),
            };
            all.push((fixed, Origin { size, urls }));
        }
        Ok(all)
    }

    /// Checks addresses, and puts those of lists of mirrors in.
    fn addresses(&self, element: &str, words: Vec<String>) -> Result<Vec<String>, PlanError> {
        let mut all = Vec::new();
        for word in words {
            match word.strip_prefix(MIRROR) {
                None => all.push(word),
                Some(rest) => {
                    let (name, path) = rest.split_once('/').unwrap_or((rest, ""));
                    let list = format!("mirror/{name}");
                    let bases = self.words(&list)?;
                    if bases.is_empty() {
                        let message = format!("`{word}`: there is no list of mirrors `{name}`");
                        return Err(self.bad(
                            element,
                            message,
                            "define it in ports.conf: a block of addresses",
                        ));
                    }
                    all.extend(
                        bases
                            .iter()
                            .map(|base| format!("{}/{path}", base.trim_end_matches('/'))),
                    );
                }
            }
        }
        for url in &all {
            match url.parse::<Address>() {
                Ok(Address::Git(_)) => {
                    let message = format!("`{url}` is a git repository, and a distfile is a file");
                    return Err(self.bad(element, message, ""));
                }
                Ok(_) => {}
                Err(error) => return Err(self.bad(element, error.to_string(), "")),
            }
        }
        Ok(all)
    }

    fn scripts(
        &self,
        id: &PortId,
        version: &str,
        subpackages: &[Subpackage],
        has_patches: bool,
    ) -> Result<BTreeMap<Task, String>, PlanError> {
        const FAMILY: &str = "steps/port/";
        for element in self.elements.names_below(FAMILY) {
            let name = &element[FAMILY.len()..];
            if !Task::STEPS.iter().any(|task| task.name() == name) {
                let names: Vec<&str> = Task::STEPS.iter().map(|task| task.name()).collect();
                let help = format!("there is: {}", names.join(" "));
                return Err(self.bad(element, format!("a port has no step {name}"), &help));
            }
        }
        let mut scripts = BTreeMap::new();
        for task in Task::STEPS {
            let own = format!("{FAMILY}{}", task.name());
            let script = match self.elements.is_defined(&own) {
                true => self.script(&own)?,
                false if task == Task::Patch && !has_patches => None,
                false => {
                    let script = self.script(&format!("port/usual/{}", task.name()))?;
                    match (task, script) {
                        (Task::Package, Some(script)) => {
                            let cuts: Vec<Cut<'_>> =
                                subpackages.iter().map(Subpackage::cut).collect();
                            let lists = cut::calls(id, version, &cuts);
                            Some(
                                script
                                    + &lists.map_err(|(element, e)| self.bad(&element, e, ""))?,
                            )
                        }
                        (_, script) => script,
                    }
                }
            };
            if let Some(script) = script {
                scripts.insert(task, script);
            } else if task == Task::Package {
                return Err(self.bad(&own, "it is blank, and what is installed is cut by it", ""));
            }
        }
        Ok(scripts)
    }

    fn env(&self, prefix: String) -> Result<BTreeMap<String, String>, PlanError> {
        const FAMILY: &str = "env/";
        let mut env = BTreeMap::new();
        for element in self.elements.names_below(FAMILY) {
            let name = &element[FAMILY.len()..];
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
            if !name.bytes().all(plain) || OWN_ENV.contains(&name) {
                let message = format!(
                    "{name} cannot be given: mstore sets it, or it is not the name of a variable"
                );
                return Err(self.bad(element, message, ""));
            }
            if let Some(value) = self.of_port(self.elements.line(element))? {
                env.insert(name.to_owned(), value);
            }
        }
        env.insert("PREFIX".to_owned(), prefix);
        Ok(env)
    }

    fn timeout(&self) -> Result<Option<u64>, PlanError> {
        const ELEMENT: &str = "policy/timeout";
        let Some(text) = self.text(ELEMENT)? else {
            return Ok(None);
        };
        match text.parse::<u64>() {
            Ok(seconds) if seconds > 0 => Ok(Some(seconds)),
            _ => Err(self.bad(ELEMENT, format!("`{text}` is not a number of seconds"), "")),
        }
    }
}

/// How a line of `distfiles` is written.
const FORM: &str =
    "a line is FILE HASH ADDRESS..., such as zlib-1.3.1.tar.gz sha256:9a93... https://zlib.net/";

fn shown(names: &[String]) -> String {
    let names: Vec<String> = names.iter().map(|name| format!("-{name}")).collect();
    names.join(" ")
}
