/** Samples to a WAV file: one channel, 16-bit PCM. */

const HEADER_BYTES = 44;

/**
 * Return how long a file of so many bytes can be.
 *
 * @param {number} maxBytes
 * @param {number} rateHz
 * @returns {number} seconds
 */
export const wavSeconds = (maxBytes, rateHz) => (maxBytes - HEADER_BYTES) / (2 * rateHz);

/**
 * Return a WAV file's content.
 *
 * @param {Int16Array<ArrayBuffer>[]} chunks in order
 * @param {number} rateHz
 * @returns {Blob}
 */
export function toWav(chunks, rateHz) {
  const numBytes = 2 * chunks.reduce((sum, chunk) => sum + chunk.length, 0);
  const header = new DataView(new ArrayBuffer(HEADER_BYTES));
  const write = (/** @type {number} */ at, /** @type {string} */ text) =>
    [...text].forEach((letter, index) => header.setUint8(at + index, letter.charCodeAt(0)));
  write(0, "RIFF");
  header.setUint32(4, HEADER_BYTES - 8 + numBytes, true);
  write(8, "WAVEfmt ");
  header.setUint32(16, 16, true); // bytes of what follows up to `data`
  header.setUint16(20, 1, true); // PCM
  header.setUint16(22, 1, true); // channels
  header.setUint32(24, rateHz, true);
  header.setUint32(28, 2 * rateHz, true); // bytes a second
  header.setUint16(32, 2, true); // bytes of a frame
  header.setUint16(34, 16, true); // bits of a sample
  write(36, "data");
  header.setUint32(40, numBytes, true);
  return new Blob([header, ...chunks], { type: "audio/wav" });
}
