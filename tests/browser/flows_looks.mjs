// How it looks where the system, the width or the mouse changes that.
import { answerWith, button, open, words } from "./parts.mjs";

const style = (locator, name, pseudo) =>
  locator.evaluate((one, [name, pseudo]) => getComputedStyle(one, pseudo)[name], [name, pseudo]);

/** With the colours of the system (high contrast). */
export async function forcedColours({ page, file }) {
  await answerWith(page, [
    ["sure", 0, 1, 0.9],
    ["doubtful", 1, 2, 0.2],
  ]);
  await open(page, file);
  await words(page).first().click();
  await page.mouse.move(0, 0);
  const ground = (locator, pseudo) => style(locator, "backgroundColor", pseudo);
  const [sure, doubtful] = [words(page).first(), words(page).nth(1)];
  const found = {
    lit: (await ground(sure)) !== (await ground(doubtful)),
    doubt: await style(doubtful, "textDecorationStyle"),
    sure: await style(sure, "textDecorationLine"),
    lamp: (await ground(page.locator("#server .lamp"))) !== (await ground(page.locator("body"))),
  };
  await button(page, "Record").click();
  const level = page.locator("#recording .level");
  return { ...found, level: (await ground(level, "::before")) !== (await ground(level)) };
}

/** On a phone: buttons for fingers, and the way to the API. */
export async function phone({ page, file }) {
  await open(page, file);
  const sizes = await page.locator(".item-actions button").evaluateAll((all) =>
    all.flatMap((one) => [one.offsetWidth, one.offsetHeight]),
  );
  const link = page.getByRole("link", { name: "API", exact: true });
  const name = await page.locator("#server-words").evaluate((one) =>
    one.scrollWidth > one.clientWidth ? "" : one.textContent,
  );
  return { leastPx: Math.min(...sizes), link: await link.isVisible(), name };
}

/** With a file held over the page, and with a word that is lit. */
export async function atOnce({ page, file }) {
  await open(page, file);
  const found = { fading: await style(words(page).first(), "transitionDuration") };
  await page.evaluate(() => {
    const data = new DataTransfer();
    data.items.add(new File(["Buy milk."], "notes.wav"));
    document.body.dispatchEvent(new DragEvent("dragenter", { bubbles: true, dataTransfer: data }));
  });
  const [width, height] = await Promise.all(
    ["width", "height"].map((name) => style(page.locator("body"), name, "::after")),
  );
  const { width: pageWidth, height: pageHeight } = page.viewportSize();
  return { ...found, covers: width === `${pageWidth}px` && height === `${pageHeight}px` };
}
