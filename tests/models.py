"""Tiny models with random weights, built and exported by the code that ships."""

from dataclasses import dataclass, replace
from pathlib import Path

import keras
import numpy as np
import pytest

from config import AudioConfig, ConvolutionConfig, FeatureConfig, NetworkConfig
from service_config import ServerConfig
from speech.alphabet import Alphabet
from speech.pipeline import Pipeline, write_pipeline
from training.export import export
from training.networks.deepspeech2 import build_deepspeech2
from training.presets import PRESETS

TINY_NETWORK = NetworkConfig(
    convolutions=(
        ConvolutionConfig(filters=3, kernel=(5, 7), stride=(2, 2)),
        ConvolutionConfig(filters=3, kernel=(3, 5), stride=(2, 2)),
    ),
    gru_layers=2,
    gru_units=12,
    normalise_gru_inputs=True,
    dense_units=0,
    dropout=0.1,
)
TINY_FORWARD = replace(TINY_NETWORK, bidirectional=False, lookahead=3)
STFT_FEATURES = FeatureConfig()
LOG_MEL_FEATURES = PRESETS["small"].features
RUNNING_FEATURES = PRESETS["deepspeech2-streaming"].features


@dataclass(frozen=True)
class TinyModel:
    """A model folder with one exported version, and the network it was made from."""

    folder: Path
    pipeline: Pipeline
    network: keras.Model


def make_model(
    folder: Path,
    features: FeatureConfig,
    *,
    precision: str = "float32",
    config: NetworkConfig = TINY_NETWORK,
) -> TinyModel:
    keras.utils.set_random_seed(7)
    alphabet = Alphabet()
    network = build_deepspeech2(config, num_bins=features.num_bins, num_symbols=len(alphabet))
    draw = np.random.default_rng(7)
    for weight in network.weights:
        if "moving" not in weight.path:
            weight.assign(weight.numpy() + 0.2 * draw.standard_normal(weight.shape))
    pipeline = Pipeline(
        name="tiny",
        audio=AudioConfig(),
        features=features,
        network=config,
        alphabet=alphabet,
    )
    folder.mkdir(parents=True, exist_ok=True)
    network.save(folder / "model.keras")
    write_pipeline(folder, pipeline)
    export(folder, precision=precision)
    return TinyModel(folder, pipeline, network)


@pytest.fixture(scope="session", params=["stft", "log_mel"])
def tiny_model(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> TinyModel:
    """Each kind of features in turn."""
    features = STFT_FEATURES if request.param == "stft" else LOG_MEL_FEATURES
    return make_model(tmp_path_factory.mktemp(request.param) / "tiny", features)


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One exported model, for tests to which the features do not matter."""
    return make_model(tmp_path_factory.mktemp("served") / "tiny", LOG_MEL_FEATURES).folder


@pytest.fixture(scope="session")
def streaming_model(tmp_path_factory: pytest.TempPathFactory) -> TinyModel:
    """A model that computes a clip while it is heard."""
    folder = tmp_path_factory.mktemp("streaming") / "tiny"
    return make_model(folder, RUNNING_FEATURES, config=TINY_FORWARD)


@pytest.fixture
def server_config(model_folder: Path, tmp_path: Path) -> ServerConfig:
    """A service that logs into the test's own folder."""
    return ServerConfig(
        model=model_folder,
        log_folder=tmp_path / "logs",
        max_upload_bytes=2_000_000,
        max_duration_s=30.0,
    )


@pytest.fixture(scope="session")
def bundled() -> Path:
    """The model that is shipped."""
    return ServerConfig().model
