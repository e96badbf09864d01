// The reader's progress on the page of all exercises: a bar for each part, to and from a file, erase.

import { make, makeStatus } from "./dom.js";
import * as store from "./store.js";

const MAX_BYTES = 1 << 20; // a file with every exercise marked twice has a hundredth of this

/** @typedef {{label: string, part: string}} Exercise */

/**
 * @param {number} count
 * @param {string} one
 */
const plural = (count, one) => `${count} ${one}${count === 1 ? "" : "s"}`;

/** @param {Exercise[]} exercises */
function counts(exercises) {
  const [done, later] = store.MARKS.map(
    (mark) => exercises.filter(({ label }) => store.marked(label, mark)).length,
  );
  return { done, later, all: exercises.length };
}

/**
 * @param {Exercise[]} exercises
 * @param {boolean} [share] - in percent, too
 */
function inWords(exercises, share = false) {
  const { done, later, all } = counts(exercises);
  const percent = share && done ? ` (${Math.floor((100 * done) / all)}%)` : "";
  return `${done} of ${all} done${percent}${later ? `, ${later} to come back to` : ""}`;
}

/**
 * Draw a part's bar, a piece for each exercise in the order of the book.
 * @param {HTMLElement} item
 * @param {Exercise[]} exercises
 */
function drawPart(item, exercises) {
  const count = item.querySelector(".count");
  const pieces = exercises.map(() => make("b"));
  item.querySelector(".bar")?.append(...pieces);
  store.watch(() => {
    if (count) count.textContent = inWords(exercises);
    exercises.forEach(({ label }, n) => {
      // Done, and to come back to all the same, is shown as the latter.
      const state = store.marked(label, "later") ? "later" : store.marked(label, "done") && "done";
      pieces[n].dataset.state = state || "open";
    });
  });
}

function saveFile() {
  const link = make("a", {
    href: URL.createObjectURL(new Blob([store.text()], { type: "application/json" })),
    download: `llm-workbook-progress-${store.today()}.json`,
  });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
  return `Saved as ${link.download}, among your downloads.`;
}

/**
 * Add the marks of a file to those that are here, and tell what came of it.
 * @param {File} file
 * @param {Set<string>} labels - of the exercises in the book
 */
async function loadFile(file, labels) {
  let more;
  try {
    if (file.size > MAX_BYTES) throw new Error("it is larger than such a file can be");
    more = store.parse(await file.text());
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error);
    return `“${file.name}” was not loaded: ${reason}. Nothing has changed.`;
  }
  store.merge(more);
  const [done, later] = store.MARKS.map((mark) => Object.keys(more[mark]));
  const unknown = new Set([...done, ...later].filter((label) => !labels.has(label))).size;
  const stranger = unknown
    ? ` ${plural(unknown, "exercise")} of it ${unknown === 1 ? "is" : "are"} not in this book.`
    : "";
  return (
    `Loaded “${file.name}”: ${plural(done.length, "exercise")} done, ` +
    `${later.length} to come back to; what was marked here stays marked.${stranger}`
  );
}

/**
 * @param {HTMLElement} panel
 * @param {Exercise[]} book
 */
export function start(panel, book) {
  const find = (/** @type {string} */ selector) =>
    /** @type {HTMLElement} */ (panel.querySelector(selector));
  const [total, message] = [find(".total"), find(".message")];
  const say = (/** @type {string} */ text) => {
    message.textContent = text;
  };
  const labels = new Set(book.map(({ label }) => label));

  for (const item of panel.querySelectorAll("li")) {
    drawPart(
      item,
      book.filter(({ part }) => part === item.dataset.part),
    );
  }
  const note = makeStatus("p", "progress-note");
  total.after(note);
  store.watch(() => {
    total.textContent = `${inWords(book, true)}.`;
    note.textContent = store.notice();
  });

  find('[data-do="export"]').addEventListener("click", () => say(saveFile()));

  const chooser = make("input", { type: "file", accept: ".json,application/json", hidden: true });
  chooser.ariaLabel = "A file of saved progress";
  find(".progress-tools").append(chooser);
  find('[data-do="import"]').addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", async () => {
    const file = chooser.files?.[0];
    if (file) say(await loadFile(file, labels));
    chooser.value = ""; // so that the same file can be chosen again
  });

  const question = /** @type {HTMLDialogElement} */ (find("dialog"));
  find('[data-do="reset"]').addEventListener("click", () => {
    question.returnValue = "";
    question.showModal();
  });
  question.addEventListener("close", () => {
    if (question.returnValue !== "erase") return;
    store.erase();
    say("All marks are erased.");
  });
}
