/** Plays a recording, with its waveform and spectrogram. */

import Spectrogram from "../vendor/wavesurfer.js-8.0.1/spectrogram.esm.js";
import WaveSurfer from "../vendor/wavesurfer.js-8.0.1/wavesurfer.esm.js";
import { find, make } from "./dom.js";
import { shortTime } from "./formats.js";

const WAVEFORM_PX = 96; // service/page.py has the hash of the style that comes of it
const SPECTROGRAM_PX = 112;
const LONG_S = 900;
const SKIP_S = 3;
/** @type {Record<string, number>} */
const STEPS_S = {
  ArrowLeft: -1,
  ArrowDown: -1,
  ArrowRight: 1,
  ArrowUp: 1,
  PageDown: -10,
  PageUp: 10,
};
const SHIFTED = 5; // so many steps at once

/** One recording at a time. */
export class Player {
  /**
   * @param {object} listener
   * @param {(timeS: number) => void} listener.onTime called whenever the place in it has moved
   * @param {() => void} listener.onPlace called when a person chooses the place, or plays from it
   */
  constructor({ onTime, onPlace }) {
    this.onTime = onTime;
    this.onPlace = onPlace;
    this.audio = /** @type {HTMLAudioElement} */ (find("#audio"));
    this.scrub = /** @type {HTMLInputElement} */ (find("#scrub"));
    this.durationS = 0;
    /** @type {WaveSurfer | null} */
    this.drawing = null;
    /** @type {Blob | null} */
    this.recording = null;
    /** @type {{timeS: number, isPlaying: boolean} | null} */
    this.resuming = null;
    this.listen();
  }

  /**
   * Show a recording from its start.
   *
   * @param {Blob} recording
   * @param {number} durationS
   */
  load(recording, durationS) {
    this.recording = recording;
    this.durationS = durationS;
    this.resuming = null;
    this.scrub.max = String(durationS);
    this.draw();
    this.moved(0);
  }

  /** Stop, and let go of the recording. */
  unload() {
    this.audio.pause();
    this.drawing?.destroy();
    this.drawing = null;
    this.recording = null;
  }

  /** @param {number} timeS */
  seek(timeS) {
    this.onPlace();
    this.place(timeS);
  }

  /** @param {number} timeS */
  place(timeS) {
    this.audio.currentTime = Math.max(0, Math.min(timeS, this.durationS));
    this.moved(this.audio.currentTime);
  }

  play() {
    this.onPlace();
    void this.audio.play().catch((error) => {
      if (error.name === "NotSupportedError") this.unplayable();
    });
  }

  pause() {
    this.audio.pause();
  }

  toggle() {
    if (this.audio.paused) this.play();
    else this.pause();
  }

  /** @param {KeyboardEvent} event on the waveform, where the browser would move by hundredths */
  keyed(event) {
    const stepS = STEPS_S[event.key];
    if (!stepS || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    this.seek(this.audio.currentTime + stepS * (event.shiftKey ? SHIFTED : 1));
  }

  listen() {
    find("#play").addEventListener("click", () => this.toggle());
    find("#back").addEventListener("click", () => this.seek(this.audio.currentTime - SKIP_S));
    find("#forward").addEventListener("click", () => this.seek(this.audio.currentTime + SKIP_S));
    this.scrub.addEventListener("input", () => this.seek(Number(this.scrub.value)));
    this.scrub.addEventListener("keydown", (event) => this.keyed(event));
    find("#speed").addEventListener("change", () => this.setSpeed());
    document.documentElement.addEventListener("themechange", () => this.redraw());
  }

  /** Take a new element: what has played before, wavesurfer.js would fetch again. */
  renewAudio() {
    const audio = make("audio", { id: "audio", preload: "auto" });
    this.audio.pause();
    this.audio.replaceWith(audio);
    this.audio = audio;
    for (const name of ["play", "pause", "ended"]) {
      audio.addEventListener(name, () => this.showPlaying());
    }
    this.setSpeed();
    this.showPlaying();
  }

  setSpeed() {
    const speed = /** @type {HTMLSelectElement} */ (find("#speed"));
    this.audio.defaultPlaybackRate = this.audio.playbackRate = Number(speed.value);
  }

  showPlaying() {
    const playing = !this.audio.paused;
    find("#play").setAttribute("aria-label", playing ? "Pause" : "Play");
    find("#play use").setAttribute("href", `#icon-${playing ? "pause" : "play"}`);
  }

  /** @param {number} timeS */
  moved(timeS) {
    const [here, end] = [timeS, this.durationS].map((seconds) => this.clock(seconds));
    this.scrub.value = String(timeS);
    this.scrub.setAttribute("aria-valuetext", `${here} of ${end}`);
    find("#time").textContent = `${here} / ${end}`;
    this.onTime(timeS);
  }

  /**
   * @param {number} seconds
   * @returns {string} with tenths where the whole is short
   */
  clock(seconds) {
    const tenths = Math.round(10 * seconds);
    return shortTime(tenths / 10) + (this.durationS < 60 ? `.${tenths % 10}` : "");
  }

  /** Draw anew, and go on from the same place. */
  redraw() {
    if (!this.recording) return;
    const { currentTime: timeS, paused } = this.audio;
    const resuming = (this.resuming ??= { timeS, isPlaying: !paused });
    this.draw();
    const { audio } = this;
    const resume = () => {
      if (this.audio !== audio) return;
      this.resuming = null;
      this.place(resuming.timeS);
      if (resuming.isPlaying) void audio.play().catch(() => {}); // if the browser lets it
    };
    audio.addEventListener("loadedmetadata", resume, { once: true });
  }

  draw() {
    this.drawing?.destroy();
    this.renewAudio();
    find("#unplayable").hidden = true;
    const [wave, played, cursor] = ["--wave", "--wave-played", "--ink"].map(colour);
    const drawing = WaveSurfer.create({
      container: find("#waveform"),
      media: this.audio,
      height: WAVEFORM_PX,
      sampleRate: this.durationS > LONG_S ? 8000 : 16_000,
      waveColor: wave,
      progressColor: played,
      cursorColor: cursor,
      cursorWidth: 2,
      barWidth: 2,
      barGap: 1,
      barRadius: 2,
      barHeight: 0.9,
      normalize: true,
      interact: false,
      hideScrollbar: true,
      plugins: [spectrogram(this.durationS > LONG_S ? 4000 : 8000)],
    });
    this.drawing = drawing;
    drawing.on("timeupdate", (timeS) => this.moved(timeS));
    drawing.on("error", () => this.drawing === drawing && this.unplayable());
    void drawing.loadBlob(/** @type {Blob} */ (this.recording)).catch(() => {}); // `error` tells
  }

  unplayable() {
    find("#unplayable").hidden = false;
  }
}

/** @param {number} highestHz */
function spectrogram(highestHz) {
  return Spectrogram.create({
    height: SPECTROGRAM_PX,
    fftSamples: 512,
    scale: "mel",
    frequencyMax: highestHz,
    gainDB: 20,
    rangeDB: 70,
    colorMap: shades(),
    labels: false,
  });
}

/**
 * Return 256 colours from the page's ground on, each red, green, blue, opacity in [0, 1].
 *
 * @returns {number[][]}
 */
function shades() {
  const [low, high] = ["--spectrum-low", "--spectrum-high"].map((name) =>
    (colour(name).match(/[\d.]+/g) ?? []).slice(0, 3).map((value) => Number(value) / 255),
  );
  return Array.from({ length: 256 }, (_, index) => {
    const share = (index / 255) ** 1.4;
    return [...low.map((from, part) => from + share * (high[part] - from)), 1];
  });
}

/**
 * @param {string} name of a colour in css/theme.css
 * @returns {string}
 */
const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name);
