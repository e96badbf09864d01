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

/**
 * Say with the button of a sidebar whether that is shown: the theme slides it away, and on a narrow
 * screen it opens as a dialog.
 * @param {Element} button
 * @param {HTMLElement} sidebar
 */
function tellWhetherShown(button, sidebar) {
  const tell = () => {
    const shown = sidebar.checkVisibility({ visibilityProperty: true });
    button.setAttribute("aria-expanded", String(shown));
  };
  new MutationObserver(tell).observe(sidebar, { attributeFilter: ["class"] });
  new ResizeObserver(tell).observe(sidebar);
  sidebar.addEventListener("transitionend", tell);
}

addEventListener("DOMContentLoaded", () => {
  const those = ".theme-switch-button, .search-button, .primary-toggle, .secondary-toggle";
  for (const button of document.querySelectorAll(those)) {
    if (!(button instanceof HTMLElement)) continue;
    button.blur = () => {
      if (!button.matches(":focus-visible")) HTMLElement.prototype.blur.call(button);
    };
  }
  for (const which of ["primary", "secondary"]) {
    const button = document.querySelector(`.${which}-toggle`);
    const sidebar = document.getElementById(`pst-${which}-sidebar`);
    if (button && sidebar) tellWhetherShown(button, sidebar);
  }
});
