// Files in, text out.
import path from "node:path";

import { button, give, inState, open, row, shownText, words } from "./parts.mjs";

export async function upload({ page, file }) {
  await open(page, file);
  return {
    text: await shownText(page),
    name: await page.locator("#result-name").textContent(),
    facts: await page.locator("#result-facts").textContent(),
    canvases: await page.locator("#waveform canvas").count(),
    doubts: await words(page).evaluateAll((all) => all.map((word) => Number(word.dataset.doubt))),
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
  return {
    texts,
    error: await row(page, path.basename(broken)).locator(".item-error").innerText(),
  };
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
  return {
    text,
    left: await page.locator(".item").count(),
    empty: await page.locator("#empty").isVisible(),
  };
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

export async function copied({ page, context, file }) {
  await context.grantPermissions(["clipboard-read", "clipboard-write"]);
  await open(page, file);
  await button(page, "Copy text").click();
  await button(page, "Copied").waitFor();
  const read = () => page.evaluate(() => navigator.clipboard.readText());
  const found = { text: await shownText(page), copied: await read() };
  await button(page, "Copy text").waitFor(); // again, after a while
  await page.evaluate(() => getSelection().selectAllChildren(document.querySelector("#words")));
  await page.keyboard.press("Control+c");
  return { ...found, selected: (await read()).trim().split(/\s+/).join(" ") };
}

export async function refusedHere({ page, empty }) {
  await give(page, [empty]);
  const name = path.basename(empty);
  await inState(page, name, "failed").waitFor();
  const error = await row(page, name).locator(".item-error").innerText();
  await page.locator("summary").click();
  const width = page.getByLabel("Beam width");
  const bounded = [];
  for (const given of ["999", "0", "2.4", ""]) {
    await width.fill(given);
    await width.blur();
    bounded.push(await width.inputValue());
  }
  await button(page, `Remove ${name}`).click();
  const focus = await page.evaluate(() => document.activeElement.id);
  return { error, bounded, focus };
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
