// Reading without network: registers the service worker, saves the whole book on request, and says
// clearly what cannot work while the reader is offline.

import { atBottom } from "./bottom.js";
import { make, makeStatus, plainButton } from "./dom.js";

const CACHE = "llmbook";
const LIST = "offline.json";
const WHOLE = "offline-whole";
const AT_ONCE = 6; // files that are fetched side by side
/** @type {Record<string, string>} */
const SITES = { "mybinder.org": "Binder", "colab.research.google.com": "Colab" };

const manifest = /** @type {HTMLLinkElement | null} */ (
  document.querySelector('link[rel="manifest"]')
);
const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
const able =
  manifest !== null &&
  "serviceWorker" in navigator &&
  "caches" in window &&
  (location.protocol === "https:" || (location.protocol === "http:" && local));
const root = new URL("./", manifest?.href ?? location.href);

const megabytes = (/** @type {number} */ bytes) => `${(bytes / 1e6).toFixed(1)} MB`;

// -- Saying so -----------------------------------------------------------------------------------

// A live region has to be there before something is said in it.
const said = makeStatus("p");
const close = plainButton("Close");
close.hidden = true;
const bar = make("div", { className: "offline-bar" }, said, close);

/** @param {string} text */
function say(text) {
  said.textContent = text;
  close.hidden = !text;
  bar.toggleAttribute("data-shown", text !== "");
}

// In a folder of files all can be read; only a click on what needs the network is answered there.
const QUIET = "llmbook-offline-quiet"; // in this tab, until the network comes back
const BACK = 1000; // ms

function announce() {
  if (location.protocol === "file:" || quiet()) return;
  say(IN_GENERAL);
}

function quiet() {
  try {
    return sessionStorage.getItem(QUIET) !== null;
  } catch {
    return false; // where nothing may be stored, it is said on each page
  }
}

/** @param {boolean} wanted */
function keepQuiet(wanted) {
  try {
    if (wanted) sessionStorage.setItem(QUIET, "");
    else sessionStorage.removeItem(QUIET);
  } catch {
    // see above
  }
}

close.addEventListener("click", () => {
  say("");
  if (!navigator.onLine) keepQuiet(true);
});

const IN_GENERAL =
  "You are offline. Pages that are kept in this browser can be read; Binder, Colab and live cells " +
  "need the network.";

/**
 * What an element needs the network for; empty if it does not.
 * @param {Element} element
 */
function need(element) {
  const link = /** @type {HTMLAnchorElement | null} */ (element.closest("a[href]"));
  if (!link || !/^https?:$/.test(link.protocol) || link.host === location.host) return "";
  return SITES[link.hostname] ?? link.hostname;
}

document.addEventListener(
  "click",
  (event) => {
    if (navigator.onLine || !(event.target instanceof Element)) return;
    const what = need(event.target);
    if (!what) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    say(`You are offline. ${what} needs the network: try again when it is back.`);
  },
  true,
);
addEventListener("offline", announce);
addEventListener("online", () => {
  say("");
  // Some networks, and Chromium on the way to the next page, are back for a moment only.
  setTimeout(() => navigator.onLine && keepQuiet(false), BACK);
});

// -- Saving the whole book -----------------------------------------------------------------------

/** @typedef {{version: string, bytes: number, start: string[], files: [string, number][]}} List */

/** @returns {Promise<List>} */
async function list() {
  const response = await fetch(new URL(LIST, root), { cache: "no-cache" });
  if (!response.ok) throw new Error(`the list of files is not there (${response.status})`);
  return response.json();
}

/**
 * A response that a page may be shown from: without the mark of a redirect, as the host may send from
 * x.html to x. The service worker, which loads no modules, does the same.
 * @param {Response} response
 */
async function unmarked(response) {
  if (!response.redirected) return response;
  return new Response(await response.blob(), { headers: response.headers, status: response.status });
}

/** @param {unknown} error */
function reason(error) {
  if (error instanceof DOMException && error.name === "QuotaExceededError") {
    return "the browser gives it no more room";
  }
  return navigator.onLine ? String(/** @type {any} */ (error)?.message ?? error) : "you are offline";
}

/** @param {Element} place */
function offer(place) {
  const button = plainButton("Save");
  button.disabled = true;
  const remove = plainButton("Remove");
  remove.hidden = true;
  const progress = make("progress", { hidden: true });
  progress.setAttribute("aria-label", "Saved so far");
  const status = makeStatus("p");
  const summary = make("summary", {}, "Save the whole book for offline reading");
  const buttons = make("p", { className: "save-buttons" }, button, remove);
  const box = make("details", { className: "save-book" }, summary, status, progress, buttons);
  place.append(box);

  /** @type {List | undefined} */
  let all;
  /** @type {AbortController | undefined} */
  let running;
  const address = (/** @type {string} */ path) => new URL(path, root).href;

  async function missing() {
    const cache = await caches.open(CACHE);
    const kept = new Set((await cache.keys()).map(({ url }) => url));
    return { cache, files: (all?.files ?? []).filter(([path]) => !kept.has(address(path))) };
  }

  async function show(told = "") {
    try {
      all ??= await list();
    } catch (error) {
      status.textContent = `Could not find out the size of the book: ${reason(error)}.`;
      return;
    }
    const { cache, files } = await missing();
    const whole = files.length === 0;
    if (whole) await cache.put(address(WHOLE), new Response(all.version));
    const rest = files.reduce((sum, [, bytes]) => sum + bytes, 0);
    button.hidden = whole;
    button.disabled = false;
    button.textContent = `Save the whole book (${megabytes(rest)})`;
    remove.hidden = !(await cache.match(address(WHOLE)));
    status.textContent =
      told ||
      (whole
        ? `The whole book is kept in this browser: ${megabytes(all.bytes)}.`
        : `${all.files.length - files.length} of ${all.files.length} files are kept in this ` +
          `browser; ${megabytes(rest)} are missing.`);
  }

  async function save() {
    const { cache, files } = await missing();
    const { signal } = (running = new AbortController());
    progress.max = files.reduce((sum, [, bytes]) => sum + bytes, 0);
    progress.value = 0;
    progress.hidden = false;
    remove.hidden = true;
    button.textContent = "Stop";
    status.textContent = `Saving ${files.length} files, ${megabytes(progress.max)}.`;
    await navigator.storage?.persist?.().catch(() => false);
    const waiting = [...files];
    const one = async () => {
      for (let file = waiting.shift(); file; file = waiting.shift()) {
        const [path, bytes] = file;
        const response = await fetch(address(path), { signal });
        if (!response.ok) throw new Error(`${path} cannot be fetched (${response.status})`);
        await cache.put(address(path), await unmarked(response));
        progress.value += bytes;
      }
    };
    let told = "";
    try {
      await Promise.all(Array.from({ length: AT_ONCE }, one));
    } catch (error) {
      const stopped = signal.aborted;
      running.abort(); // the others
      const why = stopped ? "" : `, because ${reason(error)}`;
      told = `Stopped at ${megabytes(progress.value)} of ${megabytes(progress.max)}${why}. What is saved stays.`;
    }
    running = undefined;
    progress.hidden = true;
    await show(told);
  }

  box.addEventListener("toggle", () => {
    if (box.open && !running) show();
  });
  button.addEventListener("click", () => {
    if (running) running.abort();
    else save();
  });
  remove.addEventListener("click", async () => {
    const cache = await caches.open(CACHE);
    const start = new Set((all?.start ?? []).map(address));
    for (const { url } of await cache.keys()) if (!start.has(url)) await cache.delete(url);
    button.hidden = false; // it takes the focus, since the other one goes
    button.focus();
    await show("The book is no longer kept in this browser.");
  });
}

// -- The offline page ----------------------------------------------------------------------------

/** @param {Element} place */
async function listKept(place) {
  const cache = await caches.open(CACHE);
  const pages = [];
  for (const { url } of await cache.keys()) {
    if (!url.endsWith(".html") || url.endsWith("/offline.html")) continue;
    const text = (await (await cache.match(url))?.text()) ?? "";
    const page = new DOMParser().parseFromString(text.split("</head>", 1)[0], "text/html");
    pages.push({ url, title: page.title.split(" — ")[0] || url });
  }
  pages.sort((a, b) => a.title.localeCompare(b.title));
  for (const { url, title } of pages) {
    place.append(make("li", {}, make("a", { href: url }, title)));
  }
}

function tryAgain(/** @type {Element} */ place) {
  const asked = new URLSearchParams(location.search).get("page");
  const target = asked && new URL(asked, root);
  // Only a page of this site: anybody can write such an address.
  if (!target || target.origin !== root.origin || !target.href.startsWith(root.href)) return;
  place.append(make("a", { href: target.href }, "Try to open the page again"));
}

addEventListener("DOMContentLoaded", () => {
  atBottom(bar);
  if (!navigator.onLine) announce();
  if (!able) return;
  document.querySelectorAll("[data-save-book]").forEach(offer);
  document.querySelectorAll("[data-offline-pages]").forEach(listKept);
  document.querySelectorAll("[data-offline-again]").forEach(tryAgain);
});
addEventListener("load", () => {
  if (!able) return;
  const address = new URL("service-worker.js", root);
  navigator.serviceWorker.register(address, { updateViaCache: "none" }).catch((error) => {
    console.warn(`the site cannot be kept for offline reading: ${error.message}`);
  });
});
