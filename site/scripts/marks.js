// Marks what was found on the page that a result of the search led to.

import { places } from "./finder.js";
import { openAround, target } from "./places.js";

const NAME = "search-hit";
const MOST = 300; // marks
const PATIENCE = 5000; // milliseconds until a solution has to be there
const APART = "p, li, td, th, dt, dd, pre, summary, figcaption, h1, h2, h3, h4, h5, h6, div";

/**
 * Whether a reader can see what is in an element, with no box around it closed.
 * @param {Element | null} element
 */
function inOpen(element) {
  for (let at = element; at; at = at.parentElement) {
    const box = at.parentElement;
    if (box instanceof HTMLDetailsElement && !box.open && at.tagName !== "SUMMARY") return false;
  }
  return true;
}

/**
 * The places of terms in what an element shows. A word may be in several elements, as in code, but
 * not in several blocks.
 * @param {Element} root
 * @param {Set<string>} terms
 * @returns {Range[]}
 */
function rangesOf(root, terms) {
  /** @type {Range[]} */
  const ranges = [];
  const walker = document.createTreeWalker(root, NodeFilter.SHOW_TEXT | NodeFilter.SHOW_ELEMENT, {
    acceptNode(node) {
      if (!(node instanceof Element)) return NodeFilter.FILTER_ACCEPT;
      if (node.matches("script, style, button, .headerlink, .katex")) {
        if (node.matches(".katex")) formula(node);
        return NodeFilter.FILTER_REJECT;
      }
      return NodeFilter.FILTER_SKIP;
    },
  });
  /** @type {{ node: Text, from: number }[]} */
  let run = [];
  let text = "";
  /** @type {Element | null | undefined} */
  let block;

  /** @param {Element} katex */
  function formula(katex) {
    const shown = katex.querySelector(".katex-html");
    const source = katex.querySelector("annotation")?.textContent ?? "";
    if (!shown || !inOpen(katex) || !places(source, terms).length) return;
    const range = document.createRange();
    range.selectNodeContents(shown);
    ranges.push(range);
  }

  function flush() {
    for (const { start, end } of places(text, terms)) {
      const first = run.findLast(({ from }) => from <= start);
      const last = run.findLast(({ from }) => from < end);
      if (!first || !last) continue;
      const range = document.createRange();
      range.setStart(first.node, start - first.from);
      range.setEnd(last.node, end - last.from);
      ranges.push(range);
    }
    run = [];
    text = "";
  }

  for (let node = walker.nextNode(); node && ranges.length < MOST; node = walker.nextNode()) {
    const around = node.parentElement?.closest(APART);
    if (around !== block) flush();
    block = around;
    if (!inOpen(node.parentElement)) continue;
    run.push({ node: /** @type {Text} */ (node), from: text.length });
    text += node.nodeValue;
  }
  flush();
  return ranges;
}

/** @param {Range[]} ranges */
function show(ranges) {
  // A browser that cannot mark still goes there.
  if ("highlights" in CSS) CSS.highlights.set(NAME, new Highlight(...ranges));
  const first = ranges[0].getBoundingClientRect();
  const end = innerHeight * 0.9;
  if (first.top >= 0 && first.bottom < end) return;
  scrollTo({ top: scrollY + first.top - innerHeight / 3, behavior: "instant" });
}

/** @param {KeyboardEvent} event */
function clear({ key }) {
  if (key !== "Escape") return;
  removeEventListener("keydown", clear);
  if ("highlights" in CSS) CSS.highlights.delete(NAME);
}

/**
 * Open where the page's address leads, mark terms there and show the first.
 * @param {string[]} terms
 */
export function mark(terms) {
  const wanted = new Set(terms);
  const root = target() ?? document.querySelector("article") ?? document.body;
  openAround(root);
  root.scrollIntoView({ behavior: "instant" });

  const tryIt = () => {
    const inside = root.matches("details.solution a[data-solution]") ? [] : rangesOf(root, wanted);
    if (!inside.length) return false;
    show(inside);
    return true;
  };
  // For those in closed boxes a reader would wait in vain.
  const waiting = () => [...root.querySelectorAll("[data-solution]")].some(inOpen);
  if (!waiting()) {
    tryIt();
  } else {
    // The solution comes when its box opens, and others of this page's scripts scroll then, too.
    const observer = new MutationObserver(() => {
      if (waiting()) return;
      observer.disconnect();
      setTimeout(tryIt, 100);
    });
    observer.observe(root, { childList: true, subtree: true });
    setTimeout(() => observer.disconnect(), PATIENCE);
  }
  addEventListener("keydown", clear);
}
