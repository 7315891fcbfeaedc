/** The words of a transcript: lit while they are heard, shaded where they may be wrong. */

import { make } from "./dom.js";
import { shortTime } from "./formats.js";

/** @typedef {import("./api.js").Word} Word */

const PARAGRAPH_PAUSE_S = 1.2;
const DOUBTS = [0.75, 0.6, 0.45, 0.3]; // a step for each that the confidence is under
const SAID = 2; // from this step on screen readers are told

/**
 * Return how doubtful a word is: 0, or up to 4.
 *
 * @param {number | null} confidence
 * @returns {number}
 */
export const doubtOf = (confidence) =>
  confidence === null ? 0 : DOUBTS.filter((bound) => confidence < bound).length;

/** Buttons, one a word; one of them is in the tab order, and the arrow keys go to the others. */
export class Words {
  /**
   * @param {HTMLElement} container
   * @param {(timeS: number) => void} onSeek
   */
  constructor(container, onSeek) {
    this.container = container;
    this.onSeek = onSeek;
    /** @type {Word[]} */
    this.words = [];
    /** @type {HTMLButtonElement[]} */
    this.buttons = [];
    this.lit = -1;
    container.addEventListener("click", (event) => this.pressed(event));
    container.addEventListener("keydown", (event) => this.moved(event));
  }

  /** @param {Word[]} words in order of time */
  show(words) {
    this.words = words;
    this.lit = -1;
    this.buttons = words.map(buttonOf);
    this.buttons[0]?.setAttribute("tabindex", "0");
    this.container.replaceChildren(...this.paragraphs());
  }

  /** @returns {HTMLElement[]} each with the time at which it begins */
  paragraphs() {
    /** @type {HTMLElement[]} */
    const found = [];
    let text = make("p");
    this.words.forEach(({ startS }, index) => {
      const before = this.words[index - 1];
      if (!before || startS - before.endS > PARAGRAPH_PAUSE_S) {
        text = make("p");
        const when = make("span", { class: "when", "aria-hidden": "true" }, shortTime(startS));
        found.push(make("div", { class: "paragraph" }, when, text));
      }
      text.append(this.buttons[index], " ");
    });
    return found;
  }

  /**
   * Light the word that is heard at a time.
   *
   * @param {number} timeS
   * @param {boolean} playing then the word is kept in sight
   */
  light(timeS, playing) {
    const index = this.at(timeS);
    if (index === this.lit) return;
    this.buttons[this.lit]?.removeAttribute("aria-current");
    this.lit = index;
    const button = this.buttons[index];
    button?.setAttribute("aria-current", "true");
    if (playing && button) this.follow(button);
  }

  /**
   * Keep a word in sight of its own box; the page stays where the person has it.
   *
   * @param {HTMLElement} button
   */
  follow(button) {
    const [box, word] = [this.container, button].map((element) => element.getBoundingClientRect());
    if (word.top < box.top || word.bottom > box.bottom) {
      this.container.scrollTop += word.top - box.top - box.height / 3;
    }
  }

  /**
   * Return the index of the word at a time, or -1 between words.
   *
   * @param {number} timeS
   * @returns {number}
   */
  at(timeS) {
    let [low, high] = [0, this.words.length];
    while (low < high) {
      const middle = (low + high) >> 1;
      if (this.words[middle].startS <= timeS) low = middle + 1;
      else high = middle;
    }
    return low && timeS < this.words[low - 1].endS ? low - 1 : -1;
  }

  /** @param {Event} event */
  pressed({ target }) {
    const index = this.buttons.indexOf(/** @type {HTMLButtonElement} */ (target));
    if (index < 0) return;
    this.stop(index);
    this.onSeek(this.words[index].startS);
  }

  /** @param {KeyboardEvent} event */
  moved(event) {
    const last = this.buttons.length - 1;
    const from = this.buttons.indexOf(/** @type {HTMLButtonElement} */ (document.activeElement));
    /** @type {Record<string, number>} */
    const places = { ArrowRight: from + 1, ArrowLeft: from - 1, Home: 0, End: last };
    const place = places[event.key];
    if (from < 0 || place === undefined || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.stop(Math.max(0, Math.min(place, last))).focus();
  }

  /**
   * Make a word the one that Tab reaches.
   *
   * @param {number} index
   */
  stop(index) {
    this.container.querySelector("[tabindex='0']")?.setAttribute("tabindex", "-1");
    this.buttons[index].setAttribute("tabindex", "0");
    return this.buttons[index];
  }
}

/** @param {Word} word */
function buttonOf({ text, startS, confidence }) {
  const doubt = doubtOf(confidence);
  const sure = confidence === null ? "" : `, ${Math.round(100 * confidence)} % sure`;
  const button = make(
    "button",
    {
      type: "button",
      class: "word",
      tabindex: "-1",
      title: shortTime(startS) + sure,
      "data-doubt": String(doubt),
    },
    text,
  );
  if (doubt >= SAID) button.append(make("span", { class: "unseen" }, sure));
  return button;
}
