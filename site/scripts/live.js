// The Live buttons. All else of the live cells is loaded when a reader presses one.

import { asset, isGone, load } from "./assets.js";
import { plainButton } from "./dom.js";
import { start as drawFigure } from "./figures.js";
import { EDITS, recall } from "./live/edits.js";
import { onPart } from "./parts.js";

const CODE = ".bd-article .cell > .cell_input pre";

/** Where Binder builds the book: the address of its API, from the page's own launch button. */
function binder() {
  const link = /** @type {HTMLAnchorElement | null} */ (
    document.querySelector(".dropdown-launch-buttons a[href*='/v2/gh/']")
  );
  if (!link) return "";
  const { origin, pathname } = new URL(link.href);
  return origin + pathname.replace("/v2/", "/build/");
}

/** @type {((cell: Element | null) => void) | undefined} */
let open;

async function start() {
  await load("live");
  // The server that `make live` has started beside the book, if it was that.
  const local = /** @type {HTMLMetaElement | null} */ (
    document.querySelector("meta[name='live-server']")
  );
  const frame = asset("live-frame");
  open ??= window.llmbook?.live?.({ frame, drawFigure, binder: binder(), local: local?.content });
  if (!open) throw new Error("the live cells have not set themselves up");
  return open;
}

/** @param {string} text @param {Element | null} cell */
function button(text, cell) {
  const made = plainButton(text);
  made.classList.add("live-button");
  made.title = "Edit the code of this page and run it here";
  made.onclick = async () => {
    made.disabled = true;
    made.textContent = text;
    try {
      (await start())(cell);
    } catch (error) {
      const why = navigator.onLine ? "could not be loaded" : "you are offline";
      made.textContent = `${text}: ${(await isGone(error)) ? "reload the page first" : why}`;
    }
    made.disabled = false;
  };
  return made;
}

addEventListener("DOMContentLoaded", () => {
  if (!document.querySelector(CODE)) return;
  document.querySelector(".article-header-buttons")?.prepend(button("Live", null));
});

onPart((part) => {
  if (open) return; // the cells have more than this button then
  const kept = Object.keys(recall("localStorage", EDITS));
  for (const cell of part.querySelectorAll(".bd-article .cell.tag_your-turn")) {
    const mine = kept.some((place) => place.startsWith(`${cell.closest("section")?.id}/turn/`));
    cell.prepend(button(mine ? "Live, with your code" : "Live", cell));
  }
});
