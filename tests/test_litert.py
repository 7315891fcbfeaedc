"""The LiteRT export: what the SavedModel computes, on phones and small boards."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from typer.testing import CliRunner

import cli
from config import LOG_MEL, FeatureConfig, ModelError
from serving.local import LocalBackend
from speech.decoding.greedy import greedy_decode
from speech.features import extract_features
from tests.clips import babble
from tests.models import RUNNING_FEATURES, TinyModel
from training.litert import export_litert
from training.served_model import Precision

ROOT = Path(__file__).parents[1]
SAMPLE = ROOT / "Data/samples/sample.wav"
RATE_HZ = 22_050
ODD_STFT = FeatureConfig(frame_length=25, frame_step=10, fft_length=25)
BY_PRODUCTS_MEL = FeatureConfig(
    kind="log_mel", frame_length=551, frame_step=220, fft_length=700, num_mel_bands=40
)
# int8 also rounds what the weights are multiplied with.
TOLERANCES: dict[Precision, float] = {"float32": 1e-4, "float16": 5e-3, "int8": 0.05}


def copy_of(model: Path, folder: Path) -> Path:
    """Return a folder with what an export reads, to write into."""
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("model.keras", "pipeline.json"):
        shutil.copy(model / name, folder)
    return folder


@pytest.fixture(scope="module")
def tiny_files(
    tiny_model: TinyModel, tmp_path_factory: pytest.TempPathFactory
) -> dict[Precision, bytes]:
    """Return the tiny model's `model.tflite` in each precision."""
    folder = copy_of(tiny_model.folder, tmp_path_factory.mktemp("litert"))
    return {
        precision: export_litert(folder, precision=precision).read_bytes()
        for precision in TOLERANCES
    }


@pytest.fixture(scope="module")
def bundled_file(bundled: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the bundled model's `model.tflite`."""
    return export_litert(copy_of(bundled, tmp_path_factory.mktemp("bundled")))


@pytest.mark.parametrize(
    "config", [FeatureConfig(), LOG_MEL, ODD_STFT, BY_PRODUCTS_MEL, RUNNING_FEATURES]
)
@pytest.mark.parametrize("num_samples", [1, None, 2 * RATE_HZ])
def test_features_for_litert_are_the_features(
    config: FeatureConfig, num_samples: int | None
) -> None:
    """One sample, one frame, two seconds; by products and by the Fourier transform."""
    clip = babble(2.0, seed=1)[np.newaxis, : num_samples or config.frame_length]
    wanted, got = (
        extract_features(
            clip, [clip.shape[1]], config, sample_rate_hz=RATE_HZ, for_litert=for_litert
        )
        for for_litert in (False, True)
    )
    np.testing.assert_array_equal(got[1], wanted[1])
    np.testing.assert_allclose(got[0], wanted[0], rtol=0, atol=1e-4)
    assert num_samples != 2 * RATE_HZ or np.ptp(wanted[0]) > 1


@pytest.mark.parametrize("config", [FeatureConfig(), LOG_MEL])
def test_features_stay_exact_where_weights_become_int8(config: FeatureConfig) -> None:
    def features(waveform: tf.Tensor, *, for_litert: bool = True) -> tf.Tensor:
        num_samples = tf.shape(waveform)[1:]
        return extract_features(
            waveform, num_samples, config, sample_rate_hz=RATE_HZ, for_litert=for_litert
        )[0]

    traced = tf.function(features).get_concrete_function(tf.TensorSpec([1, None], tf.float32))
    converter = tf.lite.TFLiteConverter.from_concrete_functions([traced], tf.Module())
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    run = Interpreter(model_content=converter.convert()).get_signature_runner()
    clip = babble(2.0, seed=1)[np.newaxis]
    (got,) = run(waveform=clip).values()
    np.testing.assert_allclose(got, features(clip, for_litert=False), rtol=0, atol=1e-3)


@pytest.mark.parametrize("precision", TOLERANCES)
def test_it_gives_the_log_probs_of_the_saved_model(
    tiny_model: TinyModel, tiny_files: dict[Precision, bytes], precision: Precision
) -> None:
    """Short after long, in one interpreter."""
    backend = LocalBackend(tiny_model.folder)
    run = Interpreter(model_content=tiny_files[precision]).get_signature_runner()
    assert list(run.get_input_details()) == ["waveform"]
    for num_samples in (3 * RATE_HZ, 1, 551, 22_051):
        clip = babble(3.0, seed=num_samples)[:num_samples]
        (wanted,) = backend.log_probs([clip])
        got = run(waveform=clip[np.newaxis])["log_probs"]
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, wanted[np.newaxis], rtol=0, atol=TOLERANCES[precision])
        assert num_samples == 1 or np.ptp(wanted) > 0.1


def test_a_streaming_model_gives_its_log_probs_of_whole_clips(
    streaming_model: TinyModel, tmp_path: Path
) -> None:
    file = export_litert(copy_of(streaming_model.folder, tmp_path))
    run, backend = (
        Interpreter(str(file)).get_signature_runner(),
        LocalBackend(streaming_model.folder),
    )
    for num_samples in (3 * RATE_HZ, 1, 22_051):
        clip = babble(3.0, seed=num_samples)[:num_samples]
        (wanted,) = backend.log_probs([clip])
        got = run(waveform=clip[np.newaxis])["log_probs"]
        np.testing.assert_allclose(got, wanted[np.newaxis], rtol=0, atol=1e-4)


def test_smaller_weights_make_smaller_files_and_round_only_themselves(
    bundled: Path, bundled_file: Path, tmp_path: Path
) -> None:
    """With clean speech: a rounded window would change its quiet parts (log-probs by 0.3)."""
    folder, waveform = copy_of(bundled, tmp_path), soundfile.read(SAMPLE, dtype="float32")[0]

    def log_probs(file: Path) -> np.ndarray:
        run = Interpreter(str(file)).get_signature_runner()
        return run(waveform=waveform[np.newaxis])["log_probs"]

    half = export_litert(folder, precision="float16")
    assert half.stat().st_size < 0.55 * bundled_file.stat().st_size
    np.testing.assert_allclose(log_probs(half), log_probs(bundled_file), rtol=0, atol=0.05)
    quarter = export_litert(folder, precision="int8")
    assert quarter.stat().st_size < 0.3 * bundled_file.stat().st_size


def run_example(model: Path, wav: Path, *options: str) -> tuple[int, str, list[str]]:
    """Return exit code, standard output, and standard error's lines but for the runtime's own."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "examples/litert/transcribe.py", model, wav, *options],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    lines = [line for line in done.stderr.splitlines() if not line.startswith("INFO: ")]
    return done.returncode, done.stdout, lines


def test_the_example_prints_the_text_of_the_saved_model(bundled: Path, bundled_file: Path) -> None:
    backend = LocalBackend(bundled)
    waveform, _ = soundfile.read(SAMPLE, dtype="float32")
    text = greedy_decode(backend.log_probs([waveform])[0], backend.pipeline.alphabet)
    assert len(text.split()) > 5
    assert run_example(bundled_file, SAMPLE) == (0, f"{text}\n", [])


def test_the_example_says_what_is_wrong_in_one_line(bundled_file: Path, tmp_path: Path) -> None:
    def error(*arguments: Path | str) -> str:
        code, printed, (line,) = run_example(*arguments)
        assert (code, printed) == (1, "")
        assert line.startswith("error: ")
        return line

    slow, empty = tmp_path / "slow.wav", tmp_path / "empty.wav"
    soundfile.write(slow, np.zeros(16_000), 16_000, subtype="PCM_16")
    soundfile.write(empty, np.zeros(0), RATE_HZ, subtype="PCM_16")
    needed = "needed: 1 channel, 16 bits, 22050 Hz"
    assert f"got 1 channels, 16 bits, 16000 Hz; {needed}" in error(bundled_file, slow)
    assert "got no samples" in error(bundled_file, empty)
    assert "needed: 1 channel, 16 bits, 8000 Hz" in error(
        bundled_file, SAMPLE, "--sample-rate", "8000"
    )
    assert "is not a WAV file" in error(bundled_file, bundled_file)
    other = tmp_path / "model.tflite"
    other.write_bytes(b"nothing")
    assert f"cannot read {tmp_path / 'alphabet.txt'}: " in error(other, SAMPLE)
    (tmp_path / "alphabet.txt").write_text("<blank>\na\n", encoding="utf-8")
    assert "model.tflite is not a LiteRT model" in error(other, SAMPLE)
    shutil.copy(bundled_file, other)
    assert "gives 29 symbols; the alphabet.txt beside it has 2" in error(other, SAMPLE)


def test_the_command(model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    copy_of(model_folder, tmp_path / "mine")
    monkeypatch.chdir(tmp_path)
    export = ["export", "mine", "--format", "litert"]
    done = CliRunner().invoke(cli.app, export)
    assert (done.exit_code, done.stdout) == (0, "mine/litert/model.tflite\n")
    written = sorted(path.name for path in Path("mine/litert").iterdir())
    assert written == ["alphabet.txt", "model.tflite"]
    alphabet = LocalBackend(model_folder).pipeline.alphabet
    assert Path("mine/litert/alphabet.txt").read_text(encoding="utf-8") == alphabet.to_lines()
    refused = CliRunner().invoke(cli.app, [*export, "--precision", "bfloat16"])
    assert refused.exit_code == 5
    assert "LiteRT has no bfloat16 weights; needed: float32, float16 or int8" in refused.stderr
    moved = CliRunner().invoke(cli.app, [*export, "--to", "other"])
    assert moved.exit_code == 2
    assert "got --format litert and --to other; needed: no --to" in moved.stderr
    assert not Path("other").exists()


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match="no usable model"):
        export_litert(tmp_path)
