/** How the server shall decode: read from the form, and remembered. */

import { find } from "./dom.js";

const NAME = "stt-options";

/**
 * Return phrases from a text, one a line or parted by commas.
 *
 * @param {string} text
 * @returns {string[]}
 */
export const phrases = (text) =>
  text
    .split(/[\n,]/)
    .map((phrase) => phrase.trim())
    .filter(Boolean);

/** The form of the options. */
export class Options {
  constructor() {
    this.decoder = /** @type {HTMLSelectElement} */ (find("#decoder"));
    this.width = /** @type {HTMLInputElement} */ (find("#beam-width"));
    this.words = /** @type {HTMLTextAreaElement} */ (find("#hotwords"));
    this.recall();
    find("#options").addEventListener("input", () => this.changed());
    this.changed();
  }

  /** @returns {string[]} */
  get hotwords() {
    return phrases(this.words.value);
  }

  /** @returns {[string, string][]} fields of a request for a transcript */
  get fields() {
    /** @type {[string, string][]} */
    const fields = this.hotwords.map((phrase) => ["hotwords", phrase]);
    if (this.decoder.value) fields.push(["decoder", this.decoder.value]);
    if (!this.width.disabled && this.width.value) fields.push(["beam_width", this.width.value]);
    return fields;
  }

  changed() {
    this.width.disabled = this.decoder.value === "greedy";
    const values = [this.decoder.value, this.width.value, this.words.value];
    localStorage.setItem(NAME, JSON.stringify(values));
    const changed = values.filter(Boolean).length;
    find("#options-count").textContent = changed ? `${changed} set` : "";
  }

  recall() {
    const [decoder = "", width = "", words = ""] = JSON.parse(localStorage.getItem(NAME) ?? "[]");
    this.decoder.value = decoder;
    this.width.value = width;
    this.words.value = words;
  }
}
