/** The page, put together. */

import { transcribe } from "./api.js";
import { PlainError } from "./errors.js";
import { takeFiles } from "./intake.js";
import { askForKey, startKeyForm } from "./key.js";
import { notify, startNotices } from "./notice.js";
import { Options } from "./options.js";
import { Queue } from "./queue.js";
import { QueueView } from "./queue_view.js";
import { Server } from "./server.js";
import { Showing } from "./showing.js";
import { Sound } from "./sound.js";
import { Stage } from "./stage.js";

/** @typedef {import("./queue.js").Item} Item */

const AWAY = [0, 503];

const server = new Server();
const options = new Options();
const stage = new Stage();
const queue = new Queue(work);
const view = new QueueView(queue, { onOpen: (item) => showing.open(item), onRemove: remove });
const showing = new Showing(stage, queue, (item) => view.mark(item));

/**
 * @param {File} file
 * @param {{onSent: (share: number) => void, signal: AbortSignal}} during
 */
async function work(file, during) {
  const refusal = server.refusal(file); // again: a file that was refused can be tried again
  if (refusal) throw refusal;
  try {
    return await transcribe(
      file,
      [["model", server.model || "whisper-1"], ...options.fields],
      during,
    );
  } catch (error) {
    if (error instanceof PlainError && error.status === 401) askForKey();
    if (error instanceof PlainError && AWAY.includes(error.status)) void server.ask();
    throw error;
  }
}

/**
 * @param {File[]} files
 * @param {import("./queue.js").Known} [known]
 */
function give(files, known = {}) {
  const add = (/** @type {File} */ file) =>
    queue.add(file, { ...known, error: server.refusal(file) });
  showing.expect(files.map(add));
}

/** @param {File[]} files */
function take(files) {
  give(files);
  if (document.body.dataset.mode !== "live") return;
  const what = files.length === 1 ? files[0].name : `${files.length} files`;
  notify(`The captions go on; ${what} will be in the list after them.`);
}

/** @param {Item} item */
function remove(item) {
  const wasShown = stage.item === item;
  queue.remove(item);
  if (!item.recorded || item.saved) return;
  notify("A recording that was not saved is removed.", () => {
    queue.restore(item);
    if (wasShown) showing.open(item);
  });
}

/**
 * @param {File} recording
 * @param {import("./api.js").Transcript | undefined} transcript
 * @param {boolean} hasFinals whether any of its words are final
 */
function keepCaptions(recording, transcript, hasFinals) {
  if (!transcript) return give([recording], { recorded: true });
  const item = queue.add(recording, { transcript, recorded: true });
  showing.open(item);
  if (!hasFinals) queue.retry(item);
}

takeFiles(take);
startNotices();
startKeyForm(() => {
  void server.ask();
  queue.retryRefused();
});
new Sound({
  limits: () => server.limits,
  decoding: () => options.chosen,
  onStart: () => stage.player.pause(),
  onRecording: (recording) => give([recording], { recorded: true }),
  onDiscarded: (recording) =>
    notify("The recording is discarded.", () => give([recording], { recorded: true })),
  onCaptioned: keepCaptions,
  onTrouble: () => void server.ask(),
});
addEventListener("beforeunload", (event) => {
  if (queue.hasUnsaved || document.body.dataset.mode !== "idle") event.preventDefault();
});
void server.ask();
