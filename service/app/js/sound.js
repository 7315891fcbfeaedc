/** The two uses of the microphone, one at a time: a recording, and live captions. */

import { Captions } from "./captions.js";
import { find } from "./dom.js";
import { microphoneProblem } from "./microphone.js";
import { Recorder } from "./recorder.js";

/** @typedef {import("./api.js").Transcript} Transcript */
/** @typedef {"idle" | "recording" | "live"} Mode */

const NOTHING_YET = "Nothing was recorded: the microphone was not open yet. Record again.";

/** Which panel is there, and what its buttons do. */
export class Sound {
  /**
   * @param {object} parts
   * @param {() => import("./api.js").Limits} parts.limits
   * @param {() => import("./options.js").Decoding} parts.decoding
   * @param {() => void} parts.onStart called before the microphone is opened
   * @param {(recording: File) => void} parts.onRecording
   * @param {(recording: File) => void} parts.onDiscarded
   * @param {(recording: File, transcript: Transcript | undefined, hasFinals: boolean) => void}
   *   parts.onCaptioned is given what captions heard, and their words
   * @param {() => void} parts.onTrouble called when captions ended by themselves
   */
  constructor(parts) {
    const { limits, decoding } = parts;
    this.parts = parts;
    this.attempt = 0;
    this.recorder = new Recorder(() => void this.keep());
    this.captions = new Captions({
      onKept: parts.onCaptioned,
      onEnd: (problem) => {
        this.enter("idle", problem);
        if (problem) parts.onTrouble();
      },
    });
    find("#record").addEventListener("click", () => {
      void this.start("recording", () => this.recorder.start(limits()));
    });
    find("#caption").addEventListener("click", () => {
      void this.start("live", () => this.captions.start(limits().rateHz, decoding()));
    });
    find("#recording-stop").addEventListener("click", () => void this.keep());
    find("#recording-discard").addEventListener("click", () => void this.discard());
    find("#live-stop").addEventListener("click", () => this.captions.stop());
  }

  /** End the recording, and pass it on. */
  async keep() {
    if (!this.recorder.take) return; // it is ended already
    const recording = await this.recorder.end();
    this.enter("idle", recording ? "" : NOTHING_YET);
    if (recording) this.parts.onRecording(recording);
  }

  async discard() {
    const ending = this.recorder.end();
    this.enter("idle");
    const recording = await ending;
    if (recording) this.parts.onDiscarded(recording);
  }

  /**
   * @param {"recording" | "live"} mode
   * @param {() => Promise<void>} begin
   */
  async start(mode, begin) {
    const attempt = (this.attempt += 1);
    this.parts.onStart();
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
    // Without scrolling: what was heard comes into sight.
    if (mode !== "idle" || before === "idle") return;
    find(before === "live" ? "#caption" : "#record").focus({ preventScroll: true });
  }
}
