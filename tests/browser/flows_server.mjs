// A server that goes away, one that refuses, and what is no server at all.
import { writeFile } from "node:fs/promises";
import path from "node:path";

import { button, give, inState, open, openByDoor, row, seconds, shownText } from "./parts.mjs";

const errorOf = async (page, name) => {
  await inState(page, name, "failed").waitFor();
  return row(page, name).locator(".item-error").innerText();
};
const lamp = (page, state) =>
  page.locator(`#server[data-state=${state}]`).waitFor({ timeout: 8000 });

export async function serverDies({ page, url, file }) {
  const door = await openByDoor(page, url);
  door.close();
  await give(page, [file]);
  await errorOf(page, path.basename(file));
  await lamp(page, "away");
  const said = await page.locator("#server").innerText();
  await door.reopen();
  await lamp(page, "ready");
  door.close();
  return said;
}

/** Nothing of the server is there, not even the script that hears. */
export async function recordedWithoutServer({ page, url }) {
  const door = await openByDoor(page, url);
  door.close();
  await button(page, "Record").click();
  await page.waitForFunction(() => document.querySelector("#recording .level").ariaValueNow > 30);
  await seconds(5);
  await button(page, "Stop and transcribe").click();
  const error = await errorOf(page, "Recording");
  await door.reopen();
  await lamp(page, "ready");
  await page.getByRole("button", { name: "Try again Recording" }).click();
  await inState(page, "Recording", "done").waitFor();
  door.close();
  return { error, text: await shownText(page) };
}

/** A file that changes after it was chosen, and a folder that is dropped. */
export async function unreadable({ page, context, file, folder }) {
  const name = path.basename(file);
  await open(page, file);
  await writeFile(file, "other");
  await button(page, `Transcribe again ${name}`).click();
  const found = { changed: await errorOf(page, name) };
  const network = await context.newCDPSession(page);
  for (const type of ["dragEnter", "dragOver", "drop"]) {
    await network.send("Input.dispatchDragEvent", {
      type,
      x: 300,
      y: 300,
      data: { items: [], files: [folder], dragOperationsMask: 1 },
    });
  }
  return { ...found, folder: await errorOf(page, path.basename(folder)) };
}

export async function loginPage({ page, file, other }) {
  await page.route("**/v1/audio/transcriptions", (route) =>
    route.fulfill({ contentType: "text/html", body: "<!doctype html><title>Log in</title>" }),
  );
  await give(page, [file]);
  const error = await errorOf(page, path.basename(file));
  await page.unroute("**/v1/audio/transcriptions");
  await open(page, other);
  return { error, text: await shownText(page) };
}

/** What the page says of a server's refusals. */
export async function refusals({ page, file, answers }) {
  let answer;
  await page.route("**/v1/audio/transcriptions", (route) =>
    route.fulfill({ status: answer.status, json: { error: answer.error } }),
  );
  const found = [];
  for (answer of answers) {
    await give(page, [file]);
    found.push(await errorOf(page, path.basename(file)));
    await button(page, `Remove ${path.basename(file)}`).click();
  }
  return found;
}

/** More words to listen for than the server takes, and one that is too long. */
export async function manyHotwords({ page, file, hotwords }) {
  await page.locator("summary").click();
  const field = page.getByLabel("Words to listen for");
  await field.fill("x".repeat(101));
  const problem = page.locator("#hotwords-problem");
  const found = { long: await problem.innerText() };
  await field.fill(hotwords.join(", "));
  found.many = await problem.innerText();
  await page.evaluate(() => {
    const { send } = XMLHttpRequest.prototype;
    XMLHttpRequest.prototype.send = function (form) {
      globalThis.sent = form.getAll("hotwords").length;
      send.call(this, form);
    };
  });
  await give(page, [file]);
  await inState(page, path.basename(file), "done").waitFor();
  found.sent = await page.evaluate(() => globalThis.sent);
  await field.fill("kestrel");
  return { ...found, after: await problem.innerText() };
}

/** A key that is right after a problem with the microphone's captions. */
export async function keyAfterProblem({ page, file, key }) {
  await give(page, [file]);
  await errorOf(page, path.basename(file));
  await button(page, "Live captions").click();
  await page.locator("#sound-problem:not(:empty)").waitFor();
  await page.getByRole("form", { name: "API key" }).getByLabel("Key").fill(key);
  await page.keyboard.press("Enter");
  await inState(page, path.basename(file), "done").waitFor();
  return page.evaluate(() => [
    document.activeElement.id,
    document.querySelector("#sound-problem").textContent,
  ]);
}
