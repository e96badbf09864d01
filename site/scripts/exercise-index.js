// The page of all exercises: search, filters and order of the table, all kept in the address, so that
// a view can be shared and the back button works.

import * as panel from "./progress-panel.js";
import { box } from "./progress.js";
import * as store from "./store.js";

/** @typedef {import("./store.js").Mark} Mark */
/** @typedef {(one: Row, other: Row) => number} Order */

const language = new Intl.Collator("en", { numeric: true });

/** A text as the search compares it: small letters, without accents. */
const plain = (/** @type {string} */ text) =>
  text
    .normalize("NFKD")
    .replace(/\p{M}/gu, "")
    .toLowerCase();

/** The text of an element, with each formula as one types it. */
function textOf(/** @type {Element} */ element) {
  const copy = /** @type {Element} */ (element.cloneNode(true));
  for (const formula of copy.querySelectorAll(".katex")) {
    const source = formula.querySelector("annotation")?.textContent ?? formula.textContent ?? "";
    formula.replaceWith(source.replace(/[\\{}$]/g, " "));
  }
  return copy.textContent ?? "";
}

/** One exercise of the table. */
class Row {
  /**
   * @param {HTMLTableRowElement} element
   * @param {number} place - in the order of the book
   */
  constructor(element, place) {
    const { label = "", part = "", kind = "", stars, minutes, source = "", page } = element.dataset;
    const cells = [...element.cells];
    this.element = element;
    this.place = place;
    this.label = label;
    this.part = part;
    this.kind = kind;
    this.stars = Number(stars);
    this.minutes = Number(minutes);
    this.source = source;
    this.title = textOf(cells[0]).trim();
    this.words = plain([...cells.slice(0, 6).map(textOf), label, page].join(" "));
  }
}

/**
 * @param {string[]} kinds - in the order in which they are told
 * @returns {Record<string, Order>}
 */
const ordersBy = (kinds) => ({
  title: (one, other) => language.compare(one.title, other.title),
  source: (one, other) => language.compare(one.source, other.source),
  kind: (one, other) => kinds.indexOf(one.kind) - kinds.indexOf(other.kind),
  stars: (one, other) => one.stars - other.stars,
  minutes: (one, other) => one.minutes - other.minutes,
  done: byMark("done"),
  later: byMark("later"),
});

/**
 * @param {Mark} mark
 * @returns {Order}
 */
function byMark(mark) {
  const rank = (/** @type {Row} */ { label }) => (store.marked(label, mark) ? 0 : 1);
  return (one, other) => rank(one) - rank(other);
}

/**
 * What a source number lets through: the exercise of that number, or the whole chapter; where there
 * is none, it is still being typed, and those that begin with it are shown.
 * @param {string} asked
 * @param {Row[]} rows
 * @returns {(row: Row) => boolean}
 */
function sourceFilter(asked, rows) {
  const text = asked.trim().replace(",", ".");
  const wanted = text.split(".").map(Number); // as numbers, so that 35.3 is 35.03
  const fits = (/** @type {Row} */ { source }) => {
    const own = source.split(".").map(Number);
    return wanted.every((number, n) => number === own[n]);
  };
  return rows.some(fits) ? fits : ({ source }) => source.startsWith(text);
}

/** @param {number} minutes */
function duration(minutes) {
  const [hours, rest] = [Math.floor(minutes / 60), minutes % 60];
  return [hours && `${hours} h`, (rest || !hours) && `${rest} min`].filter(Boolean).join(" ");
}

/**
 * @param {HTMLFormElement} form
 * @param {HTMLTableElement} table
 * @param {Row[]} rows
 */
function start(form, table, rows) {
  const found = /** @type {HTMLElement} */ (form.querySelector(".found"));
  const body = table.tBodies[0];
  const sort = /** @type {HTMLSelectElement} */ (form.elements.namedItem("sort"));
  const kinds = [...form.querySelectorAll("[name=kind]")].map(
    (field) => /** @type {HTMLInputElement} */ (field).value,
  );
  const orders = ordersBy(kinds);
  const headings = [...table.querySelectorAll("th[data-sort]")].map(makeSortable);

  /**
   * Let a heading sort: upward, where there is such an order downward, then as in the book again.
   * @param {Element} heading
   */
  function makeSortable(heading) {
    const name = /** @type {HTMLElement} */ (heading).dataset.sort ?? "";
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    const choices = ["", name, `-${name}`].filter((choice) =>
      [...sort.options].some(({ value }) => value === choice),
    );
    button.addEventListener("click", () => {
      sort.value = choices[(choices.indexOf(sort.value) + 1) % choices.length] ?? "";
      apply();
      remember(false);
    });
    return { heading, name };
  }

  /** The form as the address holds it: what is empty is left out. */
  function query() {
    const given = [...new FormData(form)].filter(([, value]) => String(value).trim());
    return new URLSearchParams(given.map(([name, value]) => [name, String(value).trim()]));
  }

  /** @returns {(row: Row) => boolean} */
  function filter() {
    const asked = query();
    const words = plain(asked.get("q") ?? "").split(/\s+/).filter(Boolean);
    const [part, progress] = [asked.get("part"), asked.get("progress")];
    const minutes = Number(asked.get("minutes") ?? Infinity);
    const [kinds, stars] = [asked.getAll("kind"), asked.getAll("stars").map(Number)];
    const source = asked.get("source");
    const fromSource = source ? sourceFilter(source, rows) : () => true;
    return (row) =>
      words.every((word) => row.words.includes(word)) &&
      fromSource(row) &&
      (!part || row.part === part) &&
      (!kinds.length || kinds.includes(row.kind)) &&
      (!stars.length || stars.includes(row.stars)) &&
      row.minutes <= minutes &&
      (!progress ||
        (progress === "open"
          ? !store.marked(row.label, "done")
          : Boolean(store.marked(row.label, /** @type {Mark} */ (progress)))));
  }

  /** @param {boolean} [marking] - the reader has set a mark, and not changed the form */
  function apply(marking = false) {
    const matches = filter();
    let [count, minutes] = [0, 0];
    for (const row of rows) {
      const match = matches(row);
      // The mark may be what the filter leaves out; the row stays as long as the reader is in it.
      row.element.hidden = !match && !(marking && row.element.contains(document.activeElement));
      if (!match) continue;
      count += 1;
      minutes += row.minutes;
    }
    const sorted = sort.value && `. ${sort.selectedOptions[0].text}.`;
    const said = count
      ? `${count} of ${rows.length} exercises, ${duration(minutes)} in all${sorted}`
      : "No exercise matches. Remove a filter, or clear all.";
    if (found.textContent !== said) found.textContent = said; // else it would be read out once more
    order();
  }

  function order() {
    const name = sort.value.replace("-", "");
    const sign = sort.value.startsWith("-") ? -1 : 1;
    const by = orders[name] ?? (() => 0);
    const wanted = [...rows].sort((one, other) => sign * by(one, other) || one.place - other.place);
    const elements = wanted.map(({ element }) => element);
    const focused = body.contains(document.activeElement);
    // Moving a row takes the focus out of it: while the reader marks, the order stays.
    if (!focused && elements.some((element, n) => element !== body.rows[n])) body.append(...elements);
    for (const { heading, name: own } of headings) {
      if (own !== name) heading.removeAttribute("aria-sort");
      else heading.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    }
  }

  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let pending;
  let typing = "";

  /**
   * Put the form into the address: a new step back, but one only while a word is being typed.
   * @param {boolean} replace
   */
  function remember(replace) {
    clearTimeout(pending);
    const search = query().toString();
    const address = `${location.pathname}${search && `?${search}`}`;
    if (address === location.pathname + location.search) return;
    try {
      if (replace) history.replaceState(null, "", address);
      else history.pushState(null, "", address);
    } catch {
      // a browser that keeps the address of a file as it is, or counts too many changes
    }
  }

  /** Set the form to what the address says; what it does not know, it leaves out. */
  function restore() {
    const asked = new URLSearchParams(location.search);
    for (const field of form.elements) {
      if (field instanceof HTMLInputElement && field.type === "checkbox") {
        field.checked = asked.getAll(field.name).includes(field.value);
      } else if (field instanceof HTMLInputElement) {
        field.value = asked.get(field.name) ?? "";
      } else if (field instanceof HTMLSelectElement) {
        field.value = asked.get(field.name) ?? "";
        if (field.selectedIndex < 0) field.value = "";
      }
    }
    apply();
  }

  form.addEventListener("input", ({ target }) => {
    apply();
    const field = target instanceof HTMLInputElement && target.type !== "checkbox" ? target.name : "";
    const more = field !== "" && field === typing;
    typing = field;
    clearTimeout(pending);
    if (more) pending = setTimeout(remember, 300, true);
    else remember(false);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => {
    typing = "";
    setTimeout(() => {
      // The fields are empty only after this event.
      apply();
      remember(false);
    });
  });
  addEventListener("popstate", () => {
    clearTimeout(pending);
    typing = "";
    restore();
  });
  // A part's name in the picture of progress filters the table below it.
  addEventListener("click", (event) => {
    const link = event.target instanceof Element && event.target.closest(".progress-panel li a");
    const part = link && link.closest("li")?.dataset.part;
    if (!part || event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    for (const field of form.elements) {
      if (field instanceof HTMLInputElement && field.type === "checkbox") field.checked = false;
      else if (field instanceof HTMLInputElement) field.value = "";
      else if (field instanceof HTMLSelectElement) field.value = field.name === "part" ? part : "";
    }
    apply();
    remember(false);
    // Not a field, which would open the keyboard of a phone.
    found.tabIndex = -1;
    found.focus();
    found.scrollIntoView();
  });

  restore();
  store.watch(() => apply(true));
  body.addEventListener("focusout", ({ relatedTarget }) => {
    // The marks may have changed what the filter lets through.
    if (!(relatedTarget instanceof Node && body.contains(relatedTarget))) setTimeout(apply, 0, true);
  });
}

addEventListener("DOMContentLoaded", () => {
  const form = document.querySelector("form.exercise-filter");
  const table = document.querySelector("table.exercise-index");
  const progress = document.querySelector(".progress-panel");
  if (!(form instanceof HTMLFormElement) || !(table instanceof HTMLTableElement)) return;
  const rows = [...table.tBodies[0].rows].map((element, place) => new Row(element, place));
  for (const { element, label, source } of rows) {
    for (const cell of element.querySelectorAll(".marks")) {
      const mark = /** @type {Mark} */ (/** @type {HTMLElement} */ (cell).dataset.mark);
      cell.append(box(label, mark, `exercise ${source}`));
    }
  }
  if (progress instanceof HTMLElement) panel.start(progress, rows);
  start(form, table, rows);
});
