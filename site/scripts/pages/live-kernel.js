// Runs in a frame of its own (site/pages/live.html), the only place of the site that may talk to
// another computer. Starts a Python kernel, on Binder or on a Jupyter server, and hands messages
// between it and the page that holds the frame.

import { KernelConnection } from "@jupyterlab/services/lib/kernel/default";
import { KernelAPIClient } from "@jupyterlab/services/lib/kernel/restapi";
import { ServerConnection } from "@jupyterlab/services/lib/serverconnection";

console.debug = () => {}; // where the library tells each step

/** A reason to tell the reader. */
class Failure extends Error {}

// What Binder's phases mean (https://binderhub.readthedocs.io/en/latest/api.html).
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

const say = (type, more = {}) => port.postMessage({ type, ...more });
const tell = (state, text, more = {}) => say("state", { state, text, ...more });
const host = (address) => new URL(address).host;

/**
 * Have Binder start a server.
 * @param {string} address of the build, https://mybinder.org/build/gh/owner/repository/branch
 * @param {AbortSignal} signal
 * @returns {Promise<{address: string, token: string}>}
 */
function launch(address, signal) {
  return new Promise((resolve, reject) => {
    const events = new EventSource(address);
    const end = (settle, value) => {
      events.close();
      settle(value);
    };
    signal.addEventListener("abort", () => end(reject, signal.reason));
    events.onmessage = ({ data }) => {
      const { phase, message, url, token } = JSON.parse(data);
      if (phase === "ready") end(resolve, { address: url, token });
      else if (phase === "failed") {
        end(reject, new Failure(`Binder could not start it: ${message?.trim() || "no reason given"}`));
      } else if (PHASES[phase]) tell("starting", `Binder: ${PHASES[phase]} …`);
    };
    events.onerror = () => {
      const offline = !navigator.onLine && "You are offline: Binder cannot be reached.";
      end(reject, new Failure(offline || `${host(address)} does not answer, or broke off.`));
    };
  });
}

/** A signal that comes with another one, or when the time is over. */
function either(signal, time) {
  const both = new AbortController();
  signal.addEventListener("abort", () => both.abort(signal.reason));
  setTimeout(() => both.abort(new Error("no answer")), time);
  return both.signal;
}

/** The settings for a server, once it is known to answer and to accept the token. */
async function reach(address, token, signal) {
  const baseUrl = address.endsWith("/") ? address : `${address}/`;
  const headers = token ? { Authorization: `token ${token}` } : {};
  const limit = either(signal, PATIENCE);
  /** @type {RequestInit} */
  const init = { cache: "no-store", credentials: "omit", headers, signal: limit };
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
 */
async function why(baseUrl, signal) {
  /** @param {RequestInit} how */
  const answers = (how) =>
    fetch(`${baseUrl}api`, { credentials: "omit", signal: either(signal, 10_000), ...how }).then(
      ({ type, ok }) => ok || type === "opaque",
      () => false,
    );
  if (await answers({ mode: "cors" })) {
    return `The server at ${host(baseUrl)} refuses the token: it is wrong or too old.`;
  }
  if (await answers({ mode: "no-cors" })) {
    return (
      `The server at ${host(baseUrl)} does not let this site use it. Start it with ` +
      `--ServerApp.allow_origin=${location.origin}`
    );
  }
  const own = /^(localhost|127\.|\[::1\])/.test(host(baseUrl));
  if (!navigator.onLine && !own) return "You are offline: the server cannot be reached.";
  return `No server answers at ${baseUrl}.`;
}

/** Start a kernel and wait until it answers. */
async function open({ settings, name }, signal) {
  tell("starting", `Starting Python on ${host(settings.baseUrl)} …`);
  const client = new KernelAPIClient({ serverSettings: settings });
  let model;
  try {
    model = await client.startNew({ name });
  } catch (error) {
    throw new Failure(`${host(settings.baseUrl)} could not start Python: ${error.message}`);
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

function watch() {
  const mine = kernel;
  mine.statusChanged.connect((_, status) => {
    if (mine !== kernel) return;
    if (status === "dead") {
      tell("failed", "Python has ended. Start it again.");
    } else if (status === "autorestarting") {
      say("forgotten"); // it died and is started anew by the server
    }
    say("kernel", { status });
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
  /** @param {{where: string, address: string, token: string, known?: {address: string, token: string}}} wish */
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
        server = ready ? known : null;
        if (!ready) {
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
      watch();
      tell("ready", `Ready: Python on ${host(server.address)}.`, { server });
    } catch (error) {
      if (signal.aborted) return;
      tell("failed", error instanceof Failure ? error.message : `It did not work: ${error.message}`);
    }
  },

  /** @param {{id: number, code: string}} cell */
  async execute({ id, code }) {
    const done = (status, more = {}) => say("done", { id, status, ...more });
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
      const reply = await kernel.requestComplete({ code, cursor_pos: place });
      say("completed", { id, content: reply.content });
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
    actions[action](rest).catch((error) => tell("failed", `It did not work: ${error.message}`));
  };
  say("linked");
});

addEventListener("pagehide", () => {
  const old = kernel;
  if (!old) return;
  kernel = undefined;
  const { baseUrl, token } = old.serverSettings;
  const headers = token ? { Authorization: `token ${token}` } : {};
  const address = `${baseUrl}api/kernels/${old.id}`;
  fetch(address, { method: "DELETE", keepalive: true, credentials: "omit", headers }).catch(() => {});
  old.dispose(); // or it would try to connect again while the page goes
});
// The page is back as it was left, but for its kernel.
addEventListener("pageshow", ({ persisted }) => {
  if (persisted && port) tell("idle", "Stopped when you left the page.");
});
