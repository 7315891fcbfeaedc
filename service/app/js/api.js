/** The server's routes that the page uses. */

import { NO_TRANSCRIPT, PlainError, readError, UNREADABLE } from "./errors.js";
import { keyHeaders } from "./key.js";

/**
 * @typedef {{text: string, startS: number, endS: number, confidence: number | null}} Word
 *
 * @typedef {object} Transcript
 * @property {string} text
 * @property {number} durationS
 * @property {number | null} confidence in [0, 1]: the share of words expected to be right
 * @property {Word[]} words in order of time
 * @property {object} answer the server's answer as it came
 *
 * @typedef {object} Limits
 * @property {number} maxBytes of one file
 * @property {number} maxDurationS of one recording
 * @property {number} rateHz what the model hears
 */

/**
 * Return the address of a route: the page lies at `/app/` beside them, whatever is before it.
 *
 * @param {string} route
 * @returns {URL}
 */
export const address = (route) => new URL(`../${route}`, document.baseURI);

/**
 * Return what `GET` of a route answers.
 *
 * @param {string} route
 * @returns {Promise<any>}
 */
async function get(route) {
  const response = await fetch(address(route), { headers: keyHeaders() }).catch(() => {
    throw new PlainError(0);
  });
  if (response.ok) return response.json().catch(() => Promise.reject(otherAnswer(response.status)));
  throw new PlainError(response.status, readError(await response.text()));
}

/**
 * Return the name of the model that answers now; a `PlainError` says why none does.
 *
 * @returns {Promise<string>}
 */
export async function readModel() {
  await get("ready/");
  return (await get("v1/models")).data[0].id;
}

/** @returns {Promise<Limits>} */
export async function readLimits() {
  const limits = await get("app/limits.json");
  return {
    maxBytes: limits.max_file_bytes,
    maxDurationS: limits.max_recording_s,
    rateHz: limits.sample_rate_hz,
  };
}

/**
 * Send a file and return its transcript.
 *
 * @param {File} file
 * @param {[string, string][]} options more fields of the form
 * @param {{onSent: (share: number) => void, signal: AbortSignal}} during `onSent` gets the share
 *   in [0, 1] that has gone out; it is 1 while the server works
 * @returns {Promise<Transcript>}
 */
export function transcribe(file, options, { onSent, signal }) {
  const form = new FormData();
  form.append("file", file);
  form.append("response_format", "verbose_json");
  form.append("timestamp_granularities[]", "word");
  form.append("timestamp_granularities[]", "segment");
  for (const [name, value] of options) form.append(name, value);
  return new Promise((resolve, reject) => {
    const request = new XMLHttpRequest(); // fetch does not tell how much has gone out
    request.open("POST", address("v1/audio/transcriptions"));
    for (const [name, value] of Object.entries(keyHeaders())) request.setRequestHeader(name, value);
    request.upload.onprogress = ({ loaded, total }) => onSent(total ? loaded / total : 0);
    request.upload.onload = () => onSent(1);
    request.onload = () => {
      if (request.status === 200) resolve(readTranscript(request.responseText));
      else reject(errorOf(request));
    };
    request.onerror = () => void unanswered(file).then(reject);
    request.onabort = () => reject(signal.reason);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.send(form);
  });
}

/** @param {number} status */
const otherAnswer = (status) => new PlainError(status, { words: NO_TRANSCRIPT });

/**
 * @param {string} body
 * @returns {Promise<Transcript>}
 */
async function readTranscript(body) {
  try {
    const answer = JSON.parse(body);
    if (typeof answer.text === "string") return transcriptOf(answer);
  } catch {
    // Such as a login page.
  }
  throw otherAnswer(200);
}

/**
 * Return why there was no answer: browsers tell a file that they cannot read from a server that is
 * away only if the file is read by itself.
 *
 * @param {File} file
 * @returns {Promise<PlainError>}
 */
const unanswered = (file) =>
  file.slice(0, 1).arrayBuffer().then(
    () => new PlainError(0),
    () => new PlainError(400, { words: UNREADABLE }),
  );

/**
 * @param {XMLHttpRequest} request
 * @returns {PlainError}
 */
function errorOf(request) {
  return new PlainError(request.status, {
    ...readError(request.responseText),
    retryAfterS: Number(request.getResponseHeader("Retry-After")) || 0,
    requestId: request.getResponseHeader("X-Request-ID") ?? "",
  });
}

/**
 * @param {any} answer a `verbose_json`
 * @returns {Transcript}
 */
export function transcriptOf(answer) {
  /** @type {any[]} */
  const words = answer.words ?? [];
  return {
    text: answer.text,
    durationS: answer.duration,
    confidence: answer.confidence ?? meanConfidence(words),
    words: words.map(({ word, start, end, confidence = null }) => ({
      text: word.trim(),
      startS: start,
      endS: end,
      confidence,
    })),
    answer,
  };
}

/**
 * Return the share of words that are expected to be right, or null if nothing tells.
 *
 * @param {{confidence?: number | null}[]} words
 * @returns {number | null}
 */
export function meanConfidence(words) {
  const known = words.map((word) => word.confidence).filter((value) => typeof value === "number");
  return known.length ? known.reduce((sum, value) => sum + value, 0) / known.length : null;
}
