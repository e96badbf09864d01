// Opens the hints and solutions that hold what the reader asked for: the target of a link, the hits
// of a search.

import { load } from "./solutions.js";

/**
 * Open all boxes around an element.
 * @param {Element} element
 */
function openAround(element) {
  let box = element.closest("details");
  while (box) {
    box.open = true;
    box = box.parentElement?.closest("details") ?? null;
  }
}

/** The element with an id, if there is one. */
const named = (/** @type {string} */ id) => document.getElementById(id);

/** The element that the page's address leads to. */
function target() {
  try {
    return named(decodeURIComponent(location.hash.slice(1)));
  } catch {
    return null; // no text that was encoded
  }
}

/**
 * Show an element, wherever it is: bring the solution that it is in, open what is around it.
 * @param {Element} element - or what stands in for it
 */
export async function reveal(element) {
  if (element.closest("details:not([open]), details.solution")) {
    openAround(element);
    await load(element).catch(() => {});
    const shown = element.isConnected ? element : named(element.id);
    if (!shown) return;
    openAround(shown); // it may be in a box within the solution
    shown.scrollIntoView();
  }
}

function revealTarget() {
  const element = target();
  if (element) reveal(element);
}

addEventListener("hashchange", revealTarget);
addEventListener("DOMContentLoaded", revealTarget);
// A second click on the same link changes no hash.
addEventListener("click", ({ target }) => {
  if (target instanceof Element && target.closest("a[href^='#']")) setTimeout(revealTarget);
});
