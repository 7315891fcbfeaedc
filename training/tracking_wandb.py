"""Weights & Biases as a tracker; `WANDB_MODE=offline` keeps all of it in the output folder."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import wandb

from config import SpeechToTextError
from training.tracking import Sample, Status, Value

PROJECT = "speech-to-text"
_START_TIMEOUT_S = 60.0
_FINISH_TIMEOUT_S = 900.0


class WandbTracker:
    """Writes a run to Weights & Biases; project, account and mode are of its own settings."""

    name = "wandb"

    def __init__(self, output: Path) -> None:
        self.output = output
        self.run: Any = None
        self.epoch = 0
        self.heard: set[str] = set()
        settings = wandb.setup().settings
        self.project = settings.project or PROJECT
        if settings.mode in ("online", "shared"):
            _log_in()

    def start(self, run_id: str | None, parameters: Mapping[str, Value]) -> str:
        """Continue `run_id`, or begin a run; both under an id that later parts can name."""
        self.output.mkdir(parents=True, exist_ok=True)
        self.run = wandb.init(
            id=run_id,
            resume="allow" if run_id else None,
            project=self.project,
            name=self.output.resolve().name,
            dir=str(self.output),
            settings=wandb.Settings(
                console="off",
                init_timeout=_START_TIMEOUT_S,
                finish_timeout=_FINISH_TIMEOUT_S,
            ),
        )
        self.run.config.update(dict(parameters), allow_val_change=True)
        return str(self.run.id)

    def log_metrics(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log all metrics of an epoch; the epoch is their step."""
        self.epoch = epoch
        self.run.log({"epoch": epoch, **metrics}, step=epoch)

    def log_samples(self, samples: Sequence[Sample]) -> None:
        """Log the table of all transcripts, and the clips under their ids when they are new."""
        table = wandb.Table(
            columns=["epoch", "id", "reference", "text"],
            data=[[s.epoch, s.id, s.reference, s.text] for s in samples],
        )
        new = {s.id: s for s in samples if s.audio and s.id not in self.heard}
        clips = {
            f"clips/{name}": wandb.Audio(str(s.audio), caption=f"{s.id}: {s.reference}")
            for name, s in new.items()
        }
        self.run.log({"samples": table, **clips}, step=self.epoch)
        self.heard |= set(new)

    def log_model(self, files: Sequence[Path]) -> None:
        """Log the files as the run's artefact of type `model`."""
        artifact = wandb.Artifact(f"{self.run.id}-model", type="model")
        for file in files:
            artifact.add_file(str(file))
        self.run.log_artifact(artifact)

    def finish(self, status: Status) -> None:
        """End this part; the summary's `status` says how, since a stopped run is no failure."""
        self.run.summary["status"] = status.value
        self.run.finish(exit_code=int(status is Status.failed))


def _log_in() -> None:
    """Find an account before training starts, where a terminal can still be asked for one."""
    try:
        found = wandb.login(verify=False)
    except wandb.errors.Error as error:
        found, reason = False, str(error)
    else:
        reason = "no API key"
    if not found:
        raise SpeechToTextError(
            f"Weights & Biases does not know the account ({reason}); "
            "needed: `wandb login`, or WANDB_MODE=offline in the environment"
        )
