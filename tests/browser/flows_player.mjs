// How a recording is played, and its words are followed.
import { answerWith, button, inState, open, player, seconds, words } from "./parts.mjs";

/** Words without a pause, each doubtful; every so many a breath before one. */
const speech = (count, everyS, breathsAt = []) =>
  Array.from({ length: count }, (_, index) => {
    const startS = index * everyS;
    return [`word${index}`, startS + (breathsAt.includes(index) ? 0.3 : 0), startS + everyS, 0.57];
  });

const openWith = async (page, file, found) => {
  await answerWith(page, found);
  await open(page, file);
};

/** How much of the document is below what is in it. */
const emptyPx = (page) =>
  page.evaluate(() => {
    const { scrollHeight, clientHeight } = document.documentElement;
    const end = document.querySelector("main").getBoundingClientRect().bottom + scrollY;
    return scrollHeight - Math.max(clientHeight, Math.ceil(end));
  });

export async function longText({ page, file }) {
  await openWith(page, file, speech(11_247, 0.4, [125, 260]));
  const when = await page.locator("#words .when").allTextContents();
  const name = page.getByRole("button", { name: "word7, 57 % sure", exact: true });
  return {
    emptyPx: await emptyPx(page),
    facts: await page.locator("#result-facts").textContent(),
    when: when.slice(0, 4),
    paragraphs: when.length,
    named: await name.count(),
  };
}

export async function waveformKeys({ page, file }) {
  await openWith(page, file, speech(75, 0.4));
  await page.getByRole("slider", { name: "Place in the recording" }).focus();
  const found = [];
  for (const key of ["PageUp", "ArrowRight", "Shift+ArrowUp", "ArrowLeft", "Shift+ArrowDown"]) {
    await page.keyboard.press(key);
    found.push((await player(page)).atS);
  }
  await page.keyboard.press("PageDown");
  return [...found, (await player(page)).atS];
}

export async function recordingPauses({ page, file }) {
  await openWith(page, file, speech(75, 0.4));
  const found = {};
  for (const [name, end] of [
    ["Record", "Discard"],
    ["Live captions", "Stop"],
  ]) {
    await button(page, "Play").click();
    await button(page, name).click();
    await button(page, end).waitFor();
    found[name] = [(await player(page)).paused];
    await page.evaluate(() => document.activeElement.blur());
    await page.keyboard.press("Space");
    found[name].push((await player(page)).paused);
    await button(page, end).click();
    await button(page, "Record").waitFor();
  }
  return found;
}

export async function colourWhilePlaying({ page, file }) {
  await openWith(page, file, speech(75, 0.4));
  await words(page).nth(20).click();
  await button(page, "Play").click();
  const toggle = button(page, "Dark colours");
  for (let presses = 0; presses < 3; presses += 1) await toggle.click(); // quicker than it is drawn
  await page.waitForFunction(() => {
    const { paused, currentTime } = document.querySelector("#audio");
    return !paused && currentTime > 0.2;
  });
  return (await player(page)).atS;
}

export async function wordPressed({ page, file }) {
  await openWith(page, file, speech(75, 0.4));
  await words(page).nth(10).click();
  const clicked = await player(page);
  await page.keyboard.press("Enter");
  await page.waitForFunction(() => document.querySelector("#audio").currentTime > 4.1);
  const entered = await player(page);
  await words(page).nth(40).click();
  return { clicked, entered, clickedPlaying: await player(page) };
}

/** Where the words are scrolled to, and whether the lit one is in sight of their box. */
const place = (page) =>
  page.evaluate(() => {
    const box = document.querySelector("#words");
    const [outer, lit] = [box, document.querySelector("#words [aria-current]")].map((one) =>
      one?.getBoundingClientRect(),
    );
    return { top: box.scrollTop, sees: lit ? lit.top >= outer.top && lit.bottom <= outer.bottom : null };
  });

const scrollTo = (page, top) =>
  page.evaluate((top) => (document.querySelector("#words").scrollTop = top), top);

export async function scrolledAway({ page, file }) {
  await openWith(page, file, speech(600, 0.05));
  const slider = page.getByRole("slider", { name: "Place in the recording" });
  await slider.focus();
  await button(page, "Play").click();
  await page.getByLabel("Speed").selectOption("0.5");
  await slider.focus();
  for (const key of ["PageUp", "PageUp"]) await page.keyboard.press(key);
  await seconds(0.5);
  const found = { sought: await place(page) };
  await scrollTo(page, 0);
  await seconds(1);
  found.away = await place(page);
  await scrollTo(page, found.sought.top);
  await page.getByLabel("Speed").selectOption("2");
  await page.waitForFunction(() => document.querySelector("#audio").currentTime > 26);
  return { ...found, back: await place(page) };
}

/** To a place in a text so long that what is out of sight is not laid out. */
export async function soughtFarAway({ page, file }) {
  const paragraph = (first) =>
    Array.from({ length: 150 }, (_, index) => {
      const startS = first + index / 150;
      return [`word${index}`, startS, startS + 1 / 150, 0.9];
    });
  await openWith(page, file, Array.from({ length: 48 }, (_, index) => paragraph(2.5 * index)).flat());
  const found = [];
  for (const timeS of [60.3, 110.3, 20.3]) {
    await page.getByRole("slider", { name: "Place in the recording" }).evaluate((slider, timeS) => {
      slider.value = timeS;
      slider.dispatchEvent(new Event("input"));
    }, timeS);
    await seconds(0.5);
    found.push((await place(page)).sees);
  }
  return found;
}

export async function recordedIsShown({ page, file }) {
  await open(page, file);
  await button(page, "Record").click();
  await page.waitForFunction(() => document.querySelector("#recording .level").ariaValueNow > 30);
  await seconds(1);
  await button(page, "Stop and transcribe").click();
  await inState(page, "Recording", "done").waitFor();
  return page.locator("#result-name").textContent();
}
