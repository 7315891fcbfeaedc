/** The API key: kept for this tab only, asked for when the server wants one. */

import { find } from "./dom.js";

const NAME = "stt-api-key";
const KEY = /^[A-Za-z0-9._~+-]+$/; // what a header and a subprotocol can both carry

/** @returns {string} the key, or nothing */
export const apiKey = () => sessionStorage.getItem(NAME) ?? "";

/**
 * Return what says the key to the server, in a request's headers.
 *
 * @returns {Record<string, string>}
 */
export function keyHeaders() {
  const key = apiKey();
  return key ? { Authorization: `Bearer ${key}` } : {};
}

/**
 * Return what says the key where a browser can set no headers: subprotocols of a WebSocket. The
 * server answers with the first, so that the key does not come back.
 *
 * @returns {string[]}
 */
export function keyProtocols() {
  const key = apiKey();
  return key ? ["stt", `stt-key.${key}`] : [];
}

/** Show the field for the key, and say so if the one that was given is wrong. */
export function askForKey() {
  find("#key-problem").textContent = apiKey() ? "The server does not take this key." : "";
  const form = find("#key-form");
  if (!form.hidden) return;
  form.hidden = false;
  find("#key").focus();
}

/**
 * Take the key that is entered.
 *
 * @param {() => void} onKey called once there is a new one
 */
export function startKeyForm(onKey) {
  const form = find("#key-form");
  const field = /** @type {HTMLInputElement} */ (find("#key"));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const key = field.value.trim();
    if (!KEY.test(key)) {
      find("#key-problem").textContent = "A key has only letters, digits and . _ ~ + - in it.";
      return;
    }
    sessionStorage.setItem(NAME, key);
    field.value = "";
    form.hidden = true;
    find("#sound-problem").textContent = "";
    find("#choose").focus();
    onKey();
  });
}
