/** A session of live captions: sound out, words back, over one WebSocket. */

import { address } from "./api.js";
import { liveProblem } from "./errors.js";
import { keyProtocols } from "./key.js";
import { openMicrophone } from "./microphone.js";

/** @typedef {import("./microphone.js").Samples} Samples */
/** @typedef {{text: string, start_s: number, end_s: number, confidence: number}} LiveWord */
/** @typedef {LiveWord & {id: number, words: LiveWord[]}} Utterance */

/**
 * @typedef {object} Listener
 * @property {() => void} onReady the server listens
 * @property {(utterance: Utterance) => void} onPartial
 * @property {(utterance: Utterance) => void} onFinal
 * @property {(peak: number, seconds: number) => void} onLevel
 * @property {(problem: string) => void} onEnd with what went wrong, or nothing
 */

const MAX_BEHIND_S = 15;
const CLOSING_MS = 15_000;

/** From `start` until `onEnd`, which is called once. */
export class LiveSession {
  /** @param {Listener} listener */
  constructor(listener) {
    this.listener = listener;
    /** @type {Samples[]} */
    this.chunks = [];
    this.numSamples = 0;
    this.numSent = 0; // of the chunks
    this.rateHz = 0;
    this.ready = false;
    this.stopping = false;
    this.ended = false;
    /** @type {import("./microphone.js").Microphone | null} */
    this.microphone = null;
    /** @type {WebSocket | null} */
    this.socket = null;
  }

  /** @returns {number} seconds of what was heard so far */
  get durationS() {
    return this.rateHz ? this.numSamples / this.rateHz : 0;
  }

  /**
   * Ask for the microphone, then for the server.
   *
   * @param {number} rateHz
   * @param {import("./options.js").Decoding} decoding
   */
  async start(rateHz, decoding) {
    const onChunk = (/** @type {Samples} */ samples, /** @type {number} */ peak) =>
      this.hear(samples, peak);
    this.microphone = await openMicrophone(rateHz, { onChunk, onLost: () => void this.stop() });
    if (this.ended) return this.closeMicrophone();
    this.rateHz = this.microphone.rateHz;
    try {
      this.connect(decoding);
    } catch {
      await this.end("The browser cannot connect for live captions. Check the address and the API key.");
    }
  }

  /** @param {import("./options.js").Decoding} decoding */
  connect(decoding) {
    const url = address("v1/stream");
    url.protocol = url.protocol.replace("http", "ws");
    const socket = new WebSocket(url, keyProtocols());
    this.socket = socket;
    socket.onopen = () =>
      socket.send(
        JSON.stringify({ type: "start", sample_rate_hz: this.rateHz, words: true, ...decoding }),
      );
    socket.onmessage = ({ data }) => this.read(JSON.parse(data));
    socket.onclose = ({ code, reason }) => void this.end(problemOf(code, reason, this.ready));
  }

  /** Stop listening; the last words still come. */
  async stop() {
    if (this.stopping) return;
    this.stopping = true;
    await this.closeMicrophone();
    if (this.socket?.readyState !== WebSocket.OPEN) return this.end("");
    this.socket.send(JSON.stringify({ type: "close" }));
    setTimeout(() => void this.end("The server did not send the last words."), CLOSING_MS);
  }

  /**
   * @param {Samples} samples
   * @param {number} peak
   */
  hear(samples, peak) {
    this.chunks.push(samples);
    this.numSamples += samples.length;
    this.listener.onLevel(peak, this.durationS);
    if (!this.ready || this.socket?.readyState !== WebSocket.OPEN) return;
    for (const chunk of this.chunks.slice(this.numSent)) this.socket.send(chunk);
    this.numSent = this.chunks.length;
    if (this.socket.bufferedAmount > 2 * this.rateHz * MAX_BEHIND_S) {
      void this.end(
        "The connection is too slow for live captions. Record, and send the recording instead.",
      );
    }
  }

  /** @param {any} message */
  read(message) {
    if (message.type === "ready") {
      this.ready = true;
      this.listener.onReady();
    } else if (message.type === "partial") this.listener.onPartial(message);
    else if (message.type === "final") this.listener.onFinal(message);
    else if (message.type === "closed") void this.end("");
    else if (message.type === "error") void this.end(liveProblem(message));
  }

  /** @param {string} problem */
  async end(problem) {
    if (this.ended) return;
    this.ended = true;
    this.socket?.close();
    await this.closeMicrophone();
    this.listener.onEnd(problem);
  }

  async closeMicrophone() {
    const microphone = this.microphone;
    this.microphone = null;
    await microphone?.close();
  }
}

/**
 * @param {number} code
 * @param {string} reason
 * @param {boolean} wasReady
 */
function problemOf(code, reason, wasReady) {
  if (code === 1000) return "";
  if (reason) return `The server ended the captions: ${reason}.`;
  if (!wasReady)
    return "The server does not take live captions now. Check that it runs, and its API key.";
  return "The connection to the server was lost.";
}
