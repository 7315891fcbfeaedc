// What the page is made of, as the flows name it.
import path from "node:path";

export const button = (page, name) => page.getByRole("button", { name, exact: true });
export const words = (page) => page.locator("#words .word");
export const shownText = async (page) =>
  (await words(page).evaluateAll((all) => all.map((word) => word.firstChild.textContent))).join(
    " ",
  );
export const give = (page, files) => page.locator("#files").setInputFiles(files);
export const row = (page, name) => page.locator(".item", { hasText: name });
export const inState = (page, name, state) =>
  page.locator(`.item[data-state=${state}]`, { hasText: name });
export const seconds = (count) => new Promise((resolve) => setTimeout(resolve, 1000 * count));

export async function open(page, file) {
  await give(page, [file]);
  await inState(page, path.basename(file), "done").waitFor();
  await page.waitForFunction(() => document.querySelector("#audio").readyState >= 2);
}

/** Whether the page can be moved sideways. */
export const sideways = (page) =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);
