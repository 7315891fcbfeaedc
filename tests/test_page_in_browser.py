"""The page in a real browser, over the bundled model; `PAGE_SCREENSHOTS=folder` keeps pictures."""

from __future__ import annotations

import base64
import json
import os
import subprocess
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import soundfile
import srt
import webvtt

from config import AudioConfig
from speech.audio import decode_native
from tests.browsing import SCREENSHOTS, Browser, install_packages, running_browser, running_service
from tests.example_clients import ROOT

SAMPLES = {path.name: path for path in sorted((ROOT / "Data/samples").glob("*.wav"))}
SAMPLE = str(SAMPLES["sample.wav"])
REFUSED = "Failed to load resource"  # what a browser writes when the server refuses something


@pytest.fixture(scope="module")
def packages(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the flows, beside the sources that they are about."""
    folder = tmp_path_factory.mktemp("packages")
    (folder / "tests").mkdir()
    (folder / "service").symlink_to(ROOT / "service")
    install_packages(folder / "tests/browser")
    return folder / "tests/browser"


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with running_service(tmp_path_factory.mktemp("logs")) as address:
        yield address


@pytest.fixture(scope="module")
def microphone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the microphone hears: a sentence, and a silence that ends it."""
    speech, rate_hz = soundfile.read(SAMPLE, dtype="int16")
    silence = np.zeros(2 * rate_hz, "int16")
    path = tmp_path_factory.mktemp("microphone") / "heard.wav"
    soundfile.write(path, np.concatenate([silence[: rate_hz // 2], speech, silence]), rate_hz)
    return path


@pytest.fixture(scope="module")
def browser(
    address: str, packages: Path, microphone: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Browser]:
    downloads = tmp_path_factory.mktemp("downloads")
    url = f"{address}/app/"
    with running_browser(packages, url=url, microphone=microphone, downloads=downloads) as browser:
        yield browser


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> str:
    path = tmp_path_factory.mktemp("broken") / "notes.wav"
    path.write_text("Buy milk.\n" * 40, encoding="utf-8")
    return str(path)


def answer(address: str, path: Path | str, **fields: str) -> Any:
    """Return what the route itself says of a file."""
    response = httpx.post(
        f"{address}/v1/audio/transcriptions",
        files={"file": Path(path).read_bytes()},
        data={
            "model": "english-small",
            "response_format": "verbose_json",
            "timestamp_granularities[]": "word",
            **fields,
        },
        timeout=60,
    )
    response.raise_for_status()
    return response.json()


def test_types_agree_with_their_uses(packages: Path) -> None:
    """What the comments of the page's scripts say of types, checked by TypeScript."""
    done = subprocess.run(
        ["npx", "--no-install", "tsc", "--project", "."],
        cwd=packages,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout


def test_a_file_becomes_text(browser: Browser, address: str) -> None:
    shown, expected = browser("upload", file=SAMPLE), answer(address, SAMPLE)
    assert shown["text"] == expected["text"]
    assert "old house" in shown["text"]
    assert shown["name"] == "sample.wav"
    assert f"{len(expected['words'])} words" in shown["facts"]
    assert shown["canvases"] >= 2, "a waveform and a spectrogram"
    sure = [word["confidence"] for word in expected["words"]]
    assert shown["doubts"] == [sum(one < bound for bound in (0.75, 0.6, 0.45, 0.3)) for one in sure]
    assert len(set(shown["doubts"])) > 1, "or no shade would prove nothing"


def test_one_broken_file_of_several_fails_alone_and_in_words(
    browser: Browser, address: str, broken: str
) -> None:
    files = [str(path) for path in SAMPLES.values()]
    shown = browser("several", files=files, broken=broken, expected=REFUSED)
    assert shown["texts"] == {name: answer(address, path)["text"] for name, path in SAMPLES.items()}
    what, why = filter(None, shown["error"].splitlines())
    assert what.startswith("This is not audio that the server reads. Save the sound as WAV")
    assert why.startswith("The server says: ")


def test_a_file_that_the_browser_cannot_play_has_its_words(
    browser: Browser, address: str, tmp_path: Path
) -> None:
    path = tmp_path / "sample.aiff"
    soundfile.write(path, *soundfile.read(SAMPLE, dtype="int16"))
    shown = browser("unplayable", file=str(path), playable=str(SAMPLES["letter.wav"]))
    assert shown == {"text": answer(address, path)["text"], "shown": False, "said": False}


def test_a_file_is_dropped(browser: Browser, address: str) -> None:
    content = base64.b64encode(SAMPLES["letter.wav"].read_bytes()).decode()
    shown = browser("drop", file="letter.wav", content=content)
    assert (shown["lit"], shown["left"]) == (1, 0)
    assert shown["text"] == answer(address, SAMPLES["letter.wav"])["text"]


def test_a_file_is_cancelled_tried_again_and_removed(browser: Browser, address: str) -> None:
    shown = browser("cancelAndRetry", file=SAMPLE)
    assert shown["text"] == answer(address, SAMPLE)["text"]
    assert (shown["left"], shown["empty"]) == (0, True)


def test_a_server_that_is_away_is_told_and_tried_again(browser: Browser) -> None:
    shown = browser("offline", file=SAMPLE, expected="ERR_INTERNET_DISCONNECTED")
    assert "The server did not answer." in shown["error"]
    assert "old house" in shown["text"]


def test_the_microphone_is_recorded(browser: Browser) -> None:
    shown = browser("record", forS=5)
    assert shown["level"] > 30
    assert "old house" in shown["text"]
    saved = decode_native(base64.b64decode(shown["saved"]), AudioConfig())
    assert 4.5 < len(saved) / 22_050 < 30
    assert shown["asks"] == [True, False]


def test_a_recording_ends_before_the_server_takes_no_more(browser: Browser) -> None:
    assert browser("recordTooMuch") == {"idle": True}


def test_what_cannot_be_sent_is_told_at_once(browser: Browser, tmp_path: Path) -> None:
    empty = tmp_path / "empty.wav"
    empty.touch()
    assert browser("refusedHere", empty=str(empty)) == {
        "error": "This file is empty. Record it again, or choose another. Folders cannot be sent.",
        "bounded": ["256", "1", "2", ""],
        "focus": "choose",
    }


def test_a_microphone_that_is_not_allowed_is_told_in_words(browser: Browser) -> None:
    shown = browser("refused", options={"permissions": []})
    assert set(shown) == {"Record", "Live captions"}
    assert all("Allow it beside the address" in problem for problem in shown.values())


def test_audio_that_does_not_run_is_told_in_words(browser: Browser) -> None:
    shown = browser("unheard")
    assert shown["problem"].startswith("No sound comes from the browser.")
    assert shown["items"] == 0
    assert shown["ready"]
    assert shown["goesOn"], "an attempt that was given up ended the next one"


def test_a_recording_is_discarded(browser: Browser) -> None:
    assert browser("discard") == {"items": 0}


def test_captions_come_while_it_is_spoken(browser: Browser) -> None:
    shown = browser("captions")
    assert "old" in shown["partial"]
    assert shown["paler"]
    assert "old house" in shown["final"]
    assert "old house" in shown["kept"]


def test_a_click_on_a_word_seeks_and_playing_lights_the_words(
    browser: Browser, address: str
) -> None:
    words = answer(address, SAMPLE)["words"]
    shown = browser("seek", file=SAMPLE, index=4)
    assert shown["word"] == words[4]["word"].strip()
    assert shown["atS"] == pytest.approx(words[4]["start"], abs=0.05)
    assert shown["lit"] == [shown["word"]]
    assert shown["laterS"] > shown["atS"]
    assert shown["laterLit"] != shown["lit"]
    assert shown["clock"].startswith("0:0")


def test_the_text_is_copied(browser: Browser) -> None:
    shown = browser("copied", file=SAMPLE)
    assert "old house" in shown["copied"]
    assert shown["copied"] == shown["text"]
    assert shown["selected"] == shown["text"], "nor what only screen readers are told"


def test_what_is_downloaded_can_be_read(browser: Browser) -> None:
    shown = browser("downloads", file=SAMPLE)
    saved = {name: Path(path) for name, path in shown["saved"].items()}
    assert [path.name for path in saved.values()] == [
        f"sample.{suffix}" for suffix in ("txt", "srt", "vtt", "json")
    ]
    assert saved["txt"].read_text(encoding="utf-8") == shown["text"] + "\n"
    assert json.loads(saved["json"].read_text(encoding="utf-8"))["text"] == shown["text"]
    cues = list(srt.parse(saved["srt"].read_text(encoding="utf-8"), ignore_errors=False))
    assert " ".join(" ".join(cue.content.split()) for cue in cues) == shown["text"]
    assert all(cue.start < cue.end for cue in cues)
    assert all(one.end <= other.start for one, other in pairwise(cues))
    captions = webvtt.read(str(saved["vtt"]))
    assert [caption.text for caption in captions] == [cue.content for cue in cues]


@pytest.mark.parametrize(
    ("decoder", "width", "hotwords"), [("greedy", "", ""), ("beam", "2", "knew:80")]
)
def test_options_reach_the_decoder(
    browser: Browser, address: str, decoder: str, width: str, hotwords: str
) -> None:
    given = {"decoder": decoder, "beam_width": width, "hotwords": hotwords}
    expected = answer(address, SAMPLE, **{name: text for name, text in given.items() if text})
    shown = browser("options", file=SAMPLE, decoder=decoder, width=width, hotwords=hotwords)
    assert shown["text"] == expected["text"]
    assert shown["text"] != answer(address, SAMPLE)["text"]
    assert shown["kept"] == hotwords


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_colours_follow_the_system_until_they_are_chosen(browser: Browser, scheme: str) -> None:
    shown = browser("theme", options={"colorScheme": scheme})
    colours = {"light": "rgb(245, 245, 242)", "dark": "rgb(19, 21, 25)"}
    own = colours.pop(scheme)
    (other,) = colours.values()
    assert shown["found"] == [own, other, other]
    assert shown["pressed"] == (["false", "true"] if scheme == "light" else ["true", "false"])


def test_everything_is_reached_by_keyboard(browser: Browser, address: str) -> None:
    shown, expected = browser("keyboard", file=SAMPLE), answer(address, SAMPLE)
    assert shown["outlines"] == ["solid", "solid"]
    assert shown["endS"] == pytest.approx(expected["duration"], abs=0.1)
    assert shown["lit"] == expected["words"][2]["word"].strip()
    assert shown["wordS"] == pytest.approx(expected["words"][2]["start"], abs=0.05)
    assert shown["saved"] == "sample.json"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Browser, broken: str, scheme: str) -> None:
    options = {"colorScheme": scheme, "reducedMotion": "reduce"}
    given = {"file": SAMPLE, "broken": broken, "expected": REFUSED}
    faults = browser("accessibility", options=options, **given)
    assert set(faults) == {"empty", "result", "recording", "captions"}
    assert faults == {state: [] for state in faults}


@pytest.mark.parametrize("width", [320, 360, 1280])
def test_no_width_needs_sideways_scrolling(browser: Browser, broken: str, width: int) -> None:
    options = {"viewport": {"width": width, "height": 740}}
    given = {"file": SAMPLE, "broken": broken, "expected": REFUSED}
    found = browser("narrow", options=options, **given)
    assert found == {"empty": 0, "result": 0, "recording": 0, "captions": 0}


def test_a_key_is_asked_for_and_kept_in_the_tab(browser: Browser, tmp_path: Path) -> None:
    """And what is too large is not sent at all."""
    key, most = "a-key-of-a-person", SAMPLES["sample.wav"].stat().st_size - 1
    files = {"file": str(SAMPLES["harbour.wav"]), "large": SAMPLE}
    with running_service(tmp_path, STT_API_KEYS=key, STT_MAX_FILE_BYTES=str(most)) as guarded:
        given = {"url": f"{guarded}/app/", "state": "away", "expected": REFUSED}
        shown = browser("key", key=key, **files, **given)
    assert "The recording is too large or too long." in shown["refusal"]
    assert "at most 202 kB" in shown["refusal"]
    assert "This server asks for an API key." in shown["error"]
    assert shown["impossible"] == "A key has only letters, digits and . _ ~ + - in it."
    assert shown["problem"] == "The server does not take this key."
    assert shown["kept"] == [1, 1], "the options, and the key"


def test_a_key_that_cannot_be_sent_leaves_no_microphone_open(browser: Browser) -> None:
    shown = browser("impossibleKey")
    assert "Check the address and the API key" in shown["problem"]
    assert shown["tracks"] == ["ended"]


def test_the_api_is_described_without_another_host(browser: Browser) -> None:
    """Neither the browser's console nor its network may show what the policy keeps out."""
    shown = browser("description")
    assert shown["title"] == "Speech to text: the API"
    assert shown["routes"] >= 10


@pytest.mark.skipif(SCREENSHOTS not in os.environ, reason=f"{SCREENSHOTS} names no folder")
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("name", "width", "height"), [("desktop", 1280, 800), ("phone", 390, 844)])
def test_screenshots_to_look_at(
    browser: Browser, broken: str, scheme: str, name: str, width: int, height: int
) -> None:
    options = {"colorScheme": scheme, "viewport": {"width": width, "height": height}}
    given = {"files": [SAMPLE, str(SAMPLES["canoe.wav"])], "broken": broken, "expected": REFUSED}
    assert browser("screenshot", name=f"{name}-{scheme}", options=options, **given)
