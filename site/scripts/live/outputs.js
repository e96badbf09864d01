// What a live cell puts out, as the page shows the outputs of the build: text, rich HTML, pictures,
// and Plotly figures drawn by the site's own Plotly.

import { make } from "../dom.js";

const PLOTLY = "application/vnd.plotly.v1+json";
const LONGEST = 200_000; // characters of text that are shown; more would stop the page
// The two stand-ins for the theme's colors, as src/llmbook/figures.py has them.
const INK = "#1b1c1d";
const PAPER = "#fdfefe";

/** @typedef {Record<string, any>} Bundle - an output by type, as Jupyter sends it: texts and JSON */

// -- Text ---------------------------------------------------------------------------------------

/** What a terminal shows of a text: each line from its last carriage return. */
const settle = (/** @type {string} */ text) =>
  text
    .replaceAll("\r\n", "\n")
    .split("\n")
    .map((line) => line.split("\r").findLast(Boolean) ?? "")
    .join("\n");

/**
 * Text with the colors that terminals know.
 * @param {string} text
 */
export function terminal(text) {
  const all = document.createDocumentFragment();
  let bold = false;
  let color = "";
  // Every other part is the numbers of a color code.
  const parts = settle(text)
    .replace(/\x1b\[[\d;?]*[A-HJKSTfhilnsu]/g, "")
    .split(/\x1b\[([\d;]*)m/);
  parts.forEach((part, n) => {
    if (n % 2 === 0) {
      if (!part) return;
      const classes = [bold && "live-bold", color && `live-color-${color}`].filter(Boolean);
      all.append(classes.length ? make("span", { className: classes.join(" ") }, part) : part);
      return;
    }
    const codes = part.split(";").map(Number);
    for (let code = codes.shift(); code !== undefined; code = codes.shift()) {
      if (code === 0) [bold, color] = [false, ""];
      else if (code === 1) bold = true;
      else if (code === 22) bold = false;
      else if (code === 39) color = "";
      else if (code >= 30 && code < 38) color = String(code - 30);
      else if (code >= 90 && code < 98) color = String(code - 90);
      else if (code === 38 || code === 48) {
        const kind = codes.shift();
        const [index] = codes.splice(0, kind === 5 ? 1 : 3);
        if (code === 38) color = kind === 5 && index < 16 ? String(index % 8) : "";
      }
    }
  });
  return all;
}

/** @param {string} className @param {string} text */
function pre(className, text) {
  const short = text.length > LONGEST ? `${text.slice(0, LONGEST)}\n[the rest is not shown]` : text;
  return make("div", { className }, make("div", { className: "highlight" }, make("pre", {}, terminal(short))));
}

/** Let the keyboard scroll what is too long to be shown at once, and only that. */
function reach(/** @type {HTMLElement} */ shown) {
  for (const text of shown.querySelectorAll("pre")) {
    if (text.scrollHeight > text.clientHeight) text.tabIndex = 0;
  }
}

// -- Figures ------------------------------------------------------------------------------------

const escape = (/** @type {string} */ textContent) => make("p", { textContent }).innerHTML;

/** All but the tags that Plotly knows in its texts, escaped. */
const rich = (/** @type {string} */ text) => escape(text).replace(/&lt;(\/?(?:b|i|em|sub|sup))&gt;/g, "<$1>");

let figures = 0;

/**
 * @typedef {object} Slider - as Plotly has it
 * @property {number} [active]
 * @property {{ label: string }[]} steps
 * @property {{ prefix?: string, suffix?: string }} [currentvalue]
 *
 * @typedef {object} Menu
 * @property {number} [active]
 * @property {{ label: string }[]} buttons
 * @property {string} [name]
 */

/**
 * The control of a slider or a menu, as src/llmbook/_myst_nb.py writes it.
 * @param {HTMLLabelElement} label
 * @param {HTMLInputElement | HTMLSelectElement} input
 * @param {string} key
 */
function control(label, input, key) {
  label.htmlFor = key;
  input.id = key;
  input.autocomplete = "off";
  input.disabled = true;
  return make("div", { className: "plotly-control" }, label, input);
}

/** @param {Slider} slider @param {string} key */
function sliderControl({ active = 0, steps, currentvalue }, key) {
  const { prefix = "", suffix = "" } = currentvalue ?? {};
  const labels = steps.map((step) => rich(`${prefix}${step.label}${suffix}`));
  const label = make("label", { innerHTML: labels[active] });
  const max = String(steps.length - 1);
  const input = make("input", { type: "range", min: "0", max, value: String(active) });
  input.setAttribute("aria-valuetext", label.textContent);
  input.dataset.labels = JSON.stringify(labels);
  return control(label, input, key);
}

/** @param {Menu} menu @param {string} key */
function menuControl({ active = 0, buttons, name = "Show" }, key) {
  const options = buttons.map(
    (button, n) => new Option(button.label, String(n), n === active, n === active),
  );
  return control(make("label", {}, name), make("select", {}, ...options), key);
}

/**
 * @typedef {object} Figure - as Plotly has it
 * @property {object[]} data
 * @property {{ meta?: { alt?: string }, height?: number, updatemenus?: Menu[], sliders?: Slider[] }} [layout]
 */

/**
 * The place of a Plotly figure; figures.js draws it.
 * @param {Figure} figure
 * @param {string} text - what else is known of it
 */
function plotly(figure, text) {
  const layout = figure.layout ?? {};
  const alt = layout.meta?.alt ?? text;
  const plot = make("div", { className: "plotly-plot" }, make("p", {}, alt));
  plot.setAttribute("role", "img");
  plot.setAttribute("aria-label", alt);
  plot.style.height = `${layout.height ?? 450}px`;
  const json = JSON.stringify({ ...figure, layout });
  const data = make("script", { type: "application/json", text: json });
  const key = `live-figure-${++figures}`;
  const menus = (layout.updatemenus ?? []).map((m, n) => menuControl(m, `${key}-menu-${n}`));
  const sliders = (layout.sliders ?? []).map((s, n) => sliderControl(s, `${key}-slider-${n}`));
  const made = make("figure", { className: "plotly-figure" }, plot, ...menus, ...sliders, data);
  made.dataset.ink = INK;
  made.dataset.paper = PAPER;
  return made;
}

/**
 * A vector picture, in the page, so that it takes on the theme's colors.
 * @param {string} markup
 * @param {string} alt
 */
function svg(markup, alt) {
  const holder = make("div", { className: "matplotlib-figure" });
  holder.innerHTML = markup
    .slice(markup.indexOf("<svg"))
    .replaceAll(INK, "var(--pst-color-text-base)")
    .replaceAll(PAPER, "var(--figure-paper)");
  const picture = holder.querySelector("svg");
  picture?.setAttribute("role", "img");
  picture?.setAttribute("aria-label", alt);
  return holder;
}

/** @param {string} type @param {string} data @param {string} alt */
function picture(type, data, alt) {
  return make("img", { alt, src: `data:${type};base64,${data.replaceAll("\n", "")}` });
}

// -- A cell's outputs ---------------------------------------------------------------------------

/** @param {string | string[]} value */
const joined = (value) => (Array.isArray(value) ? value.join("") : value);

/** Shows outputs of a cell, in place of those that the build left there. */
export class Outputs {
  /**
   * @param {HTMLElement} cell
   * @param {(figure: HTMLElement) => Promise<void>} draw
   */
  constructor(cell, draw) {
    this.cell = cell;
    this.draw = draw;
    this.built = /** @type {HTMLElement | null} */ (cell.querySelector(":scope > .cell_output"));
    this.place = make("div", { className: "cell_output docutils container live-output" });
    /** @type {Map<string, HTMLElement[]>} */
    this.displays = new Map();
    this.stale = false; // whether what is there goes with the next output
    this.text = ""; // of the stream that is written to
    this.said = ""; // what there is to say of the outputs in a line
  }

  #forget() {
    this.stale = false;
    this.text = "";
    this.said = "";
    this.displays.clear();
  }

  /** Empty the place, at once or when the next output comes. */
  clear(wait = false) {
    this.stale = wait;
    if (wait) return;
    this.#forget();
    if (this.built) this.built.hidden = true;
    this.place.replaceChildren();
    if (!this.place.isConnected) this.cell.append(this.place);
  }

  /** Show again what the build left. */
  restore() {
    this.#forget();
    this.place.remove();
    this.place.replaceChildren();
    if (this.built) this.built.hidden = false;
  }

  /**
   * Add a note of the page's own, such as what to do next.
   * @param {(string | Node)[]} content
   */
  note(...content) {
    this.place.append(make("p", { className: "live-note" }, ...content));
  }

  /**
   * @param {string} kind of Jupyter's message
   * @param {any} content
   */
  add(kind, content) {
    if (kind === "clear_output") return this.clear(content.wait);
    if (!["stream", "error", "display_data", "execute_result", "update_display_data"].includes(kind)) {
      return;
    }
    if (this.stale) this.clear();
    if (kind === "stream") return this.#stream(content);
    if (kind === "error") {
      const what = `${content.ename}: ${content.evalue}`;
      this.said = what.length > 200 ? `${what.slice(0, 200)} …` : what;
      const text = content.traceback.length ? content.traceback.join("\n") : what;
      this.#put(pre("output traceback highlight-ipythontb notranslate", text));
      return;
    }
    const id = content.transient?.display_id;
    const shown = this.#rich(content);
    if (kind === "update_display_data") {
      for (const old of this.displays.get(id) ?? []) old.replaceWith(shown);
    } else {
      this.#put(shown);
    }
    if (id) this.displays.set(id, [shown]);
    const figure = shown.querySelector(".plotly-figure");
    if (figure instanceof HTMLElement) this.draw(figure);
  }

  /** @param {{ name: string, text: string }} content */
  #stream({ name, text }) {
    const className = `output ${name === "stderr" ? "stderr" : "stream"} highlight-myst-ansi notranslate`;
    const last = this.place.lastElementChild;
    const running = last?.className === className ? last : null;
    this.text = (running ? this.text : "") + text;
    if (this.text.length > LONGEST) {
      this.text = `[only the end is shown]\n${this.text.slice(-LONGEST / 2)}`;
    }
    const shown = pre(className, this.text);
    if (running) running.replaceWith(shown);
    else this.place.append(shown);
    reach(shown);
  }

  /** @param {HTMLElement} shown */
  #put(shown) {
    this.place.append(shown);
    reach(shown);
  }

  /** @param {{ data: Bundle, metadata?: Bundle }} content */
  #rich({ data, metadata = {} }) {
    const plain = joined(data["text/plain"] ?? "");
    const alt = (/** @type {string} */ type) => metadata[type]?.alt ?? (/^(<|$)/.test(plain) ? "A figure" : plain);
    if (data[PLOTLY]) return make("div", { className: "output" }, plotly(data[PLOTLY], alt(PLOTLY)));
    if (data["text/html"]) {
      const shown = make("div", { className: "output text_html" });
      shown.innerHTML = joined(data["text/html"]); // scripts in it do not run
      this.said = shown.querySelector(".llmbook-check strong")?.textContent ?? this.said;
      return shown;
    }
    const type = "image/svg+xml";
    if (data[type]) return make("div", { className: "output image_svg" }, svg(joined(data[type]), alt(type)));
    for (const type of ["image/png", "image/jpeg"]) {
      if (data[type]) return make("div", { className: "output image_png" }, picture(type, joined(data[type]), alt(type)));
    }
    return pre("output text_plain highlight-myst-ansi notranslate", plain);
  }
}
