// What the page is made of, as the flows name it.
import net from "node:net";
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

/** What the player does. */
export const player = (page) =>
  page.evaluate(() => {
    const { currentTime, paused } = document.querySelector("#audio");
    return { atS: currentTime, paused };
  });

/** Let the server answer each file with these words, `[text, start, end, confidence]` each. */
export const answerWith = (page, found) =>
  page.route("**/v1/audio/transcriptions", (route) =>
    route.fulfill({
      json: {
        text: found.map(([word]) => word).join(" "),
        duration: found.at(-1)[2],
        words: found.map(([word, start, end, confidence]) => ({ word, start, end, confidence })),
      },
    }),
  );

/** Open the page of a server that can go away and come back: a door before the real one. */
export async function openByDoor(page, url) {
  const { hostname, port, pathname } = new URL(url);
  const passing = new Set();
  const door = net.createServer((near) => {
    const far = net.connect(Number(port), hostname);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ]) {
      passing.add(one);
      one.pipe(other);
      one.on("error", () => {});
      one.on("close", () => (other.destroy(), passing.delete(one)));
    }
  });
  const listen = (at) => new Promise((resolve) => door.listen(at, hostname, resolve));
  await listen(0);
  const own = door.address().port;
  await page.goto(`http://${hostname}:${own}${pathname}`);
  await page.locator("#server[data-state=ready]").waitFor();
  const close = () => {
    door.close();
    passing.forEach((one) => one.destroy());
  };
  return { close, reopen: () => listen(own) };
}
