//! Turns bytes into a conversation and looks at what comes back.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use mstore_lang::ide::Options;
use mstore_lang_fuzz::{Memory, ROOT};
use serde_json::{Value, json};

use super::model::Model;
use super::server::Server;
use super::wire::{self, Incoming};
use super::{host, uri};

/// Messages of one conversation.
const MOST: usize = 40;

const REQUESTS: [&str; 12] = [
    "textDocument/hover",
    "textDocument/definition",
    "textDocument/references",
    "textDocument/documentHighlight",
    "textDocument/prepareRename",
    "textDocument/rename",
    "textDocument/completion",
    "textDocument/formatting",
    "textDocument/foldingRange",
    "textDocument/documentSymbol",
    "shutdown",
    "textDocument/nonsense",
];

const TEXTS: [&str; 24] = [
    "", "\n", "\r", "\r\n", "a", ":", "$[", "]", "$[[", "é", "😀", "\u{feff}", "#", "[section s]\n", "s/a: ", ": [\n",
    "\n]\n", "[collect ./a.conf]\n", "[when a is b]\n", "$[:a:zap]", " << ", "[option parse/lax]\n", "?", "\0",
];

fn number(byte: u8) -> u32 {
    match byte {
        0..240 => u32::from(byte % 32),
        240..250 => u32::from(byte),
        250..252 => 65_536,
        252..254 => i32::MAX as u32,
        _ => u32::MAX,
    }
}

struct Talk {
    server: Server,
    id: u32,
}

impl Talk {
    fn new() -> Talk {
        let server = Server::new(Options::default(), PathBuf::from(ROOT));
        let mut talk = Talk { server, id: 0 };
        let capabilities = json!({"workspace": {"didChangeWatchedFiles": {"dynamicRegistration": true}}});
        talk.ask("initialize", json!({"capabilities": capabilities}));
        talk.tell("initialized", json!({}));
        talk
    }

    /// Sends a message as it would come over a stream.
    fn send(&mut self, message: Value) -> Vec<Value> {
        let mut bytes = Vec::new();
        wire::write(&mut bytes, &message).expect("memory can be written to");
        let incoming = wire::read(&mut bytes.as_slice()).expect("a message");
        assert_eq!(incoming, Incoming::Json(message));
        let answers = self.server.take(incoming);
        answers.iter().for_each(check);
        answers
    }

    fn ask(&mut self, method: &str, params: Value) -> Value {
        self.id += 1;
        let message = json!({"jsonrpc": "2.0", "id": self.id, "method": method, "params": params});
        let mut answers = self.send(message);
        assert_eq!(answers.len(), 1, "{method}: {answers:?}");
        let answer = answers.remove(0);
        assert_eq!(answer["id"], json!(self.id));
        assert!(answer.get("result").is_some() != answer["error"]["code"].is_number(), "{answer}");
        assert_ne!(answer["error"]["code"], json!(-32603), "{answer}");
        answer
    }

    fn tell(&mut self, method: &str, params: Value) {
        for answer in self.send(json!({"jsonrpc": "2.0", "method": method, "params": params})) {
            assert!(answer["method"].is_string(), "{answer}");
        }
    }
}

/// Ranges are in order.
fn check(value: &Value) {
    match value {
        Value::Array(list) => list.iter().for_each(check),
        Value::Object(object) => {
            if let (Some(start), Some(end)) = (object.get("start"), object.get("end")) {
                let place = |place: &Value| (place["line"].as_u64(), place["character"].as_u64());
                assert!(place(start) <= place(end), "{value}");
            }
            object.values().for_each(check);
        }
        _ => {}
    }
}

pub(crate) fn converse(bytes: &[u8]) {
    const MARK: &[u8] = b"\0@\n";
    let at = bytes.windows(MARK.len()).position(|part| part == MARK);
    let (files, talk) = match at {
        Some(at) => (&bytes[..at], &bytes[at + MARK.len()..]),
        None => (bytes, &b""[..]),
    };
    let memory = Arc::new(Memory::new(files));
    host::set(Arc::clone(&memory));
    let mut server = Talk::new();
    let mut open: BTreeMap<PathBuf, Model> = BTreeMap::new();
    let paths: Vec<&PathBuf> = memory.files.keys().collect();
    for (count, step) in talk.chunks_exact(6).take(MOST).enumerate() {
        let [kind, which, a, b, c, d] = *step else {
            return;
        };
        let path = paths[usize::from(which) % paths.len()];
        let Some(address) = uri::of_path(path) else {
            continue;
        };
        let (start, end) = ((number(a), number(b)), (number(c), number(d)));
        let document = json!({"uri": address.as_str()});
        let text = match kind & 0x40 {
            0 => TEXTS[usize::from(d) % TEXTS.len()].to_owned(),
            _ => String::from_utf8_lossy(&talk[(count * 6 + 6).min(talk.len())..]).chars().take(usize::from(d)).collect(),
        };
        match kind & 0x3f {
            0..8 => {
                let text = memory.files.get(path).map(|text| String::from_utf8_lossy(text).into_owned());
                let text = text.unwrap_or_default();
                let params = json!({"textDocument": {"uri": address.as_str(), "languageId": "metro", "version": 1, "text": text}});
                server.tell("textDocument/didOpen", params);
                open.insert(path.clone(), Model::new(&text));
            }
            8..24 => {
                let place = |(line, character): (u32, u32)| json!({"line": line, "character": character});
                let change = json!({"range": {"start": place(start), "end": place(end)}, "text": text});
                let params = json!({"textDocument": {"uri": address.as_str(), "version": 2}, "contentChanges": [change]});
                server.tell("textDocument/didChange", params);
                if let Some(model) = open.get_mut(path) {
                    model.replace(start, end, &text);
                }
            }
            24 => {
                server.tell("textDocument/didClose", json!({"textDocument": document}));
                open.remove(path);
            }
            25 => server.tell("textDocument/didSave", json!({"textDocument": document})),
            26 => server.tell("workspace/didChangeWatchedFiles", json!({"changes": []})),
            27 => server.tell("textDocument/didChange", json!({"textDocument": document, "contentChanges": a})),
            kind => {
                let method = REQUESTS[usize::from(kind) % REQUESTS.len()];
                let params = json!({
                    "textDocument": document,
                    "position": {"line": start.0, "character": start.1},
                    "context": {"includeDeclaration": a & 1 == 0},
                    "newName": text,
                    "options": {"tabSize": c, "insertSpaces": true},
                });
                server.ask(method, params);
                if method == "shutdown" {
                    return;
                }
            }
        }
        if kind & 0x80 != 0 {
            server.server.idle().iter().for_each(check);
        }
    }
    server.server.idle().iter().for_each(check);
    same_texts(&mut server, &open);
}

/// After all edits, the server has the same texts as the editor.
fn same_texts(server: &mut Talk, open: &BTreeMap<PathBuf, Model>) {
    let mut fresh = Talk::new();
    for (path, model) in open {
        let Some(address) = uri::of_path(path) else {
            continue;
        };
        let text = model.text();
        let params = json!({"textDocument": {"uri": address.as_str(), "languageId": "metro", "version": 1, "text": text}});
        fresh.tell("textDocument/didOpen", params);
        for method in ["textDocument/foldingRange", "textDocument/documentSymbol", "textDocument/formatting"] {
            let params = json!({"textDocument": {"uri": address.as_str()}, "options": {"tabSize": 4, "insertSpaces": true}});
            let (one, other) = (server.ask(method, params.clone()), fresh.ask(method, params));
            assert_eq!(one.get("result"), other.get("result"), "{method} of {text:?}");
        }
    }
}
