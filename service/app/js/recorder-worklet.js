/** In the audio thread: gathers samples into chunks of 16-bit PCM, and how loud each is. */

const CHUNK_S = 0.08;

class Recorder extends AudioWorkletProcessor {
  constructor() {
    super();
    this.chunk = new Int16Array(Math.round(CHUNK_S * sampleRate));
    this.filled = 0;
    this.peak = 0;
    this.running = true;
    this.port.onmessage = () => {
      this.running = false;
      this.send();
      this.port.postMessage(null);
    };
  }

  /**
   * @param {Float32Array[][]} inputs
   * @returns {boolean} whether there is more to come
   */
  process([channels]) {
    for (const sample of this.running ? (channels[0] ?? []) : []) {
      const bounded = Math.max(-1, Math.min(1, sample));
      this.chunk[this.filled] = Math.round(32767 * bounded);
      this.peak = Math.max(this.peak, Math.abs(bounded));
      this.filled += 1;
      if (this.filled === this.chunk.length) this.send();
    }
    return this.running;
  }

  send() {
    if (!this.filled) return;
    const samples = this.chunk.slice(0, this.filled);
    this.port.postMessage({ samples, peak: this.peak }, [samples.buffer]);
    this.filled = 0;
    this.peak = 0;
  }
}

registerProcessor("recorder", Recorder);
