// Bars at the bottom of the screen stand one above the other, and neither covers what has the focus or
// the end of the page: the style sheet leaves as much room as they take.

/** The place of all bars; the bundles that are loaded on demand find the one that is there. */
function place() {
  const there = document.querySelector(".page-bottom");
  if (there) return there;
  const made = document.createElement("div");
  made.className = "page-bottom";
  document.body.append(made);
  let height = 0;
  new ResizeObserver(() => {
    // All elements of the page inherit it, and are styled anew for it.
    if (made.offsetHeight === height) return;
    height = made.offsetHeight;
    document.documentElement.style.setProperty("--page-bottom", `${height}px`);
  }).observe(made);
  return made;
}

/**
 * Put a bar at the bottom of the screen, below those that are there.
 * @param {HTMLElement} bar
 */
export function atBottom(bar) {
  place().append(bar);
}
