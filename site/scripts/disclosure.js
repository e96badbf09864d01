// Opens the hints and solutions that hold what the reader asked for: the target of a link, the hits
// of a search, or everything when the page is printed.
const open = (element) => {
  for (let box = element?.closest("details"); box; box = box.parentElement.closest("details")) {
    box.open = true;
  }
};
const openTarget = () => {
  const target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (target?.closest("details:not([open])")) {
    open(target);
    target.scrollIntoView();
  }
};
const openHits = () => document.querySelectorAll("details .highlighted").forEach(open);

let closed = [];
addEventListener("beforeprint", () => {
  closed = [...document.querySelectorAll("details:not([open])")];
  for (const box of closed) box.open = true;
});
addEventListener("afterprint", () => {
  for (const box of closed) box.open = false;
});
addEventListener("hashchange", openTarget);
// A second click on the same link changes no hash.
addEventListener("click", (event) => {
  if (event.target.closest?.("a[href^='#']")) setTimeout(openTarget);
});
addEventListener("load", () => {
  openTarget();
  // Sphinx leaves out marking the hits where its search is loaded, and the theme loads it on every
  // page. On the search page itself there is nothing to mark.
  if (typeof SphinxHighlight === "undefined" || document.getElementById("search-results")) return;
  SphinxHighlight.highlightSearchWords();
  setTimeout(openHits, 100); // it marks them 10 ms later
});
