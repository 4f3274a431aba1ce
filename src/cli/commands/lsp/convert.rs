//! From the core's types to those of the protocol.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use lsp_types as lsp;
use mstore_lang::ide;
use mstore_lang::lint::Severity;

use super::uri;

pub(super) fn position(position: lsp::Position) -> ide::Position {
    ide::Position {
        line: position.line,
        character: position.character,
    }
}

pub(super) fn range(range: ide::Range) -> lsp::Range {
    let place = |p: ide::Position| lsp::Position {
        line: p.line,
        character: p.character,
    };
    lsp::Range {
        start: place(range.start),
        end: place(range.end),
    }
}

pub(super) fn edit(edit: ide::Edit) -> lsp::TextEdit {
    lsp::TextEdit {
        range: range(edit.range),
        new_text: edit.text,
    }
}

/// The addresses that the editor uses for its documents.
pub(super) type Uris = BTreeMap<PathBuf, lsp::Uri>;

pub(super) fn address(uris: &Uris, path: &Path) -> Option<lsp::Uri> {
    uris.get(path).cloned().or_else(|| uri::of_path(path))
}

pub(super) fn location(uris: &Uris, location: ide::Location) -> Option<lsp::Location> {
    let uri = address(uris, &location.path)?;
    Some(lsp::Location {
        uri,
        range: range(location.range),
    })
}

pub(super) fn diagnostic(uris: &Uris, problem: ide::Problem) -> lsp::Diagnostic {
    let related = problem.related.into_iter().filter_map(|(place, message)| {
        let location = location(uris, place)?;
        Some(lsp::DiagnosticRelatedInformation { location, message })
    });
    let related: Vec<_> = related.collect();
    lsp::Diagnostic {
        range: range(problem.range),
        severity: Some(match problem.severity {
            Severity::Error => lsp::DiagnosticSeverity::ERROR,
            Severity::Warning => lsp::DiagnosticSeverity::WARNING,
        }),
        code: Some(lsp::NumberOrString::String(problem.code.to_owned())),
        source: Some("mstore".to_owned()),
        message: problem.message,
        related_information: (!related.is_empty()).then_some(related),
        ..lsp::Diagnostic::default()
    }
}

#[allow(
    clippy::mutable_key_type,
    reason = "the protocol's type; its hash does not change"
)]
pub(super) fn workspace_edit(
    uris: &Uris,
    edits: BTreeMap<PathBuf, Vec<ide::Edit>>,
) -> lsp::WorkspaceEdit {
    let mut changes = HashMap::new();
    for (path, edits) in edits {
        if let Some(uri) = address(uris, &path) {
            changes.insert(uri, edits.into_iter().map(edit).collect());
        }
    }
    lsp::WorkspaceEdit {
        changes: Some(changes),
        ..lsp::WorkspaceEdit::default()
    }
}

pub(super) fn completions(completions: ide::Completions) -> lsp::CompletionList {
    use ide::CompletionKind as Kind;
    use lsp::CompletionItemKind as Item;
    let item = |found: ide::Completion| lsp::CompletionItem {
        kind: Some(match found.kind {
            Kind::Line => Item::VARIABLE,
            Kind::Block => Item::FUNCTION,
            Kind::Undefined => Item::REFERENCE,
            Kind::Keyword => Item::KEYWORD,
            Kind::Section => Item::MODULE,
            Kind::File => Item::FILE,
        }),
        filter_text: Some(found.text.trim_end_matches([']', ' ']).to_owned()),
        detail: Some(found.detail).filter(|detail| !detail.is_empty()),
        text_edit: Some(lsp::CompletionTextEdit::Edit(lsp::TextEdit {
            range: range(found.range),
            new_text: found.text,
        })),
        label: found.label,
        ..lsp::CompletionItem::default()
    };
    lsp::CompletionList {
        is_incomplete: completions.more,
        items: completions.items.into_iter().map(item).collect(),
    }
}

pub(super) fn fold(fold: ide::Fold) -> lsp::FoldingRange {
    lsp::FoldingRange {
        start_line: fold.first,
        end_line: fold.last,
        kind: Some(match fold.kind {
            ide::FoldKind::Region => lsp::FoldingRangeKind::Region,
            ide::FoldKind::Comment => lsp::FoldingRangeKind::Comment,
        }),
        ..lsp::FoldingRange::default()
    }
}

pub(super) fn symbol(symbol: ide::Symbol) -> lsp::DocumentSymbol {
    #[allow(deprecated, reason = "the field has to be there")]
    lsp::DocumentSymbol {
        name: symbol.name,
        detail: Some(symbol.detail).filter(|detail| !detail.is_empty()),
        kind: match symbol.kind {
            ide::SymbolKind::Section => lsp::SymbolKind::NAMESPACE,
            ide::SymbolKind::Line => lsp::SymbolKind::VARIABLE,
            ide::SymbolKind::Block => lsp::SymbolKind::FUNCTION,
        },
        tags: None,
        deprecated: None,
        range: range(symbol.range),
        selection_range: range(symbol.selection),
        children: Some(symbol.children.into_iter().map(self::symbol).collect()),
    }
}
