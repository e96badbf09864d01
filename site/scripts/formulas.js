// Lets the keyboard reach the formulas that are wider than the page, and only those.

import { onPart } from "./parts.js";

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (!(target instanceof HTMLElement)) continue;
    if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

onPart((part) => {
  for (const formula of part.querySelectorAll(".katex-display")) sizes.observe(formula);
});
