/** The words of a transcript: lit while they are heard, shaded where they may be wrong. */

import { make } from "./dom.js";
import { shortTime } from "./formats.js";
import { paragraphStarts } from "./paragraphs.js";

/** @typedef {import("./api.js").Word} Word */

const DOUBTS = [0.75, 0.6, 0.45, 0.3]; // a step for each that the confidence is under
const SAID = 2; // from this step on screen readers are told
const MAX_LOOKS = 4; // frames: what is far away is laid out only once it comes into sight

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
   * @param {(timeS: number, plays: boolean) => void} onSeek
   */
  constructor(container, onSeek) {
    this.container = container;
    this.onSeek = onSeek;
    /** @type {Word[]} */
    this.words = [];
    /** @type {HTMLButtonElement[]} */
    this.buttons = [];
    this.lit = -1;
    /** @type {HTMLButtonElement | null} */
    this.heard = null; // the last one that was lit; without it the next is brought into sight
    container.addEventListener("click", (event) => this.pressed(event));
    container.addEventListener("keydown", (event) => this.moved(event));
  }

  /** @param {Word[]} words in order of time */
  show(words) {
    this.words = words;
    this.lit = -1;
    this.heard = null;
    this.buttons = words.map(buttonOf);
    this.buttons[0]?.setAttribute("tabindex", "0");
    this.container.replaceChildren(...this.paragraphs());
    this.container.scrollTop = 0;
  }

  /** @returns {HTMLElement[]} each with the time at which it begins */
  paragraphs() {
    const starts = paragraphStarts(this.words);
    return starts.map((first, place) => {
      const when = make(
        "span",
        { class: "when", "aria-hidden": "true" },
        shortTime(this.words[first].startS),
      );
      const buttons = this.buttons.slice(first, starts[place + 1]);
      const text = make("p", {}, ...buttons.flatMap((button) => [button, " "]));
      return make("div", { class: "paragraph" }, when, text);
    });
  }

  /**
   * Light the word that is heard at a time.
   *
   * @param {number} timeS
   * @param {boolean} playing then the words are followed, unless the person has scrolled away
   */
  light(timeS, playing) {
    const index = this.at(timeS);
    if (index === this.lit) return;
    this.buttons[this.lit]?.removeAttribute("aria-current");
    this.lit = index;
    const button = this.buttons[index];
    if (!button) return;
    button.setAttribute("aria-current", "true");
    const follows = !this.heard || (playing && this.place(this.heard).isPartlySeen);
    this.heard = button;
    if (follows) this.bring(button);
  }

  /** Follow the words again, wherever they are scrolled to. */
  rejoin() {
    this.heard = null;
  }

  /**
   * Return where a word is in the box of all.
   *
   * @param {HTMLElement} button
   */
  place(button) {
    const [box, word] = [this.container, button].map((element) => element.getBoundingClientRect());
    return {
      isPartlySeen: word.bottom > box.top && word.top < box.bottom,
      isSeen: word.top >= box.top && word.bottom <= box.bottom,
      tooLowPx: word.top - box.top - box.height / 3,
    };
  }

  /**
   * Bring a word into sight of its own box; the page stays where the person has it.
   *
   * @param {HTMLElement} button
   */
  bring(button) {
    let looks = this.place(button).isSeen ? 0 : MAX_LOOKS;
    const look = () => {
      if (!looks || this.heard !== button) return;
      looks -= 1;
      const { isSeen, tooLowPx } = this.place(button);
      if (!isSeen) this.container.scrollTop += tooLowPx;
      requestAnimationFrame(look);
    };
    look();
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

  /** @param {MouseEvent} event whose detail is 0 if a key, or a screen reader, made it */
  pressed({ target, detail }) {
    const index = this.buttons.indexOf(/** @type {HTMLButtonElement} */ (target));
    if (index < 0) return;
    this.stop(index);
    this.onSeek(this.words[index].startS, detail === 0);
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
  return make(
    "button",
    {
      type: "button",
      class: "word",
      tabindex: "-1",
      title: shortTime(startS) + sure,
      "data-doubt": String(doubt),
      "aria-label": doubt >= SAID && text + sure,
    },
    text,
  );
}
