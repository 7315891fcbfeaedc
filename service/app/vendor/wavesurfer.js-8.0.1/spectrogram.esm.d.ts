export interface Options {
  height: number;
  fftSamples: number;
  scale: "linear" | "mel";
  frequencyMax: number;
  gainDB: number;
  rangeDB: number;
  colorMap: number[][];
  labels: boolean;
}

export default class Spectrogram {
  static create(options: Options): Spectrogram;
}
