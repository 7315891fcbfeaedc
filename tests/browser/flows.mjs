// What a person does on the page; each flow returns what the page then shows.
import path from "node:path";

import axe from "axe-core";

const button = (page, name) => page.getByRole("button", { name, exact: true });
const words = (page) => page.locator("#words .word");
const shownText = async (page) =>
  (await words(page).evaluateAll((all) => all.map((word) => word.firstChild.textContent))).join(" ");
const give = (page, files) => page.locator("#files").setInputFiles(files);
const row = (page, name) => page.locator(".item", { hasText: name });
const inState = (page, name, state) => page.locator(`.item[data-state=${state}]`, { hasText: name });
const seconds = (count) => new Promise((resolve) => setTimeout(resolve, 1000 * count));

async function open(page, file) {
  await give(page, [file]);
  await inState(page, path.basename(file), "done").waitFor();
  await page.waitForFunction(() => document.querySelector("#audio").readyState >= 2);
}

/** Whether the page can be moved sideways. */
const sideways = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

export async function upload({ page, file }) {
  await open(page, file);
  return {
    text: await shownText(page),
    name: await page.locator("#result-name").textContent(),
    facts: await page.locator("#result-facts").textContent(),
    canvases: await page.locator("#waveform canvas").count(),
  };
}

export async function unplayable({ page, file, playable }) {
  await give(page, [file]);
  await page.locator("#unplayable").waitFor();
  const text = await shownText(page);
  const shown = await button(page, "Play").isVisible();
  await give(page, [playable]);
  await row(page, path.basename(playable)).locator(".item-open").click();
  await button(page, "Play").waitFor();
  return { text, shown, said: await page.locator("#unplayable").isVisible() };
}

export async function several({ page, files, broken }) {
  await give(page, [...files, broken]);
  for (const file of files) await inState(page, path.basename(file), "done").waitFor();
  await inState(page, path.basename(broken), "failed").waitFor();
  const texts = {};
  for (const file of files) {
    await row(page, path.basename(file)).locator(".item-open").click();
    texts[path.basename(file)] = await shownText(page);
  }
  return { texts, error: await row(page, path.basename(broken)).locator(".item-error").innerText() };
}

export async function drop({ page, file, content }) {
  const data = await page.evaluateHandle(
    ([name, base64]) => {
      const bytes = Uint8Array.from(atob(base64), (letter) => letter.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], name));
      return transfer;
    },
    [file, content],
  );
  await page.dispatchEvent("main", "dragenter", { dataTransfer: data });
  const lit = await page.locator("body.dropping").count();
  await page.dispatchEvent("main", "drop", { dataTransfer: data });
  await inState(page, file, "done").waitFor();
  return { lit, left: await page.locator("body.dropping").count(), text: await shownText(page) };
}

export async function cancelAndRetry({ page, context, file }) {
  const network = await context.newCDPSession(page);
  await network.send("Network.enable");
  const limit = (uploadThroughput) =>
    network.send("Network.emulateNetworkConditions", {
      offline: false,
      latency: 0,
      downloadThroughput: -1,
      uploadThroughput,
    });
  const name = path.basename(file);
  await limit(20_000);
  await give(page, [file]);
  await inState(page, name, "sending").waitFor();
  await button(page, `Cancel ${name}`).click();
  await inState(page, name, "cancelled").waitFor();
  await limit(-1);
  await button(page, `Try again ${name}`).click();
  await inState(page, name, "done").waitFor();
  const text = await shownText(page);
  await button(page, `Remove ${name}`).click();
  return { text, left: await page.locator(".item").count(), empty: await page.locator("#empty").isVisible() };
}

export async function offline({ page, context, file }) {
  const name = path.basename(file);
  await context.setOffline(true);
  await give(page, [file]);
  await inState(page, name, "failed").waitFor();
  const error = await row(page, name).locator(".item-error").innerText();
  await context.setOffline(false);
  await button(page, `Try again ${name}`).click();
  await inState(page, name, "done").waitFor();
  return { error, text: await shownText(page) };
}

export async function record({ page, forS }) {
  await button(page, "Record").click();
  await page.waitForFunction(() => document.querySelector("#recording .level").ariaValueNow > 30);
  const level = await page.locator("#recording .level").getAttribute("aria-valuenow");
  await seconds(forS);
  await button(page, "Stop and transcribe").click();
  await inState(page, "Recording", "done").waitFor();
  return { text: await shownText(page), level: Number(level), state: await page.locator(".item-state").innerText() };
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
  await page.locator("#captions-partial span").nth(2).waitFor();
  const partial = await page.locator("#captions-partial").innerText();
  const paler = await page.evaluate(() => {
    const ink = (selector) => getComputedStyle(document.querySelector(selector)).color;
    return ink("#captions-partial") !== ink("#captions-final");
  });
  await page.locator("#captions-final p").waitFor();
  const final = await page.locator("#captions-final p").first().innerText();
  await button(page, "Stop").click();
  await inState(page, "Live captions", "done").waitFor();
  return { partial, paler, final, kept: await shownText(page) };
}

export async function copied({ page, context, file }) {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await open(page, file);
  await button(page, "Copy text").click();
  await button(page, "Copied").waitFor();
  return { text: await shownText(page), copied: await page.evaluate(() => navigator.clipboard.readText()) };
}

export async function seek({ page, file, index }) {
  await open(page, file);
  const word = words(page).nth(index);
  await word.click();
  const lit = () => page.locator("#words [aria-current]").evaluateAll((all) => all.map((one) => one.firstChild.textContent));
  const at = () => page.evaluate(() => document.querySelector("#audio").currentTime);
  const found = { word: await word.evaluate((one) => one.firstChild.textContent), atS: await at(), lit: await lit() };
  await button(page, "Play").click();
  await page.waitForFunction(
    (before) => document.querySelector("#words [aria-current]")?.title !== before && document.querySelector("#words [aria-current]"),
    await word.getAttribute("title"),
  );
  await button(page, "Pause").click();
  return { ...found, laterS: await at(), laterLit: await lit(), clock: await page.locator("#time").innerText() };
}

export async function downloads({ page, file, folder }) {
  await open(page, file);
  const saved = {};
  for (const name of ["txt", "srt", "vtt", "json"]) {
    const coming = page.waitForEvent("download");
    await button(page, `Download ${name}`).click();
    const download = await coming;
    saved[name] = path.join(folder, download.suggestedFilename());
    await download.saveAs(saved[name]);
  }
  return { saved, text: await shownText(page) };
}

export async function options({ page, file, decoder, width, hotwords }) {
  await page.locator("summary").click();
  await page.getByLabel("Decoder").selectOption(decoder);
  if (width) await page.getByLabel("Beam width").fill(width);
  await page.getByLabel("Words to listen for").fill(hotwords);
  await open(page, file);
  const text = await shownText(page);
  await page.reload();
  return { text, kept: await page.getByLabel("Words to listen for").inputValue() };
}

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
  await press("Enter");
  const lit = await page.locator("#words [aria-current]").evaluate((one) => one.firstChild.textContent);
  const wordS = await at();
  await tabTo(button(page, "Download json"));
  const coming = page.waitForEvent("download");
  await press("Enter");
  return { outlines, endS, lit, wordS, saved: (await coming).suggestedFilename() };
}

export async function key({ page, file, key }) {
  const form = page.getByRole("form", { name: "API key" });
  await give(page, [file]);
  await inState(page, path.basename(file), "failed").waitFor();
  const error = await row(page, path.basename(file)).locator(".item-error").innerText();
  const use = async (text) => {
    await form.getByLabel("Key").fill(text);
    await form.getByRole("button", { name: "Use" }).click();
  };
  await use("wrong-key-wrong-key");
  await form.locator("#key-problem:not(:empty)").waitFor();
  const problem = await form.locator("#key-problem").innerText();
  await use(key);
  await inState(page, path.basename(file), "done").waitFor();
  await button(page, "Live captions").click();
  await page.locator("#captions-partial span").first().waitFor();
  await button(page, "Stop").click();
  await page.reload();
  await page.locator("#server[data-state=ready]").waitFor();
  return { error, problem, kept: await page.evaluate(() => [localStorage.length, sessionStorage.length]) };
}

/** Run axe in the page, by the browser's own hand: the page's policy keeps other scripts out. */
async function faults(page) {
  const network = await page.context().newCDPSession(page);
  await network.send("Runtime.evaluate", { expression: axe.source });
  const { result } = await network.send("Runtime.evaluate", {
    expression: `axe.run().then(({violations}) => JSON.stringify(violations.map((one) => [one.impact, one.id, one.nodes.map((node) => node.html + " " + node.failureSummary)])))`,
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

export async function screenshot({ page, files, broken, screenshots, name }) {
  const take = (what) => page.screenshot({ path: path.join(screenshots, `${name}-${what}.png`), fullPage: true });
  await take("empty");
  await give(page, [...files, broken]);
  await inState(page, path.basename(broken), "failed").waitFor();
  for (const file of files) await inState(page, path.basename(file), "done").waitFor();
  await row(page, path.basename(files[0])).locator(".item-open").click();
  await page.waitForFunction(() => document.querySelector("#audio").readyState >= 2);
  await words(page).nth(5).click();
  await seconds(1);
  await take("result");
  await page.locator("summary").click();
  await button(page, "Record").click();
  await seconds(1.5);
  await take("recording");
  await button(page, "Discard").click();
  await page.locator("summary").click();
  await button(page, "Live captions").click();
  await page.locator("#captions-final p").waitFor();
  await page.locator("#captions-partial span").nth(2).waitFor();
  await take("captions");
  return true;
}
