//! The protocol: messages in, messages out, no streams.

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use lsp_server::{ErrorCode, Message, Notification, Request, RequestId, Response};
use lsp_types as lsp;
use mstore_lang::ide::{self, Options, Workspace};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

use super::convert::{self, Uris};
use super::host::Disk;
use super::wire::Incoming;
use super::{params, uri};

/// Where the conversation stands.
enum State {
    /// The editor has not said hello.
    Strange,
    /// Documents can be worked on.
    Running(Box<Workspace>),
    /// `shutdown` was asked for; only `exit` may follow.
    ShutDown,
}

/// The server's side of a conversation.
pub(super) struct Server {
    state: State,
    options: Options,
    cwd: PathBuf,
    store: Option<PathBuf>,
    uris: Uris,
    /// Files for which something is shown.
    shown: BTreeSet<PathBuf>,
    /// Whether something may have changed since problems were sent.
    stale: bool,
    /// Whether to ask to be told of changed files.
    watch: bool,
    over: bool,
}

/// Why a request fails.
struct Refusal(ErrorCode, String);

type Answer = Result<Value, Refusal>;

fn answer(value: impl Serialize) -> Answer {
    serde_json::to_value(value).map_err(|e| Refusal(ErrorCode::InternalError, e.to_string()))
}

fn read<P: DeserializeOwned>(params: Value) -> Result<P, Refusal> {
    serde_json::from_value(params).map_err(|e| Refusal(ErrorCode::InvalidParams, e.to_string()))
}

/// A message as it goes out.
fn out(message: Message) -> Value {
    let mut value = serde_json::to_value(message).unwrap_or_default();
    if let Some(object) = value.as_object_mut() {
        object.insert("jsonrpc".to_owned(), json!("2.0"));
    }
    value
}

fn refusal(id: Value, code: ErrorCode, message: &str) -> Value {
    json!({"jsonrpc": "2.0", "id": id, "error": {"code": code as i32, "message": message}})
}

fn notification(method: &str, params: impl Serialize) -> Value {
    out(Message::Notification(Notification::new(
        method.to_owned(),
        params,
    )))
}

impl Server {
    /// A server whose conversation has not begun. `store` is the folder of the store, if there is one.
    pub(super) fn new(options: Options, cwd: PathBuf, store: Option<PathBuf>) -> Self {
        Server {
            state: State::Strange,
            options,
            cwd,
            store,
            uris: Uris::new(),
            shown: BTreeSet::new(),
            stale: false,
            watch: false,
            over: false,
        }
    }

    /// Whether the conversation has ended.
    pub(super) fn is_over(&self) -> bool {
        self.over
    }

    /// Whether the editor asked to shut down.
    pub(super) fn is_shut_down(&self) -> bool {
        matches!(self.state, State::ShutDown)
    }

    /// Takes a message in and gives the answers to it.
    pub(super) fn take(&mut self, incoming: Incoming) -> Vec<Value> {
        let value = match incoming {
            Incoming::Json(value) => value,
            Incoming::Broken(why) => {
                return vec![refusal(Value::Null, ErrorCode::ParseError, &why)];
            }
        };
        let id = value
            .get("id")
            .filter(|id| id.is_number() || id.is_string())
            .cloned();
        let Ok(message) = serde_json::from_value(value) else {
            let id = id.unwrap_or_default();
            return vec![refusal(
                id,
                ErrorCode::InvalidRequest,
                "not a message of the protocol",
            )];
        };
        // A mistake in here must not cost the user what is typed in the editor.
        match catch_unwind(AssertUnwindSafe(|| self.message(message))) {
            Ok(answers) => answers,
            Err(_) => id
                .map(|id| refusal(id, ErrorCode::InternalError, "the request failed"))
                .into_iter()
                .collect(),
        }
    }

    fn message(&mut self, message: Message) -> Vec<Value> {
        match message {
            Message::Request(request) => self.request(request),
            Message::Notification(notification) => self.notified(notification),
            // Answers to what the server asked for need no thanks.
            Message::Response(_) => Vec::new(),
        }
    }

    fn request(&mut self, request: Request) -> Vec<Value> {
        let Request { id, method, params } = request;
        let result = match (&mut self.state, method.as_str()) {
            (State::Strange, "initialize") => self.initialize(params),
            (State::Strange, _) => Err(Refusal(
                ErrorCode::ServerNotInitialized,
                "initialize comes first".to_owned(),
            )),
            (State::ShutDown, _) => Err(Refusal(
                ErrorCode::InvalidRequest,
                "the server is shut down".to_owned(),
            )),
            (State::Running(_), "initialize") => Err(Refusal(
                ErrorCode::InvalidRequest,
                "initialized already".to_owned(),
            )),
            (State::Running(_), "shutdown") => {
                self.state = State::ShutDown;
                Ok(Value::Null)
            }
            (State::Running(workspace), method) => {
                let mut question = Question {
                    workspace,
                    uris: &self.uris,
                };
                question.ask(method, params)
            }
        };
        vec![respond(id, result)]
    }

    fn initialize(&mut self, params: Value) -> Answer {
        let params: lsp::InitializeParams = read(params)?;
        let options = std::mem::take(&mut self.options);
        let options = params::options(options, &params, &self.cwd)
            .map_err(|why| Refusal(ErrorCode::InvalidParams, why))?;
        self.watch = params::watches(&params);
        let store = self.store.clone();
        let disk = Box::new(Disk::new(store));
        self.state = State::Running(Box::new(Workspace::new(disk, options)));
        answer(lsp::InitializeResult {
            capabilities: params::capabilities(),
            server_info: Some(lsp::ServerInfo {
                name: "mstore".to_owned(),
                version: Some(env!("CARGO_PKG_VERSION").to_owned()),
            }),
        })
    }

    fn notified(&mut self, notification: Notification) -> Vec<Value> {
        let Notification { method, params } = notification;
        if method == "exit" {
            self.over = true;
            return Vec::new();
        }
        let State::Running(workspace) = &mut self.state else {
            return Vec::new();
        };
        let done = match method.as_str() {
            "initialized" => return self.initialized(),
            "textDocument/didOpen" => opened(workspace, &mut self.uris, params),
            "textDocument/didChange" => changed(workspace, params),
            "textDocument/didClose" => closed(workspace, &mut self.uris, params),
            "textDocument/didSave"
            | "workspace/didChangeWatchedFiles"
            | "workspace/didChangeWorkspaceFolders" => {
                workspace.files_changed();
                Ok(())
            }
            _ => return Vec::new(),
        };
        self.stale = true;
        match done {
            Ok(()) => Vec::new(),
            // A notification has no answer, so that it is only noted.
            Err(Refusal(_, why)) => vec![log(format!("{method}: {why}"))],
        }
    }

    /// Asks to be told of changed files.
    fn initialized(&self) -> Vec<Value> {
        if !self.watch {
            return Vec::new();
        }
        let watchers = json!([{"globPattern": "**/*.conf"}, {"globPattern": "**/metro.lock"}]);
        let registrations = json!({"registrations": [{
            "id": "files",
            "method": "workspace/didChangeWatchedFiles",
            "registerOptions": {"watchers": watchers},
        }]});
        let id = RequestId::from("watch".to_owned());
        let method = "client/registerCapability".to_owned();
        vec![out(Message::Request(Request::new(
            id,
            method,
            registrations,
        )))]
    }

    /// What there is to say when no message waits: the problems, if they may have changed.
    pub(super) fn idle(&mut self) -> Vec<Value> {
        if !std::mem::take(&mut self.stale) {
            return Vec::new();
        }
        let State::Running(workspace) = &mut self.state else {
            return Vec::new();
        };
        let problems = match catch_unwind(AssertUnwindSafe(|| workspace.problems())) {
            Ok(problems) => problems,
            Err(_) => return vec![log("the specifications cannot be checked".to_owned())],
        };
        let mut shown = BTreeSet::new();
        let mut messages = Vec::new();
        let mut publish = |path: &Path, diagnostics: Vec<lsp::Diagnostic>| {
            if let Some(uri) = convert::address(&self.uris, path) {
                let params = lsp::PublishDiagnosticsParams {
                    uri,
                    diagnostics,
                    version: None,
                };
                messages.push(notification("textDocument/publishDiagnostics", params));
            }
        };
        for (path, problems) in problems {
            if problems.is_empty() && !self.shown.contains(&path) && !self.uris.contains_key(&path)
            {
                continue;
            }
            let show = |problem| convert::diagnostic(&self.uris, problem);
            publish(&path, problems.into_iter().map(show).collect());
            shown.insert(path);
        }
        for path in self.shown.difference(&shown) {
            publish(path, Vec::new());
        }
        self.shown = shown;
        messages
    }
}

fn log(message: String) -> Value {
    notification(
        "window/logMessage",
        lsp::LogMessageParams {
            typ: lsp::MessageType::ERROR,
            message,
        },
    )
}

fn respond(id: RequestId, result: Answer) -> Value {
    match result {
        Ok(value) => {
            let id = serde_json::to_value(id).unwrap_or_default();
            json!({"jsonrpc": "2.0", "id": id, "result": value})
        }
        Err(Refusal(code, why)) => out(Message::Response(Response::new_err(id, code as i32, why))),
    }
}

fn path_of(uri: &lsp::Uri) -> Result<PathBuf, Refusal> {
    uri::to_path(uri).ok_or_else(|| {
        Refusal(
            ErrorCode::InvalidParams,
            format!("{} is not the address of a file", uri.as_str()),
        )
    })
}

fn opened(workspace: &mut Workspace, uris: &mut Uris, params: Value) -> Result<(), Refusal> {
    let params: lsp::DidOpenTextDocumentParams = read(params)?;
    let path = path_of(&params.text_document.uri)?;
    workspace.change(&path, params.text_document.text);
    uris.insert(path, params.text_document.uri);
    Ok(())
}

fn changed(workspace: &mut Workspace, params: Value) -> Result<(), Refusal> {
    let params: lsp::DidChangeTextDocumentParams = read(params)?;
    let path = path_of(&params.text_document.uri)?;
    let Some(document) = workspace.document(&path) else {
        return Err(Refusal(
            ErrorCode::InvalidParams,
            "the document is not open".to_owned(),
        ));
    };
    let mut text = document.text().to_owned();
    for change in params.content_changes {
        let Some(range) = change.range else {
            text = change.text;
            continue;
        };
        let lines = ide::LineIndex::new(&text);
        let at = |place| lines.offset(&text, convert::position(place)) as usize;
        let (start, end) = (at(range.start), at(range.end));
        text.replace_range(start..end.max(start), &change.text);
    }
    workspace.change(&path, text);
    Ok(())
}

fn closed(workspace: &mut Workspace, uris: &mut Uris, params: Value) -> Result<(), Refusal> {
    let params: lsp::DidCloseTextDocumentParams = read(params)?;
    let path = path_of(&params.text_document.uri)?;
    workspace.close(&path);
    uris.remove(&path);
    Ok(())
}

/// A request about documents.
struct Question<'a> {
    workspace: &'a mut Workspace,
    uris: &'a Uris,
}

impl Question<'_> {
    fn ask(&mut self, method: &str, params: Value) -> Answer {
        match method {
            "textDocument/hover" => self.hover(params),
            "textDocument/definition" => self.definition(params),
            "textDocument/references" => self.references(params),
            "textDocument/documentHighlight" => self.highlights(params),
            "textDocument/prepareRename" => self.prepare_rename(params),
            "textDocument/rename" => self.rename(params),
            "textDocument/completion" => self.completion(params),
            "textDocument/formatting" => self.formatting(params),
            "textDocument/foldingRange" => self.folding(params),
            "textDocument/documentSymbol" => self.symbols(params),
            other => Err(Refusal(
                ErrorCode::MethodNotFound,
                format!("{other} is not supported"),
            )),
        }
    }

    fn hover(&mut self, params: Value) -> Answer {
        let params: lsp::HoverParams = read(params)?;
        let (path, position) = place(&params.text_document_position_params)?;
        answer(
            self.workspace
                .hover(&path, position)
                .map(|hover| lsp::Hover {
                    contents: lsp::HoverContents::Markup(lsp::MarkupContent {
                        kind: lsp::MarkupKind::Markdown,
                        value: hover.markdown,
                    }),
                    range: Some(convert::range(hover.range)),
                }),
        )
    }

    fn definition(&mut self, params: Value) -> Answer {
        let params: lsp::GotoDefinitionParams = read(params)?;
        let (path, position) = place(&params.text_document_position_params)?;
        let found = self.workspace.definition(&path, position).into_iter();
        let found = found.filter_map(|location| convert::location(self.uris, location));
        answer(found.collect::<Vec<_>>())
    }

    fn references(&mut self, params: Value) -> Answer {
        let params: lsp::ReferenceParams = read(params)?;
        let (path, position) = place(&params.text_document_position)?;
        let definitions = params.context.include_declaration;
        let found = self
            .workspace
            .references(&path, position, definitions)
            .into_iter();
        let found = found.filter_map(|location| convert::location(self.uris, location));
        answer(found.collect::<Vec<_>>())
    }

    fn highlights(&mut self, params: Value) -> Answer {
        let params: lsp::DocumentHighlightParams = read(params)?;
        let (path, position) = place(&params.text_document_position_params)?;
        let found = self.workspace.highlights(&path, position).into_iter();
        let found = found.map(|(range, definition)| lsp::DocumentHighlight {
            range: convert::range(range),
            kind: Some(match definition {
                true => lsp::DocumentHighlightKind::WRITE,
                false => lsp::DocumentHighlightKind::READ,
            }),
        });
        answer(found.collect::<Vec<_>>())
    }

    fn prepare_rename(&mut self, params: Value) -> Answer {
        let params: lsp::TextDocumentPositionParams = read(params)?;
        let (path, position) = place(&params)?;
        let found = self.workspace.prepare_rename(&path, position);
        answer(found.map(|(range, placeholder)| {
            let range = convert::range(range);
            lsp::PrepareRenameResponse::RangeWithPlaceholder { range, placeholder }
        }))
    }

    fn rename(&mut self, params: Value) -> Answer {
        let params: lsp::RenameParams = read(params)?;
        let (path, position) = place(&params.text_document_position)?;
        match self.workspace.rename(&path, position, &params.new_name) {
            Ok(edits) => answer(convert::workspace_edit(self.uris, edits)),
            Err(why) => Err(Refusal(ErrorCode::RequestFailed, why.to_string())),
        }
    }

    fn completion(&mut self, params: Value) -> Answer {
        let params: lsp::CompletionParams = read(params)?;
        let (path, position) = place(&params.text_document_position)?;
        answer(convert::completions(
            self.workspace.complete(&path, position),
        ))
    }

    fn formatting(&mut self, params: Value) -> Answer {
        let params: lsp::DocumentFormattingParams = read(params)?;
        let path = path_of(&params.text_document.uri)?;
        match self.workspace.format(&path) {
            Ok(edits) => answer(edits.into_iter().map(convert::edit).collect::<Vec<_>>()),
            // Its errors are shown anyway; many editors format whenever a file is saved.
            Err(_) => Ok(Value::Null),
        }
    }

    fn folding(&mut self, params: Value) -> Answer {
        let params: lsp::FoldingRangeParams = read(params)?;
        let path = path_of(&params.text_document.uri)?;
        let document = self.workspace.document(&path);
        let folds = document
            .map(|document| ide::folds(&document))
            .unwrap_or_default();
        answer(folds.into_iter().map(convert::fold).collect::<Vec<_>>())
    }

    fn symbols(&mut self, params: Value) -> Answer {
        let params: lsp::DocumentSymbolParams = read(params)?;
        let path = path_of(&params.text_document.uri)?;
        let document = self.workspace.document(&path);
        let symbols = document
            .map(|document| ide::symbols(&document))
            .unwrap_or_default();
        answer(symbols.into_iter().map(convert::symbol).collect::<Vec<_>>())
    }
}

fn place(params: &lsp::TextDocumentPositionParams) -> Result<(PathBuf, ide::Position), Refusal> {
    let path = path_of(&params.text_document.uri)?;
    Ok((path, convert::position(params.position)))
}
