export interface Options {
  container: HTMLElement;
  media: HTMLMediaElement;
  height: number;
  sampleRate: number;
  waveColor: string;
  progressColor: string;
  cursorColor: string;
  cursorWidth: number;
  barWidth: number;
  barGap: number;
  barRadius: number;
  barHeight: number;
  normalize: boolean;
  interact: boolean;
  hideScrollbar: boolean;
  plugins: object[];
}

export default class WaveSurfer {
  static create(options: Options): WaveSurfer;
  loadBlob(blob: Blob): Promise<void>;
  on(event: "timeupdate", listener: (timeS: number) => void): () => void;
  on(event: "ready", listener: (durationS: number) => void): () => void;
  on(event: "error", listener: (error: Error) => void): () => void;
  destroy(): void;
}
