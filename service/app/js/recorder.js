/** Records from the microphone: a level meter while it runs, a file at the end. */

import { find } from "./dom.js";
import { shortTime } from "./formats.js";
import { openMicrophone } from "./microphone.js";
import { toWav, wavSeconds } from "./wav.js";

/** @typedef {import("./microphone.js").Samples} Samples */
/** @typedef {{chunks: Samples[], numSamples: number}} Take */

/** What both recording and live captions show: how loud it is, and for how long. */
export class Meter {
  /** @param {HTMLElement} panel */
  constructor(panel) {
    this.level = find(".level", panel);
    this.clock = find(".clock", panel);
    this.shown = 0;
  }

  /**
   * @param {number} peak in [0, 1]
   * @param {number} seconds
   */
  show(peak, seconds) {
    const loudness = peak > 0 ? Math.max(0, 1 + Math.log10(peak) / 2.5) : 0; // 50 dB across
    this.shown = Math.max(loudness, 0.8 * this.shown);
    const percent = Math.round(100 * this.shown);
    this.level.style.setProperty("--level", `${percent}%`);
    this.level.setAttribute("aria-valuenow", String(percent));
    this.clock.textContent = shortTime(seconds);
  }
}

/** Keeps what the microphone hears until it is ended. */
export class Recorder {
  /** @param {() => void} onFull called when it has to end: it is too long, or the device is gone */
  constructor(onFull) {
    this.onFull = onFull;
    /** @type {Take | null} */
    this.take = null;
    /** @type {import("./microphone.js").Microphone | null} */
    this.microphone = null;
    this.meter = new Meter(find("#recording"));
  }

  /**
   * Record until it is ended, or as much as the server takes of it.
   *
   * @param {import("./api.js").Limits} limits
   */
  async start({ rateHz, maxDurationS, maxBytes }) {
    /** @type {Take} */
    const take = { chunks: [], numSamples: 0 };
    this.take = take;
    this.meter.show(0, 0);
    const onChunk = (/** @type {Samples} */ samples, /** @type {number} */ peak) => {
      take.chunks.push(samples);
      take.numSamples += samples.length;
      if (this.take !== take) return;
      const ownRateHz = this.microphone?.rateHz ?? rateHz;
      const seconds = take.numSamples / ownRateHz;
      this.meter.show(peak, seconds);
      if (seconds > Math.min(maxDurationS, wavSeconds(maxBytes, ownRateHz)) - 1) this.onFull();
    };
    const onLost = () => this.take === take && this.onFull();
    const microphone = await openMicrophone(rateHz, { onChunk, onLost });
    if (this.take === take) this.microphone = microphone;
    else await microphone.close();
  }

  /**
   * Close the microphone; the first to ask gets the file, if anything was heard.
   *
   * @returns {Promise<File | null>}
   */
  async end() {
    const { microphone, take } = this;
    this.microphone = this.take = null;
    if (!microphone || !take) return null;
    await microphone.close();
    return take.numSamples ? wavFile(take.chunks, microphone.rateHz, "Recording") : null;
  }
}

/**
 * @param {Samples[]} chunks
 * @param {number} rateHz
 * @param {string} what
 * @returns {File}
 */
export function wavFile(chunks, rateHz, what) {
  const now = new Date();
  const clock = [now.getHours(), now.getMinutes(), now.getSeconds()].map((part) =>
    String(part).padStart(2, "0"),
  );
  return new File([toWav(chunks, rateHz)], `${what} ${clock.join(".")}.wav`, { type: "audio/wav" });
}
