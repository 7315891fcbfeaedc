/** A line over the page that goes by itself, with or without a way back. */

import { find } from "./dom.js";

const SHOWN_MS = 15_000;
let timer = 0;
/** @type {(() => void)[]} */
let undos = [];

/**
 * Say something for a while; it stays as long as the mouse or the keyboard is at it. What can be
 * undone can be so until then, also when something else is said meanwhile.
 *
 * @param {string} words
 * @param {() => void} [undo] what the button `Undo` does, besides what it did already
 */
export function notify(words, undo) {
  if (undo) undos.push(undo);
  find("#notice-words").textContent = words;
  find("#news").textContent = undo ? `${words} Undo is at the end of the page.` : words;
  find("#undo").hidden = undos.length === 0;
  find("#notice").hidden = false;
  clearTimeout(timer);
  timer = setTimeout(fade, SHOWN_MS);
}

function fade() {
  const notice = find("#notice");
  if (notice.matches(":hover, :focus-within")) timer = setTimeout(fade, SHOWN_MS);
  else {
    notice.hidden = true;
    undos = [];
  }
}

/** Let the button undo. */
export function startNotices() {
  find("#undo").addEventListener("click", () => {
    find("#notice").hidden = true;
    find("#choose").focus({ preventScroll: true });
    for (const undo of undos.splice(0)) undo();
  });
}
