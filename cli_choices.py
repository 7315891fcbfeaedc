"""What can be chosen for the options of several commands."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from config import LARGEST_BEAM_WIDTH


class PresetName(StrEnum):
    """Features and network that belong together."""

    small = "small"
    deepspeech2 = "deepspeech2"
    deepspeech2_streaming = "deepspeech2-streaming"


class Strength(StrEnum):
    """How far training changes its clips."""

    none = "none"
    masks = "masks"
    light = "light"
    mild = "mild"
    strong = "strong"


class TrackerName(StrEnum):
    """Where a run is followed, besides TensorBoard."""

    mlflow = "mlflow"
    wandb = "wandb"


class ExportPrecision(StrEnum):
    """Of the exported weights."""

    float32 = "float32"
    float16 = "float16"
    bfloat16 = "bfloat16"
    int8 = "int8"


class ExportFormat(StrEnum):
    """For TensorFlow Serving and `stt serve`, or for phones and small boards."""

    saved_model = "saved-model"
    litert = "litert"


class TrainingPrecision(StrEnum):
    """What training computes in; weights and the loss are float32."""

    float32 = "float32"
    bfloat16 = "bfloat16"
    float16 = "float16"


class Strategy(StrEnum):
    """Which devices share the work."""

    none = "none"
    mirrored = "mirrored"
    multi_worker = "multi-worker"


BeamWidthOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=LARGEST_BEAM_WIDTH,
        help="Texts kept a frame; a service takes 256 at most.",
    ),
]
PresetOption = Annotated[PresetName, typer.Option(help="Features and network.")]
