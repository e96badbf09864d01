// The page's end of the line to the kernel, which lives in a frame that is loaded here.

/**
 * @typedef {object} Listener
 * @property {(message: any) => void} state
 * @property {(message: any) => void} kernel
 * @property {(message: any) => void} forgotten
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
    /** @type {Map<number, {output?: (kind: string, content: any) => void, end: (reply: any) => void}>} */
    this.waiting = new Map();
    this.ready = this.#load(address);
  }

  /** @param {string} address */
  #load(address) {
    return new Promise((resolve, reject) => {
      const { port1, port2 } = new MessageChannel();
      this.port = port1;
      port1.onmessage = ({ data }) => {
        if (data.type === "linked") resolve(undefined);
        else this.#hear(data);
      };
      const frame = document.createElement("iframe");
      frame.hidden = true;
      frame.title = "The connection of the live cells";
      frame.src = address;
      // A file has no origin that could be named.
      const origin = location.protocol === "file:" ? "*" : location.origin;
      frame.onload = () => frame.contentWindow.postMessage("link", origin, [port2]);
      setTimeout(() => reject(new Error("A part of the book could not be loaded.")), 20_000);
      document.body.append(frame);
    });
  }

  /** @param {any} message */
  #hear({ type, id, ...rest }) {
    const one = this.waiting.get(id);
    if (type === "output") one?.output(rest.kind, rest.content);
    else if (type === "done" || type === "completed") {
      this.waiting.delete(id);
      one?.end(rest);
    } else this.listener[type](rest);
  }

  /** @param {string} action */
  send(action, more = {}) {
    this.port.postMessage({ action, ...more });
  }

  /**
   * Run code; the promise holds the kernel's reply, with status ok, error, aborted or lost.
   * @param {string} code
   * @param {(kind: string, content: any) => void} output
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
   */
  complete(code, place) {
    return new Promise((end) => {
      const id = ++this.count;
      this.waiting.set(id, { end: ({ content }) => end(content) });
      this.send("complete", { id, code, place });
    });
  }
}
