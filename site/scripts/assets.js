// Where the site's other files are: the build names them by their content and tells this script.

const script = /** @type {HTMLScriptElement | null} */ (
  document.querySelector("script[data-assets]")
);
/** @type {Record<string, string>} */
const names = JSON.parse(script?.dataset.assets ?? "{}");
/** @type {Map<string, Promise<void>>} */
const loaded = new Map();

/**
 * The address of an asset, such as "plotly".
 * @param {string} name
 */
export function asset(name) {
  if (!(name in names)) throw new Error(`no asset is called ${name}`);
  return new URL(names[name], script?.src).href;
}

/**
 * Load and run a script of the site, once; unlike fetch(), this works in a folder of files as well.
 * @param {string} name
 * @returns {Promise<void>}
 */
export function load(name) {
  const running = loaded.get(name);
  if (running) return running;
  /** @type {Promise<void>} */
  const promise = new Promise((resolve, reject) => {
    const element = document.createElement("script");
    element.src = asset(name);
    element.onload = () => resolve();
    element.onerror = () => {
      element.remove();
      loaded.delete(name); // once the network is back, it may be tried again
      reject(new Error(`cannot load ${element.src}`));
    };
    document.head.append(element);
  });
  loaded.set(name, promise);
  return promise;
}
