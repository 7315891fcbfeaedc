"""`stt augment-preview`: its files, its pictures and what it refuses."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import soundfile
import typer
from matplotlib.image import imread
from typer.testing import CliRunner, Result

import training.augmentation_preview as preview
from cli_augment import augment_preview
from config import AudioConfig
from speech.audio import decode_any, decode_native
from tests.clips import write_clip
from training.augmentation import STRENGTHS

CHANGES = [name for name in preview.preview_configs(Path("noises")) if name != "recorded-noise"]


def run(*arguments: object) -> Result:
    app = typer.Typer()
    app.command()(augment_preview)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("preview")
    clip = write_clip(folder / "clip.flac", duration_s=1.2, rate_hz=16_000)
    result = run(clip, "--output", folder / "out", "--seed", 3)
    assert result.exit_code == 0, result.output
    assert f"{folder / 'out' / 'overview.png'}: an overview" in result.output
    return folder


def test_every_change_has_a_picture_and_a_native_wav(made: Path) -> None:
    names = {path.name for path in (made / "out").iterdir()}
    expected = {f"{name}.{kind}" for name in CHANGES for kind in ("png", "wav")}
    assert names == expected | {"overview.png", "unchanged.wav"}
    clip = decode_any(made / "clip.flac", AudioConfig())
    waves = {
        name: decode_native((made / "out" / f"{name}.wav").read_bytes(), AudioConfig())
        for name in ["unchanged", *CHANGES]
    }
    np.testing.assert_allclose(waves["unchanged"], clip, atol=1e-4)
    for name in CHANGES:
        same = len(waves[name]) == len(clip) and np.abs(waves[name] - clip).max() < 1e-3
        assert same == (name == "masks"), name


@pytest.mark.parametrize("name", [*CHANGES, "overview"])
def test_pictures_show_something(made: Path, name: str) -> None:
    picture = imread(made / "out" / f"{name}.png")
    assert picture.shape[0] >= 400
    assert picture.shape[1] >= 1000
    assert len(np.unique(picture[..., :3].reshape(-1, 3), axis=0)) > 100


def test_before_differs_from_after(made: Path) -> None:
    pictures = {name: (made / "out" / f"{name}.png").read_bytes() for name in CHANGES}
    assert len(set(pictures.values())) == len(CHANGES)


def test_the_seed_decides_what_is_drawn(made: Path, tmp_path: Path) -> None:
    for seed in (3, 4):
        result = run(made / "clip.flac", "--output", tmp_path / str(seed), "--seed", seed)
        assert result.exit_code == 0, result.output
    first = (made / "out" / "speed.wav").read_bytes()
    assert (tmp_path / "3" / "speed.wav").read_bytes() == first
    assert (tmp_path / "4" / "speed.wav").read_bytes() != first


def test_recorded_noise_is_shown_if_there_is_some(made: Path, tmp_path: Path) -> None:
    write_clip(tmp_path / "noises" / "hum.wav")
    result = run(made / "clip.flac", "--output", tmp_path, "--noises", tmp_path / "noises")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "recorded-noise.png").stat().st_size > 10_000
    assert (tmp_path / "recorded-noise.wav").exists()


def test_the_last_settings_are_those_of_training() -> None:
    _, config = preview.preview_configs(None)["all"]
    assert config == STRENGTHS["strong"]


def test_what_is_no_audio_is_refused_in_a_line(tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    result = run(tmp_path / "text.wav", "--output", tmp_path / "out")
    assert result.exit_code == 3
    assert not (tmp_path / "out").exists()
    result = run(tmp_path / "missing.wav", "--output", tmp_path / "out")
    assert result.exit_code == 3


def test_a_noise_folder_without_recordings_is_refused(tmp_path: Path) -> None:
    clip = tmp_path / "clip.wav"
    soundfile.write(clip, np.full(3000, 0.1), 22_050)
    (tmp_path / "empty").mkdir()
    result = run(clip, "--output", tmp_path / "out", "--noises", tmp_path / "empty")
    assert result.exit_code == 4
    assert "no recording" in result.stderr
