/** Live captions, as the page shows them; what was said becomes an item of the queue. */

import { transcriptOf } from "./api.js";
import { find, make } from "./dom.js";
import { LiveSession } from "./live.js";
import { Meter, wavFile } from "./recorder.js";
import { doubtOf } from "./words.js";

/** @typedef {import("./api.js").Transcript} Transcript */
/** @typedef {import("./live.js").Utterance} Utterance */
/** @typedef {import("./live.js").LiveWord} LiveWord */

const MIN_KEPT_S = 0.5;
const NEAR_PX = 48; // about a line

/** Shows a session: final words in full ink, partial ones paler. */
export class Captions {
  /**
   * @param {object} listener
   * @param {(problem: string) => void} listener.onEnd with what went wrong, or nothing
   * @param {(recording: File, transcript: Transcript | undefined, hasFinals: boolean) => void}
   *   listener.onKept is given, after the end, what was heard, its words, and whether any of them are
   *   final
   */
  constructor(listener) {
    this.listener = listener;
    /** @type {Utterance[]} */
    this.finals = [];
    /** @type {Utterance | null} */
    this.partial = null;
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
    this.partial = null;
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
    this.partial = utterance;
    this.hint("");
    follow(() => find("#captions-partial").replaceChildren(...spans(utterance.words)));
  }

  /** @param {Utterance} utterance */
  addFinal(utterance) {
    this.partial = null;
    if (!utterance.text) return void find("#captions-partial").replaceChildren();
    this.hint("");
    this.finals.push(utterance);
    follow(() => {
      find("#captions-partial").replaceChildren();
      find("#captions-final").append(make("p", {}, ...spans(utterance.words)));
    });
  }

  /** @param {string} problem */
  end(problem) {
    const session = /** @type {LiveSession} */ (this.session);
    this.session = null;
    const hadFinals = this.finals.length > 0;
    if (!problem && !hadFinals) return this.listener.onEnd("No words were heard.");
    if (problem && session.durationS < MIN_KEPT_S) return this.listener.onEnd(problem);
    this.listener.onEnd(problem && `${problem} What was heard until then is kept.`);
    const heard = this.partial?.text ? [...this.finals, this.partial] : this.finals;
    const recording = wavFile(session.chunks, session.rateHz, "Live captions");
    const transcript = heard.length ? asTranscript(heard, session.durationS) : undefined;
    this.listener.onKept(recording, transcript, hadFinals);
  }
}

/** @param {LiveWord[]} words */
const spans = (words) =>
  words.flatMap(({ text, confidence }) => [
    make("span", { "data-doubt": String(doubtOf(confidence)) }, text),
    " ",
  ]);

/**
 * Keep the newest words in sight, unless the person has gone back to earlier ones.
 *
 * @param {() => void} change what brings them
 */
function follow(change) {
  const captions = find("#captions");
  const { scrollHeight, scrollTop, clientHeight } = captions;
  change();
  if (scrollHeight - scrollTop - clientHeight < NEAR_PX) captions.scrollTop = captions.scrollHeight;
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
