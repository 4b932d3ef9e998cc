// Microsoft's KQL parser as a server: one JSON request a line on standard input, one JSON answer a line on standard
// output, until the input ends. Request: {"kql": text, "tables": {name: "(Column:type, …)"}}; answer: a list of strings.
// Or {"texts": [text, …]}; answer: for each text {"tokens": [[start, end, kind], …], "nodes": [[kind, name], …],
// "errors": whether its syntax is wrong}.
// Or {"list": "plugins" or "keywords"}; answer: the names of the plugins that `evaluate` takes, or all fixed texts.
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
const { GlobalState, KustoCode, Parsing, Symbols, Syntax } = Kusto.Language;

function diagnostics({ kql, tables }) {
  const symbols = Object.entries(tables).map(([name, schema]) => Symbols.TableSymbol.From(schema).WithName(name));
  const globals = GlobalState.Default.WithDatabase(new Symbols.DatabaseSymbol.ctor("workspace", symbols));
  const found = KustoCode.ParseAndAnalyze(kql, globals).GetDiagnostics();
  return Array.from({ length: found.Count }, (_, index) => {
    const { Code, Severity, Message, Start, Length } = found.getItem(index);
    return `${Code} ${Severity} at ${Start}: ${Message} (${JSON.stringify(kql.substr(Start, Length))})`;
  });
}

const kindName = (kind) => System.Enum.toString(Syntax.SyntaxKind, kind);

function structure(kql) {
  let position = 0;
  const tokens = Parsing.TokenParser.ParseTokens(kql).map(({ Trivia, Text, Length, Kind }) => {
    const start = position + Trivia.length;
    position += Length;
    return [start, start + Text.length, kindName(Kind)];
  });
  const nodes = [];
  const code = KustoCode.Parse(kql);
  Syntax.SyntaxElement.WalkNodes(code.Syntax, (node) => {
    nodes.push([kindName(node.Kind), node.Name?.SimpleName ?? ""]);
  });
  return { tokens: tokens.filter(([start, end]) => start < end), nodes, errors: code.GetDiagnostics().Count > 0 };
}

const LISTS = {
  plugins: () => Kusto.Language.PlugIns.All.map(({ Name }) => Name),
  keywords: () =>
    System.Linq.Enumerable.from(Syntax.SyntaxFacts.GetKindsWithFixedText(), Syntax.SyntaxKind)
      .ToArray(Syntax.SyntaxKind)
      .map((kind) => Syntax.SyntaxFacts.GetText(kind)),
};

readline.createInterface({ input: process.stdin }).on("line", (line) => {
  const request = JSON.parse(line);
  let answer;
  if (request.texts) answer = request.texts.map(structure);
  else if (request.list) answer = LISTS[request.list]();
  else answer = diagnostics(request);
  process.stdout.write(JSON.stringify(answer) + "\n");
});
