//! Parameters: what the server can do, and the settings that editors may send.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use lsp_types::{
    CompletionOptions, HoverProviderCapability, InitializeParams, OneOf, RenameOptions,
    ServerCapabilities, TextDocumentSyncCapability, TextDocumentSyncKind, TextDocumentSyncOptions,
    TextDocumentSyncSaveOptions,
};
use mstore_lang::Definition;
use mstore_lang::ide::Options;
use serde::Deserialize;

use super::uri;

/// The initialization options.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Settings {
    /// The entry file, absolute or relative to the workspace's folder.
    entry: Option<PathBuf>,
    /// Definitions to load it with.
    definitions: BTreeMap<String, String>,
}

/// Adds what the editor sent to what the command line said; the error tells what is wrong with it.
pub(super) fn options(
    mut options: Options,
    params: &InitializeParams,
    cwd: &Path,
) -> Result<Options, String> {
    let Some(settings) = &params.initialization_options else {
        return Ok(options);
    };
    let settings: Option<Settings> = serde_json::from_value(settings.clone())
        .map_err(|e| format!("the initialization options cannot be read: {e}"))?;
    let settings = settings.unwrap_or_default();
    if let Some(entry) = settings.entry.filter(|entry| !entry.as_os_str().is_empty()) {
        options.entry = Some(uri::resolve(&root(params, cwd).join(entry)));
    }
    for (name, value) in settings.definitions {
        options
            .definitions
            .retain(|definition| definition.name != name);
        options.definitions.push(Definition::new(name, value));
    }
    Ok(options)
}

/// The folder of the workspace.
fn root(params: &InitializeParams, cwd: &Path) -> PathBuf {
    let folders = params.workspace_folders.as_deref().unwrap_or_default();
    #[allow(deprecated, reason = "older editors send nothing else")]
    let given = folders
        .first()
        .map(|folder| &folder.uri)
        .or(params.root_uri.as_ref());
    given
        .and_then(uri::to_path)
        .unwrap_or_else(|| cwd.to_owned())
}

/// Whether the editor tells of changed files if asked to.
pub(super) fn watches(params: &InitializeParams) -> bool {
    let workspace = params.capabilities.workspace.as_ref();
    let watched = workspace.and_then(|workspace| workspace.did_change_watched_files.as_ref());
    watched
        .and_then(|watched| watched.dynamic_registration)
        .unwrap_or(false)
}

/// What the server can do.
pub(super) fn capabilities() -> ServerCapabilities {
    let trigger = |list: &[&str]| Some(list.iter().map(|text| (*text).to_owned()).collect());
    ServerCapabilities {
        text_document_sync: Some(TextDocumentSyncCapability::Options(
            TextDocumentSyncOptions {
                open_close: Some(true),
                change: Some(TextDocumentSyncKind::INCREMENTAL),
                save: Some(TextDocumentSyncSaveOptions::Supported(true)),
                ..TextDocumentSyncOptions::default()
            },
        )),
        hover_provider: Some(HoverProviderCapability::Simple(true)),
        definition_provider: Some(OneOf::Left(true)),
        references_provider: Some(OneOf::Left(true)),
        document_highlight_provider: Some(OneOf::Left(true)),
        document_symbol_provider: Some(OneOf::Left(true)),
        document_formatting_provider: Some(OneOf::Left(true)),
        folding_range_provider: Some(lsp_types::FoldingRangeProviderCapability::Simple(true)),
        rename_provider: Some(OneOf::Right(RenameOptions {
            prepare_provider: Some(true),
            work_done_progress_options: Default::default(),
        })),
        completion_provider: Some(CompletionOptions {
            trigger_characters: trigger(&["[", ":", "/", "."]),
            ..CompletionOptions::default()
        }),
        ..ServerCapabilities::default()
    }
}
