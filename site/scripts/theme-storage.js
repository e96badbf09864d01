// The theme's scripts know this by the name localStorage (see tools/assets.mjs): they would stop where
// a browser refuses to keep anything. What they keep then lasts until the reader leaves the page.

/** @type {Map<string, string>} */
const here = new Map();

/** @type {any} */ (window).llmbook ??= {};
/** @type {any} */ (window).llmbook.themeStorage = {
  getItem(/** @type {string} */ key) {
    try {
      return here.get(key) ?? localStorage.getItem(key);
    } catch {
      return here.get(key) ?? null;
    }
  },
  setItem(/** @type {string} */ key, /** @type {string} */ value) {
    try {
      localStorage.setItem(key, value);
      here.delete(key);
    } catch {
      here.set(key, String(value));
    }
  },
};
