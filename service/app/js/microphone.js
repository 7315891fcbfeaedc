/** The microphone, as chunks of 16-bit PCM. */

import { openEar } from "./ear.js";

/** @typedef {Int16Array<ArrayBuffer>} Samples */
/** @typedef {{rateHz: number, close: () => Promise<void>}} Microphone */

const FIRST_CHUNK_MS = 5_000;

/** Nothing that cleans speech for ears: it takes away what a recogniser hears. */
const PLAIN = {
  channelCount: 1,
  echoCancellation: false,
  noiseSuppression: false,
  autoGainControl: false,
};

/**
 * Open the microphone.
 *
 * @param {number} wantedRateHz what the model hears; the device's own if the browser cannot convert
 * @param {{onChunk: (samples: Samples, peak: number) => void, onLost: () => void}} during `onChunk`
 *   gets about twelve chunks a second, each with its highest level in [0, 1]; `onLost` is called
 *   when the device goes away
 * @returns {Promise<Microphone>} when sound has come; its `close` returns once the last chunk has
 */
export async function openMicrophone(wantedRateHz, { onChunk, onLost }) {
  if (!navigator.mediaDevices || !globalThis.AudioWorkletNode)
    throw new DOMException("", "SecurityError");
  const stream = await navigator.mediaDevices.getUserMedia({ audio: PLAIN });
  try {
    const { context, source } = connect(stream, wantedRateHz);
    const { promise: begun, resolve: begin, reject: giveUp } = Promise.withResolvers();
    const ear = await openEar(context, (samples, peak) => {
      begin(null);
      onChunk(samples, peak);
    });
    source.connect(ear.node);
    stream.getTracks().forEach((track) => track.addEventListener("ended", onLost));
    // Where the computer has nothing to play on it never answers, and fails once all is closed.
    context.resume().catch(() => {});
    setTimeout(() => giveUp(new DOMException("", "TimeoutError")), FIRST_CHUNK_MS);
    await begun.catch((error) => {
      void context.close();
      throw error;
    });
    const close = async () => {
      await ear.end();
      stream.getTracks().forEach((track) => track.stop());
      await context.close();
    };
    return { rateHz: context.sampleRate, close };
  } catch (error) {
    stream.getTracks().forEach((track) => track.stop());
    throw error;
  }
}

/**
 * @param {MediaStream} stream
 * @param {number} wantedRateHz
 */
function connect(stream, wantedRateHz) {
  const context = new AudioContext({ sampleRate: wantedRateHz });
  try {
    return { context, source: context.createMediaStreamSource(stream) };
  } catch {
    void context.close(); // Firefox takes a stream at the device's own rate only
    const own = new AudioContext();
    return { context: own, source: own.createMediaStreamSource(stream) };
  }
}

/**
 * Say in plain words why there is no microphone.
 *
 * @param {unknown} error
 * @returns {string}
 */
export function microphoneProblem(error) {
  const name = error instanceof DOMException ? error.name : "";
  if (name === "NotAllowedError") {
    return "The browser keeps the microphone from this page. Allow it beside the address, then try again.";
  }
  if (name === "NotFoundError") return "No microphone was found. Connect one, then try again.";
  if (name === "NotReadableError")
    return "Another program holds the microphone. Close it, then try again.";
  if (name === "TimeoutError") {
    return "No sound comes from the browser. Connect headphones or a loudspeaker: some browsers hear nothing without. Then load this page again.";
  }
  if (name === "SecurityError") {
    return "Browsers give the microphone only to pages at https:// or localhost. Open this page so.";
  }
  return `The microphone cannot be used: ${error instanceof Error ? error.message : error}.`;
}
