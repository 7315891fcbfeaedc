/** The page, put together. */

import { transcribe } from "./api.js";
import { find } from "./dom.js";
import { PlainError } from "./errors.js";
import { takeFiles } from "./intake.js";
import { askForKey, startKeyForm } from "./key.js";
import { Options } from "./options.js";
import { Queue } from "./queue.js";
import { QueueView } from "./queue_view.js";
import { Server } from "./server.js";
import { Sound } from "./sound.js";
import { Stage } from "./stage.js";

/** @typedef {import("./queue.js").Item} Item */

const server = new Server();
const options = new Options();
const stage = new Stage();
const queue = new Queue(work);
const view = new QueueView(queue, open);

/**
 * @param {File} file
 * @param {{onSent: (share: number) => void, signal: AbortSignal}} during
 */
async function work(file, during) {
  try {
    return await transcribe(
      file,
      [["model", server.model || "whisper-1"], ...options.fields],
      during,
    );
  } catch (error) {
    if (error instanceof PlainError && error.status === 401) askForKey();
    throw error;
  }
}

/** @param {Item} item */
function open(item) {
  stage.show(item);
  view.mark(item);
  if (matchMedia("(max-width: 50rem)").matches) find("#stage").scrollIntoView();
}

/**
 * @param {File} file
 * @param {import("./queue.js").Known} [known]
 */
const give = (file, known = {}) => queue.add(file, { ...known, error: server.refusal(file) });

queue.addEventListener("change", (event) => {
  const item = /** @type {Item} */ (/** @type {CustomEvent} */ (event).detail);
  if (item.state === "done" && (!stage.item || stage.item === item)) open(item);
});
queue.addEventListener("remove", (event) => {
  if (stage.item === /** @type {CustomEvent} */ (event).detail) stage.clear();
});
takeFiles((files) => files.forEach((file) => give(file)));
startKeyForm(() => {
  void server.ask();
  queue.retryRefused();
});
new Sound({
  limits: () => server.limits,
  decoding: () => options.chosen,
  onRecording: (recording, transcript) => {
    if (!transcript) return void give(recording, { recorded: true });
    const item = queue.add(recording, { transcript, recorded: true });
    if (stage.item !== item) open(item);
  },
});
addEventListener("beforeunload", (event) => {
  if (queue.hasUnsaved || document.body.dataset.mode !== "idle") event.preventDefault();
});
void server.ask();
