"""What a training run writes for people: TensorBoard, a CSV file, sample transcripts."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import tensorflow as tf

from training.validation import Validation


class RunLog:
    """Appends one entry an epoch to `log.csv`, `samples.jsonl` and `tensorboard/`."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder = folder
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
        with self.writer.as_default():
            for name, value in values.items():
                tf.summary.scalar(name, value, step=epoch)
            lines = [
                f"    {name}\n    ref {ref}\n    hyp {hyp}" for name, ref, hyp in result.samples
            ]
            tf.summary.text("samples", "\n\n".join(lines), step=epoch)
        self.writer.flush()
