// Opens the search: by its button, by Ctrl+K or Cmd+K, and on the search page. What finds and shows
// the results is loaded then, and not before; so is what marks a hit on the page it was on.

import { explain, load } from "./assets.js";

/** Where a click on a result notes what to mark on the page that it leads to. */
const NOTE = "llmbook-find";
const FRESH = 30_000; // milliseconds

/**
 * What the search works with.
 * @typedef {object} Parts
 * @property {HTMLInputElement} input
 * @property {HTMLElement} status - says how many results there are
 * @property {HTMLElement} list - the results
 * @property {HTMLElement | null} [instead] - shown as long as nothing is asked
 */

/** The search itself, which is loaded now. */
async function searching() {
  await load("search");
  const search = window.llmbook?.search;
  if (!search) throw new Error("the search has not set itself up");
  return search;
}

/** @param {Parts} parts */
async function connect(parts) {
  try {
    const search = await searching();
    search.connect(parts, {
      first: () => load("search-index"),
      second: () => load("search-solutions"),
      explain,
      note,
    });
  } catch (error) {
    parts.status.textContent = await explain(error, "The search", "type to try again");
    parts.input.addEventListener("input", () => connect(parts), { once: true });
  }
}

// -- The dialog -----------------------------------------------------------------------------------

const DIALOG = `
<div class="search-box">
<form role="search" class="search-form">
  <input type="search" name="q" autocomplete="off" autocapitalize="off" spellcheck="false"
    aria-label="Search the book" aria-describedby="search-help"
    placeholder="Number, title, name or word" enterkeyhint="go">
  <button type="button" class="plain-button">Close</button>
</form>
<p role="status" class="search-status"></p>
<ol class="search-results" aria-label="Results"></ol>
<p id="search-help" class="search-help">An exercise’s number, such as 13.19, a name in code or a
  formula, such as d_k, or any words. Arrow keys move through the results, Enter opens one.</p>
</div>`;

/** @type {HTMLDialogElement | undefined} */
let dialog;

function openDialog() {
  if (!dialog) {
    dialog = document.createElement("dialog");
    dialog.className = "plain-dialog search-dialog";
    dialog.setAttribute("aria-label", "Search");
    dialog.innerHTML = DIALOG;
    // Pressed and let go beside it: who selects text in the field may end there.
    let beside = false;
    dialog.addEventListener("pointerdown", (event) => {
      beside = event.target === dialog;
    });
    dialog.addEventListener("click", (event) => {
      if (beside && event.target === dialog) dialog?.close();
    });
    dialog.addEventListener("keydown", (event) => {
      if (event.key !== "Escape" || event.isComposing) return;
      event.preventDefault(); // Chromium would empty the field first
      dialog?.close();
    });
    dialog.querySelector("button")?.addEventListener("click", () => dialog?.close());
    dialog.querySelector("form")?.addEventListener("submit", (event) => event.preventDefault());
    document.body.append(dialog);
    const part = (/** @type {string} */ of) => /** @type {any} */ (dialog?.querySelector(of));
    connect({ input: part("input"), status: part("[role=status]"), list: part("ol") });
  }
  if (!dialog.open) dialog.showModal();
  const input = dialog.querySelector("input");
  input?.focus();
  input?.select();
}

const page = () => /** @type {HTMLElement | null} */ (document.querySelector(".search-page"));

/** Go where one searches: to the field of the search page, or to the dialog. */
function open() {
  const input = page()?.querySelector("input");
  if (!input) return openDialog();
  input.focus();
  input.select();
}

// There, Ctrl+K deletes to the end of the line.
const onMac = /^(Mac|iPhone|iPad)/.test(navigator.platform);

addEventListener("keydown", (event) => {
  const { key, ctrlKey, metaKey, altKey, shiftKey } = event;
  if (key.toLowerCase() !== "k" || ctrlKey === metaKey || altKey || shiftKey) return;
  if (ctrlKey && onMac) return;
  event.preventDefault();
  if (dialog?.open) dialog.close();
  else open();
});

// -- The mark on the page that a result led to ----------------------------------------------------

/** An address without its query, which tells two addresses of the same place apart. */
const place = (/** @type {string} */ address) => {
  const { origin, pathname, hash } = new URL(address);
  return origin + pathname + hash;
};

/**
 * Note what to mark where a result leads, and mark it there if that is this page.
 * @param {string} address
 * @param {string[]} terms
 * @param {boolean} elsewhere - in another tab or window
 */
function note(address, terms, elsewhere) {
  const [there, here] = [address, location.href].map((one) => place(one).split("#")[0]);
  if (there === here && !elsewhere) {
    dialog?.close();
    setTimeout(mark, 0, terms); // once the address is the new one
    return;
  }
  try {
    localStorage.setItem(NOTE, JSON.stringify({ place: place(address), terms, time: Date.now() }));
  } catch {
    // Where nothing may be stored, nothing is marked.
  }
}

async function mark(/** @type {string[]} */ terms) {
  (await searching()).mark(terms);
}

function markWhatWasFound() {
  try {
    const found = JSON.parse(localStorage.getItem(NOTE) ?? "null");
    if (found?.place !== place(location.href)) return;
    localStorage.removeItem(NOTE);
    if (Date.now() - found.time < FRESH) mark(found.terms).catch(() => {});
  } catch {
    // No note, or one that cannot be read.
  }
}

addEventListener("DOMContentLoaded", () => {
  for (const button of document.querySelectorAll(".search-button__button")) {
    button.addEventListener("click", open);
    // Whoever points at it will soon need it.
    button.addEventListener("pointerenter", () => searching().catch(() => {}), { once: true });
  }
  const found = page();
  if (found) {
    const part = (/** @type {string} */ of) => /** @type {any} */ (found.querySelector(of));
    const input = part("input");
    input.value = new URLSearchParams(location.search).get("q") ?? "";
    const parts = {
      input,
      status: part("[role=status]"),
      list: part("ol"),
      instead: part(".search-pages"),
    };
    if (input.value) connect(parts);
    else input.addEventListener("input", () => connect(parts), { once: true });
    input.form.addEventListener("submit", (/** @type {Event} */ event) => event.preventDefault());
    input.focus();
  }
  markWhatWasFound();
});
