// The theme's scripts know these two by the names localStorage and sessionStorage (tools/assets.mjs
// sees to it): they would stop where a browser refuses to keep anything. What they keep then lasts
// until the reader leaves the page.

/** @param {"localStorage" | "sessionStorage"} name */
function storage(name) {
  /** @type {Map<string, string>} */
  const here = new Map();
  return {
    getItem(/** @type {string} */ key) {
      try {
        return here.get(key) ?? window[name].getItem(key);
      } catch {
        return here.get(key) ?? null;
      }
    },
    setItem(/** @type {string} */ key, /** @type {unknown} */ value) {
      try {
        window[name].setItem(key, String(value));
        here.delete(key);
      } catch {
        here.set(key, String(value));
      }
    },
  };
}

const llmbook = (/** @type {any} */ (window).llmbook ??= {});
llmbook.themeStorage = [storage("localStorage"), storage("sessionStorage")];
