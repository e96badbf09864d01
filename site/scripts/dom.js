// Elements, made in one expression.

/**
 * Make an element with properties and with what is in it.
 * @template {keyof HTMLElementTagNameMap} Tag
 * @param {Tag} tag
 * @param {Partial<HTMLElementTagNameMap[Tag]>} [properties]
 * @param {(string | Node)[]} children
 */
export function make(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  Object.assign(made, properties);
  made.append(...children);
  return made;
}

/**
 * Make a button that looks like the others.
 * @param {string} textContent
 * @param {() => void} [onclick]
 */
export const plainButton = (textContent, onclick) =>
  make("button", { type: "button", className: "plain-button", textContent, onclick: onclick ?? null });

/**
 * Make an element whose changes are read out, once it is on the page.
 * @param {"div" | "p"} tag
 * @param {string} [className]
 */
export function makeStatus(tag, className = "") {
  const made = make(tag, { className });
  made.setAttribute("role", "status");
  return made;
}
