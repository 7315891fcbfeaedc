/** What hears in an audio context: chunks of 16-bit PCM, and how loud each is. */

/** @typedef {(samples: Int16Array<ArrayBuffer>, peak: number) => void} OnHeard */
/** @typedef {{node: AudioNode, end: () => Promise<unknown>}} Ear its `end` returns after all */

const WORKLET = new URL("recorder-worklet.js", import.meta.url);
const WORKLET_MS = 3_000;
const CHUNK_SAMPLES = 2048;

/**
 * Hear in the audio thread, or, where the server that has the script for it is away, in the page's.
 *
 * @param {AudioContext} context
 * @param {OnHeard} onHeard
 * @returns {Promise<Ear>}
 */
export async function openEar(context, onHeard) {
  const coming = context.audioWorklet.addModule(WORKLET).then(
    () => true,
    () => false,
  );
  const late = new Promise((resolve) => setTimeout(resolve, WORKLET_MS, false));
  const isThere = await Promise.race([coming, late]);
  return isThere ? threadEar(context, onHeard) : pageEar(context, onHeard);
}

/**
 * @param {AudioContext} context
 * @param {OnHeard} onHeard
 * @returns {Ear}
 */
function threadEar(context, onHeard) {
  const node = new AudioWorkletNode(context, "recorder", { numberOfOutputs: 0 });
  const { promise: ended, resolve: end } = Promise.withResolvers();
  node.port.onmessage = ({ data }) => (data ? onHeard(data.samples, data.peak) : end(null));
  return { node, end: () => (node.port.postMessage("end"), ended) };
}

/**
 * @param {AudioContext} context
 * @param {OnHeard} onHeard
 * @returns {Ear}
 */
function pageEar(context, onHeard) {
  const node = context.createScriptProcessor(CHUNK_SAMPLES, 1, 1);
  node.onaudioprocess = ({ inputBuffer }) => {
    const heard = inputBuffer.getChannelData(0).map((sample) => Math.max(-1, Math.min(1, sample)));
    const peak = heard.reduce((highest, sample) => Math.max(highest, Math.abs(sample)), 0);
    onHeard(
      Int16Array.from(heard, (sample) => Math.round(32767 * sample)),
      peak,
    );
  };
  node.connect(context.destination); // it is silent there, and else hears nothing
  const end = async () => {
    await new Promise((resolve) => setTimeout(resolve, (2000 * CHUNK_SAMPLES) / context.sampleRate));
    node.disconnect();
  };
  return { node, end };
}
