"""What a training run writes for people: TensorBoard, a CSV file, sample transcripts."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from config import AudioConfig, FeatureConfig
from speech.audio import decode_native
from speech.features import extract_features
from training.manifest import Utterance
from training.validation import Validation


class RunLog:
    """Appends one entry an epoch to `log.csv`, `samples.jsonl` and `tensorboard/`.

    TensorBoard also gets each clip that is shown, once: its sound, and its features as the network
    gets them.

    Args:
        validation_split: where the clips that are shown come from.
    """

    def __init__(
        self,
        folder: Path,
        validation_split: Sequence[Utterance],
        *,
        audio: AudioConfig,
        features: FeatureConfig,
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.audio, self.features = folder, audio, features
        self.clips = {utterance.id: Path(utterance.audio) for utterance in validation_split}
        self.shown: set[str] = set()
        self.writer = tf.summary.create_file_writer(str(folder / "tensorboard"))

    def write_epoch(
        self, epoch: int, loss: float, learning_rate: float, result: Validation
    ) -> None:
        """Write an epoch's training loss (nats a label), rate and validation."""
        values = {
            "loss": loss,
            "learning_rate": learning_rate,
            "validation_wer": result.wer,
            "validation_cer": result.cer,
        }
        path = self.folder / "log.csv"
        is_new = not path.exists()
        with path.open("a", newline="", encoding="utf-8") as file:
            rows = csv.writer(file)
            if is_new:
                rows.writerow(["epoch", *values])
            rows.writerow([epoch, *values.values()])
        with (self.folder / "samples.jsonl").open("a", encoding="utf-8") as file:
            for name, reference, hypothesis in result.samples:
                entry = {"epoch": epoch, "id": name, "reference": reference, "text": hypothesis}
                file.write(json.dumps(entry, ensure_ascii=False) + "\n")
        with self.writer.as_default(step=epoch):
            for name, value in values.items():
                tf.summary.scalar(name, value)
            lines = [
                f"    {name}\n    ref {ref}\n    hyp {hyp}" for name, ref, hyp in result.samples
            ]
            tf.summary.text("samples", "\n\n".join(lines))
            for name, reference, _ in result.samples:
                self._show(name, reference)
        self.writer.flush()

    def _show(self, name: str, reference: str) -> None:
        """Write a clip's sound and features, the lowest frequency at the bottom."""
        if name in self.shown:
            return
        self.shown.add(name)
        waveform = tf.constant(decode_native(self.clips[name].read_bytes(), self.audio))[None]
        rate_hz = self.audio.sample_rate_hz
        tf.summary.audio(f"clips/{name}", waveform[..., None], rate_hz, description=reference)
        features, _ = extract_features(
            waveform, [waveform.shape[1]], self.features, sample_rate_hz=rate_hz
        )
        picture = tf.transpose(tf.sigmoid(features), [0, 2, 1])[:, ::-1, :, None]
        tf.summary.image(f"features/{name}", picture, description=reference)
