/** Live captions, as the page shows them; what was said becomes an item of the queue. */

import { transcriptOf } from "./api.js";
import { find, make } from "./dom.js";
import { LiveSession } from "./live.js";
import { Meter, wavFile } from "./recorder.js";
import { doubtOf } from "./words.js";

/** @typedef {import("./api.js").Transcript} Transcript */
/** @typedef {import("./live.js").Utterance} Utterance */
/** @typedef {import("./live.js").LiveWord} LiveWord */

/** Shows a session: final words in full ink, partial ones paler. */
export class Captions {
  /**
   * @param {object} listener
   * @param {(recording: File, transcript: Transcript) => void} listener.onKept is given what was
   *   heard, if words were
   * @param {(problem: string) => void} listener.onEnd with what went wrong, or nothing
   */
  constructor(listener) {
    this.listener = listener;
    /** @type {Utterance[]} */
    this.finals = [];
    /** @type {LiveSession | null} */
    this.session = null;
    this.meter = new Meter(find("#live"));
  }

  /**
   * @param {number} rateHz
   * @param {import("./options.js").Decoding} decoding
   */
  async start(rateHz, decoding) {
    this.finals = [];
    find("#captions-final").replaceChildren();
    find("#captions-partial").replaceChildren();
    this.hint("Connecting …");
    const session = new LiveSession({
      onReady: () => this.hint("Speak now."),
      onPartial: (utterance) => this.showPartial(utterance),
      onFinal: (utterance) => this.addFinal(utterance),
      onLevel: (peak, seconds) => this.meter.show(peak, seconds),
      onEnd: (problem) => this.end(problem),
    });
    this.session = session;
    await session.start(rateHz, decoding);
  }

  /** Stop listening, and wait for the last words. */
  stop() {
    this.hint("Waiting for the last words …");
    void this.session?.stop();
  }

  /** @param {string} text */
  hint(text) {
    find("#captions-hint").textContent = text;
  }

  /** @param {Utterance} utterance */
  showPartial(utterance) {
    this.hint("");
    find("#captions-partial").replaceChildren(...spans(utterance.words));
    follow();
  }

  /** @param {Utterance} utterance */
  addFinal(utterance) {
    find("#captions-partial").replaceChildren();
    if (!utterance.text) return;
    this.hint("");
    this.finals.push(utterance);
    find("#captions-final").append(make("p", {}, ...spans(utterance.words)));
    follow();
  }

  /** @param {string} problem */
  end(problem) {
    const session = /** @type {LiveSession} */ (this.session);
    this.session = null;
    if (this.finals.length) {
      const recording = wavFile(session.chunks, session.rateHz, "Live captions");
      this.listener.onKept(recording, asTranscript(this.finals, session.durationS));
    }
    this.listener.onEnd(problem || (this.finals.length ? "" : "No words were heard."));
  }
}

/** @param {LiveWord[]} words */
const spans = (words) =>
  words.flatMap(({ text, confidence }) => [
    make("span", { "data-doubt": String(doubtOf(confidence)) }, text),
    " ",
  ]);

/** Keep the newest words in sight. */
function follow() {
  const captions = find("#captions");
  captions.scrollTop = captions.scrollHeight;
}

/**
 * Return utterances as a `verbose_json` has them, so that they can be saved like any other.
 *
 * @param {Utterance[]} utterances
 * @param {number} durationS
 * @returns {Transcript}
 */
function asTranscript(utterances, durationS) {
  const segments = utterances.map(({ text, start_s, end_s, confidence }, id) => ({
    id,
    start: start_s,
    end: end_s,
    text,
    confidence,
  }));
  const words = utterances
    .flatMap((utterance) => utterance.words)
    .map(({ text, start_s, end_s, confidence }) => ({
      word: text,
      start: start_s,
      end: end_s,
      confidence,
    }));
  const text = utterances.map((utterance) => utterance.text).join(" ");
  return transcriptOf({ task: "transcribe", duration: durationS, text, segments, words });
}
