/** The queue: which files there are, what is done with each, and how far it is. */

import { PlainError } from "./errors.js";

/** @typedef {import("./api.js").Transcript} Transcript */

/**
 * @typedef {object} Known
 * @property {Transcript} [transcript] with it an item is done
 * @property {PlainError} [error] with it an item is refused before it is sent
 * @property {boolean} [recorded] whether this page alone has the sound
 */

/**
 * @typedef {"waiting" | "sending" | "working" | "held" | "done" | "failed" | "cancelled"} State
 *   `held`: the server had no room; it is asked again after a while.
 *
 * @typedef {object} Item
 * @property {number} id
 * @property {File} file
 * @property {State} state
 * @property {number} progress the share in [0, 1] that has gone out
 * @property {PlainError | null} error
 * @property {Transcript | null} transcript
 * @property {boolean} recorded whether this page alone has its sound
 * @property {boolean} saved whether that is kept elsewhere, too
 * @property {number} sinceMs when it came into this state, as `Date.now` says it
 *
 * @typedef {{onSent: (share: number) => void, signal: AbortSignal}} During
 * @typedef {(file: File, during: During) => Promise<Transcript>} Work
 */

const MAX_RUNNING = 2;
const MAX_TRIES = 4;
const MAX_WAIT_S = 30;
const BUSY = [429, 503];
const OPEN = ["waiting", "sending", "working", "held"];

/** Works on a few files at a time; says `change` with the item, and `remove`. */
export class Queue extends EventTarget {
  /** @param {Work} work turns a file into a transcript */
  constructor(work) {
    super();
    this.work = work;
    /** @type {Item[]} */
    this.items = [];
    /** @type {Map<Item, AbortController>} */
    this.running = new Map();
    this.lastId = 0;
  }

  /**
   * Add a file, and what is known of it.
   *
   * @param {File} file
   * @param {Known} [known]
   * @returns {Item}
   */
  add(file, { transcript, error, recorded = false } = {}) {
    this.lastId += 1;
    /** @type {Item} */
    const item = {
      id: this.lastId,
      file,
      state: error ? "failed" : transcript ? "done" : "waiting",
      progress: 0,
      error: error ?? null,
      transcript: transcript ?? null,
      recorded,
      saved: false,
      sinceMs: Date.now(),
    };
    this.items.push(item);
    this.change(item, {});
    this.next();
    return item;
  }

  /** @returns {boolean} whether something would be lost if the page were left */
  get hasUnsaved() {
    return this.items.some(
      (item) => (item.recorded && !item.saved) || OPEN.includes(item.state),
    );
  }

  /** @param {Item} item */
  retry(item) {
    if (OPEN.includes(item.state)) return;
    this.change(item, { state: "waiting", progress: 0, error: null });
    this.next();
  }

  /** Try all again that wanted a key. */
  retryRefused() {
    this.items.filter((item) => item.error?.status === 401).forEach((item) => this.retry(item));
  }

  /** @param {Item} item */
  cancel(item) {
    this.running.get(item)?.abort(new DOMException("cancelled", "AbortError"));
    if (item.state === "waiting") this.change(item, { state: "cancelled" });
  }

  /** @param {Item} item */
  remove(item) {
    this.cancel(item);
    this.items = this.items.filter((other) => other !== item);
    this.dispatchEvent(new CustomEvent("remove", { detail: item }));
  }

  /** @param {Item} item one that was removed, to its place among the others */
  restore(item) {
    this.items = [...this.items, item].sort((one, other) => one.id - other.id);
    this.change(item, {});
  }

  /** Begin what there is room for. */
  next() {
    const waiting = this.items.filter(
      (item) => item.state === "waiting" && !this.running.has(item),
    );
    for (const item of waiting.slice(0, MAX_RUNNING - this.running.size)) void this.run(item);
  }

  /** @param {Item} item */
  async run(item) {
    const controller = new AbortController();
    this.running.set(item, controller);
    try {
      const transcript = await this.persist(item, controller.signal);
      this.change(item, { state: "done", transcript });
    } catch (error) {
      if (controller.signal.aborted) this.change(item, { state: "cancelled" });
      else {
        const plain = error instanceof PlainError ? error : new PlainError(500);
        this.change(item, { state: "failed", error: plain });
        if (error !== plain) throw error; // a defect, for the browser's console
      }
    } finally {
      this.running.delete(item);
      this.next();
    }
  }

  /**
   * Send a file, and again after a while if the server had no room.
   *
   * @param {Item} item
   * @param {AbortSignal} signal
   * @returns {Promise<Transcript>}
   */
  async persist(item, signal) {
    const onSent = (/** @type {number} */ share) =>
      this.change(item, { state: share < 1 ? "sending" : "working", progress: share });
    for (let tries = 1; ; tries += 1) {
      this.change(item, { state: "sending", progress: 0 });
      try {
        return await this.work(item.file, { onSent, signal });
      } catch (error) {
        const busy = error instanceof PlainError && BUSY.includes(error.status);
        if (!busy || tries === MAX_TRIES) throw error;
        this.change(item, { state: "held" });
        await pause(Math.min(error.retryAfterS || tries, MAX_WAIT_S), signal);
      }
    }
  }

  /**
   * @param {Item} item
   * @param {Partial<Item>} values
   */
  change(item, values) {
    if (values.state && values.state !== item.state) item.sinceMs = Date.now();
    Object.assign(item, values);
    this.dispatchEvent(new CustomEvent("change", { detail: item }));
  }
}

/**
 * @param {number} seconds
 * @param {AbortSignal} signal ends it early, with its reason
 * @returns {Promise<void>}
 */
function pause(seconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, 1000 * seconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)));
  });
}
