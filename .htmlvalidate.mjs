// What `html-validate _build/site` and tests/site/test_validity.py hold the site's pages to: what the
// standard says of content, attributes, ids, references and names, and the advice on accessibility.
import { defineConfig } from "html-validate";

// Of SVG, which html-validate does not know; the parser puts right the case.
const drawing =
  "fill height preserveAspectRatio preserveaspectratio stroke stroke-linecap stroke-linejoin " +
  "stroke-width version viewBox viewbox width xmlns:xlink";

export default defineConfig({
  root: true,
  extends: ["html-validate:recommended", "html-validate:document"],
  elements: [
    "html5",
    {
      // RDFa's attribute, by which other sites know a page's card
      meta: { attributes: { property: {} } },
      svg: { attributes: Object.fromEntries(drawing.split(" ").map((name) => [name, {}])) },
    },
  ],
  rules: {
    // A formula may have a name: it is a part of that of its heading or link.
    "aria-label-misuse": ["error", { allowAnyNamable: true }],
    "no-unknown-attributes": "error",
    "no-unknown-elements": "error",
    // The exercise index has a box for each kind: one question, several answers.
    "form-dup-name": ["error", { shared: ["radio", "button", "reset", "submit", "checkbox"] }],
    // The token of a server is no password that a browser should keep.
    "autocomplete-password": "off",
    // Any id without space is one; Plotly has dots in its own.
    "valid-id": ["error", { relaxed: true }],
    // The content-security policy lets in nothing but the site's own.
    "require-sri": "off",

    // Matters of style, not of validity:
    "attribute-boolean-style": "off", // hidden="" is hidden; the browser writes it so
    "attribute-empty-style": "off",
    "doctype-style": "off",
    "void-style": "off", // Sphinx writes <meta />, the theme <meta>
    "no-trailing-whitespace": "off", // of templates
    "no-inline-style": "off", // KaTeX's formulas consist of it, and the policy allows it
    "prefer-tbody": "off", // the parser adds it
    "long-title": "off", // advice on search engines; a solution's title has that of its exercise
    // The theme's captions of parts, `<p role="heading">`, are headings to all who listen, and
    // CodeMirror's editors are fields of text.
    "prefer-native-element": ["error", { exclude: ["heading", "textbox"] }],
    // A way to meet WCAG, not a demand: the filter of exercises works as one types.
    "wcag/h32": "off",
  },
});
