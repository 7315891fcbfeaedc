/** A transcript as text, subtitles and JSON. */

/** @typedef {import("./api.js").Transcript} Transcript */
/** @typedef {import("./api.js").Word} Word */
/** @typedef {{startS: number, endS: number, lines: string[]}} Cue */

const MAX_LINE_CHARACTERS = 42;
const MAX_CUE_S = 7;
const MIN_CUE_S = 5 / 6;
const PAUSE_S = 0.6;

/** What can be saved: the suffix, the media type, and how it is made. */
export const FORMATS = [
  { suffix: "txt", type: "text/plain", write: toText },
  { suffix: "srt", type: "application/x-subrip", write: toSrt },
  { suffix: "vtt", type: "text/vtt", write: toVtt },
  { suffix: "json", type: "application/json", write: toJson },
];

/** @param {Transcript} transcript */
export function toText(transcript) {
  return `${transcript.text}\n`;
}

/** @param {Transcript} transcript */
export function toJson(transcript) {
  return `${JSON.stringify(transcript.answer, null, 2)}\n`;
}

/** @param {Transcript} transcript */
export function toSrt(transcript) {
  return makeCues(transcript.words)
    .map((cue, index) => `${index + 1}\n${times(cue, ",")}\n${cue.lines.join("\n")}\n`)
    .join("\n");
}

/** @param {Transcript} transcript */
export function toVtt(transcript) {
  const cues = makeCues(transcript.words).map(
    (cue) => `${times(cue, ".")}\n${cue.lines.map(escapeVtt).join("\n")}\n`,
  );
  return ["WEBVTT\n", ...cues].join("\n");
}

/**
 * Return cues of at most two lines; a pause, or a cue that is full, begins the next.
 *
 * @param {Word[]} words in order of time
 * @returns {Cue[]}
 */
export function makeCues(words) {
  /** @type {Word[][]} */
  const groups = [];
  for (const word of words) {
    const group = groups.at(-1);
    if (group && fits(group, word)) group.push(word);
    else groups.push([word]);
  }
  return groups.map((group, index) => {
    const startS = group[0].startS;
    const followingS = groups[index + 1]?.[0].startS ?? Infinity;
    const endS = Math.max(group[group.length - 1].endS, startS + MIN_CUE_S);
    return {
      startS,
      endS: Math.max(Math.min(endS, followingS), startS + 0.001),
      lines: linesOf(group),
    };
  });
}

/**
 * @param {Word[]} group
 * @param {Word} word
 */
function fits(group, word) {
  const pause = word.startS - group[group.length - 1].endS >= PAUSE_S;
  const long = word.endS - group[0].startS > MAX_CUE_S;
  return !pause && !long && linesOf([...group, word]).length <= 2;
}

/**
 * @param {Word[]} group
 * @returns {string[]}
 */
function linesOf(group) {
  /** @type {string[]} */
  const lines = [];
  for (const { text } of group) {
    const longer = lines.length ? `${lines[lines.length - 1]} ${text}` : text;
    if (lines.length && longer.length <= MAX_LINE_CHARACTERS) lines[lines.length - 1] = longer;
    else lines.push(text);
  }
  return lines;
}

/**
 * @param {Cue} cue
 * @param {string} mark before the milliseconds
 */
const times = (cue, mark) => `${clock(cue.startS, mark)} --> ${clock(cue.endS, mark)}`;

/**
 * @param {number} seconds
 * @param {string} mark
 */
function clock(seconds, mark) {
  const ms = Math.round(seconds * 1000);
  const part = (/** @type {number} */ unit, /** @type {number} */ of) =>
    String(Math.floor(ms / unit) % of).padStart(2, "0");
  const rest = String(ms % 1000).padStart(3, "0");
  return `${part(3_600_000, Infinity)}:${part(60_000, 60)}:${part(1000, 60)}${mark}${rest}`;
}

/** @param {string} text */
const escapeVtt = (text) =>
  text.replaceAll("&", "&amp;").replaceAll("<", "&lt;").replaceAll(">", "&gt;");

/**
 * Return minutes and seconds as a person writes them: 1:05, 1:02:05.
 *
 * @param {number} seconds
 * @returns {string}
 */
export function shortTime(seconds) {
  const whole = Math.floor(seconds);
  const pad = (/** @type {number} */ value) => String(value).padStart(2, "0");
  const minutes = Math.floor(whole / 60);
  if (minutes < 60) return `${minutes}:${pad(whole % 60)}`;
  return `${Math.floor(minutes / 60)}:${pad(minutes % 60)}:${pad(whole % 60)}`;
}

/**
 * Return a length as a person says it: 4.6 s, or 1:05.
 *
 * @param {number} seconds
 * @returns {string}
 */
export const lengthOf = (seconds) =>
  seconds < 59.95 ? `${seconds.toFixed(1)} s` : shortTime(seconds);

/**
 * Return a size as a person writes it: 120 kB, 3.4 MB.
 *
 * @param {number} bytes
 * @returns {string}
 */
export function shortSize(bytes) {
  if (bytes < 999_500) return `${Math.max(1, Math.round(bytes / 1000))} kB`;
  return `${(bytes / 1e6).toFixed(bytes < 9_950_000 ? 1 : 0)} MB`;
}

/**
 * Return a number as a person reads it, the same in every country: 11 247.
 *
 * @param {number} count
 * @returns {string}
 */
export const shortCount = (count) => count.toLocaleString("en").replaceAll(",", "\u202f");
