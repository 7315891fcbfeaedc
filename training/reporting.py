"""What a training run writes for people: TensorBoard, a CSV file, sample transcripts."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

import tensorflow as tf

from config import AudioConfig, FeatureConfig
from speech.audio import decode_native, write_atomically
from speech.features import extract_features
from training.manifest import Utterance
from training.validation import Validation


class RunLog:
    """Adds one entry an epoch to `log.csv`, `samples.jsonl` and `tensorboard/`.

    An epoch that is done again, as the run was ended before it was saved, takes the place of the
    former one.

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
        samples = [
            {"epoch": epoch, "id": name, "reference": reference, "text": hypothesis}
            for name, reference, hypothesis in result.samples
        ]
        lines = [json.dumps(entry, ensure_ascii=False) for entry in samples]
        row = ",".join(map(str, [epoch, *values.values()]))
        _put(self.folder / "samples.jsonl", epoch, lines)
        _put(self.folder / "log.csv", epoch, [row], header=",".join(["epoch", *values]))
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


def _put(path: Path, epoch: int, lines: Sequence[str], *, header: str = "") -> None:
    """Write the lines of an epoch after those of the epochs before it, as a whole file."""
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    kept = [line for line in before if 0 < _epoch_of(line) < epoch]
    text = "".join(f"{line}\n" for line in (*filter(None, [header]), *kept, *lines))
    write_atomically(path, text)


def _epoch_of(line: str) -> int:
    """Return the epoch that a line of either file begins with; 0 for a header or half a line."""
    found = re.match(r'(?:\{"epoch": )?(\d+),.*', line)
    return int(found[1]) if found and (line[0] != "{" or line.endswith("}")) else 0
