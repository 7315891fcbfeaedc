/** Which text is shown, and when another takes its place. */

import { find } from "./dom.js";

/** @typedef {import("./queue.js").Item} Item */

/** Shows what the person asked for last, and takes nobody away from what is played. */
export class Showing {
  /**
   * @param {import("./stage.js").Stage} stage
   * @param {import("./queue.js").Queue} queue
   * @param {(item: Item | null) => void} onShown
   */
  constructor(stage, queue, onShown) {
    this.stage = stage;
    this.queue = queue;
    this.onShown = onShown;
    /** @type {Set<Item>} */
    this.awaited = new Set();
    queue.addEventListener("change", (event) =>
      this.changed(/** @type {CustomEvent} */ (event).detail),
    );
    queue.addEventListener("remove", (event) =>
      this.removed(/** @type {CustomEvent} */ (event).detail),
    );
  }

  /**
   * Show the first of these that is done, unless another is played or was opened by then.
   *
   * @param {Item[]} items
   */
  expect(items) {
    this.awaited = new Set(items);
  }

  /** @param {Item} item chosen by the person */
  open(item) {
    this.awaited.clear();
    this.show(item);
    this.scroll();
  }

  /** @param {Item} item */
  show(item) {
    this.stage.show(item);
    this.onShown(item);
  }

  /** On a phone the text is below the list: go there, unless something else is looked at. */
  scroll() {
    const isBusy =
      document.body.dataset.mode !== "idle" ||
      find("#sound-problem").textContent ||
      document.activeElement?.matches("input, select, textarea");
    if (!isBusy && matchMedia("(max-width: 50rem)").matches) find("#stage").scrollIntoView();
  }

  /** @param {Item} item */
  changed(item) {
    if (item.state !== "done") return;
    const isAwaited = this.awaited.has(item) || item.recorded;
    if (this.awaited.has(item)) this.awaited.clear();
    const shown = this.stage.item;
    if (shown && shown !== item && (!isAwaited || this.stage.isPlaying)) return;
    this.show(item);
    this.scroll();
  }

  /** @param {Item} item */
  removed(item) {
    if (this.stage.item !== item) return;
    const done = this.queue.items.filter((other) => other.transcript);
    const neighbour = done.find((other) => other.id > item.id) ?? done.at(-1);
    if (neighbour) return this.show(neighbour);
    this.stage.clear();
    this.onShown(null);
  }
}
