// Starts `mstore lsp` for Metro specifications.
"use strict";

const vscode = require("vscode");
const { LanguageClient } = require("vscode-languageclient/node");

let client;

function start() {
  const settings = vscode.workspace.getConfiguration("metro");
  const server = { command: settings.get("server") || "mstore", args: ["lsp"] };
  const options = {
    documentSelector: [{ scheme: "file", language: "metro" }],
    initializationOptions: {
      entry: settings.get("entry") || null,
      definitions: settings.get("definitions") || {},
    },
  };
  client = new LanguageClient("metro", "Metro language server", server, options);
  return client.start();
}

async function stop() {
  const old = client;
  client = undefined;
  if (old) {
    await old.stop();
  }
}

async function restart() {
  await stop();
  await start();
}

exports.activate = async function (context) {
  context.subscriptions.push(
    vscode.commands.registerCommand("metro.restart", restart),
    vscode.workspace.onDidChangeConfiguration((event) => {
      if (event.affectsConfiguration("metro")) {
        restart();
      }
    }),
  );
  await start();
};

exports.deactivate = stop;
