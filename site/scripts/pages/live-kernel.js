// Runs in a frame of its own (site/pages/live.html), the only place of the site that may talk to
// another computer. Starts a Python kernel, on Binder or on a Jupyter server, and hands messages
// between it and the page that holds the frame.

import { KernelConnection } from "@jupyterlab/services/lib/kernel/default";
import { KernelAPIClient } from "@jupyterlab/services/lib/kernel/restapi";
import { ServerConnection } from "@jupyterlab/services/lib/serverconnection";

console.debug = () => {}; // where the library tells each step

/** A reason to tell the reader. */
class Failure extends Error {}

/**
 * @typedef {import("../live/bar.js").Server} Server
 * @typedef {import("../live/bar.js").State} State
 * @typedef {{ settings: ServerConnection.ISettings, name: string }} Reached - a server and its kernel
 */

// What Binder's phases mean (https://binderhub.readthedocs.io/en/latest/api.html).
/** @type {Record<string, string>} */
const PHASES = {
  waiting: "waiting for a machine",
  fetching: "fetching the book",
  building: "building the environment, which takes some minutes when the book has changed",
  pushing: "storing the environment",
  built: "the environment is built",
  launching: "starting the server",
};
const PATIENCE = 60_000; // milliseconds for a server or a kernel to answer

/** @type {MessagePort | undefined} */
let port;
/** @type {KernelConnection | undefined} */
let kernel;
/** @type {AbortController} */
let attempt = new AbortController();

const say = (/** @type {string} */ type, more = {}) => port?.postMessage({ type, ...more });
/** @param {State} state @param {string} text @param {{ server?: Server }} [more] */
const tell = (state, text, more) => say("state", { state, text, ...more });
const host = (/** @type {string} */ address) => new URL(address).host;
/** @param {unknown} error */
const wordsOf = (error) => (error instanceof Error ? error.message : String(error));
/** @param {string} token @returns {Record<string, string>} */
const headersWith = (token) => (token ? { Authorization: `token ${token}` } : {});

/**
 * Have Binder start a server.
 * @param {string} address of the build, https://mybinder.org/build/gh/owner/repository/branch
 * @param {AbortSignal} signal
 * @returns {Promise<Server>}
 */
function launch(address, signal) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(address);
    const fail = (/** @type {unknown} */ reason) => {
      events.close();
      reject(reason);
    };
    signal.addEventListener("abort", () => fail(signal.reason));
    events.onmessage = ({ data }) => {
      const { phase, message, url, token } = JSON.parse(data);
      if (phase === "ready") {
        events.close();
        resolve({ address: url, token });
      } else if (phase === "failed") {
        fail(new Failure(`Binder could not start it: ${message?.trim() || "no reason given"}`));
      } else if (PHASES[phase]) tell("starting", `Binder: ${PHASES[phase]} …`);
    };
    events.onerror = () => {
      const offline = !navigator.onLine && "You are offline: Binder cannot be reached.";
      const instead = "Try again, or run the code on a Jupyter server.";
      fail(new Failure(offline || `${host(address)} does not answer, or broke off. ${instead}`));
    };
  });
}

/**
 * A signal that comes with another one, or when the time is over.
 * @param {AbortSignal} signal
 * @param {number} time - in milliseconds
 */
function either(signal, time) {
  const both = new AbortController();
  signal.addEventListener("abort", () => both.abort(signal.reason));
  setTimeout(() => both.abort(new Error("no answer")), time);
  return both.signal;
}

/**
 * The settings for a server, once it is known to answer and to accept the token.
 * @param {string} address
 * @param {string} token
 * @param {AbortSignal} signal
 * @returns {Promise<Reached>}
 */
async function reach(address, token, signal) {
  const baseUrl = address.endsWith("/") ? address : `${address}/`;
  /** @type {RequestInit} */
  const init = {
    cache: "no-store",
    credentials: "omit",
    headers: headersWith(token),
    signal: either(signal, PATIENCE),
  };
  let response;
  try {
    response = await fetch(`${baseUrl}api/kernelspecs`, init);
  } catch {
    signal.throwIfAborted();
    throw new Failure(await why(baseUrl, signal));
  }
  if (response.status === 401 || response.status === 403) {
    throw new Failure(`The server at ${host(baseUrl)} refuses the token: it is wrong or too old.`);
  }
  const specs = response.ok && (await response.json().catch(() => null));
  if (!specs?.kernelspecs) {
    throw new Failure(
      `What answers at ${baseUrl} is not a Jupyter server (status ${response.status}).`,
    );
  }
  const names = Object.keys(specs.kernelspecs).filter(
    (name) => specs.kernelspecs[name].spec.language === "python",
  );
  if (!names.length) throw new Failure(`The server at ${host(baseUrl)} has no Python kernel.`);
  const settings = ServerConnection.makeSettings({
    baseUrl,
    wsUrl: baseUrl.replace(/^http/, "ws"),
    token,
    appendToken: true,
    init: { cache: "no-store", credentials: "omit" },
  });
  return { settings, name: names.includes(specs.default) ? specs.default : names[0] };
}

/**
 * Why a server could not be read. Jupyter's refusal of a token may not be read by another site, but
 * its version may, by those that it lets in; and a request whose answer may not be read still tells
 * whether anybody is there.
 * @param {string} baseUrl
 * @param {AbortSignal} signal
 */
async function why(baseUrl, signal) {
  /** @param {RequestInit} how */
  const answers = (how, at = baseUrl) =>
    fetch(`${at}api`, { credentials: "omit", signal: either(signal, 10_000), ...how }).then(
      ({ type, ok }) => ok || type === "opaque",
      () => false,
    );
  if (await answers({ mode: "cors" })) {
    return `The server at ${host(baseUrl)} refuses the token: it is wrong or too old.`;
  }
  const root = new URL("/", baseUrl).href;
  if (root !== baseUrl && (await answers({ mode: "cors" }, root))) {
    return `There is no Jupyter server at ${baseUrl}, but there is one at ${root}`;
  }
  if (await answers({ mode: "no-cors" })) {
    return (
      `The server at ${host(baseUrl)} does not let this site use it. Start it with ` +
      `--ServerApp.allow_origin=${location.origin}`
    );
  }
  const own = /^(localhost|127\.|\[::1\])/.test(host(baseUrl));
  if (!own && location.protocol === "https:" && baseUrl.startsWith("http:")) {
    return "A page that came by https may use only servers with https, or one on this machine.";
  }
  if (!navigator.onLine && !own) return "You are offline: the server cannot be reached.";
  return `No server answers at ${baseUrl}.`;
}

/**
 * Start a kernel and wait until it answers.
 * @param {Reached} server
 * @param {AbortSignal} signal
 */
async function open({ settings, name }, signal) {
  tell("starting", `Starting Python on ${host(settings.baseUrl)} …`);
  const client = new KernelAPIClient({ serverSettings: settings });
  let model;
  try {
    model = await client.startNew({ name });
  } catch (error) {
    throw new Failure(`${host(settings.baseUrl)} could not start Python: ${wordsOf(error)}`);
  }
  const made = new KernelConnection({ model, serverSettings: settings });
  try {
    signal.throwIfAborted();
    await Promise.race([
      made.info,
      new Promise((_, reject) => {
        signal.addEventListener("abort", () => reject(signal.reason));
        setTimeout(() => reject(new Failure("Python did not answer within a minute.")), PATIENCE);
      }),
    ]);
  } catch (error) {
    made.shutdown().catch(() => {});
    throw error;
  }
  return made;
}

/** @param {KernelConnection} mine */
function watch(mine) {
  mine.statusChanged.connect((_, status) => {
    if (mine !== kernel) return;
    if (status === "dead") {
      tell("failed", "Python has ended. Start it again.");
    } else if (status === "autorestarting") {
      say("forgotten"); // it died and is started anew by the server
    }
  });
  mine.connectionStatusChanged.connect((_, status) => {
    if (mine !== kernel) return;
    if (status === "connecting") tell("starting", "The connection was lost; trying again …");
    if (status === "connected") tell("ready", `Ready: Python on ${host(mine.serverSettings.baseUrl)}.`);
    if (status === "disconnected") tell("failed", "The connection to Python was lost.");
  });
}

async function shutdown() {
  attempt.abort(new Failure("Stopped."));
  const old = kernel;
  kernel = undefined;
  if (!old) return;
  try {
    await old.shutdown();
  } catch {
    // The server is gone, and the kernel with it.
  }
  old.dispose();
}

const actions = {
  /** @param {import("../live/bar.js").Choice & { known?: Server }} wish */
  async start({ where, address, token, known }) {
    await shutdown();
    attempt = new AbortController();
    const { signal } = attempt;
    try {
      let server = { address, token };
      let ready;
      if (where === "binder") {
        // The server that an earlier page had Binder start may still be there.
        ready = known && (await reach(known.address, known.token, signal).catch(() => null));
        if (known && ready) server = known;
        else {
          signal.throwIfAborted();
          tell("starting", `Asking ${host(address)} for a machine …`);
          server = await launch(address, signal);
        }
      }
      if (!ready) {
        tell("starting", `Connecting to ${host(server.address)} …`);
        ready = await reach(server.address, server.token, signal);
      }
      kernel = await open(ready, signal);
      watch(kernel);
      tell("ready", `Ready: Python on ${host(server.address)}.`, { server });
    } catch (error) {
      if (signal.aborted) return;
      tell("failed", error instanceof Failure ? error.message : `It did not work: ${wordsOf(error)}`);
    }
  },

  /** @param {{id: number, code: string}} cell */
  async execute({ id, code }) {
    const done = (/** @type {string} */ status, more = {}) => say("done", { id, status, ...more });
    if (!kernel) return done("lost");
    try {
      const future = kernel.requestExecute({ code, allow_stdin: false, stop_on_error: true });
      future.onIOPub = ({ header, content }) => {
        say("output", { id, kind: header.msg_type, content });
      };
      const { content } = await future.done;
      done(content.status, content);
    } catch {
      done("lost"); // the kernel was restarted, or has died
    }
  },

  /** @param {{id: number, code: string, place: number}} question */
  async complete({ id, code, place }) {
    try {
      const reply = await kernel?.requestComplete({ code, cursor_pos: place });
      say("completed", { id, content: reply?.content ?? null });
    } catch {
      say("completed", { id, content: null });
    }
  },

  async interrupt() {
    await kernel?.interrupt();
  },

  async restart() {
    if (!kernel) return;
    tell("starting", "Starting Python anew …");
    await kernel.restart();
    await kernel.info;
    say("forgotten");
    tell("ready", `Ready: Python on ${host(kernel.serverSettings.baseUrl)}, started anew.`);
  },

  async stop() {
    await shutdown();
    tell("idle", "Stopped.");
  },
};

addEventListener("message", ({ data, origin, ports, source }) => {
  // From a file, every origin is "null".
  const own = source === parent && (origin === location.origin || location.protocol === "file:");
  if (port || !own || data !== "link") return;
  [port] = ports;
  port.onmessage = ({ data: { action, ...rest } }) => {
    /** @type {(wish: any) => Promise<void>} */
    const act = actions[/** @type {keyof typeof actions} */ (action)];
    act(rest).catch((error) => tell("failed", `It did not work: ${wordsOf(error)}`));
  };
  say("linked");
});

addEventListener("pagehide", () => {
  const old = kernel;
  if (!old) return;
  kernel = undefined;
  const { baseUrl, token } = old.serverSettings;
  const headers = headersWith(token);
  const address = `${baseUrl}api/kernels/${old.id}`;
  fetch(address, { method: "DELETE", keepalive: true, credentials: "omit", headers }).catch(() => {});
  old.dispose(); // or it would try to connect again while the page goes
});
// The page is back as it was left, but for its kernel.
addEventListener("pageshow", ({ persisted }) => {
  if (persisted && port) tell("idle", "Stopped when you left the page.");
});
