// The theme's buttons. Those for the full screen and for printing have their own handlers in the page's
// HTML, where the content-security policy forbids scripts. Some give up the focus when they are
// pressed, to be rid of their tooltip; who came there by keyboard would lose the place.

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

addEventListener("DOMContentLoaded", () => {
  const those = ".theme-switch-button, .search-button, .primary-toggle, .secondary-toggle";
  for (const button of document.querySelectorAll(those)) {
    if (!(button instanceof HTMLElement)) continue;
    button.blur = () => {
      if (!button.matches(":focus-visible")) HTMLElement.prototype.blur.call(button);
    };
  }
});
