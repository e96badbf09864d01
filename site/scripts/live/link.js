// The page's end of the line to the kernel, which lives in a frame that is loaded here.

/**
 * @typedef {object} Told - how it stands with the kernel
 * @property {import("./bar.js").State} state
 * @property {string} text
 * @property {import("./bar.js").Server} [server] - when one has been found
 *
 * @typedef {object} Listener
 * @property {(message: Told) => void} state
 * @property {() => void} forgotten
 *
 * @typedef {(kind: string, content: any) => void} Output - content is that of Jupyter's message
 *
 * @typedef {object} Reply - the kernel's, to code
 * @property {"ok" | "error" | "aborted" | "lost"} status
 * @property {number} [execution_count]
 * @property {string} [ename]
 * @property {string} [evalue]
 * @property {{ source: string, data: Record<string, any> }[]} [payload]
 */

/** Load the frame and return the line to it. */
export class Link {
  /**
   * @param {string} address of the frame
   * @param {Listener} listener
   */
  constructor(address, listener) {
    this.listener = listener;
    this.count = 0;
    /** @type {Map<number, { output?: Output, end: (reply: any) => void }>} */
    this.waiting = new Map();
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.ready = this.#load(address, port2);
  }

  /**
   * @param {string} address
   * @param {MessagePort} theirs
   * @returns {Promise<void>}
   */
  #load(address, theirs) {
    return new Promise((resolve, reject) => {
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "The connection of the live cells";
      frame.src = address;
      // A file has no origin that could be named.
      const origin = location.protocol === "file:" ? "*" : location.origin;
      frame.onload = () => frame.contentWindow?.postMessage("link", origin, [theirs]);
      const late = setTimeout(() => {
        frame.remove();
        reject(new Error("A part of the book could not be loaded."));
      }, 20_000);
      this.port.onmessage = ({ data }) => {
        if (data.type !== "linked") return this.#hear(data);
        clearTimeout(late);
        resolve();
      };
      document.body.append(frame);
    });
  }

  /** @param {{ type: string, id: number } & Record<string, any>} message - JSON from the frame */
  #hear({ type, id, ...rest }) {
    const one = this.waiting.get(id);
    if (type === "output") one?.output?.(rest.kind, rest.content);
    else if (type === "done" || type === "completed") {
      this.waiting.delete(id);
      one?.end(rest);
    } else this.listener[/** @type {keyof Listener} */ (type)](/** @type {any} */ (rest));
  }

  /** @param {string} action */
  send(action, more = {}) {
    this.port.postMessage({ action, ...more });
  }

  /**
   * Run code; the promise holds the kernel's reply, with status ok, error, aborted or lost.
   * @param {string} code
   * @param {Output} output
   * @returns {Promise<Reply>}
   */
  execute(code, output) {
    return new Promise((end) => {
      const id = ++this.count;
      this.waiting.set(id, { output, end });
      this.send("execute", { id, code });
    });
  }

  /**
   * Ask how code may go on at a place.
   * @param {string} code
   * @param {number} place
   * @returns {Promise<import("./editor.js").Reply | null>}
   */
  complete(code, place) {
    return new Promise((end) => {
      const id = ++this.count;
      this.waiting.set(id, { end: ({ content }) => end(content) });
      this.send("complete", { id, code, place });
    });
  }
}
