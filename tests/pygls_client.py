"""The language server and somebody else's client.

    pip install pygls
    python tests/pygls_client.py target/debug/mstore
"""

import asyncio
import pathlib
import sys
import tempfile

from lsprotocol import types as lsp
from pygls.lsp.client import LanguageClient

MAIN = "[collect ./one.conf]\n[section s]\na:   é😀 $[:b]\nb: 1\n"
ONE = "x: $[s/b] $[nope]\n"


async def talk(program: str) -> None:
    folder = pathlib.Path(tempfile.mkdtemp())
    (folder / "metro.conf").write_text(MAIN)
    (folder / "one.conf").write_text(ONE)
    client = LanguageClient("test", "1")
    shown: dict[str, list[str]] = {}
    complete = asyncio.Event()

    @client.feature(lsp.TEXT_DOCUMENT_PUBLISH_DIAGNOSTICS)
    def publish(params: lsp.PublishDiagnosticsParams) -> None:
        name = params.uri.rsplit("/", 1)[1]
        shown[name] = [item.message.splitlines()[0] for item in params.diagnostics]
        if len(shown) == 2:
            complete.set()

    await client.start_io(program, "lsp")
    capabilities = lsp.ClientCapabilities()
    root = folder.as_uri()
    hello = await client.initialize_async(lsp.InitializeParams(capabilities, root_uri=root))
    assert hello.server_info and hello.server_info.name == "mstore"
    client.initialized(lsp.InitializedParams())
    uri = (folder / "metro.conf").as_uri()
    item = lsp.TextDocumentItem(uri=uri, language_id="metro", version=1, text=MAIN)
    client.text_document_did_open(lsp.DidOpenTextDocumentParams(item))
    document = lsp.TextDocumentIdentifier(uri)
    place = lsp.Position(line=2, character=12)

    await asyncio.wait_for(complete.wait(), 60)
    assert shown == {"metro.conf": [], "one.conf": ["`nope` is not defined"]}, shown

    hover = await client.text_document_hover_async(lsp.HoverParams(document, place))
    assert "**`s/b`**" in hover.contents.value and "metro.conf:4" in hover.contents.value
    found = await client.text_document_definition_async(lsp.DefinitionParams(document, place))
    assert [(at.uri, at.range.start.line) for at in found] == [(uri, 3)]
    context = lsp.ReferenceContext(include_declaration=True)
    params = lsp.ReferenceParams(context, document, place)
    assert len(await client.text_document_references_async(params)) == 3
    edit = await client.text_document_rename_async(lsp.RenameParams(document, place, "s/new"))
    texts = {name[-8:]: [change.new_text for change in edits] for name, edits in edit.changes.items()}
    assert texts == {"tro.conf": [":new", "new"], "one.conf": ["s/new"]}, texts
    params = lsp.CompletionParams(document, lsp.Position(line=2, character=12))
    labels = [entry.label for entry in (await client.text_document_completion_async(params)).items]
    assert labels == [":a", ":b"], labels
    options = lsp.FormattingOptions(tab_size=8, insert_spaces=True)
    params = lsp.DocumentFormattingParams(document, options)
    edits = await client.text_document_formatting_async(params)
    assert [change.new_text for change in edits] == ["a: é😀 $[:b]\n"]
    folds = await client.text_document_folding_range_async(lsp.FoldingRangeParams(document))
    assert [(fold.start_line, fold.end_line) for fold in folds] == [(1, 3)]
    params = lsp.DocumentSymbolParams(document)
    symbols = await client.text_document_document_symbol_async(params)
    assert [[child.name for child in symbol.children] for symbol in symbols] == [["a", "b"]]

    await client.shutdown_async(None)
    client.exit(None)
    print("the client is content")


asyncio.run(talk(sys.argv[1]))
