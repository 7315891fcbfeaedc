// Live captions of a WAV file, played as if it were spoken now.
// Needs `npm install` in this folder, and nothing else of this project: copy it.
// In a browser and in Node.js 22 WebSocket is there: leave the import out.

import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { parseArgs } from "node:util";
import WebSocket from "ws";

const USAGE = `usage: live_captions.mjs WAV [--url URL] [--key KEY] [--speed SPEED] [--partials]

Print live captions of a WAV file.

  WAV         mono, 16-bit PCM, 8000 to 192000 Hz
  --url       default ws://127.0.0.1:8000/v1/stream
  --key       of the server; $STT_API_KEY if not given
  --speed     1: as fast as it was spoken
  --partials  print what is not final, too`;
const CHUNK_S = 0.1;

function parseOptions() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      url: { type: "string", default: "ws://127.0.0.1:8000/v1/stream" },
      key: { type: "string", default: process.env.STT_API_KEY },
      speed: { type: "string", default: "1" },
      partials: { type: "boolean", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return { help: true };
  if (positionals.length !== 1) throw new Error("needed: one WAV file");
  if (!(Number(values.speed) > 0)) throw new Error("--speed: no number over 0");
  return { ...values, speed: Number(values.speed), path: positionals[0] };
}

/** Settle once the server has closed the socket; reject if that was before the end. */
function showCaptions({ path, url, key, speed, partials }) {
  const { rateHz, pcm } = readWav(path);
  // A browser cannot set headers: there the key goes as a subprotocol, and works here too.
  const socket = new WebSocket(url, key ? ["stt", `stt-key.${key}`] : []);
  let isOver = false;
  return new Promise((resolve, reject) => {
    socket.onerror = (event) => reject(new Error(event.message || `no answer from ${url}`));
    socket.onclose = ({ code, reason }) => {
      if (isOver) resolve();
      else reject(new Error(`the server ended the session: ${code} ${reason}`));
    };
    socket.onopen = () => socket.send(JSON.stringify({ type: "start", sample_rate_hz: rateHz }));
    socket.onmessage = ({ data }) => {
      const message = parseMessage(data);
      if (!message) reject(new Error(`${url} is no server of live captions: got ${String(data).slice(0, 80)}`));
      else if (message.type === "ready") sendAudio(socket, pcm, rateHz, speed).catch(reject);
      else if (message.type === "error") reject(new Error(message.message));
      else if (message.type === "partial" && partials) console.log(`  ${message.text}`);
      else if (message.type === "final" && message.text) console.log(message.text);
      else if (message.type === "closed") isOver = true;
    };
  });
}

/** Return what the server says, or null if this is no such server. */
function parseMessage(data) {
  try {
    const message = JSON.parse(data);
    return typeof message.type === "string" ? message : null;
  } catch {
    return null;
  }
}

/** Send a chunk whenever it would have been spoken, then say that it is over. */
async function sendAudio(socket, pcm, rateHz, speed) {
  const size = 2 * Math.round(CHUNK_S * rateHz);
  for (let start = 0; start < pcm.length && socket.readyState === WebSocket.OPEN; start += size) {
    socket.send(pcm.subarray(start, start + size));
    await sleep((1000 * CHUNK_S) / speed);
  }
  if (socket.readyState === WebSocket.OPEN) socket.send(JSON.stringify({ type: "close" }));
}

function readWav(path) {
  let file;
  try {
    file = readFileSync(path);
  } catch (error) {
    throw new Error(`cannot read ${path}: ${error.message}`);
  }
  if (file.toString("latin1", 0, 4) !== "RIFF" || file.toString("latin1", 8, 12) !== "WAVE") {
    throw new Error(`${path} is not a WAV file`);
  }
  let format;
  for (let start = 12; start + 8 <= file.length; ) {
    const name = file.toString("latin1", start, start + 4);
    const body = start + 8;
    const size = file.readUInt32LE(start + 4);
    if (name === "fmt " && body + 16 <= file.length) {
      format = { channels: file.readUInt16LE(body + 2), rateHz: file.readUInt32LE(body + 4), bits: file.readUInt16LE(body + 14) };
    }
    if (name === "data" && format) {
      const { channels, bits, rateHz } = format;
      if (channels !== 1 || bits !== 16) throw new Error(`${path}: got ${channels} channels, ${bits} bits; needed: 1 and 16`);
      return { rateHz, pcm: file.subarray(body, body + size) };
    }
    start = body + size + (size % 2);
  }
  throw new Error(`${path} is not a WAV file: cut off`);
}

try {
  const options = parseOptions();
  if (options.help) console.log(USAGE);
  else await showCaptions(options);
} catch (error) {
  console.error(`error: ${error.message}`);
  process.exit(1);
}
