"""`pipeline.json`: all that is needed to use a trained model, read by whoever loads one."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from config import AudioConfig, FeatureConfig, ModelError, NetworkConfig
from speech.alphabet import Alphabet
from speech.audio import write_atomically
from speech.config_json import audio_from_json, features_from_json, network_from_json, to_json

FILE_NAME = "pipeline.json"
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class Pipeline:
    """A model's audio form, features, network and alphabet, and where it comes from."""

    name: str
    audio: AudioConfig
    features: FeatureConfig
    network: NetworkConfig
    alphabet: Alphabet
    training_data: dict[str, Any] = field(default_factory=dict)
    scores: dict[str, float] = field(default_factory=dict)

    @property
    def output_frame_s(self) -> float:
        """Seconds from one frame of the network's output to the next."""
        strides = math.prod(block.stride[0] for block in self.network.convolutions)
        return strides * self.features.frame_step / self.audio.sample_rate_hz

    @property
    def is_streaming(self) -> bool:
        """Whether the model can compute a clip while it is heard."""
        return self.features.normalisation == "running" and not self.network.bidirectional

    @property
    def lookahead_s(self) -> float:
        """Seconds after the start of its own frame of features that a frame of output waits for."""
        num_samples = self.network.num_frames_ahead() * self.features.frame_step
        return (num_samples + self.features.frame_length) / self.audio.sample_rate_hz


def write_pipeline(folder: Path, pipeline: Pipeline) -> None:
    """Write `folder/pipeline.json`, atomically."""
    content = {
        "format": FORMAT,
        "name": pipeline.name,
        "audio": to_json(pipeline.audio),
        "features": to_json(pipeline.features),
        "network": to_json(pipeline.network),
        "alphabet": list(pipeline.alphabet.symbols),
        "blank_index": pipeline.alphabet.blank_index,
        "training_data": pipeline.training_data,
        "scores": {key: v for key, v in pipeline.scores.items() if math.isfinite(v)},
    }
    text = json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False)
    write_atomically(folder / FILE_NAME, text + "\n")


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"got name {value!r}; needed: text")
    return value


def read_pipeline(folder: Path) -> Pipeline:
    """Read `folder/pipeline.json`.

    Raises:
        ModelError: it is missing or broken, of another format, or a setting is missing or unknown.
    """
    path = folder / FILE_NAME
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"no usable model in {folder}: {FILE_NAME}: {error}") from error
    try:
        if content["format"] != FORMAT or content["blank_index"] != 0:
            raise ModelError(
                f"{path}: format {content['format']}, blank {content['blank_index']}; "
                f"needed: format {FORMAT}, blank 0"
            )
        return Pipeline(
            name=_text(content["name"]),
            audio=audio_from_json(content["audio"]),
            features=features_from_json(content["features"]),
            network=network_from_json(content["network"]),
            alphabet=Alphabet(tuple(content["alphabet"])),
            training_data=content["training_data"],
            scores=content["scores"],
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"{path} is not a pipeline: {error!r}") from error
