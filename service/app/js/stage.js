/** The finished recording that is shown: its words, its sound, and what can be saved. */

import { copy, find, icon, make, save } from "./dom.js";
import { FORMATS, lengthOf, shortCount } from "./formats.js";
import { Player } from "./player.js";
import { Words } from "./words.js";

/** @typedef {import("./queue.js").Item} Item */

const COPY = "Copy text";
const COPIED_MS = 4_000;

/** Shows one item of the queue. */
export class Stage {
  constructor() {
    /** @type {Item | null} */
    this.item = null;
    this.copying = 0;
    this.words = new Words(find("#words"), (timeS, plays) => {
      this.player.seek(timeS);
      if (plays) this.player.play();
    });
    this.player = new Player({
      onTime: (timeS) => this.words.light(timeS, this.isPlaying),
      onPlace: () => this.words.rejoin(),
    });
    find("#copy").addEventListener("click", () => void this.copy());
    find("#formats").append(...FORMATS.map((format) => this.saver(format)));
    addEventListener("keydown", (event) => this.space(event));
  }

  /** @returns {boolean} */
  get isPlaying() {
    return !this.player.audio.paused;
  }

  /** @param {Item} item one that is done */
  show(item) {
    const transcript = /** @type {import("./api.js").Transcript} */ (item.transcript);
    const isOther = this.item !== item;
    const hadFocus = find("#words").contains(document.activeElement);
    this.item = item;
    find("#result").hidden = false;
    find("#empty").hidden = true;
    find("#result-name").textContent = item.file.name;
    find("#result-facts").textContent = factsOf(transcript);
    clearTimeout(this.copying);
    find("#copy-label").textContent = COPY;
    this.words.show(transcript.words);
    find("#no-words").hidden = transcript.words.length > 0;
    find("#shades").hidden = !transcript.words.some((word) => word.confidence !== null);
    if (isOther) this.player.load(item.file, transcript.durationS);
    if (hadFocus) find("#stage").focus({ preventScroll: true });
  }

  /** Show nothing. */
  clear() {
    this.item = null;
    this.player.unload();
    find("#result").hidden = true;
    find("#empty").hidden = false;
  }

  async copy() {
    const copied = await copy(this.item?.transcript?.text ?? "");
    find("#copy-label").textContent = copied ? "Copied" : "Selected";
    find("#news").textContent = copied ? "Text copied" : "The browser copies nothing for this page; the text is selected, copy it yourself";
    if (!copied) getSelection()?.selectAllChildren(find("#words"));
    clearTimeout(this.copying);
    this.copying = setTimeout(() => (find("#copy-label").textContent = COPY), COPIED_MS);
  }

  /** @param {typeof FORMATS[number]} format */
  saver({ suffix, type, write }) {
    const button = make("button", { type: "button", "aria-label": `Download ${suffix}` });
    button.append(icon("download"), suffix);
    button.addEventListener("click", () => {
      if (!this.item?.transcript) return;
      const stem = this.item.file.name.replace(/\.[^.]*$/, "");
      save(`${stem}.${suffix}`, write(this.item.transcript), type);
    });
    return button;
  }

  /**
   * Let the space bar play, where it means nothing else.
   *
   * @param {KeyboardEvent} event
   */
  space(event) {
    const target = /** @type {HTMLElement} */ (event.target);
    if (
      event.key !== " " ||
      !this.item ||
      document.body.dataset.mode !== "idle" ||
      target.closest("button, input, select, textarea, summary, a")
    )
      return;
    event.preventDefault();
    this.player.toggle();
  }
}

/** @param {import("./api.js").Transcript} transcript */
function factsOf({ durationS, words, confidence }) {
  const numWords = `${shortCount(words.length)} ${words.length === 1 ? "word" : "words"}`;
  const facts = [lengthOf(durationS), numWords];
  if (confidence !== null && words.length) facts.push(`${Math.round(100 * confidence)} % sure`);
  return facts.join(" · ");
}
