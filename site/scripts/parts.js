// Parts of a page come at different times: the page itself first, then each solution that the reader
// asks for. A feature that works on what is in the page names here what it does to each part.

/** @typedef {Document | Element} Part */
/** @typedef {(part: Part) => void} Feature */

// Bundles that are loaded on demand have a copy of this module, so what it knows is kept outside.
const llmbook = (window.llmbook ??= {});
/** @type {{ features: Feature[], there: Part[] }} */
const known = (llmbook.parts ??= { features: [], there: [] });

/**
 * Have a feature start on every part of the page: on what is there, and on what comes later.
 * @param {Feature} start - called once with each part
 */
export function onPart(start) {
  known.features.push(start);
  known.there.forEach(start);
}

/**
 * Start all features on a part that has just come.
 * @param {Part} part
 */
export function addPart(part) {
  known.there.push(part);
  for (const start of known.features) start(part);
}

addEventListener("DOMContentLoaded", () => addPart(document));
