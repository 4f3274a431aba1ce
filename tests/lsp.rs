//! The language server as an editor sees it: the real program, over its stdin and stdout.
#![cfg(feature = "lsp")]

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use serde_json::{Value, json};

/// A small editor.
struct Editor {
    folder: tempfile::TempDir,
    cache: tempfile::TempDir,
    server: Child,
    stdin: Option<ChildStdin>,
    messages: Receiver<Value>,
    next: i64,
    /// What was last shown for each file.
    problems: std::collections::BTreeMap<String, Vec<Value>>,
}

/// Longer than any answer takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

impl Editor {
    /// Starts a server for a folder with these files.
    fn start(files: &[(&str, &str)]) -> Editor {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = tempfile::tempdir().expect("a folder");
        for (name, text) in files {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().expect("a parent")).expect("made");
            fs::write(path, text).expect("written");
        }
        let mut server = Command::new(env!("CARGO_BIN_EXE_mstore"))
            .args(["lsp", "--stdio"])
            .current_dir(folder.path())
            .env("XDG_CACHE_HOME", cache.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the program runs");
        let mut out = BufReader::new(server.stdout.take().expect("stdout"));
        let (sender, messages) = channel();
        std::thread::spawn(move || {
            while let Some(message) = read(&mut out) {
                if sender.send(message).is_err() {
                    break;
                }
            }
        });
        let stdin = server.stdin.take();
        let problems = Default::default();
        Editor {
            folder,
            cache,
            server,
            stdin,
            messages,
            next: 0,
            problems,
        }
    }

    /// Starts a server and says hello.
    fn open(files: &[(&str, &str)], options: Value) -> Editor {
        let mut editor = Editor::start(files);
        let root = editor.uri("");
        let hello = editor.request("initialize", json!({
            "processId": null,
            "rootUri": root,
            "capabilities": {"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": true}}},
            "initializationOptions": options,
        }));
        assert_eq!(hello["result"]["serverInfo"]["name"], "mstore");
        assert_eq!(hello["result"]["capabilities"]["hoverProvider"], true);
        editor.notify("initialized", json!({}));
        let registered = editor.receive();
        assert_eq!(registered["method"], "client/registerCapability");
        editor.send(&json!({"jsonrpc": "2.0", "id": registered["id"], "result": null}));
        editor
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn uri(&self, name: &str) -> String {
        format!("file://{}", self.path(name).display())
    }

    fn raw(&mut self, bytes: &[u8]) {
        let stdin = self.stdin.as_mut().expect("stdin is open");
        stdin
            .write_all(bytes)
            .and_then(|()| stdin.flush())
            .expect("the server reads");
    }

    fn send(&mut self, message: &Value) {
        let text = message.to_string();
        self.raw(format!("Content-Length: {}\r\n\r\n{text}", text.len()).as_bytes());
    }

    fn notify(&mut self, method: &str, params: Value) {
        self.send(&json!({"jsonrpc": "2.0", "method": method, "params": params}));
    }

    fn receive(&mut self) -> Value {
        let message = self
            .messages
            .recv_timeout(PATIENCE)
            .expect("the server answers");
        if message["method"] == "textDocument/publishDiagnostics" {
            let uri = message["params"]["uri"].as_str().expect("an address");
            let name = uri
                .rsplit_once(&*self.uri(""))
                .map_or(uri, |(_, name)| name)
                .to_owned();
            let list = message["params"]["diagnostics"]
                .as_array()
                .expect("a list")
                .clone();
            self.problems.insert(name, list);
        }
        message
    }

    fn request(&mut self, method: &str, params: Value) -> Value {
        self.next += 1;
        let id = self.next;
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}));
        loop {
            let message = self.receive();
            if message["id"] == id && message.get("method").is_none() {
                return message;
            }
        }
    }

    /// Asks about a place in a file.
    fn ask(&mut self, method: &str, name: &str, line: u32, character: u32, more: Value) -> Value {
        let mut params = json!({
            "textDocument": {"uri": self.uri(name)},
            "position": {"line": line, "character": character},
        });
        for (key, value) in more.as_object().into_iter().flatten() {
            params[key] = value.clone();
        }
        self.request(&format!("textDocument/{method}"), params)
    }

    fn edit(&mut self, name: &str) {
        let text = fs::read_to_string(self.path(name)).expect("the file");
        let uri = self.uri(name);
        self.notify(
            "textDocument/didOpen",
            json!({"textDocument": {
                "uri": uri, "languageId": "metro", "version": 1, "text": text,
            }}),
        );
        self.wait(name, |_| true);
    }

    /// Types a text in the place of a range.
    fn type_in(&mut self, name: &str, range: [u32; 4], text: &str) {
        let [line, character, end_line, end_character] = range;
        let uri = self.uri(name);
        self.problems.remove(name);
        self.notify(
            "textDocument/didChange",
            json!({
                "textDocument": {"uri": uri, "version": 2},
                "contentChanges": [{
                    "range": {
                        "start": {"line": line, "character": character},
                        "end": {"line": end_line, "character": end_character},
                    },
                    "text": text,
                }],
            }),
        );
    }

    /// Waits until what is shown for a file is as wanted.
    fn wait(&mut self, name: &str, wanted: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        loop {
            if let Some(list) = self.problems.get(name)
                && wanted(list)
            {
                return list.clone();
            }
            self.receive();
        }
    }

    /// Waits until just these messages are shown for a file.
    fn shows(&mut self, name: &str, wanted: &[&str]) {
        let first_line = |problem: &Value| {
            let message = problem["message"].as_str().unwrap_or_default();
            message.lines().next().unwrap_or_default().to_owned()
        };
        self.wait(name, |list| {
            list.iter().map(first_line).eq(wanted.iter().copied())
        });
    }

    fn end(mut self) -> ExitStatus {
        assert_eq!(self.request("shutdown", Value::Null)["result"], Value::Null);
        assert_eq!(
            self.request("textDocument/hover", json!({}))["error"]["code"],
            -32600
        );
        self.notify("exit", Value::Null);
        self.server.wait().expect("the server ends")
    }
}

impl Drop for Editor {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn read(out: &mut impl BufRead) -> Option<Value> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if out.read_line(&mut line).ok()? == 0 {
            return None;
        }
        match line.trim_end().split_once(": ") {
            Some(("Content-Length", number)) => length = number.parse().expect("a number"),
            _ if line == "\r\n" => break,
            _ => panic!("unexpected header {line:?}"),
        }
    }
    let mut bytes = vec![0; length];
    out.read_exact(&mut bytes).ok()?;
    let message: Value = serde_json::from_slice(&bytes).expect("JSON");
    assert_eq!(message["jsonrpc"], "2.0");
    Some(message)
}

const MAIN: &str = "\
[collect ./$[kind].conf]
[section s]
a:   é😀 $[:b]
b: $[kind] # why
run: [
$[[steps/$[kind]]]
]
";
const ONE: &str = "steps/one: [\necho $[s/b]\n]\n[section s]\nc: $[:b:lax] $[]\n";
const FILES: [(&str, &str); 3] = [
    ("metro.conf", MAIN),
    ("one.conf", ONE),
    ("two.conf", "steps/two: [\n]\nx: $[s/b:zap]\n"),
];

fn open() -> Editor {
    Editor::open(&FILES, json!({"definitions": {"kind": "one"}}))
}

#[test]
fn problems_are_shown_while_typing() {
    let mut editor = open();
    editor.edit("metro.conf");
    editor.shows("one.conf", &["`s` is not defined"]);
    editor.edit("one.conf");
    editor.type_in("one.conf", [4, 13, 4, 16], "");
    editor.shows("one.conf", &[]);
    // A syntax error shows at once, with its place in UTF-16 units.
    editor.type_in("metro.conf", [2, 8, 2, 8], " $[oops]");
    let list = editor.wait("metro.conf", |list| !list.is_empty());
    assert_eq!(list[0]["code"], "undefined");
    assert_eq!(
        list[0]["range"],
        json!({
            "start": {"line": 2, "character": 9}, "end": {"line": 2, "character": 16},
        })
    );
    editor.type_in("metro.conf", [2, 8, 2, 16], "");
    editor.shows("metro.conf", &[]);
    editor.type_in("metro.conf", [6, 0, 6, 1], "");
    editor.shows("metro.conf", &["this block is never closed"]);
    assert!(editor.end().success());
}

#[test]
fn questions_are_answered() {
    let mut editor = open();
    editor.edit("metro.conf");
    let hover = editor.ask("hover", "metro.conf", 2, 12, json!({}));
    let text = hover["result"]["contents"]["value"].as_str().expect("text");
    assert!(
        text.contains("`s/b`") && text.contains("\none\n") && text.contains("metro.conf:4"),
        "{text}"
    );
    assert_eq!(
        hover["result"]["range"]["start"],
        json!({"line": 2, "character": 9})
    );
    let found = editor.ask("definition", "metro.conf", 5, 5, json!({}));
    assert_eq!(found["result"][0]["uri"], editor.uri("one.conf"));
    let found = editor.ask("definition", "metro.conf", 0, 9, json!({}));
    assert_eq!(found["result"][0]["uri"], editor.uri("one.conf"));
    let found = editor.ask(
        "references",
        "metro.conf",
        3,
        0,
        json!({"context": {"includeDeclaration": true}}),
    );
    assert_eq!(found["result"].as_array().map(Vec::len), Some(5));
    let found = editor.ask("documentHighlight", "metro.conf", 3, 0, json!({}));
    assert_eq!(found["result"].as_array().map(Vec::len), Some(2));
    let ready = editor.ask("prepareRename", "metro.conf", 2, 12, json!({}));
    assert_eq!(ready["result"]["placeholder"], "s/b");
    let edits = editor.ask("rename", "metro.conf", 2, 12, json!({"newName": "s/new"}));
    let changes = &edits["result"]["changes"];
    let texts = |name: &str| -> Vec<String> {
        let list = changes[editor.uri(name)].as_array().expect("edits");
        list.iter()
            .map(|edit| edit["newText"].as_str().expect("text").to_owned())
            .collect()
    };
    assert_eq!(texts("metro.conf"), [":new", "new"]);
    assert_eq!(texts("one.conf"), ["s/new", ":new"]);
    assert_eq!(texts("two.conf"), ["s/new"]);
    let refused = editor.ask("rename", "metro.conf", 2, 12, json!({"newName": "no good"}));
    assert!(
        refused["error"]["message"]
            .as_str()
            .is_some_and(|text| text.contains("cannot be the name"))
    );
    editor.type_in("metro.conf", [3, 3, 3, 10], "$[:");
    let list = editor.ask("completion", "metro.conf", 3, 6, json!({}));
    let labels: Vec<&str> = list["result"]["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|item| item["label"].as_str())
        .collect();
    assert_eq!(labels, [":a", ":b", ":c", ":run"]);
    let folds = editor.request(
        "textDocument/foldingRange",
        json!({"textDocument": {"uri": editor.uri("metro.conf")}}),
    );
    assert_eq!(folds["result"].as_array().map(Vec::len), Some(2));
    let symbols = editor.request(
        "textDocument/documentSymbol",
        json!({"textDocument": {"uri": editor.uri("metro.conf")}}),
    );
    assert_eq!(
        symbols["result"][0]["children"].as_array().map(Vec::len),
        Some(3)
    );
    let options = json!({"tabSize": 8, "insertSpaces": true});
    let format = json!({"textDocument": {"uri": editor.uri("metro.conf")}, "options": options});
    let edits = editor.request("textDocument/formatting", format);
    assert_eq!(edits["result"][0]["newText"], "a: é😀 $[:b]\n");
    assert!(editor.end().success());
}

#[test]
fn files_of_others_are_noticed() {
    let mut editor = open();
    editor.edit("metro.conf");
    editor.problems.clear();
    fs::write(editor.path("one.conf"), "steps/one: [\n]\n").expect("written");
    let uri = editor.uri("one.conf");
    editor.notify(
        "workspace/didChangeWatchedFiles",
        json!({"changes": [{"uri": uri, "type": 2}]}),
    );
    editor.shows("one.conf", &[]);
    let uri = editor.uri("metro.conf");
    editor.notify(
        "textDocument/didClose",
        json!({"textDocument": {"uri": uri}}),
    );
    let hover = editor.ask("hover", "metro.conf", 2, 12, json!({}));
    assert_eq!(hover["result"], Value::Null);
    assert!(editor.end().success());
}

#[test]
fn a_document_is_seen_under_a_target_that_has_it() {
    let main = "\
list/builds: b
list/arches: x86
list/subarches/x86: one two
list/targets: stage3
default/build: b
[collect ./sub/$[target/subarch:zap].conf]
";
    let files = [
        ("metro.conf", main),
        ("sub/one.conf", "v: $[target/subarch]\n"),
        ("sub/two.conf", "v: $[target/subarch]\n"),
    ];
    let mut editor = Editor::open(&files, Value::Null);
    for name in ["one", "two"] {
        let file = format!("sub/{name}.conf");
        editor.edit(&file);
        editor.shows(&file, &[]);
        let hover = editor.ask("hover", &file, 0, 5, json!({}));
        let text = hover["result"]["contents"]["value"].as_str().expect("text");
        assert!(text.contains(&format!("\n{name}\n")), "{text}");
    }
    assert!(editor.end().success());
}

#[test]
fn a_repository_that_lists_no_targets_is_seen_under_one_that_its_files_make() {
    let files = [
        (
            "metro.conf",
            "[collect ./builds/$[target/build].conf]\n[collect ./targets/$[target].spec]\n",
        ),
        ("builds/alpha.conf", "name: $[target/build]-$[target]\n"),
        ("builds/beta.conf", "name: $[target/build]-$[target]\n"),
        (
            "targets/stage3.spec",
            "class: stage\nat: $[target/version]\n",
        ),
    ];
    let mut editor = Editor::open(&files, Value::Null);
    editor.edit("builds/beta.conf");
    editor.shows("builds/beta.conf", &[]);
    let hover = editor.ask("hover", "builds/beta.conf", 0, 1, json!({}));
    let text = hover["result"]["contents"]["value"].as_str().expect("text");
    assert!(text.contains("\nbeta-stage3\n"), "{text}");
    editor.edit("targets/stage3.spec");
    editor.shows("targets/stage3.spec", &[]);
    assert!(editor.end().success());
}

#[test]
fn built_in_files_are_shown_as_copies_and_not_changed() {
    use std::os::unix::fs::PermissionsExt;
    let main = "[collect /usr/share/mstore/specs/metro.conf]\nmine: $[policy/network]\n";
    let mut editor = Editor::open(&[("metro.conf", main)], Value::Null);
    editor.edit("metro.conf");
    let found = editor.ask("definition", "metro.conf", 1, 10, json!({}));
    let uri = found["result"][0]["uri"]
        .as_str()
        .expect("a place")
        .to_owned();
    let copy = PathBuf::from(uri.strip_prefix("file://").expect("a file"));
    assert!(copy.starts_with(editor.cache.path()), "{uri}");
    assert!(copy.ends_with("target.conf"), "{uri}");
    let mode = fs::metadata(&copy).expect("the copy").permissions().mode();
    assert_eq!(mode & 0o777, 0o444);
    let line = found["result"][0]["range"]["start"]["line"]
        .as_u64()
        .expect("a line");
    let text = fs::read_to_string(&copy).expect("the copy");
    assert_eq!(text.lines().nth(line as usize), Some("network: none"));
    let found = editor.ask("definition", "metro.conf", 0, 20, json!({}));
    let uri_of_main = found["result"][0]["uri"].as_str().expect("a place");
    assert!(uri_of_main.ends_with("/metro.conf") && uri_of_main.contains("/mstore/specs-"));
    // Neither from outside nor from within the copy.
    let new = json!({"newName": "policy/net"});
    let refused = editor.ask("rename", "metro.conf", 1, 10, new.clone());
    let message = refused["error"]["message"].as_str().expect("a reason");
    assert!(message.contains("built in"), "{refused}");
    editor.notify(
        "textDocument/didOpen",
        json!({"textDocument": {"uri": uri, "languageId": "metro", "version": 1, "text": text}}),
    );
    let refused = editor.request(
        "textDocument/rename",
        json!({
            "textDocument": {"uri": uri},
            "position": {"line": line, "character": 2},
            "newName": "policy/net",
        }),
    );
    let message = refused["error"]["message"].as_str().expect("a reason");
    assert!(message.contains("built in"), "{refused}");
    assert!(editor.end().success());
}

#[test]
fn nonsense_is_answered_and_survived() {
    let mut editor = Editor::start(&FILES);
    assert_eq!(
        editor.request("textDocument/hover", json!({}))["error"]["code"],
        -32002
    );
    editor.raw(b"Content-Length: 3\r\n\r\n{]}");
    assert_eq!(editor.receive()["error"]["code"], -32700);
    editor.raw(b"Content-Length: 4\r\n\r\n\xff\xff\xff\xff");
    assert_eq!(editor.receive()["error"]["code"], -32700);
    editor.raw(b"Content-Length: x\r\n\r\n");
    assert_eq!(editor.receive()["error"]["code"], -32700);
    editor.send(&json!([1, 2]));
    assert_eq!(editor.receive()["error"]["code"], -32600);
    editor.send(&json!({"jsonrpc": "2.0", "id": 7, "params": {}}));
    let answer = editor.receive();
    assert_eq!(
        (&answer["id"], &answer["error"]["code"]),
        (&json!(7), &json!(-32600))
    );
    let deep = format!("{}{}", "[".repeat(100_000), "]".repeat(100_000));
    editor.raw(format!("Content-Length: {}\r\n\r\n{deep}", deep.len()).as_bytes());
    assert_eq!(editor.receive()["error"]["code"], -32700);
    let wrong = editor.request("initialize", json!({"capabilities": 3}));
    assert_eq!(wrong["error"]["code"], -32602);
    let hello = editor.request("initialize", json!({"capabilities": {}}));
    assert!(hello["result"]["capabilities"].is_object());
    assert_eq!(
        editor.request("initialize", json!({"capabilities": {}}))["error"]["code"],
        -32600
    );
    assert_eq!(
        editor.request("no/such", json!({}))["error"]["code"],
        -32601
    );
    assert_eq!(
        editor.request("textDocument/hover", json!({"position": 1}))["error"]["code"],
        -32602
    );
    editor.notify(
        "textDocument/didChange",
        json!({"textDocument": {"uri": "file:///not/open", "version": 1}, "contentChanges": []}),
    );
    assert_eq!(editor.receive()["method"], "window/logMessage");
    editor.notify("$/unknown", json!({}));
    editor.edit("metro.conf");
    for range in [[u32::MAX; 4], [9, 9, 0, 0], [0, 0, u32::MAX, 0]] {
        editor.type_in("metro.conf", range, "a: 1\n");
    }
    assert_eq!(
        editor.ask("hover", "metro.conf", u32::MAX, u32::MAX, json!({}))["error"],
        Value::Null
    );
    editor.notify("exit", Value::Null);
    // Without `shutdown` before it, that is no proper end.
    assert_eq!(
        editor.server.wait().expect("the server ends").code(),
        Some(1)
    );
}

#[test]
fn the_end_of_stdin_is_the_end() {
    let mut editor = Editor::start(&[]);
    editor.stdin = None;
    assert_eq!(
        editor.server.wait().expect("the server ends").code(),
        Some(1)
    );
    assert!(Path::new(env!("CARGO_BIN_EXE_mstore")).is_file());
}

/// What `mstore check` finds where targets are planned, as it stands in the editor and not as it was saved.
#[test]
fn what_check_finds_of_the_plan_is_underlined() {
    let main = "list/builds: demo\nlist/arches: pc\nlist/subarches/pc: a b\nlist/targets: stage1\n\
                target/platform: vax\ntarget/version: 1\nsource: stage0\n\
                [section steps/chroot]\nrun: [\ntrue\n]\n";
    let mut editor = Editor::open(&[("metro.conf", main)], json!({}));
    editor.edit("metro.conf");
    editor.shows(
        "metro.conf",
        &[
            "no machine is known as `vax`",
            "`source` names no target: stage0",
        ],
    );
    editor.type_in("metro.conf", [4, 17, 4, 20], "x86_64");
    editor.shows("metro.conf", &["`source` names no target: stage0"]);
    editor.type_in("metro.conf", [6, 8, 6, 14], "stage1");
    let circle = "targets start from each other: demo/pc/a/stage1 -> demo/pc/a/stage1";
    let other = circle.replace("/a/", "/b/");
    editor.shows("metro.conf", &[circle, &other]);
    editor.type_in("metro.conf", [6, 8, 6, 14], "seed");
    editor.shows("metro.conf", &[]);
    assert!(editor.end().success());
}
