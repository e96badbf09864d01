// Marks on exercises: two boxes beside the badges of each, a count beside each page in the sidebar,
// a sign beside each exercise in the page's contents.

import { load } from "./assets.js";
import { make, makeStatus } from "./dom.js";
import * as store from "./store.js";

/** @typedef {import("./store.js").Mark} Mark */

/** @type {Record<Mark, string>} */
const WORDS = { done: "Done", later: "Come back later" };

/**
 * Make a box that marks an exercise, and follows when the mark is changed elsewhere.
 * @param {string} label
 * @param {Mark} mark
 * @param {string} exercise - what a screen reader calls the exercise
 */
export function box(label, mark, exercise) {
  const input = make("input", { type: "checkbox", name: `${mark}:${label}` });
  input.ariaLabel = `${WORDS[mark]}: ${exercise}`;
  input.addEventListener("change", () => store.set(label, mark, input.checked));
  const word = make("span", { className: "word" }, WORDS[mark]);
  const element = make("label", { className: "mark-box" }, input, word);
  store.watch(() => {
    const date = store.marked(label, mark);
    input.checked = date !== undefined;
    element.title = date ? `Marked on ${date}` : "";
  });
  return element;
}

/** @param {HTMLElement} place - where the page has room for the boxes of an exercise */
function markExercise(place) {
  const label = place.dataset.label ?? "";
  const title = place.closest(".exercise")?.querySelector(".admonition-title")?.textContent ?? label;
  for (const mark of store.MARKS) place.append(box(label, mark, title));
  const note = makeStatus("p", "progress-note");
  place.closest("p")?.after(note);
  // It comes with the first mark that cannot be kept, where the reader is looking.
  place.addEventListener("change", () => {
    note.textContent = store.notice();
  });
}

/** @param {HTMLAnchorElement} link - to an exercise, in the contents of the page */
function markContents(link) {
  const label = decodeURIComponent(link.hash.slice(1));
  store.watch(() => {
    const mark = store.MARKS.find((mark) => store.marked(label, mark));
    if (mark) link.dataset.marked = mark;
    else delete link.dataset.marked;
  });
}

/** The page that an address leads to, as the catalogue names it. */
function pageName(/** @type {HTMLAnchorElement} */ link) {
  const root = new URL(document.documentElement.dataset.content_root ?? "./", location.href);
  return link.pathname.slice(root.pathname.length).replace(/\.html$/, "");
}

/**
 * @param {HTMLAnchorElement} link - to a page, in the sidebar
 * @param {string[]} exercises
 */
function countPage(link, exercises) {
  const shown = make("span", { ariaHidden: "true" });
  const spoken = make("span", { className: "visually-hidden" });
  const count = make("span", { className: "page-progress" }, shown, spoken);
  link.append(" ", count);
  store.watch(() => {
    const done = exercises.filter((label) => store.marked(label, "done")).length;
    shown.textContent = `${done}/${exercises.length}`;
    spoken.textContent = `(${done} of ${exercises.length} exercises done)`;
    count.hidden = store.isEmpty();
    count.classList.toggle("all-done", done === exercises.length);
  });
}

/** Count in the sidebar: only for who has marked something, and only then is the list loaded. */
function countPages() {
  let asked = false;
  store.watch(async () => {
    if (asked || store.isEmpty()) return;
    asked = true;
    try {
      await load("exercises");
    } catch {
      return; // without the list there are no counts
    }
    const pages = window.llmbookExercises;
    for (const link of document.querySelectorAll(".bd-docs-nav a.internal")) {
      if (!(link instanceof HTMLAnchorElement)) continue;
      const exercises = pages[pageName(link)];
      if (exercises) countPage(link, exercises);
    }
  });
}

addEventListener("DOMContentLoaded", () => {
  const labels = new Set();
  for (const place of document.querySelectorAll(".exercise-progress")) {
    if (!(place instanceof HTMLElement)) continue;
    markExercise(place);
    labels.add(`#${place.dataset.label}`);
  }
  for (const link of document.querySelectorAll("nav.page-toc a")) {
    if (link instanceof HTMLAnchorElement && labels.has(link.hash)) markContents(link);
  }
  countPages();
});
