/** The two uses of the microphone, one at a time: a recording, and live captions. */

import { Captions } from "./captions.js";
import { find } from "./dom.js";
import { microphoneProblem } from "./microphone.js";
import { Recorder } from "./recorder.js";

/** @typedef {import("./api.js").Transcript} Transcript */
/** @typedef {"idle" | "recording" | "live"} Mode */

/** Which panel is there, and what its buttons do. */
export class Sound {
  /**
   * @param {object} parts
   * @param {() => import("./api.js").Limits} parts.limits
   * @param {() => import("./options.js").Decoding} parts.decoding
   * @param {(recording: File, transcript?: Transcript) => void} parts.onRecording a transcript is
   *   there if captions made it
   */
  constructor({ limits, decoding, onRecording }) {
    this.attempt = 0;
    this.recorder = new Recorder(() => void keep());
    const keep = async () => {
      const recording = await this.recorder.end();
      this.enter("idle");
      if (recording) onRecording(recording);
    };
    this.captions = new Captions({
      onKept: onRecording,
      onEnd: (problem) => this.enter("idle", problem),
    });
    find("#record").addEventListener("click", () => {
      void this.start("recording", () => this.recorder.start(limits()));
    });
    find("#caption").addEventListener("click", () => {
      void this.start("live", () => this.captions.start(limits().rateHz, decoding()));
    });
    find("#recording-stop").addEventListener("click", keep);
    find("#recording-discard").addEventListener("click", () => {
      void this.recorder.end();
      this.enter("idle");
    });
    find("#live-stop").addEventListener("click", () => this.captions.stop());
  }

  /**
   * @param {"recording" | "live"} mode
   * @param {() => Promise<void>} begin
   */
  async start(mode, begin) {
    const attempt = (this.attempt += 1);
    this.enter(mode);
    try {
      await begin();
    } catch (error) {
      const isWanted = attempt === this.attempt && document.body.dataset.mode === mode;
      if (isWanted) this.enter("idle", microphoneProblem(error));
    }
  }

  /**
   * @param {Mode} mode
   * @param {string} [problem]
   */
  enter(mode, problem = "") {
    const before = document.body.dataset.mode;
    document.body.dataset.mode = mode;
    find("#give").hidden = mode !== "idle";
    find("#recording").hidden = mode !== "recording";
    find("#live").hidden = mode !== "live";
    find("#sound-problem").textContent = problem;
    if (mode === "recording") find("#recording-stop").focus();
    if (mode === "live") find("#live-stop").focus();
    if (mode === "idle" && before === "recording") find("#record").focus();
    if (mode === "idle" && before === "live") find("#caption").focus();
  }
}
