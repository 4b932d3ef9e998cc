// Microsoft's KQL parser as a server: one JSON request a line on standard input, one JSON answer a line on standard
// output, until the input ends. Request: {"kql": text, "tables": {name: "(Column:type, …)"}}; answer: a list of strings.
// Usage: node kusto_parser.js NODE_MODULES
"use strict";

const fs = require("fs");
const path = require("path");
const readline = require("readline");
const vm = require("vm");

const folder = path.join(process.argv[2], "@kusto", "language-service-next");
for (const name of ["bridge.min.js", "Kusto.Language.Bridge.min.js"]) {
  // Both are written for a web page's one global scope, which `require` would not give them.
  vm.runInThisContext(fs.readFileSync(path.join(folder, name), "utf8"), { filename: name });
}
const { GlobalState, KustoCode, Symbols } = Kusto.Language;

function diagnostics({ kql, tables }) {
  const symbols = Object.entries(tables).map(([name, schema]) => Symbols.TableSymbol.From(schema).WithName(name));
  const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", symbols));
  const found = KustoCode.ParseAndAnalyze(kql, globals).GetDiagnostics();
  return Array.from({ length: found.Count }, (_, index) => {
    const { Code, Severity, Message, Start, Length } = found.getItem(index);
    return `${Code} ${Severity} at ${Start}: ${Message} (${JSON.stringify(kql.substr(Start, Length))})`;
  });
}

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  process.stdout.write(JSON.stringify(diagnostics(JSON.parse(line))) + "\n");
});
