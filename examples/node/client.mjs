// The text of a WAV file from TensorFlow Serving, over gRPC.
// Needs `npm install` in this folder, and nothing else of this project: copy it.

import { readFileSync } from "node:fs";
import { fileURLToPath } from "node:url";
import { parseArgs } from "node:util";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const USAGE = `usage: client.mjs WAV [--address HOST:PORT] [--model NAME]
                  [--version NUMBER | --label NAME] [--timeout SECONDS] [--log-probs PIPELINE]

Print the text of a WAV file, from TensorFlow Serving over gRPC.

  WAV          mono, 16-bit PCM, at the model's rate
  --address    default 127.0.0.1:8500
  --model      default english-small
  --version    of the model; default: the newest
  --label      of the version, as stable
  --timeout    seconds; default 30
  --log-probs  ask for log-probabilities and decode them here, with this pipeline.json`;

// gRPC's own limit is 4 MB a message; a minute of audio takes 5 MB.
const UNLIMITED = { "grpc.max_send_message_length": -1, "grpc.max_receive_message_length": -1, "grpc.enable_http_proxy": 0 };

function parseOptions() {
  const text = { type: "string" };
  const { values, positionals } = parseArgs({
    allowPositionals: true,
    options: {
      address: { ...text, default: "127.0.0.1:8500" },
      model: { ...text, default: "english-small" },
      version: text,
      label: text,
      timeout: { ...text, default: "30" },
      "log-probs": text,
      help: { type: "boolean", short: "h" },
    },
  });
  if (values.help) return { help: true };
  if (positionals.length !== 1) throw new Error("needed: one WAV file");
  if (values.version && values.label) throw new Error("needed: --version or --label, not both");
  if (values.version && !/^\d+$/.test(values.version)) throw new Error("--version: no number");
  if (!(Number(values.timeout) > 0)) throw new Error("--timeout: no number of seconds");
  return { ...values, wav: positionals[0] };
}

/** Send the file as it is; the server checks it and decodes. */
async function showText(options) {
  const wavBytes = { dtype: "DT_STRING", tensor_shape: shape(1), string_val: [read(options.wav)] };
  const outputs = await predict(options, "transcribe", { wav_bytes: wavBytes });
  const error = outputs.error.string_val[0].toString();
  if (error) throw new Error(`${options.wav}: ${error}`);
  console.log(`text:       ${outputs.text.string_val[0].toString()}`);
  console.log(`confidence: ${numbers(outputs.confidence)[0].toFixed(2)}`);
}

/** Send samples, and decode the answer here: greedy, CTC's best path. */
async function showLogProbs(options) {
  const pipeline = readPipeline(options["log-probs"]);
  const waveform = readWaveform(options.wav, pipeline.audio.sample_rate_hz);
  const outputs = await predict(options, "serving_default", {
    waveform: {
      dtype: "DT_FLOAT",
      tensor_shape: shape(1, waveform.length),
      tensor_content: Buffer.from(waveform.buffer),
    },
    num_samples: { dtype: "DT_INT32", tensor_shape: shape(1), int_val: [waveform.length] },
  });
  const [frames] = numbers(outputs.num_frames);
  const symbols = outputs.log_probs.tensor_shape.dim[2].size;
  if (symbols !== pipeline.alphabet.length) {
    const needed = `${options["log-probs"]} has ${pipeline.alphabet.length}`;
    throw new Error(`${options.model} gives ${symbols} symbols; ${needed}`);
  }
  const logProbs = numbers(outputs.log_probs).slice(0, frames * symbols);
  console.log(`log_probs:  ${frames} frames x ${symbols} symbols`);
  console.log(`text:       ${greedyText(logProbs, pipeline.alphabet, pipeline.blank_index)}`);
}

/** Return the outputs of a signature by name, each a TensorProto. */
async function predict(options, signature, inputs) {
  const folder = fileURLToPath(new URL("protos", import.meta.url));
  const plain = { keepCase: true, longs: Number, enums: String, defaults: true };
  const definition = protoLoader.loadSync("tensorflow_serving.proto", {
    ...plain,
    includeDirs: [folder],
  });
  const { PredictionService } = grpc.loadPackageDefinition(definition).tensorflow.serving;
  const spec = { name: options.model, signature_name: signature };
  if (options.version) spec.version = { value: Number(options.version) };
  if (options.label) spec.version_label = options.label;
  const insecure = grpc.credentials.createInsecure();
  const client = new PredictionService(options.address, insecure, UNLIMITED);
  const deadline = Date.now() + 1000 * Number(options.timeout);
  try {
    return await new Promise((resolve, reject) => {
      client.Predict({ model_spec: spec, inputs }, { deadline }, (error, response) =>
        error ? reject(error) : resolve(response.outputs));
    });
  } catch (error) {
    const words = (error.details ?? error.message).replace(/\s+/g, " ");
    const code = grpc.status[error.code] ?? "not sent";
    throw new Error(`model ${options.model} at ${options.address}: ${words} (${code})`);
  } finally {
    client.close();
  }
}

const shape = (...sizes) => ({ dim: sizes.map((size) => ({ size })) });

/** Return a tensor's numbers: a server may answer as bytes, or in the field of their type. */
function numbers(tensor) {
  const isFloat = tensor.dtype === "DT_FLOAT";
  const content = tensor.tensor_content;
  if (content.length === 0) return isFloat ? tensor.float_val : tensor.int_val;
  const bytes = Uint8Array.from(content); // aligned, as a view of numbers must be
  return Array.from(isFloat ? new Float32Array(bytes.buffer) : new Int32Array(bytes.buffer));
}

function read(path) {
  try {
    return readFileSync(path);
  } catch (error) {
    throw new Error(`cannot read ${path}: ${error.message}`);
  }
}

/** Return what the model was trained with: its alphabet, blank and sample rate. */
function readPipeline(path) {
  const content = read(path);
  try {
    const pipeline = JSON.parse(content);
    if (pipeline.alphabet.length && pipeline.audio.sample_rate_hz) return pipeline;
    throw new Error("no alphabet or sample rate");
  } catch (error) {
    throw new Error(`${path} is not a model's pipeline.json: ${error.message}`);
  }
}

/** Return the samples of a mono, 16-bit WAV file, in [-1, 1). */
function readWaveform(path, sampleRateHz) {
  const { format, data } = readChunks(read(path));
  if (!data || !(format?.length >= 16)) throw new Error(`${path} is not a WAV file`);
  if (format.readUInt16LE(0) !== 1) throw new Error(`${path} is not a WAV file of PCM samples`);
  const [channels, bits] = [format.readUInt16LE(2), format.readUInt16LE(14)];
  const rate = format.readUInt32LE(4);
  if (channels !== 1 || bits !== 16 || rate !== sampleRateHz) {
    const got = `got ${channels} channels, ${bits} bits, ${rate} Hz`;
    throw new Error(`${path}: ${got}; needed: 1 channel, 16 bits, ${sampleRateHz} Hz`);
  }
  const waveform = new Float32Array(data.length >> 1);
  return waveform.map((_, index) => data.readInt16LE(2 * index) / 32768);
}

/** Return what a RIFF/WAVE file has as its `fmt ` and `data`, cut where the file ends. */
function readChunks(file) {
  const name = (at) => file.toString("latin1", at, at + 4);
  const chunks = {};
  let at = name(0) === "RIFF" && name(8) === "WAVE" ? 12 : file.length;
  while (at + 8 <= file.length && !chunks.data) {
    const size = file.readUInt32LE(at + 4);
    chunks[name(at)] = file.subarray(at + 8, at + 8 + size);
    at += 8 + size + (size % 2);
  }
  return { format: chunks["fmt "], data: chunks.data };
}

/** Return the best path's text: the best symbol a frame, repeats merged, blanks dropped. */
function greedyText(logProbs, alphabet, blankIndex) {
  const path = [];
  for (let at = 0; at < logProbs.length; at += alphabet.length) {
    const frame = logProbs.slice(at, at + alphabet.length);
    path.push(frame.indexOf(Math.max(...frame)));
  }
  const kept = path.filter((index, at) => index !== path[at - 1] && index !== blankIndex);
  return kept.map((index) => alphabet[index]).join("").split(" ").filter(Boolean).join(" ");
}

/** Print what the server makes of one file; an error is one line and exit code 1. */
async function main() {
  let options;
  try {
    options = parseOptions();
  } catch (error) {
    console.error(`${USAGE}\n\nerror: ${error.message}`);
    process.exit(2);
  }
  try {
    if (options.help) console.log(USAGE);
    else await (options["log-probs"] ? showLogProbs : showText)(options);
  } catch (error) {
    console.error(`error: ${error.message}`);
    process.exitCode = 1;
  }
}

await main();
