/** How the server shall decode: read from the form, and remembered. */

import { find } from "./dom.js";

/**
 * As the server names it.
 *
 * @typedef {{hotwords: string[], decoder?: string, beam_width?: number}} Decoding
 */

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
    this.width.addEventListener("change", () => this.bound());
    this.changed();
  }

  /** @returns {Decoding} what is chosen */
  get chosen() {
    const width = this.width.disabled ? NaN : this.width.valueAsNumber;
    return {
      hotwords: phrases(this.words.value),
      ...(this.decoder.value && { decoder: this.decoder.value }),
      ...(width && { beam_width: width }),
    };
  }

  /** @returns {[string, string][]} the same as fields of a form */
  get fields() {
    return Object.entries(this.chosen).flatMap(([name, value]) =>
      [value].flat().map((one) => /** @type {[string, string]} */ ([name, String(one)])),
    );
  }

  /** Bring a beam width that no server takes to the nearest that it does. */
  bound() {
    const { min, max, valueAsNumber: width } = this.width;
    if (!width && width !== 0) this.width.value = "";
    else this.width.value = String(Math.max(Number(min), Math.min(Math.round(width), Number(max))));
    this.changed();
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
