// Live cells: the code of the page becomes editable, and runs on a kernel. Loaded by live.js.

import { atBottom } from "../bottom.js";
import { make, plainButton } from "../dom.js";
import { Bar, parse } from "../live/bar.js";
import { edit } from "../live/editor.js";
import { EDITS, recall } from "../live/edits.js";
import { Link } from "../live/link.js";
import { Outputs } from "../live/outputs.js";
import { onPart } from "../parts.js";

/**
 * @typedef {object} Tools what the page's own script hands over
 * @property {string} frame address of the frame that talks to the kernel
 * @property {string} binder address of Binder's build of the book, or empty
 * @property {string} [local] address of the server that stands beside the book
 * @property {(figure: HTMLElement) => Promise<void>} drawFigure
 *
 * @typedef {import("../live/bar.js").Choice} Choice
 * @typedef {import("../live/bar.js").Server} Server
 * @typedef {import("../live/bar.js").State} State
 * @typedef {import("../live/edits.js").Edits} Edits
 */

const SERVER = "llmbook-live"; // in sessionStorage: the server, for the next page
const KEYS = "live-keys"; // the id of what tells how the keyboard works

/** @param {"localStorage" | "sessionStorage"} storage @param {string} key @param {unknown} value */
function remember(storage, key, value) {
  try {
    window[storage].setItem(key, JSON.stringify(value));
  } catch {
    // Full, or not allowed: it is kept for as long as the page is open.
  }
}

/** One cell of the page. */
class Cell {
  /**
   * @param {HTMLElement} element
   * @param {Page} page
   */
  constructor(element, page) {
    this.element = element;
    this.page = page;
    this.input = /** @type {HTMLElement} */ (element.querySelector(":scope > .cell_input"));
    this.printed = /** @type {HTMLElement} */ (this.input.firstElementChild);
    const pre = /** @type {HTMLElement} */ (this.input.querySelector("pre"));
    this.source = pre.textContent.replace(/\n$/, "");
    this.yourTurn = element.classList.contains("tag_your-turn");
    this.key = this.#key();
    const kept = page.edits[this.key];
    this.code = kept?.code ?? this.source;
    this.outputs = new Outputs(element, page.tools.drawFigure);
    this.checks = /^\s*check\.\w/m.test(this.source);
    this.ran = false;
    this.name = this.yourTurn ? "Your turn" : this.checks ? "The check" : "Code";
    this.bar = make("div", { className: "live-tools" });
    this.resetting = this.#build();
    this.state = make("span", { className: "live-count" });
    this.bar.append(this.state);
    this.input.append(this.bar);
    if (this.code !== this.source) this.show();
    const changed = "The book's code here has changed since you wrote this. Reset shows it.";
    this.note = make("p", { className: "live-note" }, changed);
    this.note.hidden = !kept || kept.source === this.source;
    this.bar.after(this.note);
  }

  /** The name of its place on the page, which stays when the code of the book is corrected. */
  #key() {
    const kind = (/** @type {Element} */ one) =>
      one.closest("details.solution") ? "solution" : one.matches(".tag_your-turn") ? "turn" : "code";
    const section = this.element.closest("section");
    const mine = kind(this.element);
    const alike = [...(section ?? document).querySelectorAll(".cell")].filter(
      (one) => one.closest("section") === section && kind(one) === mine,
    );
    return `${section?.id}/${mine}/${alike.indexOf(this.element)}`;
  }

  /** Whether it is part of a hint or a solution that the reader has not opened. */
  get closed() {
    return Boolean(this.element.closest("details:not([open])"));
  }

  get inSolution() {
    return Boolean(this.element.closest("details.solution"));
  }

  /** Put the buttons in the bar; the last one, to reset, is handed out. */
  #build() {
    const { element, page } = this;
    element.classList.add("live-cell");
    element.querySelector(":scope > .live-button")?.remove();
    this.bar.setAttribute("role", "group");
    this.bar.setAttribute("aria-label", `${this.name}: run and reset`);
    const add = (/** @type {string} */ text, /** @type {() => void} */ action) => {
      const button = plainButton(text, action);
      this.bar.append(button);
      return button;
    };
    if (this.yourTurn) add("Run and check", () => page.check(this));
    add("Run", () => page.run([this]));
    add("Run all above", () => page.runAbove(this));
    const resetting = add("Reset", () => this.reset());
    resetting.hidden = this.code === this.source;
    return resetting;
  }

  /** Put the editor in the place of the printed code. */
  show() {
    if (this.editor) return this.editor;
    const place = make("div", { className: "highlight live-editor" });
    this.printed.hidden = true;
    this.printed.after(place);
    this.editor = edit(place, this.code, {
      label: this.name,
      help: KEYS,
      change: (code) => this.change(code),
      run: () => this.page.run([this]),
      runAndGoOn: () => {
        this.page.run([this]);
        this.page.next(this)?.show().focus();
      },
      complete: (code, place) => this.page.complete(code, place),
    });
    return this.editor;
  }

  /** @param {string} code */
  change(code) {
    this.code = code;
    this.resetting.hidden = false;
    if (this.ran) this.mark("changed since it ran");
    this.ran = false;
    this.page.keep(this);
  }

  reset() {
    const length = this.editor?.state.doc.length ?? 0;
    this.editor?.dispatch({ changes: { from: 0, to: length, insert: this.source } });
    this.code = this.source;
    this.page.keep(this);
    this.outputs.restore();
    this.note.hidden = true;
    this.ran = false;
    this.mark("");
    this.show().focus();
    this.resetting.hidden = true;
  }

  /** @param {string} text */
  mark(text, busy = false) {
    this.state.textContent = text;
    this.element.classList.toggle("live-busy", busy);
  }
}

/** The live cells of a page and their kernel. */
class Page {
  /** @param {Tools} tools */
  constructor(tools) {
    this.tools = tools;
    /** @type {Edits} */
    this.edits = recall("localStorage", EDITS);
    /** @type {Set<string>} */
    this.edited = new Set(); // in this tab, since it was kept last
    /** @type {Map<Element, Cell>} */
    this.known = new Map();
    this.state = /** @type {State} */ ("idle");
    this.queue = Promise.resolve();
    /** @type {Link | undefined} */
    this.link = undefined;
    this.stopped = 0; // counts what ends everything that waits
    this.pending = 0;
    const saved = recall("sessionStorage", SERVER);
    const local = tools.local && parse(tools.local);
    /** @type {Server | undefined} */
    this.binderServer = saved.binderServer;
    /** @type {Choice} */
    this.choice = local
      ? { where: "server", ...local }
      : (saved.choice ?? { where: tools.binder ? "binder" : "server", address: "", token: "" });
    this.begun = Boolean(saved.choice || local);
    /** @type {(() => void) | undefined} */
    this.wish = undefined; // what to run once Python is there
    const keys =
      "Shift and Enter runs the cell and goes on to the next, Control and Enter runs it. " +
      "Tab indents; Escape and then Tab leaves the editor.";
    atBottom(make("p", { id: KEYS }, keys));
    addEventListener("pagehide", () => this.keepNow());
    this.near = new IntersectionObserver(
      (entries) => {
        for (const { isIntersecting, target } of entries) {
          if (!isIntersecting) continue;
          this.near.unobserve(target);
          this.known.get(target)?.show();
        }
      },
      { rootMargin: "400px" },
    );
    onPart((part) => this.adopt(part));
  }

  /** @param {ParentNode} root */
  adopt(root) {
    for (const element of root.querySelectorAll(".cell:has(> .cell_input pre)")) {
      if (!(element instanceof HTMLElement) || this.known.has(element)) continue;
      this.known.set(element, new Cell(element, this));
      this.near.observe(element);
    }
  }

  /** All cells, in the order of the page. */
  cells() {
    const all = document.querySelectorAll(".bd-article .live-cell");
    return [...all].flatMap((element) => this.known.get(element) ?? []);
  }

  /** @param {Cell} cell */
  above(cell) {
    const all = this.cells();
    return all.slice(0, all.indexOf(cell)).filter((one) => !one.closed);
  }

  /** @param {Cell} cell */
  next(cell) {
    const all = this.cells();
    return all.slice(all.indexOf(cell) + 1).find((one) => !one.closed);
  }

  /**
   * Keep what the reader has written for the next visit.
   * @param {Cell} cell
   */
  keep(cell) {
    this.edits[cell.key] = { source: cell.source, code: cell.code };
    this.edited.add(cell.key);
    clearTimeout(this.keeping);
    this.keeping = setTimeout(() => this.keepNow(), 300);
  }

  keepNow() {
    if (!this.edited.size) return;
    /** @type {Edits} */
    const kept = recall("localStorage", EDITS); // another tab may have written since
    for (const key of this.edited) {
      if (this.edits[key].code === this.edits[key].source) delete kept[key];
      else kept[key] = this.edits[key];
    }
    this.edited.clear();
    remember("localStorage", EDITS, kept);
  }

  // -- The kernel -------------------------------------------------------------------------------

  /** @param {Element | null} [element] the cell whose button was pressed */
  open(element) {
    if (!this.bar?.bar.isConnected) {
      const binder = this.tools.binder ? new URL(this.tools.binder).host : "";
      this.bar = new Bar(this.choice, { start: (c) => this.start(c), act: (a) => this.act(a) }, binder);
      this.tell("idle", "The code of this page can be edited. To run it, start Python:");
    }
    const cell = element && this.known.get(element);
    if (this.begun) this.start(this.choice);
    if (cell) cell.show().focus();
    else this.bar.focus();
  }

  /** @param {State} state @param {string} [text] */
  tell(state, text) {
    this.state = state;
    this.bar?.tell(state === "ready" && this.pending ? "running" : state, text);
  }

  /** @param {Choice} choice */
  async start(choice) {
    if (["starting", "ready"].includes(this.state)) return;
    this.choice = choice;
    const binder = choice.where === "binder";
    if (binder && !navigator.onLine) {
      return this.tell("failed", "You are offline: Binder cannot be reached.");
    }
    this.tell("starting", "Starting …");
    const turn = this.stopped;
    try {
      this.link ??= this.#connect();
      await this.link.ready;
    } catch (error) {
      this.link = undefined;
      return this.tell("failed", error instanceof Error ? error.message : String(error));
    }
    if (this.stopped !== turn) return;
    const address = binder ? this.tools.binder : choice.address;
    this.link.send("start", { ...choice, address, known: this.binderServer });
  }

  #connect() {
    return new Link(this.tools.frame, {
      state: ({ state, text, server }) => {
        if (server) this.#started(server);
        if (state === "failed") this.drop();
        this.tell(state, text);
        if (state !== "ready") return;
        this.wish?.();
        this.wish = undefined;
      },
      forgotten: () => this.forget(),
    });
  }

  /** @param {Server} server */
  #started(server) {
    this.begun = true;
    if (this.choice.where === "binder") this.binderServer = server;
    // The server beside the book has another address the next time; the page is told it.
    const choice = this.tools.local ? undefined : this.choice;
    remember("sessionStorage", SERVER, { choice, binderServer: this.binderServer });
    this.forget();
  }

  /** Nothing has run in this kernel yet. */
  forget() {
    for (const cell of this.known.values()) {
      cell.ran = false;
      cell.mark("");
    }
  }

  /** Nothing that waits will run. */
  drop() {
    this.stopped++;
  }

  /** @param {import("../live/bar.js").Action} action */
  act(action) {
    if (action === "all") return this.run(this.cells().filter((cell) => !cell.closed));
    if (action === "close" || action === "stop") this.wish = undefined;
    if (action === "close") {
      this.bar?.remove();
      this.bar = undefined;
      return;
    }
    this.drop();
    this.link?.send(action);
    if (action === "stop") {
      this.begun = false;
      this.tell("idle", "Stopped.");
      this.bar?.focus();
    }
  }

  /** @param {string} code @param {number} place */
  async complete(code, place) {
    const asked = this.state === "ready" && !this.pending && this.link?.complete(code, place);
    return (await asked) || null;
  }

  // -- Running ----------------------------------------------------------------------------------

  /**
   * Run what an answer builds on, the answer, and its check.
   * @param {Cell} cell
   */
  check(cell) {
    const before = this.above(cell).filter(
      (one) => !(one.ran || one.inSolution || one.yourTurn || one.checks),
    );
    const after = this.next(cell);
    const verdict = after?.checks ? [after] : [];
    this.run([cell, ...verdict], before, () => {
      verdict[0]?.outputs.place.scrollIntoView({ block: "nearest" });
    });
  }

  /** @param {Cell} cell */
  runAbove(cell) {
    this.run(this.above(cell));
  }

  /**
   * Run cells one after the other, until one fails.
   * @param {Cell[]} cells
   * @param {Cell[]} before cells to run first; when one fails, the others run all the same
   * @param {() => void} [then] what to do once all have run
   */
  run(cells, before = [], then) {
    if (this.state !== "ready") {
      this.open();
      if (this.state === "idle" || this.state === "failed") {
        this.wish = () => this.run(cells, before, then);
        this.bar?.focus();
        return;
      }
    }
    const turn = this.stopped;
    const all = [...before, ...cells];
    for (const cell of all) cell.mark("waiting");
    this.pending++;
    this.tell(this.state, this.state === "ready" ? this.progress(all, 0) : undefined);
    this.queue = this.queue.then(async () => {
      await this.whenReady(turn);
      let said = "";
      /** @type {Cell | undefined} */
      let failed;
      for (const [n, cell] of all.entries()) {
        if (this.stopped !== turn || failed) {
          cell.mark("");
          // The verdict that stands there is on an earlier answer.
          if (cell.checks && failed === all[n - 1]) cell.outputs.clear();
          continue;
        }
        if (n) this.tell(this.state, this.progress(all, n));
        const ok = await this.execute(cell);
        said = cell.outputs.said || (ok ? "Done." : "It failed.");
        if (!ok && n >= before.length) failed = cell;
      }
      this.pending--;
      if (this.stopped === turn && !failed) then?.();
      if (this.state === "ready") this.tell("ready", this.stopped === turn ? said : "Stopped.");
    });
  }

  /** @param {Cell[]} all @param {number} n */
  progress(all, n) {
    return all.length > 1 ? `Running cell ${n + 1} of ${all.length} …` : "Running …";
  }

  /**
   * Wait until the kernel is there, or all is dropped.
   * @param {number} turn
   */
  async whenReady(turn) {
    while (this.state !== "ready" && this.stopped === turn) {
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** @param {Cell} cell */
  async execute(cell) {
    cell.outputs.clear();
    cell.ran = false;
    cell.mark("running", true);
    /** @type {import("../live/link.js").Reply} */
    const reply = (await this.link?.execute(cell.code, (kind, content) => {
      cell.outputs.add(kind, content);
    })) ?? { status: "lost" };
    cell.ran = true;
    const count = reply.execution_count ? `[${reply.execution_count}]` : "";
    cell.mark(reply.status === "ok" ? count : `${count} failed`.trim());
    for (const { source, data } of reply.payload ?? []) {
      // What `help` and `?` would show in a pager.
      if (source === "page") cell.outputs.add("display_data", { data });
    }
    if (reply.status === "lost") cell.outputs.note("Python was stopped while this ran.");
    if (reply.ename === "NameError") this.#missing(cell, reply.evalue?.match(/'(\w+)'/)?.[1] ?? "");
    if (reply.ename === "StdinNotImplementedError") {
      cell.outputs.note("Code on a page cannot ask for input: write the value into the code.");
    }
    return reply.status === "ok";
  }

  /**
   * Say where a name should have come from.
   * @param {Cell} cell that uses it
   * @param {string} name
   */
  #missing(cell, name) {
    const used = new RegExp(`\\b${name}\\b`);
    const above = this.above(cell);
    if (above.some((one) => !one.ran && used.test(one.code))) {
      const all = () => void this.run([...above, cell]);
      const button = plainButton("Run all above, then this", all);
      cell.outputs.note("Cells above have not run, and may define this name. ", button);
    } else if (above.some((one) => one.yourTurn && used.test(one.source) && !used.test(one.code))) {
      cell.outputs.note(`Your answer is to define ${name}, as the book's code did, and does not.`);
    }
  }
}

/** @param {Tools} tools */
function live(tools) {
  const page = new Page(tools);
  return (/** @type {Element | null} */ element) => page.open(element);
}

/** @typedef {typeof live} Live */
(window.llmbook ??= {}).live = live;
