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

/** @param {File[]} files */
function give(files) {
  for (const file of files) {
    const refusal = server.refusal(file);
    if (refusal) queue.addRefused(file, refusal);
    else queue.add(file);
  }
}

queue.addEventListener("change", (event) => {
  const item = /** @type {Item} */ (/** @type {CustomEvent} */ (event).detail);
  if (item.state === "done" && (!stage.item || stage.item === item)) open(item);
});
queue.addEventListener("remove", (event) => {
  if (stage.item === /** @type {CustomEvent} */ (event).detail) stage.clear();
});
takeFiles(give);
startKeyForm(() => {
  void server.ask();
  queue.retryRefused();
});
new Sound({
  limits: () => server.limits,
  decoding: () => options.chosen,
  onRecording: (recording, transcript) => {
    if (!transcript) return give([recording]);
    const item = queue.add(recording, transcript);
    if (stage.item !== item) open(item);
  },
});
void server.ask();
