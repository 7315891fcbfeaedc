/** The list of files, as the page shows it. */

import { find, icon, make, save } from "./dom.js";
import { lengthOf, shortSize, shortTime } from "./formats.js";

/** @typedef {import("./queue.js").Item} Item */
/** @typedef {import("./queue.js").State} State */

/** @type {Record<State, (item: Item) => string>} */
const STATES = {
  waiting: () => "Waits for its turn",
  sending: (item) => `Sending, ${Math.round(100 * item.progress)} %`,
  working: (item) => `Transcribing${elapsed(item.sinceMs)}`,
  held: () => "The server is busy; it is asked again soon",
  done: (item) => `${lengthOf(item.transcript?.durationS ?? 0)} · ${shortSize(item.file.size)}`,
  failed: () => "Failed",
  cancelled: () => "Cancelled",
};
const LONG_MS = 5_000;
const TICK_MS = 1_000;
/** @type {Record<string, string>} */
const NEWS = { done: "done", failed: "failed", cancelled: "cancelled" };

/** @param {number} sinceMs */
function elapsed(sinceMs) {
  const ms = Date.now() - sinceMs;
  return ms < LONG_MS ? "" : `, ${shortTime(ms / 1000)}`;
}

/** Shows each item of a queue, and passes on what is pressed. */
export class QueueView {
  /**
   * @param {import("./queue.js").Queue} queue
   * @param {object} listener
   * @param {(item: Item) => void} listener.onOpen called with a finished item that is chosen
   * @param {(item: Item) => void} listener.onRemove called with one that shall go
   */
  constructor(queue, { onOpen, onRemove }) {
    this.queue = queue;
    this.onOpen = onOpen;
    this.onRemove = onRemove;
    this.list = find("#queue");
    /** @type {Map<number, HTMLLIElement>} */
    this.rows = new Map();
    this.revealing = false;
    setInterval(() => this.tick(), TICK_MS);
    queue.addEventListener("change", (event) =>
      this.show(/** @type {CustomEvent} */ (event).detail),
    );
    queue.addEventListener("remove", (event) =>
      this.drop(/** @type {CustomEvent} */ (event).detail),
    );
  }

  /**
   * Mark the item whose text is shown.
   *
   * @param {Item | null} item
   */
  mark(item) {
    for (const [id, row] of this.rows) {
      const open = row.querySelector(".item-open");
      if (id === item?.id) open?.setAttribute("aria-current", "true");
      else open?.removeAttribute("aria-current");
    }
  }

  /** @param {Item} item */
  show(item) {
    const row = this.rows.get(item.id) ?? this.begin(item);
    if (row.dataset.state !== item.state) this.renew(row, item);
    find(".item-state", row).textContent = STATES[item.state](item);
    const bar = /** @type {HTMLProgressElement | null} */ (row.querySelector("progress"));
    if (bar && item.state === "sending") bar.value = item.progress;
    this.count();
  }

  /** Tell of what takes long that it goes on. */
  tick() {
    for (const item of this.queue.items.filter(({ state }) => state === "working")) {
      const row = this.rows.get(item.id);
      if (row) find(".item-state", row).textContent = STATES.working(item);
    }
  }

  /** @param {Item} item */
  begin(item) {
    const row = make("li", { class: "item" });
    const next = this.queue.items.find((other) => other.id > item.id);
    this.list.insertBefore(row, (next && this.rows.get(next.id)) ?? null);
    this.rows.set(item.id, row);
    this.reveal(row);
    return row;
  }

  /**
   * Scroll to the first of the files that come together.
   *
   * @param {HTMLLIElement} row
   */
  reveal(row) {
    if (this.revealing) return;
    this.revealing = true;
    requestAnimationFrame(() => {
      this.revealing = false;
      this.list.scrollTop = row.offsetTop - this.list.offsetTop;
    });
  }

  /** @param {Item} item */
  drop(item) {
    const row = this.rows.get(item.id);
    const had = row?.contains(document.activeElement);
    const next = row?.nextElementSibling ?? row?.previousElementSibling;
    row?.remove();
    this.rows.delete(item.id);
    this.count();
    if (had) find(next ? ".item-actions button:last-child" : "#choose", next ?? document).focus();
  }

  count() {
    find("#queue-section").hidden = this.rows.size === 0;
    const count = (/** @type {(state: State) => boolean} */ isMeant) =>
      this.queue.items.filter((item) => isMeant(item.state)).length;
    const open = count((state) => !(state in NEWS));
    const failed = count((state) => state === "failed");
    const done = open || !failed ? 0 : count((state) => state === "done");
    const parts = [open && `${open} to go`, done && `${done} done`, failed && `${failed} failed`];
    find("#queue-count").textContent = parts.filter(Boolean).join(" · ");
  }

  /**
   * Draw a row anew for another state; the keyboard's place in it is kept.
   *
   * @param {HTMLLIElement} row
   * @param {Item} item
   */
  renew(row, item) {
    const had = row.contains(document.activeElement);
    const current = row.querySelector("[aria-current]") !== null;
    const wasSeen = this.hiddenPx(row) <= 0;
    row.dataset.state = item.state;
    row.replaceChildren(this.body(item, current), this.actions(item), ...this.below(item));
    if (wasSeen) this.list.scrollTop += Math.max(0, this.hiddenPx(row)); // an error makes it taller
    if (had) /** @type {HTMLElement | null} */ (row.querySelector("button"))?.focus();
    if (item.state in NEWS) {
      const why = item.error ? `: ${item.error.message}` : "";
      find("#news").textContent = `${item.file.name} ${NEWS[item.state]}${why}`;
    }
  }

  /**
   * Return how much of a row is below the list's lower edge.
   *
   * @param {HTMLLIElement} row
   */
  hiddenPx(row) {
    return row.getBoundingClientRect().bottom - this.list.getBoundingClientRect().bottom;
  }

  /**
   * @param {Item} item
   * @param {boolean} current
   */
  body(item, current) {
    const name = make("span", { class: "item-name", title: item.file.name }, item.file.name);
    const text = make("span", { class: "item-text" }, name, make("span", { class: "item-state" }));
    if (!item.transcript) return make("div", { class: "item-body" }, mark(item.state), text);
    const attributes = {
      type: "button",
      class: "item-body item-open",
      "aria-current": current && "true",
    };
    const open = make("button", attributes, mark(item.state), text);
    open.addEventListener("click", () => this.onOpen(item));
    return open;
  }

  /** @param {Item} item */
  actions(item) {
    const { queue } = this;
    const actions = make("div", { class: "item-actions" });
    const add = (
      /** @type {string} */ what,
      /** @type {string} */ sign,
      /** @type {() => void} */ act,
      title = what,
    ) => {
      const label = `${what} ${item.file.name}`;
      const button = make("button", {
        type: "button",
        class: "quiet",
        "aria-label": label,
        title,
      });
      button.append(icon(sign));
      button.addEventListener("click", act);
      actions.append(button);
    };
    if (item.recorded) {
      const keep = () => {
        save(item.file.name, item.file, item.file.type);
        item.saved = true;
      };
      add("Save the sound of", "download", keep, "Save the sound");
    }
    if (item.state in NEWS) {
      add(item.state === "done" ? "Transcribe again" : "Try again", "again", () =>
        queue.retry(item),
      );
      add("Remove", "close", () => this.onRemove(item));
    } else add("Cancel", "close", () => queue.cancel(item));
    return actions;
  }

  /**
   * @param {Item} item
   * @returns {HTMLElement[]}
   */
  below(item) {
    const label = `Progress of ${item.file.name}`;
    if (item.state === "sending")
      return [make("progress", { max: "1", value: "0", "aria-label": label })];
    if (item.state === "working") return [make("progress", { "aria-label": label })];
    if (!item.error) return [];
    const { message, todo, detail } = item.error;
    const said = detail ? [make("p", { class: "item-detail" }, `The server says: ${detail}`)] : [];
    return [
      make(
        "div",
        { class: "item-error" },
        make("p", {}, make("strong", {}, message), ` ${todo}`),
        ...said,
      ),
    ];
  }
}

/** @param {State} state */
function mark(state) {
  const span = make("span", { class: "item-mark" });
  span.append(icon({ done: "done", failed: "problem" }[/** @type {string} */ (state)] ?? "sound"));
  return span;
}
