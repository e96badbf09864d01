// The front page: the figure of attention follows its sliders and the pointer, and each path says how
// far the reader is on it.

import { marked, watch } from "./store.js";

/**
 * The attention of a query over keys in the plane: softmax(q · k / √2).
 * @param {number[]} query
 * @param {number[][]} keys
 */
function attend(query, keys) {
  const powers = keys.map(([x, y]) => Math.exp((query[0] * x + query[1] * y) / Math.SQRT2));
  const total = powers.reduce((sum, power) => sum + power, 0);
  return powers.map((power) => power / total);
}

/** @param {HTMLElement} figure */
function play(figure) {
  /**
   * The elements that the build has written for a selector.
   * @template {Element} [T=SVGElement]
   * @param {string} selector
   */
  const all = (selector) => /** @type {T[]} */ ([...figure.querySelectorAll(selector)]);
  const [plane] = all(".plane");
  const [direction, length] = /** @type {HTMLInputElement[]} */ (all("input"));
  const [said] = all("[role=status]");
  const [arrow] = all(".query line");
  const [tip] = all(".query circle");
  const [diamond] = all(".mean");
  const threads = all(".threads line");
  const bars = all("tbody rect");
  const cells = all("tbody td:last-child");
  const words = all("tbody th").map((cell) => cell.textContent);
  const keys = all("[data-key]").map((key) => (key.dataset.key ?? "").split(" ").map(Number));
  const half = Number(plane.dataset.half);
  const unit = Number(plane.dataset.unit);

  function draw() {
    const angle = (Number(direction.value) * Math.PI) / 180;
    const radius = Number(length.value);
    const query = [radius * Math.cos(angle), radius * Math.sin(angle)];
    const weights = attend(query, keys);
    const mean = [0, 1].map((axis) => weights.reduce((sum, w, i) => sum + w * keys[i][axis], 0));
    const place = (/** @type {number[]} */ [x, y]) => [(half + unit * x).toFixed(1), (half - unit * y).toFixed(1)];
    const [qx, qy] = place(query);
    const [ax, ay] = place(mean);
    arrow.setAttribute("x2", qx);
    arrow.setAttribute("y2", qy);
    tip.setAttribute("cx", qx);
    tip.setAttribute("cy", qy);
    diamond.setAttribute("transform", `translate(${ax} ${ay})`);
    const shares = weights.map((weight) => `${Math.round(100 * weight)}%`);
    weights.forEach((weight, i) => {
      threads[i].setAttribute("x2", ax);
      threads[i].setAttribute("y2", ay);
      threads[i].setAttribute("stroke-width", (8 * weight).toFixed(2));
      bars[i].setAttribute("width", (100 * weight).toFixed(1));
      cells[i].textContent = shares[i];
    });
    direction.setAttribute("aria-valuetext", `${direction.value} degrees`);
    length.setAttribute("aria-valuetext", length.value);
    const ranked = weights.map((_, i) => i).sort((a, b) => weights[b] - weights[a]);
    said.textContent = `Weights: ${ranked.map((i) => `${words[i]} ${shares[i]}`).join(", ")}.`;
  }

  /** @param {MouseEvent} event */
  function point(event) {
    const box = plane.getBoundingClientRect();
    const scale = (2 * half) / box.width / unit;
    const x = (event.clientX - box.left - box.width / 2) * scale;
    const y = (box.top + box.height / 2 - event.clientY) * scale;
    const degrees = ((Math.atan2(y, x) * 180) / Math.PI + 360) % 360;
    direction.value = String((Math.round(degrees / 5) * 5) % 360);
    length.value = String(Math.hypot(x, y)); // the slider keeps it in its range
    draw();
  }

  for (const slider of [direction, length]) slider.addEventListener("input", draw);
  tip.addEventListener("pointerdown", (event) => {
    tip.setPointerCapture(event.pointerId);
    event.preventDefault(); // nothing is selected on the way
  });
  tip.addEventListener("pointermove", (event) => {
    if (tip.hasPointerCapture(event.pointerId)) point(event);
  });
  plane.addEventListener("click", point);
  if (direction.value !== direction.defaultValue || length.value !== length.defaultValue) {
    draw(); // the browser kept the reader's choice over a reload
  }
}

function tellProgress() {
  for (const card of /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll(".path-card")
  )) {
    const labels = (card.dataset.exercises ?? "").split(" ");
    const count = labels.filter((label) => marked(label, "done")).length;
    const told = card.querySelector(".path-progress");
    if (told) told.textContent = count ? ` · ${count} done` : "";
    card.classList.toggle("path-finished", count === labels.length);
  }
}

document.addEventListener("DOMContentLoaded", () => {
  for (const figure of /** @type {NodeListOf<HTMLElement>} */ (
    document.querySelectorAll(".attention-figure")
  )) {
    play(figure);
  }
  if (document.querySelector(".path-card")) watch(tellProgress);
});
