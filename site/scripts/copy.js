// Puts a button on each piece of code that copies it as it is to be pasted: without prompts and line
// numbers.

import { onPart } from "./parts.js";

const ICON =
  '<svg viewBox="0 0 24 24" width="24" height="24" fill="none" stroke="currentColor"' +
  ' stroke-width="1.5" stroke-linecap="round" stroke-linejoin="round" aria-hidden="true">' +
  '<rect x="8" y="8" width="12" height="12" rx="2"/>' +
  '<path d="M16 8V6a2 2 0 0 0-2-2H6a2 2 0 0 0-2 2v8a2 2 0 0 0 2 2h2"/></svg>';
const SHOWN_FOR = 2000; // ms

/**
 * The text of a piece of code.
 * @param {Element} code
 */
function textOf(code) {
  const copy = /** @type {Element} */ (code.cloneNode(true));
  for (const extra of copy.querySelectorAll(".linenos, .gp, .go")) extra.remove();
  return (copy.textContent ?? "").trimEnd();
}

/**
 * Put text in the clipboard; browsers offer the first way only to pages that came safely.
 * @param {string} text
 */
async function write(text) {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.style.position = "fixed";
  document.body.append(area);
  area.select();
  const done = document.execCommand("copy");
  area.remove();
  if (!done) throw new Error("the browser did not copy");
}

/** @param {HTMLButtonElement} button */
async function copy(button) {
  const code = button.previousElementSibling;
  if (!code) return;
  let said = "Copied";
  try {
    await write(textOf(code));
    button.classList.add("success");
  } catch {
    said = "Could not copy";
  }
  button.dataset.tooltip = said;
  status.textContent = said;
  setTimeout(() => {
    button.classList.remove("success");
    button.dataset.tooltip = "Copy";
    status.textContent = "";
  }, SHOWN_FOR);
}

const status = document.createElement("span");
status.setAttribute("role", "status");
status.className = "visually-hidden";

onPart((part) => {
  const pieces = part.querySelectorAll("div.highlight pre");
  if (pieces.length && !status.isConnected) document.body.append(status);
  for (const code of pieces) {
    const button = document.createElement("button");
    button.type = "button";
    button.className = "copybtn o-tooltip--left";
    button.dataset.tooltip = "Copy";
    const what = code.closest(".cell_output") ? "output" : "code";
    button.setAttribute("aria-label", `Copy the ${what}`);
    button.innerHTML = ICON;
    button.addEventListener("click", () => copy(button));
    code.after(button);
  }
});
