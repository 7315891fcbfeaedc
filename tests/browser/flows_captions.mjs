// Live captions that go wrong, and those that are read while they come.
import { answerWith, button, inState, openByDoor, row, seconds, shownText } from "./parts.mjs";

const problemOf = async (page) => {
  await page.locator("#sound-problem:not(:empty)").waitFor();
  return page.locator("#sound-problem").innerText();
};

const utterance = (id, ...words) => ({
  id,
  text: words.join(" "),
  start_s: id,
  end_s: id + 1,
  confidence: 0.9,
  words: words.map((text) => ({ text, start_s: id, end_s: id + 1, confidence: 0.9 })),
});

/** Stand in for the server; `say` sends what it says, once the page has begun. */
async function liveServer(page) {
  let socket;
  await page.routeWebSocket("**/v1/stream", (one) => {
    socket = one;
    one.onMessage((message) => {
      if (typeof message !== "string") return;
      const { type } = JSON.parse(message);
      if (type === "start") one.send(JSON.stringify({ type: "ready" }));
      if (type === "close") one.send(JSON.stringify({ type: "closed" }));
    });
  });
  return {
    say: (message) => socket.send(JSON.stringify(message)),
    hangUp: () => socket.close({ code: 1011 }),
  };
}

const begin = async (page) => {
  await button(page, "Live captions").click();
  await page.locator("#captions-hint", { hasText: "Speak now." }).waitFor();
};

/** The connection dies in the first utterance, and comes back. */
export async function cutOff({ page, url }) {
  const door = await openByDoor(page, url);
  await button(page, "Live captions").click();
  await page.locator("#captions-partial span").nth(2).waitFor();
  door.close();
  await inState(page, "Live captions", "failed").waitFor();
  await page.locator("#server[data-state=away]").waitFor();
  const found = { problem: await problemOf(page), partial: await shownText(page) };
  await door.reopen();
  await page.locator("#server[data-state=ready]").waitFor();
  await page.getByRole("button", { name: "Try again Live captions" }).click();
  await inState(page, "Live captions", "done").waitFor();
  door.close();
  return { ...found, again: await shownText(page) };
}

/** The server hangs up after one utterance, in the second. */
export async function cutOffLater({ page }) {
  const server = await liveServer(page);
  await begin(page);
  await seconds(1);
  server.say({ type: "final", ...utterance(0, "once", "upon") });
  server.say({ type: "partial", ...utterance(1, "a", "time") });
  await page.locator("#captions-partial span").nth(1).waitFor();
  server.hangUp();
  await inState(page, "Live captions", "done").waitFor();
  return { problem: await problemOf(page), text: await shownText(page) };
}

/** The server hangs up before it has understood a word. */
export async function cutOffEarly({ page }) {
  await answerWith(page, [["yes", 0, 1, 0.9]]);
  const server = await liveServer(page);
  await begin(page);
  await seconds(1);
  server.hangUp();
  await problemOf(page);
  await inState(page, "Live captions", "done").waitFor();
  return shownText(page);
}

/** What the page says of a server that ends the captions. */
export async function captionsRefused({ page, errors }) {
  const server = await liveServer(page);
  const found = [];
  for (const error of errors) {
    await begin(page);
    server.say({ type: "error", ...error });
    found.push(await problemOf(page));
  }
  return found;
}

export async function captionsScrolled({ page }) {
  const server = await liveServer(page);
  await begin(page);
  const captions = page.locator("#captions");
  const belowPx = () =>
    captions.evaluate((box) => Math.round(box.scrollHeight - box.scrollTop - box.clientHeight));
  const hear = async (id) => {
    server.say({ type: "final", ...utterance(id, `said${id}`) });
    await page.locator("#captions-final", { hasText: `said${id}` }).waitFor();
  };
  for (let id = 0; id < 40; id += 1) await hear(id);
  const found = { following: await belowPx() };
  await captions.evaluate((box) => (box.scrollTop = 0));
  await hear(40);
  server.say({ type: "partial", ...utterance(41, "more") });
  await page.locator("#captions-partial", { hasText: "more" }).waitFor();
  found.away = await captions.evaluate((box) => box.scrollTop);
  await captions.evaluate((box) => (box.scrollTop = box.scrollHeight));
  await hear(41);
  found.back = await belowPx();
  found.emptyPx = await page.evaluate(
    () => innerHeight - document.querySelector("#live").getBoundingClientRect().bottom,
  );
  return found;
}

/** On a phone: how far the text is from the top of what is seen. */
export async function captionsOnPhone({ page }) {
  const server = await liveServer(page);
  await begin(page);
  server.say({ type: "final", ...utterance(0, "hello") });
  await page.locator("#captions-final p").waitFor();
  await button(page, "Stop").click();
  await inState(page, "Live captions", "done").waitFor();
  await seconds(1.5); // it moves smoothly
  return page.evaluate(() => Math.round(document.querySelector("#stage").getBoundingClientRect().top));
}

/** A file that is dropped while captions run. */
export async function dropInCaptions({ page }) {
  await liveServer(page);
  await begin(page);
  await page.evaluate(() => {
    const data = new DataTransfer();
    data.items.add(new File(["Buy milk."], "notes.wav"));
    for (const name of ["dragenter", "drop"]) {
      const event = new DragEvent(name, { bubbles: true, cancelable: true, dataTransfer: data });
      document.querySelector("main").dispatchEvent(event);
    }
  });
  await page.locator("#notice").waitFor();
  const said = await page.locator("#notice").innerText();
  await button(page, "Stop").click();
  await row(page, "notes.wav").waitFor();
  return said;
}

/** The microphone opens slowly, and the person stops before it does. */
export async function stoppedTooSoon({ page }) {
  await page.evaluate(() => {
    const open = navigator.mediaDevices.getUserMedia.bind(navigator.mediaDevices);
    navigator.mediaDevices.getUserMedia = async (wanted) => {
      await new Promise((resolve) => setTimeout(resolve, 1000));
      return open(wanted);
    };
  });
  await button(page, "Record").click();
  await button(page, "Stop and transcribe").click();
  return problemOf(page);
}
