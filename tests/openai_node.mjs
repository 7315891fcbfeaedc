// Asks the service everything that OpenAI's Node.js client knows of; prints the answers as JSON.
import { createReadStream } from "node:fs";
import OpenAI, { toFile } from "openai";

const [baseURL, audio, long] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const ask = (fields, path = audio) =>
  client.audio.transcriptions.create({ file: createReadStream(path), model: "whisper-1", ...fields });
const refusal = async (request) => {
  try {
    await request();
  } catch ({ status, type, param, code, error }) {
    return { status, type, param, code, message: error?.message };
  }
};
const events = [];
for await (const event of await ask({ stream: true, include: ["logprobs"] }, long)) events.push(event);

const answers = {
  json: await ask({ include: ["logprobs"] }),
  verbose: await ask({ response_format: "verbose_json", timestamp_granularities: ["word", "segment"] }),
  text: await ask({ response_format: "text" }),
  srt: await ask({ response_format: "srt" }),
  vtt: await ask({ response_format: "vtt" }),
  events,
  models: (await client.models.list()).data,
  model: await client.models.retrieve("whisper-1"),
  noAudio: await refusal(async () => ask({ file: await toFile(Buffer.from("hello"), "a.wav") })),
  noModel: await refusal(() => ask({ model: "whisper-9" })),
  noLanguage: await refusal(() => ask({ language: "de" })),
};
console.log(JSON.stringify(answers));
