"""`stt listen`, with a file in the microphone's place: a model here, and a server."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
from typer.testing import CliRunner

import cli
from captions.client import stream_url
from captions.sources import gathered, open_file, open_microphone, to_pcm
from config import AudioError
from predictor import Predictor
from service_config import AccessConfig, ServerConfig
from serving.local import LocalBackend
from tests.clips import babble
from tests.live_server import serving

ROOT = Path(__file__).parents[1]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.app, ["listen", *map(str, words)])


@pytest.fixture
def wav(tmp_path: Path) -> Path:
    """Two utterances, at another rate than the model's, in stereo."""
    rate_hz, silence = 16_000, np.zeros(16_000, np.float32)
    parts = [silence, babble(2.0, rate_hz=rate_hz), silence, babble(2.0, seed=2, rate_hz=rate_hz)]
    mono = np.concatenate(parts)
    soundfile.write(tmp_path / "said.wav", np.stack([mono, mono], axis=1), rate_hz)
    return tmp_path / "said.wav"


def events(output: str) -> list[dict]:
    return [json.loads(line) for line in output.splitlines()]


def finals(output: str) -> list[str]:
    return [event["text"] for event in events(output) if event["type"] == "final"]


def test_a_file_is_captioned_as_json_and_as_text(run, model_folder: Path, wav: Path) -> None:
    told = run("--wav", wav, "--speed", 2, "--model", model_folder, "--format", "json")
    assert told.exit_code == 0
    assert [event["id"] for event in events(told.stdout) if event["type"] == "final"] == [0, 1]
    assert "partial" in [event["type"] for event in events(told.stdout)]
    assert all(finals(told.stdout))
    plain = run("--wav", wav, "--speed", 20, "--model", model_folder)
    assert plain.exit_code == 0
    assert [line.strip() for line in plain.stdout.splitlines()] == finals(told.stdout)


def test_a_server_gives_the_same_finals(
    run, server_config: ServerConfig, model_folder: Path, wav: Path
) -> None:
    here = run("--wav", wav, "--speed", 20, "--model", model_folder, "--format", "json")
    predictor = Predictor(LocalBackend(model_folder))
    with serving(server_config, lambda _: predictor) as served:
        url = f"http://127.0.0.1:{served.port}"
        there = run("--wav", wav, "--speed", 20, "--url", url, "--key", "k", "--format", "json")
        wrong = run("--wav", wav, "--url", url, "--hotword", "...")
        elsewhere = run("--wav", wav, "--url", f"{url}/nothing")
    assert there.exit_code == 0
    assert finals(there.stdout) == finals(here.stdout)
    assert (wrong.exit_code, elsewhere.exit_code) == (2, 5)
    assert "hot word" in wrong.stderr
    assert "answers 403; needed: live captions, as at /v1/stream" in elsewhere.stderr
    away = run("--wav", wav, "--url", url)
    assert away.exit_code == 5
    assert len(away.stderr.splitlines()) == 1


def test_a_key_is_taken_from_the_environment(
    run, server_config: ServerConfig, model_folder: Path, wav: Path, monkeypatch
) -> None:
    key = "a-key-of-a-person"
    config = replace(server_config, access=AccessConfig(api_keys=(key,)))
    with serving(config, lambda _: Predictor(LocalBackend(model_folder))) as served:
        asked = ["--wav", wav, "--speed", 20, "--url", f"http://127.0.0.1:{served.port}"]
        without = run(*asked)
        monkeypatch.setenv("STT_API_KEY", key)
        told = run(*asked)
    assert (without.exit_code, told.exit_code) == (5, 0)
    assert "answers 401; needed: its key" in without.stderr


def test_samples_that_are_no_numbers_are_refused(run, model_folder: Path, tmp_path: Path) -> None:
    samples = np.array([0.0, np.nan, 0.5], np.float32)
    soundfile.write(tmp_path / "nan.wav", samples, 22_050, subtype="FLOAT")
    refused = run("--wav", tmp_path / "nan.wav", "--model", model_folder)
    assert refused.exit_code == 3
    assert "got samples that are not finite numbers; needed: values in [-1, 1]" in refused.stderr


def test_ctrl_c_ends_it_with_the_last_words(model_folder: Path, tmp_path: Path) -> None:
    silence = np.zeros(22_050, np.float32)
    soundfile.write(tmp_path / "long.wav", np.concatenate([silence, babble(60.0)]), 22_050)
    command = [sys.executable, "-m", "cli", "listen", "--wav", str(tmp_path / "long.wav")]
    process = subprocess.Popen(
        [*command, "--model", str(model_folder), "--format", "json"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["type"] == "partial"
        process.send_signal(signal.SIGINT)
        output, error = process.communicate(timeout=60)
    assert (process.returncode, error) == (0, "")
    assert events(output)[-1]["type"] == "final"
    assert events(output)[-1]["end_s"] < 30


def test_what_goes_wrong_is_one_line(run, model_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "text.wav").write_text("no sound")
    for arguments, code, wanted in [
        (["--wav", "no.wav", "--model", model_folder], 3, "cannot read no.wav: No such file"),
        (["--wav", ".", "--model", model_folder], 3, "cannot read .: Is a directory"),
        (["--wav", "text.wav", "--model", model_folder], 3, "cannot read text.wav"),
        (["--wav", "no.wav", "--url", "127.0.0.1:1"], 3, "cannot read no.wav"),
        (["--url", "ftp://x"], 2, "got url 'ftp://x'; needed: ws://HOST:PORT"),
        (["--url", "x", "--model", "y"], 2, "got --url and a model; needed: one of them"),
        (["--wav", "no.wav", "--model", "nothing"], 5, "nothing"),
        (["--wav", "no.wav", "--model", model_folder, "--hotword", "..."], 2, "hot word"),
    ]:
        result = run(*arguments)
        assert result.exit_code == code, result.output
        assert wanted in " ".join(result.stderr.split())


def test_a_microphone_needs_an_extra(run, model_folder: Path, monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "sounddevice", None)
    result = run("--model", model_folder)
    assert result.exit_code == 3
    assert "pip install -e '.[microphone]'" in " ".join(result.stderr.split())


def test_a_microphone_needs_a_device_and_its_library() -> None:
    """Whatever of these a machine without a sound card lacks, it is said in one line."""
    sounddevice = pytest.importorskip("sounddevice", reason="the extra", exc_type=ImportError)
    if any(device["max_input_channels"] for device in sounddevice.query_devices()):
        pytest.skip("a microphone is there")
    with (
        pytest.raises(AudioError, match="no microphone can be used"),
        open_microphone(stop=threading.Event()),
    ):
        pass


@pytest.mark.parametrize(
    ("url", "full"),
    [
        ("127.0.0.1:8000", "ws://127.0.0.1:8000/v1/stream"),
        ("http://host", "ws://host/v1/stream"),
        ("https://host/", "wss://host/v1/stream"),
        ("wss://host/other", "wss://host/other"),
    ],
)
def test_addresses_of_servers(url: str, full: str) -> None:
    assert stream_url(url) == full


def test_a_slow_reader_gets_more_at_a_time() -> None:
    taken = threading.Event()

    def chunks():
        yield b"a"
        yield b"b"
        yield b"c"
        taken.set()

    together = gathered(chunks())
    first = next(together)
    assert taken.wait(60)
    assert first + b"".join(together) == b"abc"


def test_what_a_source_raises_is_raised_after_its_audio() -> None:
    def chunks():
        yield b"a"
        raise AudioError("the cable is out")

    heard = gathered(chunks())
    assert next(heard) == b"a"
    with pytest.raises(AudioError, match="the cable is out"):
        next(heard)


def test_a_file_ends_when_it_is_told_to(wav: Path) -> None:
    stop = threading.Event()
    with open_file(wav, speed=20.0, stop=stop) as source:
        assert source.sample_rate_hz == 16_000
        assert len(next(source.chunks)) == 2 * 640
        stop.set()
        assert list(source.chunks) == []


def test_pcm_is_clipped_and_rounded() -> None:
    waveform = np.array([-2, -1, 0, 0.5, 1, 2], np.float32)
    pcm = np.frombuffer(to_pcm(waveform), "<i2").tolist()
    assert pcm == [-32768, -32768, 0, 16384, 32767, 32767]
