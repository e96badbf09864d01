// Opens the hints and solutions that hold what the reader asked for: the target of a link, the hits
// of a search.

import { openAround, target } from "./places.js";
import { load } from "./solutions.js";

/**
 * Show an element, wherever it is: bring the solution that it is in, open what is around it.
 * @param {Element} element - or what stands in for it
 */
async function reveal(element) {
  if (element.closest("details:not([open]), details.solution")) {
    openAround(element);
    await load(element).catch(() => {});
    const shown = element.isConnected ? element : document.getElementById(element.id);
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
addEventListener("click", (event) => {
  const { target, ctrlKey, metaKey, shiftKey, altKey } = event;
  if (event.defaultPrevented || ctrlKey || metaKey || shiftKey || altKey) return; // it leads elsewhere
  if (target instanceof Element && target.closest("a[href^='#']")) setTimeout(revealTarget);
});
