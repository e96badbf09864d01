// Lets the keyboard reach the formulas that are wider than the page, and only those.
addEventListener("DOMContentLoaded", () => {
  const sizes = new ResizeObserver((entries) => {
    for (const { target } of entries) {
      if (target.scrollWidth > target.clientWidth) target.tabIndex = 0;
      else target.removeAttribute("tabindex");
    }
  });
  document.querySelectorAll(".katex-display").forEach((formula) => sizes.observe(formula));
});
