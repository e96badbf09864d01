// Draws the Plotly figures of a page: each one when it comes near the screen, in the theme's colors.

import { load } from "./assets.js";
import { onPart } from "./parts.js";

const calm = matchMedia("(prefers-reduced-motion: reduce)");
const touch = matchMedia("(pointer: coarse)");

// The figure as it was published, with the two stand-in colors replaced by the theme's.
function read(figure) {
  const style = getComputedStyle(figure);
  const text = figure
    .querySelector("script")
    .text.replaceAll(figure.dataset.ink, style.color)
    .replaceAll(figure.dataset.paper, style.getPropertyValue("--figure-paper").trim());
  const { data, layout, frames } = JSON.parse(text);
  const choices = [
    ...(layout.updatemenus ?? []).map((menu) => menu.buttons),
    ...(layout.sliders ?? []).map((slider) => slider.steps),
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

async function choose(Plotly, plot, { method, args = [] }) {
  if (!method || method === "skip") return;
  if (method === "animate" && calm.matches) {
    const still = { frame: { duration: 0, redraw: true }, transition: { duration: 0 } };
    args = [args[0], { ...args[1], ...still }];
  }
  await Plotly[method](plot, ...structuredClone(args));
}

async function draw(figure, Plotly) {
  const plot = figure.querySelector(".plotly-drawing");
  const { data, layout, frames, choices } = read(figure);
  const config = { displayModeBar: false, responsive: false, showTips: false };
  await Plotly.react(plot, { data, layout, config });
  if (frames && !plot._transitionData?._frames.length) await Plotly.addFrames(plot, frames);
  const controls = figure.querySelectorAll(".plotly-control :is(input, select)");
  for (const [n, control] of controls.entries()) {
    const apply = () => {
      if (control.dataset.labels) {
        const label = JSON.parse(control.dataset.labels)[control.value];
        control.labels[0].innerHTML = label;
        control.setAttribute("aria-valuetext", control.labels[0].textContent);
      }
      return choose(Plotly, plot, choices[n][control.value]);
    };
    control.oninput = () => {
      control.dataset.used = "";
      return apply();
    };
    control.disabled = false;
    if ("used" in control.dataset) await apply(); // drawn anew: keep the reader's choice
  }
}

/** Draw a figure behind its picture, or its text, which then gives way. */
export async function start(figure) {
  await load("plotly");
  const { Plotly } = window;
  const place = figure.querySelector(".plotly-plot");
  const plot = document.createElement("div");
  plot.className = "plotly-drawing";
  place.append(plot);
  await draw(figure, Plotly);
  place.classList.add("plotly-drawn");
  new MutationObserver(() => draw(figure, Plotly)).observe(document.documentElement, {
    attributeFilter: ["data-theme"],
  });
  new ResizeObserver(() => {
    if (plot.offsetParent) Plotly.Plots.resize(plot);
  }).observe(plot);
}

const near = new IntersectionObserver(
  (entries) => {
    for (const { isIntersecting, target } of entries) {
      if (!isIntersecting) continue;
      near.unobserve(target);
      start(target).catch((error) => {
        if (window.Plotly) throw error;
        // Without a network the picture stays, until there is one.
        addEventListener("online", () => near.observe(target), { once: true });
      });
    }
  },
  { rootMargin: "400px" },
);
onPart((part) => {
  for (const figure of part.querySelectorAll(".plotly-figure")) near.observe(figure);
});
