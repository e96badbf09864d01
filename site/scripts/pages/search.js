// The search itself, loaded when a reader opens it: asks the finder as the reader types, shows the
// results, and goes through them by keyboard. search.js connects it with a dialog or a page.

import { make } from "../dom.js";
import { Finder, HINT, SOLUTION, STATEMENT, marked, snippet } from "../finder.js";
import { mark } from "../marks.js";

/**
 * @typedef {import("../finder.js").Hit} Hit
 * @typedef {import("../finder.js").Piece} Piece
 * @typedef {import("../search.js").Parts} Parts
 * @typedef {object} Site
 * @property {() => Promise<void>} first - loads titles, statements, hints and the text around them
 * @property {() => Promise<void>} second - loads solutions and what follows them
 * @property {(error: unknown, what: string, again: string) => Promise<string>} explain
 * @property {(address: string, terms: string[], elsewhere: boolean) => void} note
 */

const finder = new Finder();
/** @type {Promise<void> | undefined} */
let first;
/** @type {Promise<void> | undefined} */
let second;

/** @param {Site} site */
async function learnFirst(site) {
  await site.first();
  await finder.add(window.llmbookSearchIndex);
}

/** @param {Site} site */
async function learnSecond(site) {
  await site.second();
  await finder.add(window.llmbookSearchSolutions);
}

// -- Results --------------------------------------------------------------------------------------

/** @param {Piece[]} pieces */
const nodes = (pieces) =>
  pieces.map(([text, found]) => (found ? make("mark", { className: "search-mark" }, text) : text));

/** What kind of text a result leads to. */
function part(/** @type {number} */ kind) {
  if (kind > HINT) return `Hint ${kind - HINT}`;
  return kind === SOLUTION ? "Solution" : "";
}

/**
 * @param {Hit} hit
 * @param {Site} site
 */
function result(hit, site) {
  const { kind, page, pageTitle, anchor, title, number } = hit.entry;
  const root = document.documentElement.dataset.content_root ?? "./";
  const where = kind === STATEMENT || number ? `Exercise ${number}` : "";
  const names = [where, part(kind), pageTitle === title ? "" : pageTitle].filter(Boolean);
  const link = make(
    "a",
    { href: `${root}${page}.html${anchor && `#${anchor}`}` },
    make("span", { className: "search-title" }, ...nodes(marked(title, hit.terms))),
    make("span", { className: "search-where" }, ...nodes(marked(names.join(" · "), numbers(hit.terms)))),
    make("span", { className: "search-snippet" }, ...nodes(snippet(hit))),
  );
  const follow = (/** @type {MouseEvent} */ event) => {
    const elsewhere = event.button > 0 || event.ctrlKey || event.metaKey || event.shiftKey;
    if (event.button < 2) site.note(link.href, [...hit.terms], elsewhere);
  };
  link.addEventListener("click", follow);
  link.addEventListener("auxclick", follow);
  return make("li", { className: "search-result" }, link);
}

/** Of some terms, those that are a number. */
const numbers = (/** @type {Set<string>} */ terms) =>
  new Set([...terms].filter((term) => /^\d/.test(term)));

/** @param {number} count */
function counted(count) {
  if (count === 0) return "Nothing found. Try fewer words, or other ones.";
  return count === 1 ? "1 result" : `${count} results`;
}

// -- Asking ---------------------------------------------------------------------------------------

/**
 * Answer what a reader types.
 * @param {Parts} parts
 * @param {Site} site
 */
function connect({ input, status, list, instead }, site) {
  /** @type {number | undefined} */
  let waiting;
  let known = 0; // of the two parts of the index
  let reading = false;
  let failure = ""; // why the next part did not come
  let asked = "";

  /** Say how many results there are, and what they may lack. */
  function tell() {
    const count = counted(list.children.length);
    if (!known) status.textContent = failure;
    else if (!asked) status.textContent = "";
    else if (failure) status.textContent = `${count.replace(/\.?$/, ".")} ${failure}`;
    else status.textContent = known < 2 ? `${count} (still reading the solutions …)` : count;
  }

  /** Put the question into the address of the page. */
  function remember() {
    const address = new URL(location.href);
    if (asked) address.searchParams.set("q", asked);
    else address.searchParams.delete("q");
    if (address.href === location.href) return;
    try {
      history.replaceState(history.state, "", address);
    } catch {
      // a browser that keeps the address of a file as it is, or counts too many changes
    }
  }

  function ask() {
    clearTimeout(waiting);
    const query = input.value.trim();
    asked = query;
    const hits = query ? finder.find(input.value) : [];
    const inList = list.contains(document.activeElement);
    list.replaceChildren(...hits.map((hit) => result(hit, site)));
    list.hidden = !hits.length;
    if (inList) (list.querySelector("a") ?? input).focus(); // who was faster than the answer
    tell();
    if (instead) {
      instead.hidden = query !== "";
      remember();
    }
  }

  /** Read what is not known yet. What failed is tried again with the next letter. */
  async function read() {
    if (reading || known === 2) return;
    reading = true;
    failure = "";
    const busy = window.setTimeout(() => {
      if (!known) status.textContent = "Loading …";
    }, 150);
    try {
      await (first ??= learnFirst(site));
      if (!known) {
        known = 1;
        ask();
      }
      await (second ??= learnSecond(site));
      known = 2;
    } catch (error) {
      if (known) second = undefined;
      else first = undefined;
      failure = await site.explain(error, known ? "The solutions" : "The search", "type to try again");
    }
    clearTimeout(busy);
    reading = false;
    // Results that a reader is going through stay where they are.
    if (known && !list.contains(document.activeElement)) ask();
    else tell();
  }

  const links = () => [...list.querySelectorAll("a")];

  /** @param {KeyboardEvent} event */
  function move(event) {
    const { key, target, altKey, ctrlKey, metaKey } = event;
    if (altKey || ctrlKey || metaKey) return;
    const all = links();
    const at = all.indexOf(/** @type {HTMLAnchorElement} */ (target));
    if (target !== input && at < 0) return;
    /** @type {HTMLElement | undefined} */
    let next;
    if (key === "ArrowDown") next = all[at + 1];
    else if (key === "ArrowUp") next = at > 0 ? all[at - 1] : input;
    else if (at >= 0 && key === "Home") next = all[0];
    else if (at >= 0 && key === "End") next = all.at(-1);
    else {
      // Who types on goes on in the field.
      if (at >= 0 && (key.length === 1 || key === "Backspace") && key !== " ") input.focus();
      return;
    }
    event.preventDefault();
    next?.focus();
    next?.scrollIntoView({ block: "nearest" });
  }
  for (const part of [input, list]) part.addEventListener("keydown", move);

  input.form?.addEventListener("submit", () => {
    if (known && asked !== input.value.trim()) ask();
    links()[0]?.click();
  });
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    if (known) waiting = window.setTimeout(ask, 80);
    read();
  });
  read();
}

const searching = { connect, mark };
/** @typedef {typeof searching} Searching */
(window.llmbook ??= {}).search = searching;
