// Lets the keyboard reach what is wider or higher than its place (formulas, code, outputs, tables),
// and only that, under a name: without one a screen reader would read all of it, or of a formula
// nothing, when the focus comes there. The theme asks all of it for its size at once, which costs
// more time than all else on a page; here the browser says so, once it has laid out what is near the
// screen.

import { onPart } from "./parts.js";

const SCROLLS = ".katex-display, pre, .cell_output > .output, .pst-scrollable-table-container";

/** @param {Element} place */
function nameOf(place) {
  if (place.matches(".katex-display")) return "Formula";
  if (place.matches(".pst-scrollable-table-container")) return "Table";
  return place.closest(".cell_output") ? "Output" : "Code";
}

const sizes = new ResizeObserver((entries) => {
  // Ask first and write then: each answer after a change would need a new layout.
  const scrolls = entries.map(
    ({ target: t }) =>
      t.scrollWidth > t.clientWidth ||
      (t.scrollHeight > t.clientHeight && !t.matches(".katex-display")), // never cut off below
  );
  for (const [n, { target }] of entries.entries()) {
    if (scrolls[n]) {
      target.setAttribute("tabindex", "0");
      target.setAttribute("role", "group");
      target.setAttribute("aria-label", nameOf(target));
    } else {
      for (const name of ["tabindex", "role", "aria-label"]) target.removeAttribute(name);
    }
  }
});

/** @param {Document | Element} part */
function watch(part) {
  for (const element of part.querySelectorAll(SCROLLS)) sizes.observe(element);
}

const outputs = new MutationObserver((records) => {
  for (const target of new Set(records.map(({ target }) => target))) {
    if (!(target instanceof Element)) continue;
    const around = target.closest(SCROLLS);
    if (around) sizes.observe(around); // its content may be wider now, and itself as wide as before
    watch(target);
  }
});

onPart((part) => {
  watch(part);
  // Live cells write outputs at any time.
  for (const cell of part.querySelectorAll(".cell")) {
    outputs.observe(cell, { childList: true, subtree: true });
  }
});
