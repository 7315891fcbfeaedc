/** How the server shall decode: read from the form, and remembered. */

import { find } from "./dom.js";

/**
 * As the server names it.
 *
 * @typedef {{hotwords: string[], decoder?: string, beam_width?: number}} Decoding
 */

const NAME = "stt-options";
const MAX_PHRASES = 100;
const MAX_CHARACTERS = 100; // of a phrase without its weight

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

/**
 * Part phrases into those that the server takes, and the others.
 *
 * @param {string[]} given
 * @returns {{taken: string[], leftOut: string[]}}
 */
export function bounded(given) {
  const isShort = (/** @type {string} */ phrase) =>
    phrase.replace(/:[^:]*$/, "").length <= MAX_CHARACTERS;
  const taken = given.filter(isShort).slice(0, MAX_PHRASES);
  return { taken, leftOut: given.filter((phrase) => !taken.includes(phrase)) };
}

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
      hotwords: bounded(phrases(this.words.value)).taken,
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
    this.tellLeftOut();
  }

  tellLeftOut() {
    const [first, ...more] = bounded(phrases(this.words.value)).leftOut;
    const which = more.length ? `and ${more.length} more are` : "is";
    const limit = `The server takes ${MAX_PHRASES}, of ${MAX_CHARACTERS} letters each`;
    const problem = first ? `${limit}: “${first.slice(0, 30)}” ${which} left out.` : "";
    const shown = find("#hotwords-problem");
    if (shown.textContent !== problem) shown.textContent = problem; // it is read out when it changes
  }

  recall() {
    const [decoder = "", width = "", words = ""] = JSON.parse(localStorage.getItem(NAME) ?? "[]");
    this.decoder.value = decoder;
    this.width.value = width;
    this.words.value = words;
  }
}
