// The bar at the bottom of the screen: the state of the live cells, in words, and what to do about it.

import { atBottom } from "../bottom.js";

/**
 * @typedef {{ address: string, token: string }} Server
 * @typedef {Server & { where: string }} Choice
 * @typedef {"idle" | "starting" | "ready" | "running" | "failed"} State
 * @typedef {"all" | "interrupt" | "restart" | "stop" | "close"} Action
 * @typedef {{ where: RadioNodeList, address: HTMLInputElement, token: HTMLInputElement }} Fields
 */

const MARKUP = `
<p class="live-state" role="status"></p>
<form class="live-form">
  <fieldset>
    <legend>Run the code on</legend>
    <label><input type="radio" name="where" value="binder"> <span class="live-binder"></span></label>
    <label><input type="radio" name="where" value="server"> a Jupyter server</label>
  </fieldset>
  <p class="live-server" hidden>
    <label>Address <input name="address" type="text" inputmode="url" autocomplete="off" spellcheck="false"
      placeholder="http://localhost:8888/?token=…"></label>
    <label>Token <input name="token" type="password" autocomplete="off"></label>
  </p>
  <button type="submit" class="plain-button main-button">Start</button>
</form>
<p class="live-actions">
  <button type="button" class="plain-button" data-action="all">Run all</button>
  <button type="button" class="plain-button" data-action="interrupt">Interrupt</button>
  <button type="button" class="plain-button" data-action="restart">Restart</button>
  <button type="button" class="plain-button" data-action="stop">Stop</button>
  <button type="button" class="plain-button" data-action="close">Close</button>
</p>
`;

// Which actions make sense in a state.
/** @type {Record<State, Action[]>} */
const ACTIONS = {
  idle: ["close"],
  starting: ["stop"],
  ready: ["all", "restart", "stop"],
  running: ["interrupt", "restart", "stop"],
  failed: ["close"],
};

/**
 * The address of a server and its token, from what a reader copies out of a terminal.
 * @param {string} text
 * @param {string} [token] - goes before the one in the address
 * @returns {Server | null}
 */
export function parse(text, token = "") {
  let url;
  try {
    url = new URL(/^[a-z]+:\/\//i.test(text.trim()) ? text.trim() : `http://${text.trim()}`);
  } catch {
    return null;
  }
  if (!/^https?:$/.test(url.protocol)) return null;
  const path = url.pathname.replace(/\/(lab|tree|notebooks|doc)(\/.*)?$/, "").replace(/\/?$/, "/");
  return { address: url.origin + path, token: token || (url.searchParams.get("token") ?? "") };
}

/** Shows the state and hands on what the reader wants. */
export class Bar {
  /**
   * @param {Choice} choice
   * @param {{start: (choice: Choice) => void, act: (action: Action) => void}} wishes
   * @param {string} binder its host, or empty where the book names none
   */
  constructor(choice, wishes, binder) {
    this.wishes = wishes;
    this.bar = document.createElement("section");
    this.bar.className = "live-bar";
    this.bar.setAttribute("aria-label", "Live cells");
    this.bar.innerHTML = MARKUP;
    this.said = /** @type {HTMLElement} */ (this.bar.querySelector(".live-state"));
    this.form = /** @type {HTMLFormElement} */ (this.bar.querySelector("form"));
    const server = /** @type {HTMLElement} */ (this.bar.querySelector(".live-server"));
    const { where, address, token } = this.fields();
    const free = /** @type {HTMLElement} */ (this.bar.querySelector(".live-binder"));
    free.textContent = `Binder (${binder}), free, no account`;
    if (!binder) /** @type {HTMLElement} */ (this.form.querySelector("label")).hidden = true;
    where.value = choice.where;
    address.value = choice.where === "server" ? choice.address : "";
    token.value = choice.where === "server" ? choice.token : "";
    const show = () => {
      server.hidden = where.value !== "server";
      address.required = !server.hidden;
    };
    show();
    this.form.onchange = show;
    this.form.onsubmit = (event) => {
      event.preventDefault();
      if (where.value === "binder") return wishes.start({ where: "binder", address: "", token: "" });
      const parsed = parse(address.value, token.value);
      if (!parsed) return this.tell("failed", "That is not the address of a server.");
      address.value = parsed.address;
      token.value = parsed.token;
      wishes.start({ where: "server", ...parsed });
    };
    for (const [button, action] of this.buttons()) button.onclick = () => wishes.act(action);
    atBottom(this.bar);
  }

  fields() {
    return /** @type {HTMLFormControlsCollection & Fields} */ (this.form.elements);
  }

  buttons() {
    /** @type {NodeListOf<HTMLButtonElement>} */
    const found = this.bar.querySelectorAll("[data-action]");
    return [...found].map((button) => {
      return /** @type {const} */ ([button, /** @type {Action} */ (button.dataset.action)]);
    });
  }

  /**
   * @param {State} state
   * @param {string} [text]
   */
  tell(state, text) {
    const focused = document.activeElement;
    this.bar.dataset.state = state;
    if (text !== undefined) this.said.textContent = text;
    this.form.hidden = !["idle", "failed"].includes(state);
    for (const [button, action] of this.buttons()) button.hidden = !ACTIONS[state].includes(action);
    // What had the focus may be gone: stay in the bar.
    if (focused && this.bar.contains(focused) && !focused.getClientRects().length) this.focus();
  }

  focus() {
    const first = [...this.bar.querySelectorAll("button, input")].find(
      (one) => one.getClientRects().length && !one.matches("[type=radio]:not(:checked)"),
    );
    /** @type {HTMLElement | undefined} */ (first)?.focus();
  }

  remove() {
    this.bar.remove();
  }
}
