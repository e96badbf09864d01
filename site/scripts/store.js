// What the reader has marked, exercise by exercise: kept in this browser under one key, shared by all
// its tabs, and never sent anywhere.

/** @typedef {"done" | "later"} Mark */
/** @typedef {{version: 1, done: Record<string, string>, later: Record<string, string>}} Progress */

const KEY = "llmbook";
const VERSION = 1;
/** @type {Mark[]} */
export const MARKS = ["done", "later"];

const LABEL = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
const DATE = /^\d{4}-\d{2}-\d{2}$/;

/** @type {Progress} */
let progress = empty();
/**
 * Why nothing can be kept ("refused", "newer"), or what was there could not be read ("damaged").
 * @type {"" | "refused" | "newer" | "damaged"}
 */
let trouble = "";
/** @type {Set<() => void>} */
const listeners = new Set();

class NewerVersion extends Error {}

/** @returns {Progress} */
function empty() {
  return { version: VERSION, done: {}, later: {} };
}

/**
 * @param {unknown} value
 * @returns {value is Record<string, unknown>}
 */
const isObject = (value) => typeof value === "object" && value !== null && !Array.isArray(value);

/**
 * Read progress from text, strictly; the error says what is wrong with it.
 * @param {string} text
 * @returns {Progress}
 */
export function parse(text) {
  let data;
  try {
    data = JSON.parse(text);
  } catch {
    throw new Error("it is not JSON");
  }
  if (!isObject(data) || !("version" in data)) {
    throw new Error("it does not hold progress saved by this book: it names no version");
  }
  if (typeof data.version === "number" && data.version > VERSION) {
    throw new NewerVersion(
      `it was saved by a newer edition of this site (version ${data.version}, not ${VERSION})`,
    );
  }
  if (data.version !== VERSION) {
    throw new Error(`its version is ${JSON.stringify(data.version)}, expected ${VERSION}`);
  }
  const result = empty();
  for (const mark of MARKS) {
    const dates = data[mark];
    if (!isObject(dates)) throw new Error(`“${mark}” is missing, or is no list of exercises`);
    for (const [label, date] of Object.entries(dates)) {
      if (!LABEL.test(label)) throw new Error(`“${label}” in “${mark}” is no exercise's name`);
      if (typeof date !== "string" || !isDate(date)) {
        const got = JSON.stringify(date);
        throw new Error(`the date of “${label}” in “${mark}” is ${got}, expected one like 2026-01-31`);
      }
      result[mark][label] = date;
    }
  }
  return result;
}

/** @param {string} text */
function isDate(text) {
  const date = new Date(`${text}T00:00:00Z`);
  return DATE.test(text) && !Number.isNaN(+date) && date.toISOString().startsWith(text);
}

/** The day by the reader's calendar. */
export function today() {
  const now = new Date();
  const two = (/** @type {number} */ number) => String(number).padStart(2, "0");
  return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}`;
}

/** The progress as a file holds it. */
export const text = () => `${JSON.stringify(progress, null, 2)}\n`;

/**
 * The day on which an exercise was marked; undefined if it is not.
 * @param {string} label
 * @param {Mark} mark
 * @returns {string | undefined}
 */
export const marked = (label, mark) =>
  Object.hasOwn(progress[mark], label) ? progress[mark][label] : undefined;

export const isEmpty = () => MARKS.every((mark) => !Object.keys(progress[mark]).length);

/** What the reader should know of what is kept; empty when all is well. */
export function notice() {
  return {
    "": "",
    refused:
      "This browser does not let the site keep anything (a private window, or a setting). " +
      "Marks last until you leave the page; save them to a file to keep them.",
    newer:
      "This browser keeps marks of a newer edition of this site, which this page cannot read and " +
      "leaves alone. Reload the page; until then, marks last until you leave it.",
    damaged: "The marks that this browser kept cannot be read. Your next mark begins a new list.",
  }[trouble];
}

function read() {
  let kept;
  try {
    kept = localStorage.getItem(KEY);
  } catch {
    trouble = "refused";
    return;
  }
  if (trouble === "refused") return; // it can be read, but not be written: what is here counts
  try {
    progress = kept === null ? empty() : parse(kept);
    trouble = "";
  } catch (error) {
    trouble = error instanceof NewerVersion ? "newer" : "damaged"; // and what is here stays
  }
}

function write() {
  if (trouble === "newer") return;
  try {
    localStorage.setItem(KEY, JSON.stringify(progress));
    trouble = "";
  } catch {
    trouble = "refused";
  }
}

const tell = () => listeners.forEach((listener) => listener());

/** @param {() => void} edit */
function change(edit) {
  if (trouble === "") read(); // another tab may have written since
  edit();
  write();
  tell();
}

/**
 * Mark an exercise, or take the mark back. Who has done it need not come back to it, unless they say
 * so once more.
 * @param {string} label
 * @param {Mark} mark
 * @param {boolean} on
 */
export function set(label, mark, on) {
  change(() => {
    delete progress[mark][label];
    if (on) progress[mark][label] = today();
    if (on && mark === "done") delete progress.later[label];
  });
}

/**
 * Add marks to those that are there; of two dates, the earlier one stays.
 * @param {Progress} more
 */
export function merge(more) {
  change(() => {
    for (const mark of MARKS) {
      for (const [label, date] of Object.entries(more[mark])) {
        const here = marked(label, mark);
        progress[mark][label] = here && here < date ? here : date;
      }
    }
  });
}

export function erase() {
  change(() => {
    progress = empty();
  });
}

/**
 * Call a function now, and whenever something has changed, in this tab or another.
 * @param {() => void} listener
 */
export function watch(listener) {
  listeners.add(listener);
  listener();
}

read();
addEventListener("storage", ({ key }) => {
  if (key !== KEY && key !== null) return; // null: all was cleared
  read();
  tell();
});
// A page that comes back with the back button has heard nothing in the meantime.
addEventListener("pageshow", ({ persisted }) => {
  if (!persisted) return;
  read();
  tell();
});
