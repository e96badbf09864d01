// The theme's buttons for the full screen and for printing: their own handlers stand in the page's
// HTML, where the content-security policy forbids scripts.

import { choosePrint } from "./print.js";

/** @type {Record<string, () => unknown>} */
const actions = {
  fullscreen: () =>
    document.fullscreenElement
      ? document.exitFullscreen()
      : document.documentElement.requestFullscreen(),
  print: choosePrint,
};

if (!("requestFullscreen" in document.documentElement)) {
  addEventListener("DOMContentLoaded", () => {
    document.querySelectorAll("[data-action=fullscreen]").forEach((button) => button.remove());
  });
}

addEventListener("click", ({ target }) => {
  const button = target instanceof Element && target.closest("[data-action]");
  if (button instanceof HTMLElement) actions[button.dataset.action ?? ""]?.();
});
