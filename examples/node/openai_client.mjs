// The text of an audio file from the service, through OpenAI's Node.js client.
// Needs `npm install` in this folder, and nothing else of this project: copy it.

import { createReadStream } from "node:fs";
import { access } from "node:fs/promises";
import { parseArgs } from "node:util";
import OpenAI from "openai";

const USAGE = `usage: openai_client.mjs AUDIO [--address HOST:PORT] [--stream]

Print the words of an audio file, or its text as it is transcribed.

  AUDIO      any kind that the service reads
  --address  default 127.0.0.1:8000
  --stream   print the text while it is made`;

function parseOptions() {
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      address: { type: "string", default: "127.0.0.1:8000" },
      stream: { type: "boolean", default: false },
      help: { type: "boolean", short: "h" },
    },
  });
  if (positionals.length !== 1 && !values.help) throw new Error("needed: one audio file");
  return { ...values, audio: positionals[0] };
}

/** Print each word with the time at which it starts. */
async function showWords(client, audio) {
  const answer = await client.audio.transcriptions.create({
    file: createReadStream(audio),
    model: "whisper-1",
    response_format: "verbose_json",
    timestamp_granularities: ["word"],
  });
  for (const { start, word } of answer.words) console.log(`${start.toFixed(2).padStart(6)}  ${word}`);
}

/** Print the text, a stretch of the recording at a time. */
async function streamText(client, audio) {
  const file = createReadStream(audio);
  const events = await client.audio.transcriptions.create({ file, model: "whisper-1", stream: true });
  for await (const event of events) {
    if (event.type === "transcript.text.delta") process.stdout.write(event.delta);
  }
  process.stdout.write("\n");
}

async function main() {
  const { address, audio, stream, help } = parseOptions();
  if (help) return console.log(USAGE);
  await access(audio).catch((error) => {
    throw new Error(`cannot read ${audio}: ${error.code}`);
  });
  const apiKey = process.env.STT_API_KEY ?? "none";
  const client = new OpenAI({ baseURL: `http://${address}/v1`, apiKey });
  await (stream ? streamText : showWords)(client, audio).catch((error) => {
    throw new Error(`${address}: ${error.error?.message ?? error.cause?.cause?.message ?? error.message}`);
  });
}

main().catch((error) => {
  console.error(`error: ${error.message}`);
  process.exitCode = 1;
});
