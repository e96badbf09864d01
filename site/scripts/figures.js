// Draws the Plotly figures of a page: each one when it comes near the screen, in the theme's colors.

import { load } from "./assets.js";
import { onPart } from "./parts.js";

/** @typedef {any} Plotly - the library, which has no types of its own */
/** @typedef {{ method?: string, args?: any[] }} Choice - what a menu's or a slider's step does */

/** @returns {Plotly} */
const library = () => window.Plotly;
const calm = matchMedia("(prefers-reduced-motion: reduce)");
const touch = matchMedia("(pointer: coarse)");

/**
 * The figure as it was published, with the two stand-in colors replaced by the theme's.
 * @param {HTMLElement} figure
 */
function read(figure) {
  const style = getComputedStyle(figure);
  const { ink = "", paper = "" } = figure.dataset;
  const text = /** @type {HTMLScriptElement} */ (figure.querySelector("script")).text
    .replaceAll(ink, style.color)
    .replaceAll(paper, style.getPropertyValue("--figure-paper").trim());
  const { data, layout, frames } = JSON.parse(text);
  /** @type {Choice[][]} */
  const choices = [
    ...(layout.updatemenus ?? []).map((/** @type {any} */ menu) => menu.buttons),
    ...(layout.sliders ?? []).map((/** @type {any} */ slider) => slider.steps),
  ];
  const { sliders, updatemenus, width, ...rest } = layout;
  const own = {
    ...rest,
    autosize: true,
    font: { ...rest.font, family: style.fontFamily },
    uirevision: "kept", // a zoom survives a change of theme
  };
  if (touch.matches) own.dragmode = false; // a finger on the figure scrolls the page
  return { data, layout: own, frames, choices };
}

/**
 * @param {Plotly} Plotly
 * @param {Element} plot
 * @param {Choice} choice
 */
async function choose(Plotly, plot, { method, args = [] }) {
  if (!method || method === "skip") return;
  if (method === "animate" && calm.matches) {
    const still = { frame: { duration: 0, redraw: true }, transition: { duration: 0 } };
    args = [args[0], { ...args[1], ...still }];
  }
  await Plotly[method](plot, ...structuredClone(args));
}

/**
 * @param {HTMLElement} figure
 * @param {Plotly} Plotly
 */
async function draw(figure, Plotly) {
  const plot = /** @type {any} */ (figure.querySelector(".plotly-drawing"));
  const { data, layout, frames, choices } = read(figure);
  const config = {
    displayModeBar: false,
    // A tap counts twice, as a touch and as the click that comes of it, and would change the axes.
    doubleClick: touch.matches ? false : "reset+autosize",
    responsive: false,
    showTips: false,
  };
  await Plotly.react(plot, { data, layout, config });
  if (frames && !plot._transitionData?._frames.length) await Plotly.addFrames(plot, frames);
  /** @type {NodeListOf<HTMLInputElement>} */
  const controls = figure.querySelectorAll(".plotly-control :is(input, select)");
  for (const [n, control] of controls.entries()) {
    const apply = () => {
      const label = control.labels?.[0];
      if (label && control.dataset.labels) {
        label.innerHTML = JSON.parse(control.dataset.labels)[control.value];
        control.setAttribute("aria-valuetext", label.textContent);
      }
      return choose(Plotly, plot, choices[n][Number(control.value)]);
    };
    control.oninput = () => {
      control.dataset.used = "";
      return apply();
    };
    control.disabled = false;
    if ("used" in control.dataset) await apply(); // drawn anew: keep the reader's choice
  }
}

/**
 * Draw a figure behind its picture, or its text, which then gives way. Where the library cannot come,
 * the picture stays until there is a network.
 * @param {HTMLElement} figure
 */
export async function start(figure) {
  try {
    await load("plotly");
  } catch {
    addEventListener("online", () => start(figure), { once: true });
    return;
  }
  const Plotly = library();
  const place = /** @type {Element} */ (figure.querySelector(".plotly-plot"));
  const plot = document.createElement("div");
  plot.className = "plotly-drawing";
  place.append(plot);
  await draw(figure, Plotly);
  place.classList.add("plotly-drawn");
  new ResizeObserver(() => {
    if (plot.offsetParent) Plotly.Plots.resize(plot);
  }).observe(plot);
}

new MutationObserver(() => {
  for (const plot of document.querySelectorAll(".plotly-drawn")) {
    draw(/** @type {HTMLElement} */ (plot.closest(".plotly-figure")), library());
  }
}).observe(document.documentElement, { attributeFilter: ["data-theme"] });

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      start(/** @type {HTMLElement} */ (target));
    }
  },
  { rootMargin: "400px" },
);
onPart((part) => {
  for (const figure of part.querySelectorAll(".plotly-figure")) near.observe(figure);
});
