// Keeps pages for reading without network. Lies at the site's root, beside offline.json.
//
// One cache holds all that is kept. What is named by its content (assets/) is taken from there first;
// everything else is shown as it was kept while a newer copy is fetched for the next time. A new
// release fetches the kept pages anew and then drops what the site no longer has.

// The publish step writes the version and the files to start with here.
const RELEASE = { version: "", start: [""] };

const CACHE = "llmbook";
const LIST = "offline.json";
const OFFLINE_PAGE = "offline.html";
const WHOLE = "offline-whole"; // kept when the reader has saved the whole book
const OLD = "offline-old"; // kept as long as pages of an earlier release are open: see renew()
// Downloads and what only machines read go to the network, as if there were no service worker.
const LEFT_ALONE =
  /^(_sources\/|cards\/|service-worker\.js$|offline\.json$|.*\.(ipynb|zip|pdf|xml|txt|inv)$)/;
const CHANGES_NEVER = /^assets\//;

const worker = /** @type {ServiceWorkerGlobalScope & typeof globalThis} */ (self);
const root = new URL("./", worker.location.href);

/** The path below the root, without query and fragment; null where it is not of this site. */
function pathOf(/** @type {string} */ address) {
  const url = new URL(address, root);
  if (url.origin !== root.origin || !url.pathname.startsWith(root.pathname)) return null;
  const path = url.pathname.slice(root.pathname.length);
  return path === "" || path.endsWith("/") ? `${path}index.html` : path;
}

const address = (/** @type {string} */ path) => new URL(path, root).href;

/** Fetch a file, past the browser's own cache where a name does not tell the content. */
async function fetchFresh(/** @type {string} */ path) {
  const cache = CHANGES_NEVER.test(path) ? "default" : "no-cache";
  const response = await fetch(address(path), { cache });
  // Another copy without the mark of a redirect, which a page may not be shown from.
  return response.redirected
    ? new Response(await response.blob(), { headers: response.headers, status: response.status })
    : response;
}

/** Keep a file, a page only together with what it loads. */
async function keep(
  /** @type {Cache} */ cache,
  /** @type {string} */ path,
  /** @type {Response} */ response,
) {
  if (!response.ok || response.type === "opaque") return;
  if (path.endsWith(".html")) {
    const head = (await response.clone().text()).split("</head>", 1)[0];
    const loaded = head.matchAll(/<(?:link|script)\b[^>]*?\s(?:href|src)="([^":]+)"/g);
    for (const [, name] of loaded) {
      const needed = pathOf(new URL(name, address(path)).href);
      if (!needed || !CHANGES_NEVER.test(needed) || (await cache.match(address(needed)))) continue;
      const asset = await fetchFresh(needed);
      if (!asset.ok) return;
      await cache.put(address(needed), asset);
    }
  }
  await cache.put(address(path), response);
}

async function add(/** @type {Cache} */ cache, /** @type {string} */ path) {
  const response = await fetchFresh(path);
  if (!response.ok) throw new Error(`${path}: ${response.status}`);
  await keep(cache, path, response);
}

/** Bring what is kept to this release. If the network fails on the way, all stays as it was. */
async function renew() {
  const cache = await caches.open(CACHE);
  const list = await (await fetch(address(LIST), { cache: "no-cache" })).json();
  const files = new Set(list.files.map((/** @type {[string, number]} */ [path]) => path));
  const kept = (await cache.keys()).map(({ url }) => pathOf(url) ?? "");
  for (const path of kept) {
    if (files.has(path) && !CHANGES_NEVER.test(path)) await add(cache, path);
  }
  if (await cache.match(address(WHOLE))) {
    for (const path of files) if (!(await cache.match(address(path)))) await add(cache, path);
  }
  // Pages that are open may still ask for files of theirs, which the host no longer has.
  const pages = (await worker.clients.matchAll({ includeUncontrolled: true })).map(({ id }) => id);
  const paths = kept.filter((path) => !files.has(path) && path !== WHOLE && path !== OLD);
  await cache.put(address(OLD), new Response(JSON.stringify({ pages, paths })));
  await dropOld();
}

/** Drop what the site no longer has, once all pages are closed that were open when it was renewed. */
async function dropOld() {
  const cache = await caches.open(CACHE);
  const noted = await cache.match(address(OLD));
  if (!noted) return;
  const { pages, paths } = await noted.json();
  const open = await worker.clients.matchAll({ includeUncontrolled: true });
  if (open.some(({ id }) => pages.includes(id))) return;
  for (const path of paths) await cache.delete(address(path));
  await cache.delete(address(OLD));
}

async function answer(/** @type {FetchEvent} */ event, /** @type {string} */ path) {
  const cache = await caches.open(CACHE);
  const kept = await cache.match(address(path));
  if (kept && CHANGES_NEVER.test(path)) return kept;
  if (event.request.mode === "navigate") event.waitUntil(dropOld());
  const fetched = (async () => {
    const response = kept ? await fetchFresh(path) : await fetch(event.request);
    if (response.status === 404 && kept) await cache.delete(address(path));
    else if (response.status === 200 && !response.redirected) {
      event.waitUntil(keep(cache, path, response.clone()).catch(() => {}));
    }
    return response;
  })();
  if (kept) {
    event.waitUntil(fetched.catch(() => {}));
    return kept;
  }
  try {
    return await fetched;
  } catch (error) {
    if (event.request.mode !== "navigate" || event.request.destination !== "document") throw error;
    // An address of its own, so that the links of the offline page lead where they say.
    const wanted = new URL(event.request.url);
    const asked = encodeURIComponent(path + wanted.search + wanted.hash);
    return Response.redirect(`${address(OFFLINE_PAGE)}?page=${asked}`, 302);
  }
}

worker.addEventListener("install", (event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(CACHE);
      await Promise.all(RELEASE.start.map((path) => add(cache, path)));
      await worker.skipWaiting();
    })(),
  );
});

worker.addEventListener("activate", (event) => {
  event.waitUntil(
    (async () => {
      await worker.clients.claim();
      await renew().catch(() => {}); // offline: the next release will do
    })(),
  );
});

worker.addEventListener("fetch", (event) => {
  if (event.request.method !== "GET" || event.request.headers.has("range")) return;
  const path = pathOf(event.request.url);
  if (path === null || LEFT_ALONE.test(path)) return;
  event.respondWith(answer(event, path));
});
