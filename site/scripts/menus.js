// The theme's menus, its button back to the top and the names of its buttons, for which it brings
// all of Bootstrap: a fifth of what a first visit would load. The style sheet places the menus.

/** @param {Element} toggle */
const menu = (toggle) => /** @type {HTMLElement} */ (toggle.nextElementSibling);
/** @param {Element} toggle */
const entries = (toggle) =>
  /** @type {HTMLElement[]} */ ([...menu(toggle).querySelectorAll(".dropdown-item")]);

/**
 * @param {Element} toggle
 * @param {boolean} open
 */
function show(toggle, open) {
  toggle.setAttribute("aria-expanded", String(open));
  for (const element of [toggle, menu(toggle)]) element.classList.toggle("show", open);
}

/** @param {HTMLElement} toggle */
function start(toggle) {
  const isOpen = () => toggle.getAttribute("aria-expanded") === "true";
  const place = /** @type {HTMLElement} */ (toggle.parentElement);
  toggle.addEventListener("click", () => show(toggle, !isOpen()));
  place.addEventListener("keydown", (event) => {
    const { key } = event;
    if (key === "Escape" && isOpen()) {
      show(toggle, false);
      toggle.focus();
    } else if (key === "ArrowDown" || key === "ArrowUp") {
      show(toggle, true);
      const all = entries(toggle);
      const step = key === "ArrowDown" ? 1 : -1;
      const at = all.indexOf(/** @type {HTMLElement} */ (document.activeElement));
      const next = at < 0 && step < 0 ? all.length - 1 : at + step;
      all[Math.min(Math.max(next, 0), all.length - 1)]?.focus();
    } else {
      return;
    }
    event.preventDefault();
    event.stopPropagation();
  });
  // Whoever goes elsewhere, by a click or by keyboard, is done with it.
  for (const type of ["click", "focusin"]) {
    document.addEventListener(type, ({ target }) => {
      if (isOpen() && !(target instanceof Node && place.contains(target))) show(toggle, false);
    });
  }
}

/** Offer the way back to the top while a reader far down scrolls up. */
function offerTop(/** @type {HTMLElement} */ button) {
  let before = 0;
  const follow = () => {
    button.style.display = scrollY < before && scrollY > 0 ? "block" : "none";
    before = scrollY;
  };
  addEventListener("scroll", follow, { passive: true });
  button.addEventListener("click", () => scrollTo(0, 0));
}

addEventListener("DOMContentLoaded", () => {
  for (const toggle of document.querySelectorAll("[data-bs-toggle='dropdown']")) {
    start(/** @type {HTMLElement} */ (toggle));
  }
  for (const named of document.querySelectorAll("[data-bs-title]")) {
    if (named instanceof HTMLElement) named.title = named.dataset.bsTitle ?? "";
  }
  const top = document.getElementById("pst-back-to-top");
  if (top) offerTop(top);
});
