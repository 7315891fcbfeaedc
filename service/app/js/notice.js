/** A line over the page that goes by itself, with or without a way back. */

import { find } from "./dom.js";

const SHOWN_MS = 15_000;
let timer = 0;
/** @type {(() => void) | null} */
let goBack = null;

/**
 * Say something for a while; it stays as long as the mouse or the keyboard is at it.
 *
 * @param {string} words
 * @param {() => void} [undo] what the button `Undo` does; without it there is none
 */
export function notify(words, undo) {
  goBack = undo ?? null;
  find("#notice-words").textContent = words;
  find("#news").textContent = undo ? `${words} Undo is at the end of the page.` : words;
  find("#undo").hidden = !undo;
  find("#notice").hidden = false;
  clearTimeout(timer);
  timer = setTimeout(fade, SHOWN_MS);
}

function fade() {
  const notice = find("#notice");
  if (notice.matches(":hover, :focus-within")) timer = setTimeout(fade, SHOWN_MS);
  else notice.hidden = true;
}

/** Let the button undo. */
export function startNotices() {
  find("#undo").addEventListener("click", () => {
    find("#notice").hidden = true;
    find("#choose").focus({ preventScroll: true });
    goBack?.();
    goBack = null;
  });
}
