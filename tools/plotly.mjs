// Makes the site's Plotly: plotly.js with the traces that the figures use and nothing else.
//
//     node tools/plotly.mjs OUT TRACE...
//
// The smallest ready-made bundle with heat maps carries nine more kinds of traces and what they need.
// In it, each module is a function that runs when it is first asked for. Here the last one, which
// registers the traces, is told which ones to ask for, and each of the others is marked as free of
// side effects; esbuild then drops those that nobody asks for. A bundle of another shape is refused.
import { readFileSync, writeFileSync } from "node:fs";

import { transform } from "esbuild";

const [out, ...traces] = process.argv.slice(2);
const bundle = new URL(
  "../node_modules/plotly.js-cartesian-dist-min/plotly-cartesian.min.js",
  import.meta.url,
);
const text = readFileSync(bundle, "utf8");

/** What the pattern finds in a text, or an error that says what it was to find. */
function find(pattern, where, what) {
  const found = pattern.exec(where);
  if (!found) throw new Error(`plotly.js is not built as it was: it has no ${what}`);
  return found;
}

const [, version] = find(/^\/\*\*\n\* plotly\.js \(cartesian - minified\) v(\S+)/, text, "version");
const [, code, entry] = find(
  /"use strict";var Plotly=\(\(\)=>\{([^]*)return ([\w$]+)\(\);?\}\)\(\);\s/,
  text,
  "function that holds its modules",
);
// Of `var z=(e,r)=>()=>{try{return r||e((r={exports:{}}).exports,r),r.exports}...`: z.
const [, wrap] = find(
  /([\w$]+)=\(\w,\w\)=>\(\)=>\{try\{return \w\|\|\w\(\(\w=\{exports:\{\}\}\)/,
  code,
  "function that makes a module",
);
const call = wrap.replaceAll("$", "\\$");
const module = new RegExp(`(?<=[ ,;}])([\\w$]+)=${call}\\((?=\\(|[\\w$]+=>)`, "g");
const starts = [...code.matchAll(module)];
const modules = new Map(
  starts.map((start, n) => [start[1], code.slice(start.index, starts[n + 1]?.index)]),
);

/** The name of the trace that a module exports, itself or from another one. */
function trace(name) {
  const body = modules.get(name) ?? "";
  const other = /^[^{]*\{"use strict";[\w$]+\.exports=([\w$]+)\(\)\}/.exec(body);
  return other ? trace(other[1]) : /moduleType:"trace",name:"(\w+)"/.exec(body)?.[1];
}

const register = /(?<=\.register\(\[)([^\]]+)(?=\]\);[\w$]+\.exports=[\w$]+\}\);\s*$)/;
const [, called] = find(register, code, "list of traces");
const registered = new Map(
  called.split(",").map((call) => [trace(call.replace(/\(\)$/, "")), call]),
);
registered.set("scatter", ""); // plotly.js itself registers it
const unknown = traces.filter((name) => !registered.has(name));
if (unknown.length) throw new Error(`plotly.js has no trace ${unknown.join(", ")}`);

const wanted = traces.map((name) => registered.get(name)).filter(Boolean);
const pruned = code
  .replace(register, () => wanted.join(","))
  .replace(module, (_, name) => `${name}=/* @__PURE__ */${wrap}(`)
  // The style sheet of the maps: none of the traces is a map, but it would come with all of them.
  .replace(/'\.maplibregl-map\{[^']*'/, "''");
const { code: minified } = await transform(`${pruned};window.Plotly=${entry}();`, {
  format: "iife",
  legalComments: "none",
  minify: true,
  treeShaking: true,
});
const license =
  `/*! plotly.js v${version} with the traces ${traces.toSorted().join(", ")}. ` +
  "Copyright Plotly, Inc. Licensed under the MIT license. */\n";
writeFileSync(out, license + minified);
