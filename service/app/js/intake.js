/** Files from outside: chosen, dropped anywhere on the page, or pasted. */

import { find } from "./dom.js";

/**
 * Call `onFiles` with what a person gives.
 *
 * @param {(files: File[]) => void} onFiles
 */
export function takeFiles(onFiles) {
  const chooser = /** @type {HTMLInputElement} */ (find("#files"));
  find("#choose").addEventListener("click", () => chooser.click());
  chooser.addEventListener("change", () => {
    onFiles([...(chooser.files ?? [])]);
    chooser.value = ""; // so that the same file can be chosen again
  });
  addEventListener("paste", ({ clipboardData }) => {
    if (clipboardData?.files.length) onFiles([...clipboardData.files]);
  });
  takeDrops(onFiles);
}

/** @param {(files: File[]) => void} onFiles */
function takeDrops(onFiles) {
  let inside = 0; // enter and leave come for every element that is passed
  const over = (/** @type {number} */ change) => {
    inside = change ? inside + change : 0;
    document.body.classList.toggle("dropping", inside > 0);
  };
  addEventListener("dragenter", (event) => hasFiles(event) && over(1));
  addEventListener("dragleave", (event) => hasFiles(event) && over(-1));
  addEventListener("dragover", (event) => hasFiles(event) && event.preventDefault());
  addEventListener("drop", (event) => {
    if (!hasFiles(event)) return;
    event.preventDefault();
    over(0);
    onFiles([...(event.dataTransfer?.files ?? [])]);
  });
}

/** @param {DragEvent} event */
const hasFiles = (event) => event.dataTransfer?.types.includes("Files") ?? false;
