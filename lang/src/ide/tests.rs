//! Sessions with files in memory.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::*;
use crate::files::Files;
use crate::load::Definition;

struct Memory(BTreeMap<PathBuf, String>);

impl Files for Memory {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let text = self.0.get(path).ok_or(io::ErrorKind::NotFound)?;
        Ok(text.clone().into_bytes())
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        Ok(self.0.contains_key(path))
    }
}

/// Files with a built-in one.
struct Builtin(Box<dyn Files + Send>);

impl Files for Builtin {
    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        match path.starts_with("/builtin") {
            true => Ok(b"builtin: 1\n".to_vec()),
            false => self.0.read(path),
        }
    }

    fn is_file(&self, path: &Path) -> io::Result<bool> {
        Ok(path.starts_with("/builtin") || self.0.is_file(path)?)
    }
}

struct TestHost(Arc<Memory>);

impl Host for TestHost {
    fn base(&self) -> Arc<dyn Files + Send> {
        Arc::<Memory>::clone(&self.0)
    }

    fn files(&self, _: &Path, base: Box<dyn Files + Send>) -> Box<dyn Files + Send> {
        Box::new(Builtin(base))
    }

    fn definition_sets(&self, _: &Path, _: Box<dyn Files + Send>) -> Vec<Vec<Definition>> {
        ["one", "two"]
            .map(|kind| vec![Definition::new("kind", kind)])
            .to_vec()
    }

    fn specifications(&self, folder: &Path) -> Vec<PathBuf> {
        self.0
            .0
            .keys()
            .filter(|path| path.starts_with(folder))
            .cloned()
            .collect()
    }

    fn real(&self, _: &Path, path: &Path) -> Option<PathBuf> {
        (!path.starts_with("/builtin")).then(|| path.to_owned())
    }
}

const MAIN: &str = "\
[collect ./$[kind].conf]
[collect /builtin/x.conf]
[section s]
a: é $[:b] $[builtin]
b: 😀 $[kind]
run: [
$[[steps/$[kind]]]
$[[s/b]]
]
";
const ONE: &str = "steps/one: [\necho $[s/b]\n]\nq: $[s/b:lax]\n";
const TWO: &str = "steps/two: [\n]\nq: $[:s]\n[when s/b is 1]\nr: 1\n";

fn workspace(open: &[&str]) -> Workspace {
    let files = [
        ("/p/metro.conf", MAIN),
        ("/p/one.conf", ONE),
        ("/p/two.conf", TWO),
    ];
    let files = files.map(|(path, text)| (PathBuf::from(path), text.to_owned()));
    let memory = Arc::new(Memory(BTreeMap::from(files)));
    let mut workspace = Workspace::new(Box::new(TestHost(Arc::clone(&memory))), Options::default());
    for path in open {
        workspace.change(Path::new(path), memory.0[Path::new(path)].clone());
    }
    workspace
}

/// The place of a text in a document.
fn find(workspace: &Workspace, path: &str, text: &str) -> Position {
    let document = workspace.document(Path::new(path)).expect("open");
    let at = document.text().find(text).expect("the text");
    document.range(crate::Span::new(at, at)).start
}

fn places(locations: Vec<Location>) -> Vec<String> {
    let place = |l: Location| {
        format!(
            "{}:{}:{}",
            l.path.display(),
            l.range.start.line,
            l.range.start.character
        )
    };
    locations.into_iter().map(place).collect()
}

#[test]
fn a_document_is_looked_at_under_definitions_that_collect_it() {
    let mut workspace = workspace(&["/p/one.conf", "/p/two.conf"]);
    let one = Path::new("/p/one.conf");
    let hover = workspace
        .hover(one, find(&workspace, "/p/one.conf", "s/b:lax"))
        .expect("a hover");
    assert_eq!(
        hover.markdown,
        "**`s/b`**\n\n```\n😀 one\n```\n\ndefined at metro.conf:5\n- `$[kind]` → `one`, <command line>:1\n\n---\nwith `kind=one`"
    );
    let two = Path::new("/p/two.conf");
    let hover = workspace
        .hover(two, find(&workspace, "/p/two.conf", "s/b is"))
        .expect("a hover");
    assert!(
        hover.markdown.contains("with `kind=two`"),
        "{}",
        hover.markdown
    );
    let problems = workspace.problems();
    let shown: Vec<String> = problems
        .iter()
        .flat_map(|(path, list)| {
            list.iter().map(move |problem| {
                format!(
                    "{}:{}: {}",
                    path.display(),
                    problem.range.start.line,
                    problem.message.replace('\n', "; ")
                )
            })
        })
        .collect();
    assert_eq!(
        shown,
        [
            "/p/metro.conf:7: `s/b` is a line, and only blocks can be included; to insert its text, write `$[s/b]`; fails `s/run`",
            "/p/two.conf:2: `$[:s]` stands for a section, and none is in force here; write the whole name, or open a section above; fails `q`",
        ]
    );
}

#[test]
fn errors_show_while_typing_and_the_last_good_values_stay() {
    let mut workspace = workspace(&["/p/metro.conf"]);
    let main = Path::new("/p/metro.conf");
    assert_eq!(workspace.problems()[main].len(), 1);
    workspace.change(main, format!("{MAIN}oops\n"));
    let problems = workspace.problems();
    let last = problems[main].last().expect("a problem");
    assert_eq!((last.code, last.range.start.line), ("bad-line", 9));
    assert!(
        workspace
            .hover(main, find(&workspace, "/p/metro.conf", ":b]"))
            .is_some()
    );
    assert!(workspace.format(main).is_err());
    workspace.change(main, format!("{MAIN}z:   1\n"));
    let edits = workspace.format(main).expect("formats");
    assert_eq!((edits.len(), edits[0].text.as_str()), (1, "z: 1\n"));
    workspace.close(main);
    assert_eq!(workspace.problems(), BTreeMap::new());
}

#[test]
fn definitions_and_references_are_found() {
    let mut workspace = workspace(&["/p/metro.conf", "/p/one.conf"]);
    let main = Path::new("/p/metro.conf");
    let at = |workspace: &Workspace, text: &str| find(workspace, "/p/metro.conf", text);
    let place = at(&workspace, ":b]");
    assert_eq!(
        places(workspace.definition(main, place)),
        ["/p/metro.conf:4:0"]
    );
    let place = at(&workspace, "steps/$[");
    assert_eq!(
        places(workspace.definition(main, place)),
        ["/p/one.conf:0:0"]
    );
    let place = at(&workspace, "./$[kind]");
    assert_eq!(
        places(workspace.definition(main, place)),
        ["/p/one.conf:0:0"]
    );
    // What is built in cannot be opened, and what the command line defines is nowhere.
    let place = at(&workspace, "/builtin/x");
    assert_eq!(places(workspace.definition(main, place)), [""; 0]);
    let place = at(&workspace, "kind]\nrun");
    assert_eq!(places(workspace.definition(main, place)), [""; 0]);
    let place = at(&workspace, "b: 😀");
    let mut all = places(workspace.references(main, place, true));
    all.sort();
    assert_eq!(
        all,
        [
            "/p/metro.conf:3:8",
            "/p/metro.conf:4:0",
            "/p/metro.conf:7:3",
            "/p/one.conf:1:7",
            "/p/one.conf:3:5",
            "/p/two.conf:3:6",
        ]
    );
    assert_eq!(workspace.references(main, place, false).len(), 5);
    assert_eq!(workspace.highlights(main, place).len(), 3);
}

#[test]
fn files_outside_the_loaded_specification_are_renamed_too() {
    let mut workspace = workspace(&["/p/metro.conf"]);
    let main = Path::new("/p/metro.conf");
    let place = find(&workspace, "/p/metro.conf", "b: 😀");
    assert_eq!(
        workspace
            .prepare_rename(main, place)
            .map(|(_, name)| name)
            .as_deref(),
        Some("s/b")
    );
    let edits = workspace.rename(main, place, "s/new").expect("renames");
    let count: Vec<(String, usize)> = edits
        .iter()
        .map(|(path, edits)| (path.display().to_string(), edits.len()))
        .collect();
    let want = [("/p/metro.conf", 3), ("/p/one.conf", 2), ("/p/two.conf", 1)];
    assert_eq!(count, want.map(|(path, count)| (path.to_owned(), count)));
    assert_eq!(edits[main][0].text, ":new");
    let place = find(&workspace, "/p/metro.conf", "builtin]");
    assert_eq!(
        workspace.rename(main, place, "mine"),
        Err(RenameError::ReadOnly("/builtin/x.conf".into()))
    );
}

#[test]
fn completion_knows_the_specification() {
    let mut workspace = workspace(&["/p/metro.conf"]);
    let main = Path::new("/p/metro.conf");
    let mut labels = |text: &str| -> Vec<String> {
        workspace.change(main, format!("{MAIN}{text}"));
        let document = workspace.document(main).expect("open");
        let end = document.text().len();
        let place = document.range(crate::Span::new(end, end)).end;
        workspace
            .complete(main, place)
            .items
            .into_iter()
            .map(|item| item.label)
            .collect()
    };
    assert_eq!(labels("z: $[:"), [":a", ":b", ":run", ":z"]);
    assert_eq!(labels("z: $[steps"), ["steps/one"]);
    assert_eq!(labels("[collect "), ["./one.conf", "./two.conf"]);
}

#[test]
fn a_document_without_an_entry_is_parsed_alone() {
    let mut workspace = workspace(&[]);
    let path = Path::new("/elsewhere/x.conf");
    workspace.change(path, "a: $[b]\nb: 1\nbad\n".to_owned());
    let problems = workspace.problems();
    assert_eq!(problems[path].len(), 1);
    let place = find(&workspace, "/elsewhere/x.conf", "b]");
    assert_eq!(
        places(workspace.definition(path, place)),
        ["/elsewhere/x.conf:1:0"]
    );
    assert_eq!(workspace.hover(path, place), None);
    assert_eq!(workspace.hover(Path::new("/not/open"), place), None);
}
