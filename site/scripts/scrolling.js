// Lets the keyboard reach what scrolls by itself, such as wide code, and nothing else. The theme looks
// for it when the window changes; but boxes are opened, and solutions come, later.

import { onPart } from "./parts.js";

const MAY_SCROLL =
  ".katex-display, pre, .pst-scrollable-table-container, .cell_output > .output";
const SCROLLS = /auto|scroll/;

/** @param {HTMLElement} element */
function scrolls(element) {
  const { overflowX, overflowY } = getComputedStyle(element);
  return (
    (element.scrollWidth > element.clientWidth && SCROLLS.test(overflowX)) ||
    (element.scrollHeight > element.clientHeight && SCROLLS.test(overflowY))
  );
}

const sizes = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    if (!(target instanceof HTMLElement)) continue;
    if (scrolls(target)) target.tabIndex = 0;
    else target.removeAttribute("tabindex");
  }
});

onPart((part) => {
  for (const element of part.querySelectorAll(MAY_SCROLL)) sizes.observe(element);
});
