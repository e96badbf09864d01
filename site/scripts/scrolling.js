// Lets the keyboard reach what is wider or higher than its place (formulas, code, outputs, tables),
// and only that. The theme asks all of it for its size at once, which costs more time than all else
// on a page; here the browser says so, once it has laid out what is near the screen.

import { onPart } from "./parts.js";

const SCROLLS = ".katex-display, pre, .cell_output > .output, .pst-scrollable-table-container";

const sizes = new ResizeObserver((entries) => {
  // Ask first and write then: each answer after a change would need a new layout.
  const scrolls = entries.map(
    ({ target: t }) =>
      t.scrollWidth > t.clientWidth ||
      (t.scrollHeight > t.clientHeight && !t.matches(".katex-display")), // never cut off below
  );
  for (const [n, { target }] of entries.entries()) {
    if (scrolls[n]) target.setAttribute("tabindex", "0");
    else target.removeAttribute("tabindex");
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
