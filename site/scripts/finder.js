// Finds the entries of the book that answer a query, the best first, and where in them the words are.
// book/_ext/search_index.py writes the entries.

import MiniSearch from "minisearch";
import { stemmer } from "stemmer";

/** What an entry is; hint n is HINT + n. */
export const SECTION = 0;
export const STATEMENT = 1;
export const SOLUTION = 2;
export const REST = 3; // of an exercise's section
export const HINT = 3;

/**
 * @typedef {[kind: number, anchor: string, title: string, text?: string, names?: string,
 *   source?: string]} Row
 * @typedef {[name: string, title: string, rows: Row[]][]} Pages
 * @typedef {{ id: number, kind: number, page: string, pageTitle: string, anchor: string,
 *   title: string, number: string, text: string, names: string, source: string,
 *   context: string }} Entry
 * @typedef {{ entry: Entry, asked: string[], terms: Set<string>, fields: Set<string> }} Hit
 * @typedef {[text: string, marked: boolean]} Piece
 */

/** How much a word counts for, by where it is; most words of a title are in the text as well. */
const WEIGHTS = { source: 30, title: 8, text: 1, names: 1.5, context: 0.1 };
const LESS = Object.fromEntries(Object.entries(WEIGHTS).map(([name, weight]) => [name, weight / 4]));
/** How much more an entry counts for whose title is the query, and one whose text has all of it. */
const TITLE = 10;
const PHRASE = 3;
const MOST = 40; // results
const SNIPPET = 170; // characters

const STOP_WORDS = new Set(
  (
    "a an and are as at be but by do does for from how if in into is it its not of on or that the " +
    "their then there these they this to was what when which why will with"
  ).split(" "),
);

// -- Words ----------------------------------------------------------------------------------------

/**
 * A text without capitals, accents and ligatures, as long as it was.
 * @param {string} text
 */
export function fold(text) {
  let folded = "";
  for (let n = 0; n < text.length; n++) {
    const one = text[n];
    folded += one < "\x80" ? one.toLowerCase() : one.normalize("NFKD")[0].toLowerCase()[0];
  }
  return folded;
}

const WORD = /√|[\p{L}\p{N}_]+(?:[.'’/-][\p{L}\p{N}_]+)*/gu;
const NUMBER = /^[\d.]+$/;
const PART = /[\p{L}\p{N}]+/gu;
const HUMP = /\p{Lu}+(?!\p{Ll})|\p{Lu}?\p{Ll}+|\p{N}+|[^\p{Lu}\p{Ll}\p{N}]+/gu;

/**
 * The words of a text; 13.19, d_k, F.softmax and key-value are one word each.
 * @param {string} text
 * @returns {{ word: string, start: number, end: number }[]}
 */
function words(text) {
  return [...text.matchAll(WORD)].map(({ 0: word, index }) => ({
    word: word.replace(/^_+(?=.)/, ""),
    start: index,
    end: index + word.length,
  }));
}

/** What some write as one word: warm-up, log-sum-exp. */
const joined = (/** @type {string} */ word) => fold(word).replaceAll("-", "");

/**
 * The terms under which a word is found: the whole and its parts.
 * @param {string} word
 * @returns {string[]}
 */
export function terms(word) {
  if (word === "√") return ["sqrt"]; // as it is typed
  const found = [fold(word)];
  if (NUMBER.test(word)) return found; // half of a number is another number
  if (word.includes("-")) found.push(joined(word));
  for (const dotted of word.split(/[.'’/-]/)) {
    found.push(fold(dotted));
    for (const [part] of dotted.matchAll(PART)) {
      found.push(fold(part));
      for (const [hump] of part.matchAll(HUMP)) found.push(fold(hump));
    }
  }
  // A letter or digit of a longer word finds too much: the k of d_k, the s of "it's".
  return [...new Set(found)].filter((term, n) => n === 0 || term.length > 1);
}

/** @param {string} text */
const allTerms = (text) =>
  words(text)
    .flatMap(({ word }) => terms(word))
    .filter((term) => !STOP_WORDS.has(term));

/**
 * Where terms are in a text: from, to, and which one.
 * @param {string} text
 * @param {Set<string>} wanted
 * @returns {{ start: number, end: number, term: string }[]}
 */
export function places(text, wanted) {
  const found = [];
  for (const { word, start, end } of words(text)) {
    if (word.length > 60) continue;
    const term = terms(word).find((one) => wanted.has(one));
    if (term === undefined) continue;
    // The part of the word, where it is one; fold() keeps its place.
    const within = end - start - word.length;
    const at = fold(word).indexOf(term);
    const whole = at < 0 || term.length === word.length;
    found.push({
      start: whole ? start : start + within + at,
      end: whole ? end : start + within + at + term.length,
      term,
    });
  }
  return found;
}

// -- Queries --------------------------------------------------------------------------------------

/** How many letters of a term may be wrong, as a share; a number or a short word has to be right. */
const tolerance = (/** @type {string} */ term) => (/^\p{L}{5,}$/u.test(term) ? 0.2 : false);

/**
 * What MiniSearch is asked for one word of a query: the whole word, or all its parts, or the last.
 * @param {string} word
 * @param {boolean} last - the reader may still be typing it
 * @param {boolean} tolerant - of small mistakes
 * @returns {any}
 */
function alternatives(word, last, tolerant) {
  const one = (/** @type {string} */ term) => ({
    queries: [term],
    fuzzy: tolerant && tolerance(term),
    prefix: last || term.length > 2,
  });
  const whole = terms(word)[0];
  const queries = [/** @type {any} */ (one(whole))];
  if (!NUMBER.test(word)) {
    const parts = [...word.matchAll(PART)].map(([part]) => fold(part)).filter((p) => p.length > 1);
    const name = whole.split(".").at(-1) ?? "";
    // The parts of a name are worth less than the name, those of key-value as much.
    const boost = /[._]/.test(word) ? LESS : WEIGHTS;
    if (parts.length > 1) queries.push({ combineWith: "AND", queries: parts.map(one), boost });
    if (word.includes("-")) queries.push(one(joined(word)));
    if (name !== whole && name.length > 3) queries.push({ ...one(name), boost });
    else if (parts.length === 1 && parts[0] !== whole) queries.push(one(parts[0]));
    // The same word with another ending: masking, masked, mask. The stem of queries is "queri".
    const stem = /^[a-z]+$/.test(whole) ? stemmer(whole).replace(/i$/, "") : whole;
    if (stem.length > 2 && stem !== whole && whole.startsWith(stem)) {
      queries.push({ queries: [stem], prefix: true, boost: LESS });
    }
  }
  return { combineWith: "OR", queries };
}

/** How much an entry counts for. */
function importance(/** @type {Entry} */ { kind, anchor }) {
  if (kind === STATEMENT) return 3;
  if (kind === SECTION) return anchor ? 0.8 : 2; // a page as such
  if (kind === REST) return 0.6;
  return kind === SOLUTION ? 1.2 : 1.5;
}

export class Finder {
  /** @type {Entry[]} */
  entries = [];
  /** @type {Map<string, Entry>} */
  statements = new Map();

  constructor() {
    /** @type {MiniSearch<Entry>} */
    this.index = new MiniSearch({
      fields: Object.keys(WEIGHTS),
      extractField: (entry, field) =>
        field === "title" && entry.kind !== STATEMENT && entry.kind !== SECTION
          ? "" // of the exercise, which has it
          : /** @type {any} */ (entry)[field],
      tokenize: allTerms,
      processTerm: (term) => term,
      searchOptions: {
        tokenize: (term) => [term],
        processTerm: (term) => term,
        boost: WEIGHTS,
        boostDocument: (id) => importance(this.entries[id]),
        weights: { fuzzy: 0.3, prefix: 0.5 },
      },
    });
  }

  /**
   * Learn the entries of one script, those with the statements first.
   * @param {Pages} pages
   */
  async add(pages) {
    const added = pages.flatMap(([page, pageTitle, rows]) =>
      rows.map((row) => this.entry(page, pageTitle, row)),
    );
    await this.index.addAllAsync(added, { chunkSize: 25 });
  }

  /**
   * @param {string} page
   * @param {string} pageTitle
   * @param {Row} row
   * @returns {Entry}
   */
  entry(page, pageTitle, [kind, anchor, title, text = "", names = "", source = ""]) {
    /** @type {Entry} */
    const entry = {
      id: this.entries.length,
      kind,
      page,
      pageTitle,
      anchor,
      title,
      number: source,
      text,
      names,
      source: "",
      context: pageTitle,
    };
    const exercise = this.statement(entry);
    if (kind === STATEMENT) {
      this.statements.set(anchor, entry);
      // 35.03 is found as 35.3, too.
      entry.source = `Exercise ${source} ${source.replace(/\.0(?=\d)/, ".")}`;
    } else if (exercise) {
      entry.title = exercise.title;
      entry.number = exercise.number;
      entry.context = `${exercise.source} ${exercise.title} ${pageTitle}`;
    }
    this.entries.push(entry);
    return entry;
  }

  /**
   * The statement of the exercise that an entry is a part of.
   * @param {Entry} entry
   */
  statement({ kind, anchor }) {
    return kind === SECTION
      ? undefined
      : this.statements.get(anchor.replace(/-(solution|hint-\d+)$/, ""));
  }

  /**
   * @param {string} query
   * @returns {Hit[]}
   */
  find(query) {
    const typed = words(query).map(({ word }) => word);
    const telling = typed.filter((word) => !STOP_WORDS.has(fold(word)));
    const asked = telling.length ? telling : typed;
    const typing = /[\p{L}\p{N}_]$/u.test(query);
    const ask = (/** @type {"AND" | "OR"} */ combineWith, /** @type {boolean} */ tolerant) =>
      this.index.search({
        combineWith,
        queries: asked.map((word, n) =>
          alternatives(word, typing && n === asked.length - 1, tolerant),
        ),
      });
    let results = ask("AND", false);
    if (!results.length) results = ask("AND", true);
    if (!results.length) results = ask("OR", true);
    const exactly = fold(query.trim());
    const phrase = query.trim().toLowerCase();
    for (const result of results) {
      const { title, text } = this.entries[result.id];
      if (fold(title) === exactly) result.score *= TITLE;
      else if (asked.length > 1 && text.toLowerCase().includes(phrase)) result.score *= PHRASE;
    }
    results.sort((a, b) => b.score - a.score);
    /** @type {Hit[]} */
    const hits = results.map(({ id, match }) => ({
      entry: this.entries[id],
      asked: asked.map(fold),
      terms: new Set(Object.keys(match)),
      fields: new Set(Object.values(match).flat()),
    }));
    const own = hits.filter(({ fields }) => fields.size > 1 || !fields.has("context"));
    const stated = new Set(
      own.filter(({ entry }) => entry.kind === STATEMENT).map(({ entry }) => entry.anchor),
    );
    return own
      .filter(({ entry }) => entry.kind !== REST || !stated.has(entry.anchor))
      .slice(0, MOST);
  }
}

// -- Showing --------------------------------------------------------------------------------------

/**
 * A text with what was found marked.
 * @param {string} text
 * @param {Set<string>} wanted
 * @param {number} [from]
 * @param {number} [to]
 * @returns {Piece[]}
 */
export function marked(text, wanted, from = 0, to = text.length) {
  /** @type {Piece[]} */
  const pieces = [];
  let at = from;
  for (const { start, end } of places(text, wanted)) {
    if (start < at || end > to) continue;
    if (start > at) pieces.push([text.slice(at, start), false]);
    pieces.push([text.slice(start, end), true]);
    at = end;
  }
  if (at < to) pieces.push([text.slice(at, to), false]);
  return pieces;
}

/**
 * The passage of an entry that has most of what was found.
 * @param {Hit} hit
 * @returns {Piece[]}
 */
export function snippet({ entry: { text, names }, terms: wanted, asked }) {
  const found = places(text, wanted);
  const named = names.split(" ").filter((name) => places(name, wanted).length);
  const elsewhere = asked.some(
    (word) =>
      /[._]/.test(word) &&
      !found.some(({ term }) => term === word) &&
      named.some((name) => terms(name).includes(word)),
  );
  if (named.length && (elsewhere || !found.length)) {
    return [["In the code: ", false], ...marked(named.join(", "), wanted)];
  }
  let best = 0;
  let most = 0;
  for (const [n, { start }] of found.entries()) {
    const near = found.slice(n).filter(({ end }) => end < start + SNIPPET * 0.8);
    const different = new Set(near.map(({ term }) => term)).size;
    if (different > most) [best, most] = [start, different];
  }
  let from = Math.max(0, best - SNIPPET * 0.2);
  if (from > 0) from = text.indexOf(" ", from) + 1;
  let to = Math.min(text.length, from + SNIPPET);
  if (to < text.length) to = Math.max(text.lastIndexOf(" ", to), from + 1);
  const pieces = marked(text, wanted, from, to);
  if (from > 0) pieces.unshift(["… ", false]);
  if (to < text.length) pieces.push([" …", false]);
  return pieces;
}
