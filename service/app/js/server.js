/** What the page knows of the server: which model answers, and its limits. */

import { readLimits, readModel } from "./api.js";
import { find } from "./dom.js";
import { PlainError } from "./errors.js";
import { shortSize } from "./formats.js";
import { askForKey } from "./key.js";

const AGAIN_MS = 5000;
/** @type {[string, string]} */
const EMPTY = [
  "This file is empty.",
  "Record it again, or choose another. Folders cannot be sent.",
];

/** Asks until a model answers, and says in the page's head what it heard; and again when told to. */
export class Server {
  constructor() {
    this.model = "";
    /** @type {import("./api.js").Limits} */
    this.limits = { maxBytes: Infinity, maxDurationS: Infinity, rateHz: 22_050 };
    this.timer = 0;
    /** @type {Promise<void> | null} */
    this.asking = null;
  }

  /** @returns {Promise<void>} when there is an answer, or none */
  ask() {
    clearTimeout(this.timer);
    this.asking ??= this.askOnce().finally(() => (this.asking = null));
    return this.asking;
  }

  async askOnce() {
    try {
      this.limits = await readLimits();
      this.model = await readModel();
      this.say("ready", this.model);
    } catch (error) {
      if (!(error instanceof PlainError)) throw error;
      if (error.status === 401) return this.wantKey();
      const words = error.status === 503 ? "Model not ready" : "No answer";
      this.say("away", words, error.detail || error.message);
      this.timer = setTimeout(() => void this.ask(), AGAIN_MS);
    }
  }

  wantKey() {
    this.say("away", "Wants a key");
    askForKey();
  }

  /**
   * Return why a file cannot be sent, if so.
   *
   * @param {File} file
   * @returns {PlainError | undefined}
   */
  refusal(file) {
    if (!file.size) return new PlainError(400, { words: EMPTY });
    const { maxBytes } = this.limits;
    if (file.size <= maxBytes) return;
    return new PlainError(413, {
      detail: `at most ${shortSize(maxBytes)}; this is ${shortSize(file.size)}`,
    });
  }

  /**
   * @param {"ready" | "away"} state
   * @param {string} words
   * @param {string} [detail]
   */
  say(state, words, detail = "") {
    const status = find("#server");
    status.dataset.state = state;
    status.title = detail;
    find("#server-words").textContent = words;
  }
}
