// Stands in the head of each page and runs before the first paint: the theme that the reader chose,
// or the system's. Its digest is in the page's content-security policy.
const root = document.documentElement;
let mode = "auto";
try {
  mode = localStorage.getItem("mode") ?? mode;
} catch {
  // a browser that keeps nothing
}
const dark = matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light";
root.dataset.mode = mode;
root.dataset.theme = mode === "auto" ? dark : mode;
