// Asks what of the closed boxes is to be printed, remembers it, and opens for the printer what the
// reader wants to have on paper. Printing from the browser's own menu follows the last choice. Paper
// is white, so what is printed has the light theme's colors.

import { loadAll } from "./solutions.js";

const KEY = "llmbook-print";
const BOXES = ".bd-article details";
const KINDS = /** @type {const} */ (["hints", "solutions"]);

/** @typedef {Record<typeof KINDS[number], boolean>} Choice */

/** @returns {Choice} */
function choice() {
  let kept = null;
  try {
    kept = JSON.parse(localStorage.getItem(KEY) ?? "null");
  } catch {
    // a browser that keeps nothing, or something that is not ours
  }
  return { hints: kept?.hints !== false, solutions: kept?.solutions !== false };
}

/** @param {Choice} wanted */
function keep(wanted) {
  try {
    localStorage.setItem(KEY, JSON.stringify(wanted));
  } catch {
    // it holds until the page is left: see below
  }
  forNow = wanted;
}

/** @type {Choice | undefined} */
let forNow;

/** @type {HTMLDetailsElement[]} */
let opened = [];

const dark = matchMedia("(prefers-color-scheme: dark)");

/** @param {boolean} printing */
function dress(printing) {
  const { dataset } = document.documentElement;
  const own = dataset.mode === "dark" || (dataset.mode !== "light" && dark.matches);
  dataset.theme = own && !printing ? "dark" : "light";
}

// Tools that ask for the look of paper send no event of their own.
matchMedia("print").addEventListener("change", ({ matches }) => dress(matches));

addEventListener("beforeprint", () => {
  dress(true);
  const wanted = forNow ?? choice();
  for (const kind of KINDS) document.documentElement.classList.toggle(`print-no-${kind}`, !wanted[kind]);
  for (const box of document.querySelectorAll(BOXES)) {
    if (!(box instanceof HTMLDetailsElement) || box.open) continue;
    const kind = box.closest("details.solution") ? "solutions" : "hints";
    if (!wanted[kind]) continue;
    box.open = true;
    opened.push(box);
  }
});

addEventListener("afterprint", () => {
  dress(false);
  for (const box of opened) box.open = false;
  opened = [];
});

/** @param {Choice} wanted */
function dialogFor(wanted) {
  const dialog = document.createElement("dialog");
  dialog.className = "plain-dialog print-choice";
  dialog.setAttribute("aria-labelledby", "print-choice-title");
  const boxes = KINDS.map(
    (kind) =>
      `<label><input type="checkbox" name="${kind}"${wanted[kind] ? " checked" : ""}> ` +
      `With ${kind === "hints" ? "hints and questions to check yourself" : "solutions"}</label>`,
  );
  dialog.innerHTML =
    `<h2 id="print-choice-title">Print this page</h2>${boxes.join("")}` +
    '<p role="status"></p><div class="print-choice-buttons">' +
    '<button type="button" class="plain-button main-button" value="print">Print</button>' +
    '<button type="button" class="plain-button" value="cancel">Cancel</button></div>';
  // The menu that led here has closed, so the focus goes back to its button.
  const opener = document.activeElement?.closest(".dropdown")?.querySelector("button");
  dialog.addEventListener("close", () => {
    dialog.remove();
    opener?.focus();
  });
  return dialog;
}

/** Ask what to print, then print; a page without boxes is printed at once. */
export function choosePrint() {
  if (!document.querySelector(BOXES)) {
    window.print();
    return;
  }
  const dialog = dialogFor(forNow ?? choice());
  const status = /** @type {Element} */ (dialog.querySelector("[role=status]"));
  dialog.addEventListener("click", async ({ target }) => {
    if (!(target instanceof HTMLButtonElement)) return;
    if (target.value === "print") {
      const wanted = /** @type {Choice} */ ({});
      for (const kind of KINDS) {
        const box = /** @type {HTMLInputElement} */ (dialog.querySelector(`[name=${kind}]`));
        wanted[kind] = box.checked;
      }
      keep(wanted);
      if (wanted.solutions) {
        status.textContent = "Fetching the solutions …";
        await loadAll();
        if (!dialog.open) return; // the reader did not want to wait
      }
    }
    dialog.close();
    if (target.value === "print") window.print();
  });
  document.body.append(dialog);
  dialog.showModal();
}
