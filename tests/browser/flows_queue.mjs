// What is in the list, and what is taken out of it.
import path from "node:path";

import { answerWith, button, give, inState, open, row, seconds } from "./parts.mjs";

const name = (file) => path.basename(file);
const shown = async (page) =>
  (await page.locator("#result").isVisible()) ? page.locator("#result-name").textContent() : "";
const rows = (page) => page.locator(".item-name").allTextContents();

/** Hold what the server would answer, and let it go file by file. */
async function heldAnswers(page, held = []) {
  await page.route("**/v1/audio/transcriptions", (route) => void held.push(route));
  return async () => {
    while (!held.length) await seconds(0.05);
    await held.shift().fulfill({ json: { text: "yes", duration: 1, words: [] } });
  };
}

/** Files that are done while another is shown: `[shown after each]`. */
export async function takesItsPlace({ page, files }) {
  const answer = await heldAnswers(page);
  const [first, second, third, fourth, fifth] = files;
  const found = [];
  const done = async (file) => {
    await answer();
    await inState(page, name(file), "done").waitFor();
    found.push(await shown(page));
  };
  await give(page, [first]);
  await done(first);
  await give(page, [second, third]);
  await done(second);
  await done(third);
  await give(page, [fourth]);
  await page.locator(".item-open", { hasText: name(first) }).click();
  await done(fourth);
  await page.evaluate(() => Object.defineProperty(document.querySelector("#audio"), "paused", { value: false }));
  await give(page, [fifth]);
  await done(fifth);
  return found;
}

export async function removedShown({ page, files, broken }) {
  await answerWith(page, [["yes", 0, 1, 0.9]]);
  await give(page, files);
  for (const file of files) await inState(page, name(file), "done").waitFor();
  await page.unroute("**/v1/audio/transcriptions");
  await give(page, [broken]);
  await inState(page, name(broken), "failed").waitFor();
  const count = await page.locator("#queue-count").innerText();
  await row(page, name(files[1])).locator(".item-open").click();
  const found = [];
  for (const file of [files[1], files[2], files[0]]) {
    await button(page, `Remove ${name(file)}`).click();
    const current = page.locator(".item:has([aria-current]) .item-name");
    found.push([await shown(page), (await current.allTextContents()).join()]);
  }
  return { count, found, empty: await page.locator("#empty").isVisible() };
}

const record = async (page, stop) => {
  await button(page, "Record").click();
  await page.waitForFunction(() => document.querySelector("#recording .level").ariaValueNow > 30);
  await seconds(0.5);
  await button(page, stop).click();
};

export async function removedRecording({ page, file }) {
  await answerWith(page, [["yes", 0, 1, 0.9]]);
  await record(page, "Stop and transcribe");
  await inState(page, "Recording", "done").waitFor();
  await open(page, file);
  const before = await rows(page);
  await row(page, "Recording").locator(".item-open").click();
  await page.getByRole("button", { name: "Remove Recording" }).click();
  const found = { said: await page.locator("#notice-words").innerText(), left: await rows(page) };
  await button(page, "Undo").click();
  found.again = (await rows(page)).join() === before.join();
  found.shown = await shown(page);
  found.notice = await page.locator("#notice").isVisible();
  await button(page, `Remove ${name(file)}`).click(); // nothing that could be lost
  return { ...found, noticeOfFile: await page.locator("#notice").isVisible() };
}

export async function discardedRecording({ page }) {
  await answerWith(page, [["yes", 0, 1, 0.9]]);
  await record(page, "Discard");
  await button(page, "Undo").waitFor();
  const items = await page.locator(".item").count();
  await button(page, "Undo").click();
  await inState(page, "Recording", "done").waitFor();
  return { items };
}

/** A list that is full, and an error at its end. */
export async function errorAtTheEnd({ page, files, broken }) {
  await answerWith(page, [["yes", 0, 1, 0.9]]);
  for (let round = 0; round < 3; round += 1) await give(page, files);
  await page.waitForFunction(
    (count) => document.querySelectorAll(".item[data-state=done]").length === count,
    3 * files.length,
  );
  await page.unroute("**/v1/audio/transcriptions");
  await give(page, [broken]);
  await inState(page, name(broken), "failed").waitFor();
  return page.evaluate(() => {
    const [list, error] = ["#queue", ".item-error"].map((selector) =>
      document.querySelector(selector).getBoundingClientRect(),
    );
    return Math.round(error.bottom - list.bottom);
  });
}

export async function emptyAgain({ page, empty }) {
  let asked = 0;
  await page.route("**/v1/audio/transcriptions", (route) => ((asked += 1), route.abort()));
  await give(page, [empty]);
  await button(page, `Try again ${name(empty)}`).click();
  await inState(page, name(empty), "failed").waitFor();
  return { asked, error: await row(page, name(empty)).locator(".item-error").innerText() };
}

/** As if the server worked for eight seconds. */
export async function takesLong({ page, file }) {
  await page.evaluate(() => {
    const { send } = XMLHttpRequest.prototype;
    XMLHttpRequest.prototype.send = function (form) {
      this.upload.onload();
      setTimeout(() => send.call(this, form), 8000);
    };
  });
  await give(page, [file]);
  const state = row(page, name(file)).locator(".item-state");
  const atFirst = await state.innerText();
  await page.waitForFunction(() => /, 0:0[5-7]$/.test(document.querySelector(".item-state").textContent));
  const later = await state.innerText();
  await inState(page, name(file), "done").waitFor();
  return { atFirst, later };
}
