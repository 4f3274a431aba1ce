// Prints the scopes that the grammar gives to every piece of a file. In this folder:
//
//   npm install --no-save vscode-textmate vscode-oniguruma
//   node scopes.js sample.conf | diff scopes.txt -
"use strict";

const fs = require("fs");
const path = require("path");
const textmate = require("vscode-textmate");
const oniguruma = require("vscode-oniguruma");

async function main() {
  const wasm = path.join(path.dirname(require.resolve("vscode-oniguruma")), "onig.wasm");
  await oniguruma.loadWASM(fs.readFileSync(wasm).buffer);
  const grammarPath = path.join(__dirname, "..", "metro.tmLanguage.json");
  const registry = new textmate.Registry({
    onigLib: Promise.resolve({
      createOnigScanner: (patterns) => new oniguruma.OnigScanner(patterns),
      createOnigString: (text) => new oniguruma.OnigString(text),
    }),
    loadGrammar: async () =>
      textmate.parseRawGrammar(fs.readFileSync(grammarPath, "utf8"), grammarPath),
  });
  const grammar = await registry.loadGrammar("source.metro");
  let state = textmate.INITIAL;
  for (const line of fs.readFileSync(process.argv[2], "utf8").trimEnd().split("\n")) {
    const result = grammar.tokenizeLine(line, state);
    state = result.ruleStack;
    console.log(`| ${line}`);
    for (const token of result.tokens) {
      const text = line.slice(token.startIndex, token.endIndex);
      if (text.trim()) {
        const scopes = token.scopes.slice(1).map((scope) => scope.replace(/\.metro$/, ""));
        console.log(`    ${JSON.stringify(text)}  ${scopes.join(" ")}`);
      }
    }
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
