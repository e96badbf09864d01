// Where the site's other files are: the build names them by their content and tells this script.

const script = /** @type {HTMLScriptElement | null} */ (
  document.querySelector("script[data-assets]")
);
/** @type {Record<string, string>} */
const names = JSON.parse(script?.dataset.assets ?? "{}");
/** @type {Map<string, Promise<void>>} */
const loaded = new Map();

/** A file of the site that did not come. */
export class Missing extends Error {
  /** @param {string} address */
  constructor(address) {
    super(`cannot load ${address}`);
    this.address = address;
  }
}

/**
 * Whether a file did not come because the site has it no longer: the page is older than the site.
 * @param {unknown} error
 */
export async function isGone(error) {
  if (!(error instanceof Missing) || !location.protocol.startsWith("http")) return false;
  try {
    const { status } = await fetch(error.address, { method: "HEAD", cache: "no-store" });
    return status === 404 || status === 410;
  } catch {
    return false; // no network
  }
}

/**
 * What to say to a reader when something did not come.
 * @param {unknown} error
 * @param {string} what - such as "The search"
 * @param {string} again - how to try again, such as "type to try again"
 */
export async function explain(error, what, again) {
  const failed = `${what} could not be loaded`;
  if (await isGone(error)) return `${failed}. This page is of an older edition: reload it.`;
  const offline = !navigator.onLine && location.protocol !== "file:";
  return `${offline ? "You are offline. " : ""}${failed}; ${again}.`;
}

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
      reject(new Missing(element.src));
    };
    document.head.append(element);
  });
  loaded.set(name, promise);
  return promise;
}
