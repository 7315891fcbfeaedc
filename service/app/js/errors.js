/** Errors in plain words: what happened, and what to do. */

/** @type {Record<number, [string, string]>} */
const WORDS = {
  0: [
    "The server did not answer.",
    "Check that it runs and that you are connected, then try again.",
  ],
  400: [
    "The server cannot read this as audio.",
    "Play it to check that it is whole, or save it as WAV or FLAC.",
  ],
  401: ["This server asks for an API key.", "Enter the key above; the file is then sent again."],
  403: [
    "The server does not take requests from this page's address.",
    "Ask who runs it: a proxy before it must pass the Host on.",
  ],
  404: ["This server has no such service.", "Ask who runs it whether it is up to date."],
  408: [
    "The recording took too long to arrive.",
    "Save it as FLAC, MP3 or Opus, which are smaller, and send that.",
  ],
  413: [
    "The recording is too large or too long.",
    "Cut it into parts, or save it as FLAC, MP3 or Opus.",
  ],
  415: ["This is not audio that the server reads.", "Save the sound as WAV, FLAC, MP3 or Ogg."],
  422: ["The server did not accept the options.", "Look at decoder, beam width and words to listen for."],
  429: ["You have sent too much at once.", "Wait a little, then try again."],
  503: ["The server is busy, or its model is not ready.", "Wait a little, then try again."],
};

/** @type {[string, string]} */
const NOT_TAKEN = ["The server did not take the request.", "Load this page again, then try again."];
/** @type {[string, string]} */
export const NO_TRANSCRIPT = [
  "Something else answered in place of the speech server.",
  "A proxy may want you to log in: load this page again, then try again.",
];
/** @type {[string, string]} */
export const UNREADABLE = [
  "The browser cannot read this file any more; choose it again.",
  "Folders cannot be sent.",
];

/** What ends live captions, by the server's code for it. @type {Record<string, string>} */
const LIVE_WORDS = {
  idle_timeout: "The server heard nothing for too long, and ended the captions. Begin them anew.",
  internal: "The server failed. Begin the captions anew.",
  invalid_message: WORDS[422].join(" "),
  model_unavailable: "The server's model is not ready. Wait a little, then try again.",
  server_stopping: "The server was stopped. Try again when it runs.",
  session_too_long: "The captions ran for as long as the server lets them. Begin them anew.",
  too_many_sessions:
    "The server makes captions for as many as it can. Try again in a while, or record.",
};

/**
 * Say in plain words why the server ended live captions.
 *
 * @param {{code: string, message: string}} error as the server says it
 * @returns {string}
 */
export function liveProblem({ code, message }) {
  const words = LIVE_WORDS[code];
  if (!words) return `The server ended the captions: ${message}.`;
  return code === "invalid_message" ? `${words} The server says: ${message}.` : words;
}

/** What went wrong, in words for the person at the page. */
export class PlainError extends Error {
  /**
   * @param {number} status of HTTP; 0 if there was no answer
   * @param {object} [more]
   * @param {[string, string]} [more.words] what happened and what to do, if not those of the status
   * @param {string} [more.detail] the server's own words
   * @param {string} [more.param] the field that they are about
   * @param {number} [more.retryAfterS]
   * @param {string} [more.requestId]
   */
  constructor(status, { words, detail = "", param = "", retryAfterS = 0, requestId = "" } = {}) {
    const sought = requestId || "the request";
    const failed = `Try again. If it stays, look for ${sought} in the server's log.`;
    const [what, todo] = words ?? wordsOf(status, param) ?? ["The server failed.", failed];
    super(what);
    this.status = status;
    this.todo = todo;
    this.detail = detail;
    this.retryAfterS = retryAfterS;
  }
}

/**
 * @param {number} status
 * @param {string} param
 * @returns {[string, string] | undefined}
 */
function wordsOf(status, param) {
  if (status !== 400 || param === "file") return WORDS[status];
  return param ? WORDS[422] : NOT_TAKEN;
}

/**
 * Return the server's own words in the body of an error, whichever form it has.
 *
 * @param {string} body
 * @returns {{detail: string, param: string}}
 */
export function readError(body) {
  try {
    const { error, detail } = JSON.parse(body);
    if (error) return { detail: error.message, param: error.param ?? "" };
    if (typeof detail === "string") return { detail, param: "" };
    return {
      detail: detail.map((/** @type {{msg: string}} */ one) => one.msg).join("; "),
      param: "",
    };
  } catch {
    return { detail: "", param: "" };
  }
}
