// Runs flows in one Chromium: their names come on standard input, an answer a line goes out.
// node runner.mjs '{"url": …, "chromium": …, "microphone": a WAV, "folder": for downloads, …}'
import { createInterface } from "node:readline";

import { chromium } from "playwright-core";

import * as flows from "./flows.mjs";

const settings = JSON.parse(process.argv[2]);
const browser = await chromium.launch({
  executablePath: settings.chromium,
  args: [
    "--use-fake-device-for-media-stream",
    `--use-file-for-fake-audio-capture=${settings.microphone}`,
    "--autoplay-policy=no-user-gesture-required",
  ],
});

async function run({ flow, url = settings.url, state = "ready", options = {}, ...given }) {
  const context = await browser.newContext({
    viewport: { width: 1280, height: 800 },
    permissions: ["microphone"],
    ...options,
  });
  context.setDefaultTimeout(30_000);
  const problems = [];
  context.on("console", (message) => {
    if (["error", "warning"].includes(message.type())) problems.push(message.text());
  });
  context.on("weberror", (error) => problems.push(String(error.error())));
  context.on("request", (request) => {
    const { protocol, host } = new URL(request.url());
    const own = host === new URL(url).host || protocol === "blob:" || protocol === "data:";
    if (!own) problems.push(`asked ${request.url()}`);
  });
  try {
    const page = await context.newPage();
    page.on("websocket", (socket) => {
      if (new URL(socket.url()).host !== new URL(url).host) problems.push(socket.url());
    });
    await page.goto(url);
    await page.locator(`#server[data-state=${state}]`).waitFor();
    const value = await flows[flow]({ page, context, ...settings, ...given });
    return { value, problems };
  } finally {
    await context.close();
  }
}

for await (const line of createInterface({ input: process.stdin })) {
  const answer = await run(JSON.parse(line)).catch((error) => ({ error: error.stack }));
  process.stdout.write(`${JSON.stringify(answer)}\n`);
}
await browser.close();
