//! Conversations with the server in this process: whatever is said, it answers and goes on.

use std::path::PathBuf;

use mstore_lang::ide::Options;
use proptest::prelude::*;
use serde_json::{Value, json};

use super::server::Server;
use super::wire::{Incoming, read};

const METHODS: [&str; 17] = [
    "initialize",
    "initialized",
    "shutdown",
    "textDocument/didOpen",
    "textDocument/didChange",
    "textDocument/didClose",
    "textDocument/didSave",
    "workspace/didChangeWatchedFiles",
    "textDocument/hover",
    "textDocument/definition",
    "textDocument/references",
    "textDocument/documentHighlight",
    "textDocument/rename",
    "textDocument/completion",
    "textDocument/formatting",
    "textDocument/foldingRange",
    "textDocument/documentSymbol",
];

fn place() -> impl Strategy<Value = Value> {
    let number = || prop_oneof![8 => 0..6u32, 1 => Just(u32::MAX)];
    (number(), number()).prop_map(|(line, character)| json!({"line": line, "character": character}))
}

fn uri() -> impl Strategy<Value = Value> {
    prop_oneof![
        6 => Just(json!("file:///no/such/folder/metro.conf")),
        3 => Just(json!("file:///no/such/folder/%C3%A9.conf")),
        1 => Just(json!("untitled:1")),
        1 => Just(json!("%%%")),
        1 => Just(Value::Null),
    ]
}

fn text() -> impl Strategy<Value = Value> {
    let line = prop_oneof![
        "[a-c]: (\\$\\[:?[a-c]?(:zap|:lax|\\?)?\\]|[a-cé😀 ]){0,3}",
        Just("[section s]".to_owned()),
        Just("[collect ./é.conf when a is b]".to_owned()),
        Just("b: [".to_owned()),
        Just("  $[[s/$[a]]]".to_owned()),
        Just("]".to_owned()),
        "[a-c:\\[\\]$# \r]{0,8}",
    ];
    prop::collection::vec(line, 0..8).prop_map(|lines| json!(lines.join("\n")))
}

/// A message that is mostly as it should be.
fn message() -> impl Strategy<Value = Value> {
    let range = (place(), place()).prop_map(|(start, end)| json!({"start": start, "end": end}));
    let change = prop_oneof![
        (range, text()).prop_map(|(range, text)| json!({"range": range, "text": text})),
        text().prop_map(|text| json!({"text": text})),
    ];
    let changes = prop::collection::vec(change, 0..3);
    let method = prop::sample::select(&METHODS[..]);
    let id = prop_oneof![2 => Just(None), 8 => (0..9i32).prop_map(|id| Some(json!(id)))];
    let parts = (method, id, uri(), place(), text(), changes, 0..40u8);
    parts.prop_map(|(method, id, uri, place, text, changes, drop)| {
        let mut params = json!({
            "textDocument": {"uri": uri, "languageId": "metro", "version": 1, "text": text},
            "position": place,
            "context": {"includeDeclaration": true},
            "newName": "s/new",
            "options": {"tabSize": 4, "insertSpaces": true},
            "contentChanges": changes,
            "changes": [],
            "capabilities": {},
        });
        let keys: Vec<String> = params
            .as_object()
            .into_iter()
            .flatten()
            .map(|(k, _)| k.clone())
            .collect();
        if let Some(key) = keys.get(usize::from(drop)) {
            params[key.as_str()] = json!([drop]);
        }
        let notified = method.starts_with("textDocument/did")
            || method.starts_with("work")
            || method == "initialized";
        match id.filter(|_| !notified) {
            Some(id) => json!({"jsonrpc": "2.0", "id": id, "method": method, "params": params}),
            None => json!({"jsonrpc": "2.0", "method": method, "params": params}),
        }
    })
}

fn server() -> Server {
    Server::new(Options::default(), PathBuf::from("/no/such/folder"), None)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn every_request_is_answered_once(messages in prop::collection::vec(message(), 0..25)) {
        let mut server = server();
        let hello = json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": {"capabilities": {}}});
        server.take(Incoming::Json(hello));
        for message in messages {
            let id = message.get("id").cloned();
            let answers = server.take(Incoming::Json(message.clone()));
            if let Some(id) = id {
                prop_assert_eq!(answers.len(), 1, "{}", message);
                prop_assert_eq!(&answers[0]["id"], &id);
                let failed = &answers[0]["error"]["code"];
                prop_assert!(answers[0].get("result").is_some() != failed.is_number());
                prop_assert_ne!(failed, &json!(-32603), "{}", message);
            }
            for answer in server.idle() {
                prop_assert_eq!(&answer["method"], "textDocument/publishDiagnostics");
            }
        }
    }

    #[test]
    fn any_bytes_are_survived(parts in prop::collection::vec(prop_oneof![
        "Content-Length: [0-9]{1,3}\r\n(\r\n)?",
        "\\{\"jsonrpc\":\"2.0\",\"id\":[0-9],\"method\":\"[a-z/]{0,9}\"\\}",
        "[{}\\[\\]\":,a-z0-9\r\n ]{0,20}",
    ], 0..20)) {
        let bytes = parts.concat().into_bytes();
        let mut input = bytes.as_slice();
        let mut server = server();
        while let Some(message) = read(&mut input) {
            for answer in server.take(message) {
                prop_assert_eq!(&answer["jsonrpc"], "2.0");
            }
        }
    }
}
