// Where the page's address leads, and what is closed around it.

/** The element that the page's address leads to. */
export function target() {
  try {
    return document.getElementById(decodeURIComponent(location.hash.slice(1)));
  } catch {
    return null; // no text that was encoded
  }
}

/**
 * Open all boxes around an element.
 * @param {Element} element
 */
export function openAround(element) {
  let box = element.closest("details");
  while (box) {
    box.open = true;
    box = box.parentElement?.closest("details") ?? null;
  }
}
