// Node's part of tools/publish.py: reads a job as JSON, writes the bundles as JSON.
//
// The job: {styles: [{name, text}], own: css, words: [...], scripts: [{name, text}], main, inline,
// pages: {name: path}}. The answer: {style, script, inline, pages: {name: text}, notices, packages}.
import { text as read } from "node:stream/consumers";

import * as esbuild from "esbuild";
import { transform } from "lightningcss";
import { PurgeCSS } from "purgecss";

// The browsers of the last three years.
const TARGET = ["chrome111", "firefox113", "safari16.4"];
const CSS_TARGETS = { chrome: 111 << 16, firefox: 113 << 16, safari: (16 << 16) | (4 << 8) };

// What Plotly and the theme's search words add to a page; all other words are in the pages and in the
// scripts, which are searched.
const ADDED_BY_SCRIPTS = [/^(js-)?plotly/, /^highlighted$/];
const ANY_VALUE = [
  "aria-expanded",
  "aria-pressed",
  "aria-selected",
  "data-mode",
  "data-theme",
  "disabled",
  "hidden",
  "open",
];

const notices = new Set();
const packages = new Set(); // of which something is in a bundle

/** Collect the licenses that a file wants to have kept, so that they need not be in the bundle. */
function collect(name, text) {
  for (const [comment] of text.matchAll(/\/\*(?:!|\*(?=[^/]*?(?:@license|copyright)))[^]*?\*\//gi)) {
    notices.add(`${name}\n\n${comment}`);
  }
}

async function style({ styles, own, words }) {
  const text = styles.map(({ name, text }) => (collect(name, text), text)).join("\n");
  const variables = [...new Set((own + words.join(" ")).match(/--[\w-]+/g))];
  const [pruned] = await new PurgeCSS().purge({
    content: [{ raw: words.join("\n"), extension: "words" }],
    css: [{ raw: text }],
    extractors: [{ extractor: (words) => words.split("\n"), extensions: ["words"] }],
    safelist: { standard: ADDED_BY_SCRIPTS, variables },
    blocklist: [/^\.?fa[bsrl]?$/, /^\.?fa-(?!icon)/], // the icon font's classes: publish.py puts drawings in
    dynamicAttributes: ANY_VALUE,
    keyframes: true,
    variables: true,
  });
  const { code } = transform({
    filename: "site.css",
    code: Buffer.from(pruned.css + "\n" + own),
    minify: true,
    targets: CSS_TARGETS,
    errorRecovery: true, // browsers skip what the theme has wrong, too
  });
  return fonts(code.toString());
}

/** Leave out fonts that no rule asks for, and formats of them that no browser needs. */
function fonts(css) {
  const face = /@font-face\{[^}]*\}/g;
  const rules = css.replace(face, "");
  return css.replace(face, (block) => {
    const family = block.match(/font-family:(?:"([^"]*)"|([^;}]*))/);
    if (!rules.includes(family[1] ?? family[2])) return "";
    if (!/Awesome/.test(family[0])) return block;
    // Of the icon font, the theme's rules draw with the solid kind alone: publish.py makes a small
    // font of those that are left.
    if (!/font-weight:900/.test(block)) return "";
    return block.replace(/src:[^;}]*?(url\([^)]*\.ttf"?\))[^;}]*/, 'src:$1 format("woff")');
  });
}

async function bundle(path, minify = true) {
  const { outputFiles, metafile } = await esbuild.build({
    entryPoints: [path],
    bundle: true,
    format: "iife",
    legalComments: "none", // licenses.txt has them
    logLevel: "silent",
    metafile: true,
    minify,
    target: TARGET,
    write: false,
  });
  for (const input of Object.keys(metafile.inputs)) {
    const found = input.match(/.*\bnode_modules\/((?:@[^/]+\/)?[^/]+)\//);
    if (found) packages.add(found[1]);
  }
  return outputFiles[0].text;
}

async function script({ scripts, main }) {
  // In one function, as the theme's scripts see each other's names, and the page none of them. Ours
  // come first: theirs may fail, and get the storage that site/scripts/theme-storage.js makes.
  const theirs = scripts.map(
    ({ name, text }) => (collect(name, text), text.replace(/^\/\/# sourceMappingURL=.*$/m, "")),
  );
  const all =
    `${await bundle(main, false)}\n;((localStorage, sessionStorage) => {` +
    `${theirs.join("\n;\n")}})(...window.llmbook.themeStorage);`;
  const { code } = await esbuild.transform(all, {
    legalComments: "none",
    logLevel: "silent",
    minify: true,
    pure: ["console.debug", "console.info", "console.log"], // the theme tells what it does
    target: TARGET,
  });
  return code;
}

const job = JSON.parse(await read(process.stdin));
const pages = {};
try {
  for (const [name, path] of Object.entries(job.pages)) pages[name] = await bundle(path);
  const answer = {
    style: await style(job),
    script: await script(job),
    inline: (await bundle(job.inline)).trim(),
    pages,
    notices: [...notices],
    packages: [...packages],
  };
  process.stdout.write(JSON.stringify(answer));
} catch (error) {
  const messages = error.errors?.length
    ? (await esbuild.formatMessages(error.errors, { kind: "error" })).join("")
    : (error.stack ?? String(error));
  process.stderr.write(messages);
  process.exitCode = 1;
}
