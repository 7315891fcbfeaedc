/** Where a text is parted, so that an hour of speech is not one block. */

/** @typedef {import("./api.js").Word} Word */

const PAUSE_S = 1.2;
const SHORT_S = 45;
const LONG_S = 60;

/**
 * Return the index of each word that begins a paragraph: after a pause, and in speech without any,
 * after the longest pause there is when it has lasted for a while.
 *
 * @param {Word[]} words in order of time
 * @returns {number[]}
 */
export function paragraphStarts(words) {
  /** @type {number[]} */
  const starts = [];
  words.forEach((word, index) => {
    const first = starts.at(-1);
    if (first === undefined || pauseBefore(words, index) > PAUSE_S) starts.push(index);
    else if (word.startS - words[first].startS > LONG_S) starts.push(bestStart(words, first, index));
  });
  return starts;
}

/**
 * @param {Word[]} words
 * @param {number} index
 */
const pauseBefore = (words, index) => words[index].startS - words[index - 1].endS;

/**
 * @param {Word[]} words
 * @param {number} first of the paragraph that has become too long
 * @param {number} last the word that is too much
 */
function bestStart(words, first, last) {
  let best = last;
  for (let index = last - 1; index > first; index -= 1) {
    if (words[index].startS - words[first].startS < SHORT_S) break;
    if (pauseBefore(words, index) > pauseBefore(words, best)) best = index;
  }
  return best;
}
