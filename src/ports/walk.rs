//! The walk over a ports tree: from pkgpaths to chains, each told as soon as all that it needs was told.
//!
//! Who takes the chains may build while the walk goes on. A port that cannot be built is told of with the reason,
//! and so is every port that needs it; the others are not concerned.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::ControlFlow;
use std::path::PathBuf;
use std::sync::Arc;

use mstore_lang::Session;
use mstore_store::StoreError;

use super::chain::{self, Base, Chain, Closure, Layer, Maker};
use super::pkgpath::{Flavors, MAIN, PkgPath, PortId, PortPath};
use super::read::{Dependency, Port, Subpackage};
use super::tree::PortsTree;
use crate::drv::DrvHash;
use crate::plan::{Location, PlanError};

/// Ports that may need each other in a row. The walk goes down as deep.
const MOST_DEEP: usize = 100;
/// A stack that is large enough for a walk, in bytes.
pub const STACK: usize = 32 << 20;

/// Something that the walk found.
#[derive(Debug, Clone)]
pub enum Walked {
    /// A port that can be built.
    Chain(Arc<Chain>),
    /// A port that cannot.
    Ignored(Ignored),
}

/// A port that is not built.
#[derive(Debug, Clone)]
pub struct Ignored {
    /// Its pkgpath.
    pub pkgpath: String,
    /// Why not.
    pub reason: Reason,
}

/// Why a port is not built.
#[derive(Debug, Clone)]
pub enum Reason {
    /// It says so itself.
    Said(String),
    /// Something is wrong with its specification.
    Wrong(Arc<PlanError>),
    /// It needs one that is not built.
    Needs {
        /// That one.
        pkgpath: String,
        /// Where that is said.
        location: Option<Location>,
        /// Whether something is wrong with the other one, and not only said by itself.
        is_wrong: bool,
    },
}

impl Reason {
    /// Whether something is to be mended so that the port can be built.
    pub fn is_wrong(&self) -> bool {
        match self {
            Reason::Said(_) => false,
            Reason::Wrong(_) => true,
            Reason::Needs { is_wrong, .. } => *is_wrong,
        }
    }
}

impl std::fmt::Display for Reason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Reason::Said(reason) => f.write_str(reason),
            Reason::Wrong(error) => error.fmt(f),
            Reason::Needs {
                pkgpath, location, ..
            } => {
                if let Some(location) = location {
                    write!(f, "{location}: ")?;
                }
                write!(f, "it needs {pkgpath}, which is not built")
            }
        }
    }
}

/// What became of a port in one flavor.
type Outcome = Result<Arc<Chain>, Ignored>;

/// A walk, and what it knows by now. A second walk with the same one reads nothing again.
pub struct Walk<'t> {
    tree: &'t PortsTree,
    session: Session<'t>,
    base: Base,
    known: HashMap<PortId, Outcome>,
    /// The same by what was asked for.
    asked: HashMap<(PortPath, Flavors), Outcome>,
    /// The ports whose dependencies are walked, outermost first.
    open: Vec<PortId>,
}

impl<'t> Walk<'t> {
    /// A walk over ports that are built in `base`.
    pub fn new(tree: &'t PortsTree, base: Base) -> Self {
        Walk {
            tree,
            session: Session::new(tree.files()),
            base,
            known: HashMap::new(),
            asked: HashMap::new(),
            open: Vec::new(),
        }
    }

    /// Walks over some ports and all that they need. `see` is told of each once, after all that it needs; the walk
    /// ends when it says so.
    pub fn walk(
        &mut self,
        wanted: &[PkgPath],
        see: &mut dyn FnMut(Walked) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for pkgpath in wanted {
            // What became of it was told.
            let _ = self.visit(&pkgpath.path, &pkgpath.flavors, see)?;
        }
        ControlFlow::Continue(())
    }

    /// What became of a port that was walked over.
    pub fn of(&self, pkgpath: &PkgPath) -> Option<&Outcome> {
        self.asked
            .get(&(pkgpath.path.clone(), pkgpath.flavors.clone()))
    }

    fn visit(
        &mut self,
        path: &PortPath,
        flavors: &Flavors,
        see: &mut dyn FnMut(Walked) -> ControlFlow<()>,
    ) -> ControlFlow<(), Outcome> {
        let asked = (path.clone(), flavors.clone());
        if let Some(outcome) = self.asked.get(&asked) {
            return ControlFlow::Continue(outcome.clone());
        }
        let outcome = match Port::read(self.tree, &self.session, path, flavors) {
            Ok(port) if self.open.contains(&port.id) => {
                // Whoever closes the circle is told of, and with it all others of it.
                return ControlFlow::Continue(Err(self.circle(&port.id)));
            }
            Ok(port) => match self.known.get(&port.id) {
                Some(outcome) => outcome.clone(),
                None => {
                    let id = port.id.clone();
                    let outcome = self.port(port, see)?;
                    self.tell(&outcome, see)?;
                    self.known.insert(id, outcome.clone());
                    outcome
                }
            },
            Err(error) => {
                let asked = PkgPath {
                    path: path.clone(),
                    flavors: flavors.clone(),
                    subpackage: None,
                };
                let outcome = Err(Ignored {
                    pkgpath: asked.to_string(),
                    reason: Reason::Wrong(Arc::new(error)),
                });
                self.tell(&outcome, see)?;
                outcome
            }
        };
        self.asked.insert(asked, outcome.clone());
        ControlFlow::Continue(outcome)
    }

    fn tell(
        &self,
        outcome: &Outcome,
        see: &mut dyn FnMut(Walked) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        see(match outcome {
            Ok(chain) => Walked::Chain(chain.clone()),
            Err(ignored) => Walked::Ignored(ignored.clone()),
        })
    }

    fn port(
        &mut self,
        port: Port,
        see: &mut dyn FnMut(Walked) -> ControlFlow<()>,
    ) -> ControlFlow<(), Outcome> {
        let pkgpath = port.id.to_string();
        let ignored = |reason| ControlFlow::Continue(Err(Ignored { pkgpath, reason }));
        if let Some(reason) = &port.ignore {
            return ignored(Reason::Said(reason.clone()));
        }
        if let Err((path, error)) = self.provide(&port) {
            let source = std::io::Error::other(error);
            return ignored(Reason::Wrong(Arc::new(PlanError::Io { path, source })));
        }
        let port = Arc::new(port);
        self.open.push(port.id.clone());
        let found = self.others(&port, see);
        self.open.pop();
        let chain = match found? {
            Ok(others) => self.chain(&port, &others),
            Err(reason) => Err(reason),
        };
        match chain {
            Ok(chain) => ControlFlow::Continue(Ok(Arc::new(chain))),
            Err(reason) => ignored(reason),
        }
    }

    /// The error of a port that is needed by what it needs.
    fn circle(&self, id: &PortId) -> Ignored {
        let from = self.open.iter().position(|open| open == id).unwrap_or(0);
        let names = self.open[from..].iter().chain([id]);
        let names: Vec<String> = names.map(PortId::to_string).collect();
        Ignored {
            pkgpath: id.to_string(),
            reason: Reason::Wrong(Arc::new(PlanError::Value {
                element: "depends".to_owned(),
                target: id.to_string(),
                location: None,
                message: format!("ports need each other: {}", names.join(" -> ")),
                help: Some("leave one of these dependencies out".to_owned()),
            })),
        }
    }

    /// The ports that a port needs, walked over.
    fn others(
        &mut self,
        port: &Port,
        see: &mut dyn FnMut(Walked) -> ControlFlow<()>,
    ) -> ControlFlow<(), Result<Others, Reason>> {
        let mut others = Others::default();
        let of_subs = port.subpackages.iter().flat_map(|sub| {
            let lib = sub.lib.iter().map(|dependency| ("depends/lib", dependency));
            lib.chain(sub.run.iter().map(|dependency| ("depends/run", dependency)))
        });
        let build = port
            .build
            .iter()
            .map(|dependency| ("depends/build", dependency));
        for (element, dependency) in build.chain(of_subs) {
            let bad = |message: String, help: &str| {
                let location = dependency.location.clone().map(Box::new);
                ControlFlow::Continue(Err(Reason::Wrong(Arc::new(PlanError::Value {
                    element: element.to_owned(),
                    target: port.id.to_string(),
                    location,
                    message,
                    help: (!help.is_empty()).then(|| help.to_owned()),
                }))))
            };
            let on = &dependency.on;
            if is_own(port, on) || others.0.contains_key(on) {
                continue;
            }
            if element == "depends/build" && self.tree.settings().provides.contains(&on.path) {
                continue;
            }
            if !self.tree.has(&on.path) {
                let help = "write it; a tool that the base has is named in `ports/base/provides` of ports.conf";
                return bad(
                    format!("nothing provides `{on}`: the tree has no such port"),
                    help,
                );
            }
            if self.open.len() >= MOST_DEEP {
                return bad(
                    format!("more than {MOST_DEEP} ports need each other in a row"),
                    "",
                );
            }
            match self.visit(&on.path, &on.flavors, see)? {
                Ok(chain) => {
                    let sub = on.subpackage.as_deref().unwrap_or(MAIN);
                    if chain.port.subpackage(sub).is_none() {
                        return bad(
                            format!("`{on}`: {} has no subpackage -{sub}", chain.port.id),
                            "",
                        );
                    }
                    others.0.insert(on.clone(), (chain, sub.to_owned()));
                }
                Err(Ignored {
                    pkgpath,
                    reason: Reason::Wrong(error),
                }) if self.open.iter().any(|id| id.to_string() == pkgpath) => {
                    // The circle, at the place where it is closed.
                    let message = match &*error {
                        PlanError::Value { message, .. } => message.clone(),
                        other => other.to_string(),
                    };
                    return bad(message, "leave one of these dependencies out");
                }
                Err(Ignored { pkgpath, reason }) => {
                    return ControlFlow::Continue(Err(Reason::Needs {
                        pkgpath,
                        location: dependency.location.clone(),
                        is_wrong: reason.is_wrong(),
                    }));
                }
            }
        }
        ControlFlow::Continue(Ok(others))
    }

    /// The chain of a port, all of whose dependencies were walked over.
    fn chain(&self, port: &Arc<Port>, others: &Others) -> Result<Chain, Reason> {
        let wrong = |error: PlanError| Reason::Wrong(Arc::new(error));
        let maker = Maker {
            port,
            settings: self.tree.settings(),
            base: &self.base,
        };
        let mut root = Closure::new();
        let libs = port.subpackages.iter().flat_map(|sub| &sub.lib);
        for dependency in port.build.iter().chain(libs) {
            chain::extend(&mut root, others.closure(&dependency.on));
        }
        let jobs = maker.jobs(&root).map_err(|e| wrong(e.into()))?;
        let Some(package) = jobs.last().map(|job| job.hash) else {
            return Err(wrong(self.nothing(port)));
        };
        let mut closures = BTreeMap::new();
        for sub in &port.subpackages {
            let mut closure = Closure::new();
            self.close(port, others, package, sub, &mut closure, 0)
                .map_err(wrong)?;
            closures.insert(sub.name.clone(), closure);
        }
        let mut all = Closure::new();
        for closure in closures.values() {
            chain::extend(&mut all, closure);
        }
        let test = maker.test(&all).map_err(|e| wrong(e.into()))?;
        let needs: BTreeSet<String> = others
            .0
            .values()
            .map(|(chain, _)| chain.port.id.to_string())
            .collect();
        Ok(Chain {
            parent: self.open.last().map(PortId::to_string),
            port: port.clone(),
            jobs,
            test,
            needs: needs.into_iter().collect(),
            closures,
        })
    }

    /// Adds what is installed with a subpackage, itself last.
    fn close(
        &self,
        port: &Port,
        others: &Others,
        package: DrvHash,
        sub: &Subpackage,
        closure: &mut Closure,
        depth: usize,
    ) -> Result<(), PlanError> {
        let pkgpath = port.id.subpackage(&sub.name);
        for Dependency { on, location } in sub.lib.iter().chain(&sub.run) {
            if !is_own(port, on) {
                chain::extend(closure, others.closure(on));
                continue;
            }
            let name = on.subpackage.as_deref().unwrap_or(MAIN);
            let bad = |message: String| PlanError::Value {
                element: "depends".to_owned(),
                target: pkgpath.clone(),
                location: location.clone().map(Box::new),
                message,
                help: None,
            };
            let Some(other) = port.subpackage(name) else {
                return Err(bad(format!("`{on}`: there is no subpackage -{name}")));
            };
            if depth > port.subpackages.len() || name == sub.name {
                return Err(bad(format!(
                    "`{on}`: subpackages need each other in a circle"
                )));
            }
            let known = |layer: &Arc<Layer>| layer.pkgpath == port.id.subpackage(name);
            if !closure.iter().any(known) {
                self.close(port, others, package, other, closure, depth + 1)?;
            }
        }
        let own = Arc::new(Layer {
            subpackage: sub.name.clone(),
            has_hook: sub.hook.is_some(),
            pkgpath,
            package,
        });
        chain::extend(closure, &[own]);
        Ok(())
    }

    fn nothing(&self, port: &Port) -> PlanError {
        PlanError::Missing {
            element: "steps/port/package".to_owned(),
            target: port.id.to_string(),
            help: "what is installed is cut by it",
        }
    }

    /// Brings the folders of a port into the store, if there is one that takes them. An error comes with the folder.
    fn provide(&self, port: &Port) -> Result<(), (PathBuf, StoreError)> {
        let Some(store) = self.tree.store.get().filter(|store| !store.is_read_only()) else {
            return Ok(());
        };
        for folder in port.files.iter().chain(&port.patches) {
            folder
                .store(store)
                .map_err(|error| (folder.path.clone(), error))?;
        }
        Ok(())
    }
}

/// The ports that one needs, by what it calls them, each with the subpackage that is meant.
#[derive(Default)]
struct Others(HashMap<PkgPath, (Arc<Chain>, String)>);

impl Others {
    /// What is installed with one of them; nothing of those that the base has, and of the port's own.
    fn closure(&self, on: &PkgPath) -> &[Arc<Layer>] {
        let found = self.0.get(on);
        let closure = found.and_then(|(chain, sub)| chain.closures.get(sub));
        closure.map_or(&[], Vec::as_slice)
    }
}

/// Whether a port means itself: another of its subpackages.
fn is_own(port: &Port, on: &PkgPath) -> bool {
    on.path == port.id.path
        && on.subpackage.is_some()
        && match &on.flavors {
            Flavors::Default => port.id.is_default,
            Flavors::These(flavors) => *flavors == port.id.flavors,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    fn tree(ports: &[(&str, &str)]) -> (tempfile::TempDir, PortsTree) {
        let dir = tempfile::tempdir().unwrap();
        for (path, text) in ports {
            let folder = dir.path().join(path);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("port.spec"), text).unwrap();
        }
        let tree = PortsTree::open(dir.path(), "x86_64").unwrap();
        (dir, tree)
    }

    fn paths(words: &[&str]) -> Vec<PkgPath> {
        words.iter().map(|word| word.parse().unwrap()).collect()
    }

    fn told(walked: &Walked) -> String {
        match walked {
            Walked::Chain(chain) => chain.port.id.to_string(),
            Walked::Ignored(port) => format!("! {}", port.pkgpath),
        }
    }

    #[test]
    fn each_port_is_told_of_once_after_all_that_it_needs_and_before_others_are_read() {
        let (dir, tree) = tree(&[
            ("a/one", "version: 1\ndepends/lib: b/base c/tool\n"),
            (
                "a/two",
                "version: 1\ndepends/build: c/tool\ndepends/run: b/base\n",
            ),
            ("b/base", "version: 1\n"),
            ("c/tool", "version: 1\ndepends/lib: b/base\n"),
        ]);
        let mut walk = Walk::new(&tree, Base::Unpinned("base".into()));
        let (mut order, mut at) = (Vec::new(), 0);
        let spec = dir.path().join("a/two/port.spec");
        let _ = walk.walk(&paths(&["a/one", "a/two", "b/base"]), &mut |walked| {
            order.push(told(&walked));
            at += 1;
            // Whoever takes the first may already build it: the last has not been looked at.
            if at == 1 {
                fs::write(&spec, "version: 2\nignore: later\n").unwrap();
            }
            ControlFlow::Continue(())
        });
        assert_eq!(order, ["b/base", "c/tool", "a/one", "! a/two"]);
        let Some(Ok(chain)) = walk.of(&paths(&["a/one"])[0]) else {
            panic!("a/one was walked over");
        };
        assert_eq!(chain.needs, ["b/base", "c/tool"]);
        let layers: Vec<&str> = chain.closures["main"]
            .iter()
            .map(|layer| &*layer.pkgpath)
            .collect();
        assert_eq!(layers, ["b/base,-main", "c/tool,-main", "a/one,-main"]);
        // The walk ends when it is told to.
        let mut walk = Walk::new(&tree, Base::Unpinned("base".into()));
        let _ = walk.walk(
            &paths(&["b/base", "a/one"]),
            &mut |_| ControlFlow::Break(()),
        );
        assert!(walk.of(&paths(&["a/one"])[0]).is_none());
    }

    #[test]
    fn a_flavor_that_is_the_default_is_one_build_and_the_empty_one_another() {
        let (_dir, tree) = tree(&[("a/one", "version: 1\nflavors: x y\nflavor: x\n")]);
        let mut walk = Walk::new(&tree, Base::Unpinned("base".into()));
        let mut seen = Vec::new();
        let wanted = paths(&["a/one", "a/one,x", "a/one,", "a/one,x,y", "a/one,z"]);
        let _ = walk.walk(&wanted, &mut |walked| {
            seen.push(told(&walked));
            ControlFlow::Continue(())
        });
        assert_eq!(seen, ["a/one", "a/one,", "a/one,x,y", "! a/one,z"]);
    }

    #[test]
    fn a_long_row_of_ports_ends_in_an_error() {
        std::thread::Builder::new()
            .stack_size(STACK)
            .spawn(a_long_row)
            .unwrap()
            .join()
            .unwrap();
    }

    fn a_long_row() {
        let ports: Vec<(String, String)> = (0..400)
            .map(|n| {
                (
                    format!("a/p{n}"),
                    format!("version: 1\ndepends/lib: a/p{}\n", n + 1),
                )
            })
            .collect();
        let ports: Vec<(&str, &str)> = ports
            .iter()
            .map(|(a, b)| (a.as_str(), b.as_str()))
            .collect();
        let (_dir, tree) = tree(&ports);
        let mut walk = Walk::new(&tree, Base::Unpinned("base".into()));
        let mut first = None;
        let _ = walk.walk(&paths(&["a/p0"]), &mut |walked| {
            if let Walked::Ignored(port) = walked {
                first.get_or_insert(port.reason.to_string());
            }
            ControlFlow::Continue(())
        });
        assert!(
            first
                .unwrap()
                .contains("more than 100 ports need each other in a row")
        );
    }
}
