// Pictures of each state, to look at.
import path from "node:path";

import { button, give, inState, row, seconds, words } from "./parts.mjs";

export async function screenshot({ page, files, broken, screenshots, name }) {
  const take = (what) =>
    page.screenshot({ path: path.join(screenshots, `${name}-${what}.png`), fullPage: true });
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
