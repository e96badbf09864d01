// What the reader has written in the cells of this page, kept in this browser.

/**
 * @typedef {Record<string, { source: string, code: string }>} Edits - what stands in a cell instead of
 *   the book's code, by the cell's place
 */

export const EDITS = `llmbook-live:${location.pathname}`; // in localStorage

/**
 * What a storage holds under a key; nothing if it cannot be read.
 * @param {"localStorage" | "sessionStorage"} storage
 * @param {string} key
 */
export function recall(storage, key) {
  try {
    return JSON.parse(window[storage].getItem(key) ?? "null") ?? {};
  } catch {
    return {};
  }
}
