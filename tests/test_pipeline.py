"""`pipeline.json`: a round trip, and a refusal of everything that is not one."""

import json
from pathlib import Path

import pytest

from config import AudioConfig, ConvolutionConfig, FeatureConfig, ModelError, NetworkConfig
from service_config import ServerConfig
from speech.alphabet import BLANK, Alphabet
from speech.pipeline import Pipeline, read_pipeline, write_pipeline
from training.presets import PRESETS, TrainingConfig


@pytest.fixture(params=list(PRESETS))
def pipeline(request: pytest.FixtureRequest) -> Pipeline:
    preset = PRESETS[request.param]
    return Pipeline(
        name="mine",
        audio=AudioConfig(),
        features=preset.features,
        network=preset.network,
        alphabet=Alphabet((BLANK, " ", "ä", "b")),
        training_data={"corpora": ["x"], "hours": 1.5},
        scores={"validation_wer": 0.25},
    )


def test_what_is_written_is_read(pipeline: Pipeline, tmp_path: Path) -> None:
    write_pipeline(tmp_path, pipeline)
    assert read_pipeline(tmp_path) == pipeline


def test_a_file_without_settings_that_were_added_means_what_it_meant(tmp_path: Path) -> None:
    values = json.loads((ServerConfig.model / "pipeline.json").read_text(encoding="utf-8"))
    assert "normalisation" not in values["features"]
    assert "bidirectional" not in values["network"]
    own = read_pipeline(ServerConfig.model)
    assert own.features.normalisation == "clip"
    assert own.network.bidirectional
    assert not own.is_streaming
    write_pipeline(tmp_path, own)
    again = json.loads((tmp_path / "pipeline.json").read_text(encoding="utf-8"))
    assert again == values


def test_the_streaming_preset_waits_less_than_half_a_second() -> None:
    preset = PRESETS["deepspeech2-streaming"]
    pipeline = Pipeline(
        name="mine",
        audio=AudioConfig(),
        features=preset.features,
        network=preset.network,
        alphabet=Alphabet(),
    )
    assert pipeline.is_streaming
    # 5 frames of features, 3 of twice and 8 of four times their step, and a frame's own length.
    assert preset.network.num_frames_ahead() == 5 + 2 * 3 + 4 * 8
    assert pipeline.lookahead_s == pytest.approx((43 * 220 + 551) / 22_050)
    with pytest.raises(ValueError, match="waits for the end"):
        NetworkConfig().num_frames_ahead()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["network"].update(lookahead=-1), "lookahead -1 is negative"),
        (lambda c: c["network"].update(lookahead=1.5), "lookahead is 1.5; like 0"),
        (lambda c: c["features"].update(normalisation="none"), "'none' is not clip or running"),
        (lambda c: c["features"].update(prior_frames=0.0), "prior_frames 0.0 is not a positive"),
        (lambda c: c.update(format=2), "needed: format 1, blank 0"),
        (lambda c: c.update(blank_index=3), "needed: format 1, blank 0"),
        (lambda c: c.pop("alphabet"), "is not a pipeline"),
        (lambda c: c["features"].pop("frame_step"), r"missing settings \['frame_step'\]"),
        (lambda c: c["features"].update(hop=1), r"unknown settings \['hop'\]"),
        (lambda c: c["network"].update(gru_units=0), "gru_units 0 is under 1"),
        (lambda c: c["features"].update(kind="mfcc"), "kind 'mfcc' is not stft or log_mel"),
        (lambda c: c.update(network=[]), "needed: settings by name"),
        (lambda c: c["network"].update(convolutions=[1]), "needed: settings by name"),
        (lambda c: c.update(features=[]), "needed: settings by name"),
        (lambda c: c["network"]["convolutions"][0].update(kernel=[11]), "not two whole numbers"),
        (lambda c: c["network"].update(gru_units=True), "gru_units is True"),
        (lambda c: c.update(audio={}), "missing settings"),
        (lambda c: c.update(name=5), "got name 5; needed: text"),
        (lambda c: c["features"].update(frame_step=1.5), "frame_step is 1.5; like 160"),
        (lambda c: c.update(alphabet=["a", "b"]), "an alphabet starts with"),
    ],
)
def test_another_file_is_refused(pipeline: Pipeline, tmp_path: Path, change, message) -> None:
    write_pipeline(tmp_path, pipeline)
    content = json.loads((tmp_path / "pipeline.json").read_text(encoding="utf-8"))
    change(content)
    (tmp_path / "pipeline.json").write_text(json.dumps(content), encoding="utf-8")
    with pytest.raises(ModelError, match=message):
        read_pipeline(tmp_path)


def test_a_missing_or_broken_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no usable model in"):
        read_pipeline(tmp_path)
    (tmp_path / "pipeline.json").write_text("{", encoding="utf-8")
    with pytest.raises(ModelError, match="no usable model in"):
        read_pipeline(tmp_path)


@pytest.mark.parametrize(
    "build",
    [
        lambda: AudioConfig(sample_rate_hz=10),
        lambda: FeatureConfig(fft_length=100),
        lambda: FeatureConfig(min_hz=9000.0),
        lambda: ConvolutionConfig(kernel=(4, 5)),
        lambda: NetworkConfig(convolutions=()),
        lambda: NetworkConfig(dropout=1.0),
        lambda: NetworkConfig(lookahead=3),
        lambda: NetworkConfig(
            bidirectional=False,
            convolutions=(ConvolutionConfig(kernel=(1, 3), stride=(2, 2)),),
        ),
        lambda: FeatureConfig(normalisation="running", frame_length=99, frame_step=100),
        lambda: FeatureConfig(prior_deviation=0.0),
        lambda: TrainingConfig(epochs=0),
        lambda: ServerConfig(port=-1),
        lambda: ServerConfig(max_upload_bytes=0),
    ],
)
def test_settings_out_of_range_are_refused(build) -> None:
    with pytest.raises(ValueError, match=r"\d|no convolution"):
        build()
