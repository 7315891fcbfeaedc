// What is done with the microphone, and with the player.
import { readFile } from "node:fs/promises";

import { button, inState, open, seconds, shownText, words } from "./parts.mjs";

export async function record({ page, forS }) {
  await button(page, "Record").click();
  await page.waitForFunction(() => document.querySelector("#recording .level").ariaValueNow > 30);
  const level = await page.locator("#recording .level").getAttribute("aria-valuenow");
  await seconds(forS);
  await button(page, "Stop and transcribe").click();
  await inState(page, "Recording", "done").waitFor();
  const before = await asksBeforeItGoes(page);
  const saving = page.waitForEvent("download");
  await page.getByRole("button", { name: "Save the sound of Recording" }).click();
  const saved = await readFile(await (await saving).path());
  return {
    text: await shownText(page),
    level: Number(level),
    state: await page.locator(".item-state").innerText(),
    saved: saved.toString("base64"),
    asks: [before, await asksBeforeItGoes(page)],
  };
}

const asksBeforeItGoes = (page) =>
  page.evaluate(() => !dispatchEvent(new Event("beforeunload", { cancelable: true })));

/** With a server that takes a second and a half of sound. */
export async function recordTooMuch({ page }) {
  const limits = { max_file_bytes: 110_000, max_recording_s: 60, sample_rate_hz: 22_050 };
  await page.route("**/app/limits.json", (route) => route.fulfill({ json: limits }));
  await page.reload();
  await page.locator("#server[data-state=ready]").waitFor();
  await button(page, "Record").click();
  await inState(page, "Recording", "done").waitFor();
  return { idle: await button(page, "Record").isVisible() };
}

export async function refused({ page }) {
  const problem = page.locator("#sound-problem:not(:empty)");
  const found = {};
  for (const name of ["Record", "Live captions"]) {
    await button(page, name).click();
    await problem.waitFor();
    found[name] = await problem.innerText();
    await button(page, name).waitFor();
  }
  return found;
}

/** As in Firefox on a computer without a loudspeaker: the microphone opens, audio does not run. */
export async function unheard({ page }) {
  await page.evaluate(() => {
    window.WorkingContext = AudioContext;
    window.AudioContext = class extends AudioContext {
      constructor(options) {
        super(options);
        void this.suspend();
        this.resume = () => new Promise(() => {});
      }
    };
  });
  await button(page, "Record").click();
  await page.locator("#sound-problem:not(:empty)").waitFor();
  const found = {
    problem: await page.locator("#sound-problem").innerText(),
    items: await page.locator(".item").count(),
    ready: await button(page, "Record").isVisible(),
  };
  await button(page, "Record").click();
  await button(page, "Discard").click();
  await page.evaluate(() => (window.AudioContext = window.WorkingContext));
  await button(page, "Record").click();
  await seconds(6); // the attempt before gives up, and says nothing
  return { ...found, goesOn: await button(page, "Stop and transcribe").isVisible() };
}

export async function discard({ page }) {
  await button(page, "Record").click();
  await page.waitForFunction(() => document.querySelector("#recording .level").ariaValueNow > 0);
  await button(page, "Discard").click();
  await button(page, "Record").waitFor();
  return { items: await page.locator(".item").count() };
}

export async function captions({ page }) {
  await button(page, "Live captions").click();
  const partial = await page.waitForFunction(() => {
    const shown = document.querySelector("#captions-partial");
    return shown.querySelectorAll("span").length > 2 && shown.innerText;
  });
  const paler = await page.evaluate(() => {
    const ink = (selector) => getComputedStyle(document.querySelector(selector)).color;
    return ink("#captions-partial") !== ink("#captions-final");
  });
  await page.locator("#captions-final p").waitFor();
  const final = await page.locator("#captions-final p").first().innerText();
  await button(page, "Stop").click();
  await inState(page, "Live captions", "done").waitFor();
  return { partial: await partial.jsonValue(), paler, final, kept: await shownText(page) };
}

export async function seek({ page, file, index }) {
  await open(page, file);
  const word = words(page).nth(index);
  await word.click();
  const lit = () =>
    page
      .locator("#words [aria-current]")
      .evaluateAll((all) => all.map((one) => one.firstChild.textContent));
  const at = () => page.evaluate(() => document.querySelector("#audio").currentTime);
  const found = {
    word: await word.evaluate((one) => one.firstChild.textContent),
    atS: await at(),
    lit: await lit(),
  };
  // At a quarter of its speed it is not over before it is paused.
  await page.evaluate(() => (document.querySelector("#audio").playbackRate = 0.25));
  await button(page, "Play").click();
  await page.waitForFunction(
    (before) =>
      document.querySelector("#words [aria-current]")?.title !== before &&
      document.querySelector("#words [aria-current]"),
    await word.getAttribute("title"),
  );
  await button(page, "Pause").click();
  return {
    ...found,
    laterS: await at(),
    laterLit: await lit(),
    clock: await page.locator("#time").innerText(),
  };
}
