"""Frozen settings of a training run; presets of features, network and training."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from math import inf
from typing import Literal

from config import LOG_MEL, ConvolutionConfig, FeatureConfig, NetworkConfig, check


@dataclass(frozen=True, kw_only=True)
class TrainingConfig:
    """One training run.

    The rate of learning rises over `warmup_share` of all steps to `learning_rate` and falls as a
    cosine to `final_learning_rate`. A batch holds at most `batch_seconds` with its padding.

    Args:
        repeat: corpora whose clips occur several times an epoch.
        init_from: folder of the model whose weights the run starts with; random ones if None.
        average_decay: over 0, the weights that are validated and kept are a running mean, of which
            this share stays at each step (Polyak and Juditsky 1992).
        patience: stop after so many epochs without a better validation; 0 never stops.
        sort_first_epoch: shortest clips first in the first epoch (Amodei et al. 2016, section 3.3).
        accumulate: batches whose gradients are averaged before a step is taken.
        precision: of activations; `bfloat16` and `float16` are Keras' mixed policies, in which
            weights and the loss stay float32.
        jit_compile: compile the step with XLA.
        strategy: `none` trains on one device, `mirrored` on all of this host, `multi-worker` on
            those of all hosts that `TF_CONFIG` names; a batch each.
    """

    epochs: int = 50
    batch_seconds: float = 160.0
    learning_rate: float = 1e-3
    final_learning_rate: float = 1e-6
    warmup_share: float = 0.05
    weight_decay: float = 1e-4
    gradient_clip_norm: float = 5.0
    max_clip_s: float = 25.0
    seed: int = 0
    checkpoint_minutes: float = 10.0
    sample_transcripts: int = 4
    repeat: tuple[tuple[str, int], ...] = ()
    init_from: str | None = None
    average_decay: float = 0.0
    patience: int = 0
    sort_first_epoch: bool = False
    accumulate: int = 1
    precision: Literal["float32", "bfloat16", "float16"] = "float32"
    jit_compile: bool = False
    strategy: Literal["none", "mirrored", "multi-worker"] = "none"

    def __post_init__(self) -> None:
        check(self.epochs >= 1, f"epochs {self.epochs} is under 1")
        for name in ("batch_seconds", "learning_rate", "gradient_clip_norm", "checkpoint_minutes"):
            value = getattr(self, name)
            check(0 < value < inf, f"{name} {value} is not a positive number")
        check(0 <= self.weight_decay < inf, f"weight_decay {self.weight_decay} is negative")
        check(
            0 <= self.final_learning_rate <= self.learning_rate,
            f"final_learning_rate {self.final_learning_rate} is not in 0 to learning_rate",
        )
        check(all(count >= 1 for _, count in self.repeat), f"repeat {self.repeat}: under once")
        check(0 <= self.warmup_share < 1, f"warmup_share {self.warmup_share} is not in [0, 1)")
        check(self.max_clip_s > 0, f"max_clip_s {self.max_clip_s} is not positive")
        check(0 <= self.average_decay < 1, f"average_decay {self.average_decay} is not in [0, 1)")
        check(self.patience >= 0, f"patience {self.patience} is negative")
        check(self.accumulate >= 1, f"accumulate {self.accumulate} is under 1")
        check(
            self.precision in ("float32", "bfloat16", "float16"),
            f"precision {self.precision!r} is not float32, bfloat16 or float16",
        )
        check(
            self.strategy in ("none", "mirrored", "multi-worker"),
            f"strategy {self.strategy!r} is not none, mirrored or multi-worker",
        )
        check(
            self.strategy == "none" or not self.jit_compile,
            f"strategy {self.strategy} does not work with jit_compile",
        )


@dataclass(frozen=True, kw_only=True)
class Preset:
    """Features and network that belong together."""

    features: FeatureConfig = field(default_factory=FeatureConfig)
    network: NetworkConfig = field(default_factory=NetworkConfig)
    training: TrainingConfig = field(default_factory=TrainingConfig)


_SMALL_CONVOLUTIONS = (
    ConvolutionConfig(filters=16, kernel=(11, 9), stride=(2, 2)),
    ConvolutionConfig(filters=32, kernel=(7, 5), stride=(2, 2)),
)

PRESETS = {
    "deepspeech2": Preset(training=TrainingConfig(learning_rate=3e-4)),
    "small": Preset(
        features=LOG_MEL,
        network=NetworkConfig(
            convolutions=_SMALL_CONVOLUTIONS,
            gru_layers=3,
            gru_units=256,
            normalise_gru_inputs=True,
            dense_units=0,
            dropout=0.1,
        ),
        training=TrainingConfig(epochs=9, learning_rate=1.5e-3),
    ),
    # 440 forward units have as many weights as 256 in both directions.
    "deepspeech2-streaming": Preset(
        features=replace(LOG_MEL, normalisation="running"),
        network=NetworkConfig(
            convolutions=_SMALL_CONVOLUTIONS,
            gru_layers=3,
            gru_units=440,
            normalise_gru_inputs=True,
            dense_units=0,
            dropout=0.1,
            bidirectional=False,
            lookahead=8,
        ),
        training=TrainingConfig(epochs=9, learning_rate=1.5e-3),
    ),
}
