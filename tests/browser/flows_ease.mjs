// Whether everybody can use it, everywhere.
import path from "node:path";

import axe from "axe-core";

import { button, give, inState, open, row, seconds, sideways, words } from "./parts.mjs";

export async function theme({ page }) {
  const ground = () => page.evaluate(() => getComputedStyle(document.body).backgroundColor);
  const toggle = button(page, "Dark colours");
  const found = [await ground()];
  const pressed = [await toggle.getAttribute("aria-pressed")];
  await toggle.click();
  found.push(await ground());
  pressed.push(await toggle.getAttribute("aria-pressed"));
  await page.reload();
  found.push(await ground());
  return { found, pressed };
}

export async function keyboard({ page, file }) {
  page.on("filechooser", () => {}); // from the first listener on, the browser shows no dialog
  const press = (key) => page.keyboard.press(key);
  const tabTo = async (locator) => {
    for (let presses = 0; presses < 40; presses += 1) {
      if (await locator.evaluate((element) => element === document.activeElement)) {
        return locator.evaluate((element) => getComputedStyle(element).outlineStyle);
      }
      await press("Tab");
    }
    throw new Error(`Tab does not reach ${locator}`);
  };
  const outlines = [await tabTo(button(page, "Choose files"))];
  const [chooser] = await Promise.all([page.waitForEvent("filechooser"), press("Enter")]);
  await chooser.setFiles([file]);
  await inState(page, path.basename(file), "done").waitFor();
  await page.waitForFunction(() => document.querySelector("#audio").readyState >= 2);
  const at = () => page.evaluate(() => document.querySelector("#audio").currentTime);
  await tabTo(page.getByRole("slider", { name: "Place in the recording" }));
  await press("End");
  const endS = await at();
  outlines.push(await tabTo(words(page).first()));
  await press("ArrowRight");
  await press("ArrowRight");
  const lighting = page.evaluate(() => {
    const { promise, resolve } = Promise.withResolvers();
    new MutationObserver((_, seen) => {
      const lit = document.querySelector("#words [aria-current]");
      if (!lit) return;
      seen.disconnect();
      resolve([lit.firstChild.textContent, document.querySelector("#audio").currentTime]);
    }).observe(document.querySelector("#words"), { attributes: true, subtree: true });
    return promise;
  });
  await seconds(0.2);
  await press("Enter");
  const [lit, wordS] = await lighting; // it plays on from there
  await tabTo(button(page, "Download json"));
  const coming = page.waitForEvent("download");
  await press("Enter");
  return { outlines, endS, lit, wordS, saved: (await coming).suggestedFilename() };
}

export async function key({ page, file, large, key }) {
  const form = page.getByRole("form", { name: "API key" });
  await give(page, [file]);
  await inState(page, path.basename(file), "failed").waitFor();
  const error = await row(page, path.basename(file)).locator(".item-error").innerText();
  await give(page, [large]);
  await inState(page, path.basename(large), "failed").waitFor();
  const refusal = await row(page, path.basename(large)).locator(".item-error").innerText();
  const use = async (text) => {
    await form.getByLabel("Key").fill(text);
    await form.getByRole("button", { name: "Use" }).click();
  };
  const said = async () => {
    await form.locator("#key-problem:not(:empty)").waitFor();
    return form.locator("#key-problem").innerText();
  };
  await use("wrong-key/with=others@");
  const impossible = await said();
  await use("wrong-key-wrong-key");
  await form.locator("#key-problem", { hasText: "does not take" }).waitFor();
  const problem = await said();
  await use(key);
  await inState(page, path.basename(file), "done").waitFor();
  await button(page, "Live captions").click();
  await page.locator("#captions-partial span").first().waitFor();
  await button(page, "Stop").click();
  await page.reload();
  await page.locator("#server[data-state=ready]").waitFor();
  return {
    error,
    refusal,
    impossible,
    problem,
    kept: await page.evaluate(() => [localStorage.length, sessionStorage.length]),
  };
}

/** A key that no header of a WebSocket can carry, as an older page may have kept it. */
export async function impossibleKey({ page }) {
  await page.evaluate(() => {
    sessionStorage.setItem("stt-api-key", "a/key=of@a-person");
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => (globalThis.opened = await open(wanted));
  });
  await button(page, "Live captions").click();
  await page.locator("#sound-problem:not(:empty)").waitFor();
  await button(page, "Record").waitFor();
  return {
    problem: await page.locator("#sound-problem").innerText(),
    tracks: await page.evaluate(() => globalThis.opened.getTracks().map((one) => one.readyState)),
  };
}

export async function description({ page }) {
  await page.getByRole("link", { name: "API", exact: true }).click();
  const route = page.locator(".opblock", { hasText: "/v1/audio/transcriptions" });
  await route.locator("button").first().click();
  await button(page, "Try it out").waitFor();
  return { title: await page.title(), routes: await page.locator(".opblock").count() };
}

/** Run axe in the page, by the browser's own hand: the page's policy keeps other scripts out. */
async function faults(page) {
  const network = await page.context().newCDPSession(page);
  await network.send("Runtime.evaluate", { expression: axe.source });
  const { result } = await network.send("Runtime.evaluate", {
    expression: `axe.run().then(({ violations }) => JSON.stringify(violations.map(
      (one) => [one.impact, one.id, one.nodes.map((node) => node.html + node.failureSummary)])))`,
    awaitPromise: true,
    returnByValue: true,
  });
  return JSON.parse(result.value);
}

export async function accessibility({ page, file, broken }) {
  const found = { empty: await faults(page) };
  await page.locator("summary").click();
  await give(page, [broken]);
  await inState(page, path.basename(broken), "failed").waitFor();
  await open(page, file);
  await words(page).nth(2).click();
  found.result = await faults(page);
  await button(page, "Record").click();
  found.recording = await faults(page);
  await button(page, "Discard").click();
  await button(page, "Live captions").click();
  await page.locator("#captions-partial span").first().waitFor();
  found.captions = await faults(page);
  return found;
}

export async function narrow({ page, file, broken }) {
  const found = { empty: await sideways(page) };
  await page.locator("summary").click();
  await give(page, [broken]);
  await inState(page, path.basename(broken), "failed").waitFor();
  await open(page, file);
  found.result = await sideways(page);
  await button(page, "Record").click();
  found.recording = await sideways(page);
  await button(page, "Discard").click();
  await button(page, "Live captions").click();
  found.captions = await sideways(page);
  return found;
}
