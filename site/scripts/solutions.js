// Brings the solutions, which are written apart from their page: one when it is opened or when a link
// leads into it, all of them once the reader does something, so that find-in-page finds what is in
// closed ones.
//
// In the place of each stands a link with data-solution, its label, and data-script, a file that
// calls llmbook.solution(label, html). Its ids are on stand-ins beside the link until it is there.

import { explain, Missing } from "./assets.js";
import { addPart } from "./parts.js";

const STAND_IN = "a[data-solution]";
// What only a reader does: pages also scroll by themselves, to where the reader was or in a sidebar.
const FIRST_SIGNS = ["keydown", "pointerdown", "wheel"];

/** @type {Map<string, string>} */
const come = new Map(); // the markup of solutions on their way from script to page
/** @type {Map<string, Promise<void>>} */
const running = new Map();

const llmbook = (window.llmbook ??= {});
/** What each file calls. */
llmbook.solution = (label, markup) => {
  come.set(label, markup);
};
/** For tools that need the whole page, such as the one that prints the book. */
llmbook.solutions = loadAll;

/**
 * @param {string} address
 * @returns {Promise<void>}
 */
function run(address) {
  return new Promise((resolve, reject) => {
    const script = document.createElement("script");
    script.src = new URL(address, document.baseURI).href;
    script.onload = () => resolve();
    script.onerror = () => reject(new Missing(script.src));
    document.head.append(script);
    const remove = () => script.remove();
    script.addEventListener("load", remove);
    script.addEventListener("error", remove);
  });
}

/**
 * @param {HTMLAnchorElement} link
 * @param {string} label
 */
async function bring(link, label) {
  const body = /** @type {Element} */ (link.closest(".sd-summary-content"));
  body.setAttribute("aria-busy", "true");
  try {
    await run(link.dataset.script ?? "");
    const markup = come.get(label);
    if (markup === undefined) throw new Error(`${link.dataset.script} has not the solution ${label}`);
    come.delete(label);
    const focused = link === document.activeElement;
    body.innerHTML = markup;
    if (focused) body.closest("details")?.querySelector("summary")?.focus();
    addPart(body);
  } catch (error) {
    running.delete(label); // it may be tried again
    sayMissing(link, error);
    throw error;
  } finally {
    body.removeAttribute("aria-busy");
  }
}

/**
 * @param {HTMLAnchorElement} link
 * @param {unknown} error
 */
async function sayMissing(link, error) {
  const place = /** @type {Element} */ (link.parentElement);
  const note = place.querySelector("[role=status]") ?? document.createElement("span");
  note.setAttribute("role", "status");
  place.append(note);
  note.textContent = ` ${await explain(error, "The solution", "close and open it to try again")}`;
}

/**
 * Bring the solution that an element of the page is in, if it is not there yet.
 * @param {Element} element - the dropdown, or anything in it
 * @returns {Promise<void>}
 */
export async function load(element) {
  const link = element.closest("details.solution")?.querySelector(STAND_IN);
  if (!(link instanceof HTMLAnchorElement)) return;
  const label = link.dataset.solution ?? "";
  const promise = running.get(label) ?? bring(link, label);
  running.set(label, promise);
  await promise;
}

/**
 * Bring all solutions of the page.
 * @returns {Promise<unknown>}
 */
export function loadAll() {
  return Promise.allSettled([...document.querySelectorAll(STAND_IN)].map(load));
}

/** Wait until the browser has nothing better to do. */
const idle = () =>
  new Promise((resolve) => {
    if ("requestIdleCallback" in window) requestIdleCallback(resolve, { timeout: 2000 });
    else setTimeout(resolve, 50);
  });

/** Bring all solutions, one after the other, without disturbing the reader. */
async function loadQuietly() {
  for (const link of document.querySelectorAll(STAND_IN)) {
    await idle();
    if (!navigator.onLine && location.protocol !== "file:" && !navigator.serviceWorker?.controller) {
      return; // nothing would come; opening one says so
    }
    await load(link).catch(() => {});
  }
}

/** @param {Event} event */
function firstSign(event) {
  for (const type of FIRST_SIGNS) removeEventListener(type, firstSign, { capture: true });
  // Who pays for each byte gets only what they open.
  const frugal = navigator.connection?.saveData === true;
  if (!frugal) loadQuietly();
}

addEventListener("DOMContentLoaded", () => {
  if (!document.querySelector(STAND_IN)) return;
  for (const type of FIRST_SIGNS) {
    addEventListener(type, firstSign, { capture: true, passive: true });
  }
});

// Who asks to find or to print something wants all of it, and now.
addEventListener("keydown", ({ key, ctrlKey, metaKey }) => {
  const findsOrPrints = (ctrlKey || metaKey) && /^[fp]$/i.test(key);
  if (findsOrPrints || key === "F3" || key === "/") loadAll();
});

// The event does not bubble, but it can be caught on its way down.
document.addEventListener(
  "toggle",
  ({ target }) => {
    if (target instanceof HTMLDetailsElement && target.open) load(target).catch(() => {});
  },
  { capture: true },
);
