"""Synthetic speech: its voices and their variation, and how a run is repeated and continued."""

from __future__ import annotations

import csv
import re
import subprocess
import tempfile
from collections import Counter
from dataclasses import replace
from functools import cache
from pathlib import Path

import numpy as np
import pytest

import training.synthesis as module
from config import AudioConfig, CorpusError
from speech.audio import decode_any, decode_native, encode_native
from training import synthesis_voices
from training.synthesis import (
    SynthesisConfig,
    draw_texts,
    draw_voice,
    notes_on_missing,
    read_texts,
    synthesise,
)
from training.synthesis_programs import Manner, plain, speak
from training.synthesis_voices import VOICES, Voice, installed_voices, missing_programs

SENTENCE = "He read the long letter aloud in the harbour, and nobody laughed."
CONFIG = SynthesisConfig(num_clips=6, workers=1)
NORMAL = Manner()


@cache
def _installed() -> list[Voice]:
    return installed_voices()


def _voice(program: str) -> Voice:
    """Return the first voice of `program`, or skip: the programs are optional."""
    if program in missing_programs():
        pytest.skip(f"{program} is not installed")
    found = [voice for voice in _installed() if voice.program == program]
    if not found:
        pytest.skip(f"{program} has none of the voices")
    return found[0]


@cache
def _spoken(voice: Voice, manner: Manner = NORMAL) -> np.ndarray:
    """Return the sentence as a clip has it; each needs up to three processes, so once."""
    rate_hz = AudioConfig().sample_rate_hz
    with tempfile.TemporaryDirectory() as folder:
        wav = Path(folder) / "speech.wav"
        speak(voice, SENTENCE, wav, manner)
        return decode_any(wav, AudioConfig(sample_rate_hz=round(rate_hz / voice.tract)))


def _pitch_hz(samples: np.ndarray) -> float:
    """Return the median over voiced frames, by the peak of the autocorrelation."""
    rate_hz, length = AudioConfig().sample_rate_hz, 1024
    shortest, longest = rate_hz // 400, rate_hz // 60
    found = []
    for start in range(0, len(samples) - length, length // 2):
        frame = samples[start : start + length] - samples[start : start + length].mean()
        spectrum = np.fft.rfft(frame, 2 * length)
        correlation = np.fft.irfft(np.abs(spectrum) ** 2)[:length]
        lag = shortest + int(correlation[shortest:longest].argmax())
        if correlation[0] > 1 and correlation[lag] > 0.5 * correlation[0]:
            found.append(rate_hz / lag)
    return float(np.median(found))


def _spoken_samples(samples: np.ndarray) -> int:
    loud = np.flatnonzero(np.abs(samples) > 0.02)
    return int(loud[-1] - loud[0])


@pytest.fixture
def fake_speech(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, Manner]]:
    """Speech of tones, without any program; returns who was asked to speak, and how."""
    asked: list[tuple[str, Manner]] = []

    def tone(voice: Voice, text: str, wav: Path, manner: Manner) -> None:
        asked.append((voice.name, manner))
        if "unspeakable" in text:
            raise subprocess.CalledProcessError(1, "program")
        seconds = np.arange(round(11_025 * manner.stretch)) / 22_050
        wav.write_bytes(encode_native(np.sin(1000 * seconds).astype(np.float32) / 2, AudioConfig()))

    monkeypatch.setattr(module, "speak", tone)
    monkeypatch.setattr(module, "installed_voices", lambda: list(VOICES))
    monkeypatch.setattr(module, "missing_programs", list)
    return asked


def test_voices_have_names_of_their_own_and_are_mostly_of_the_better_programs() -> None:
    names = [voice.name for voice in VOICES]
    assert len(set(names)) == len(names)
    assert all(voice.weight > 0 and 0.8 <= voice.tract <= 1.2 for voice in VOICES)
    config = SynthesisConfig()
    drawn = Counter(draw_voice(f"clip{i}", VOICES, config)[0].program for i in range(4000))
    for program, share in config.shares().items():
        assert drawn[program] / 4000 == pytest.approx(
            share / sum(config.shares().values()), abs=0.03
        )
    assert drawn.most_common(1)[0][0] == "hts_engine"


def test_weights_are_shares_of_a_program() -> None:
    rare = Voice(program="flite", name="rare", model="a")
    often = replace(rare, name="often", weight=3.0)
    drawn = Counter(draw_voice(f"c{i}", [rare, often], CONFIG)[0].name for i in range(2000))
    assert drawn["often"] / 2000 == pytest.approx(0.75, abs=0.04)


def test_manner_stays_in_its_ranges_and_uses_them() -> None:
    manners = [draw_voice(f"c{i}", VOICES, CONFIG)[1] for i in range(500)]
    for name in ("stretch", "pitch", "melody"):
        values = [getattr(manner, name) for manner in manners]
        low, high = getattr(CONFIG, name)
        assert low <= min(values) < low + 0.05 * (high - low)
        assert high - 0.05 * (high - low) < max(values) <= high


def test_a_clip_is_spoken_the_same_way_every_time_and_otherwise_with_another_seed() -> None:
    other = replace(CONFIG, seed=1)
    names = [f"clip{i}" for i in range(20)]
    first = [draw_voice(name, VOICES, CONFIG) for name in names]
    assert first == [draw_voice(name, VOICES, CONFIG) for name in names]
    assert first != [draw_voice(name, VOICES, other) for name in names]


def test_shares_of_absent_programs_go_to_the_others() -> None:
    present = [voice for voice in VOICES if voice.program in ("flite", "espeak-ng")]
    drawn = {draw_voice(f"c{i}", present, CONFIG)[0].program for i in range(200)}
    assert drawn == {"flite", "espeak-ng"}


def test_shares_must_be_shares() -> None:
    with pytest.raises(ValueError, match="none negative"):
        SynthesisConfig(flite_share=-0.1)
    with pytest.raises(ValueError, match="one over 0"):
        SynthesisConfig(flite_share=0, espeak_share=0, festival_share=0, hts_engine_share=0)


def test_absent_optional_programs_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    has = {"flite", "espeak-ng", "festival"}
    monkeypatch.setattr(synthesis_voices.shutil, "which", lambda p: p if p in has else None)
    (note,) = notes_on_missing()
    assert "hts_engine is not installed, so its voices are left out" in note
    assert "apt-get install festival festvox-us-slt-hts htsengine" in note
    has.remove("festival")
    assert len(notes_on_missing()) == 2
    has.remove("flite")
    with pytest.raises(CorpusError, match="flite is not installed; needed: apt-get install flite"):
        synthesise({"a": "one"}, Path("unused"), CONFIG)


def test_voices_that_a_program_lacks_are_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    answers = {
        "flite": "Voices available: kal slt ",
        "festival": "(kal_diphone ked_diphone)\n",
        "espeak-ng": "Pty Language  Age/Gender VoiceName  File\n"
        " 2  en-us  --/M  English_(America) gmw/en-US\n 5  variant --/F  female2  !v/f2\n",
    }
    monkeypatch.setattr(synthesis_voices.shutil, "which", lambda program: program)
    monkeypatch.setattr(synthesis_voices, "_ask", lambda program, *_: answers[program])
    kept = installed_voices()
    assert {voice.model for voice in kept} == {"slt", "ked_diphone", "en-us+f2"}


def test_texts_come_from_several_tables_by_shares() -> None:
    tables = [{f"{letter}{i}": f"{letter} text" for i in range(50)} for letter in "ab"]
    config = SynthesisConfig(num_clips=20)
    drawn = draw_texts(tables, config, [3, 1])
    assert Counter(name[0] for name in drawn) == {"a": 15, "b": 5}
    assert Counter(name[0] for name in draw_texts(tables, config)) == {"a": 10, "b": 10}
    assert drawn == draw_texts(tables, config, [3, 1])
    assert drawn != draw_texts(tables, replace(config, seed=1), [3, 1])


def test_texts_are_drawn_from_those_that_fit() -> None:
    config = SynthesisConfig(num_clips=20, max_characters=5)
    assert draw_texts([{"long": "longer", "short": "short", "none": ""}], config) == {
        "short": "short"
    }
    with pytest.raises(CorpusError, match="no text of at most 5"):
        draw_texts([{"long": "longer"}], config)
    with pytest.raises(CorpusError, match="one a table, 1 in all"):
        draw_texts([{"a": "one"}], config, [1, 2])
    with pytest.raises(CorpusError, match="one a table"):
        draw_texts([{"a": "one"}], config, [-1.0])
    with pytest.raises(CorpusError, match="two tables have a clip a"):
        draw_texts([{"a": "one"}, {"a": "two"}], config)


def test_tables_of_both_forms_are_read(tmp_path: Path) -> None:
    tabs, pipes = tmp_path / "t.tsv", tmp_path / "t.csv"
    tabs.write_text("1-2-3\tA | TEXT\n", encoding="utf-8")
    pipes.write_text("x|Raw 1|raw one\n", encoding="utf-8")
    assert read_texts(tabs) == {"1-2-3": "A | TEXT"}
    assert read_texts(pipes) == {"x": "raw one"}
    tabs.write_text("1-2-3\tA\nno tab\n", encoding="utf-8")
    with pytest.raises(CorpusError, match="line 2: got 'no tab'; needed: id TAB text"):
        read_texts(tabs)


def test_programs_get_ascii_and_no_whole_text_of_capitals() -> None:
    assert plain("THE BBC'S CAFÉ") == "the bbc's cafe"
    assert plain("“The BBC’s café”") == '"The BBC\'s cafe"'


def test_a_run_goes_on_where_it_stopped(fake_speech: list, tmp_path: Path) -> None:
    texts = {f"c{i}": f"text {i}" for i in range(6)}
    assert synthesise(texts, tmp_path, CONFIG) == 6
    speakers = (tmp_path / "speakers.csv").read_text(encoding="utf-8")
    kept = (tmp_path / "wavs/c3.wav").read_bytes()
    (tmp_path / "wavs/c2.wav").unlink()
    fake_speech.clear()
    assert synthesise(texts, tmp_path, CONFIG) == 6
    assert [name for name, _ in fake_speech] == [draw_voice("c2", VOICES, CONFIG)[0].name]
    assert (tmp_path / "speakers.csv").read_text(encoding="utf-8") == speakers
    assert (tmp_path / "wavs/c3.wav").read_bytes() == kept


def test_a_clip_is_made_anew_if_its_text_has_changed(
    fake_speech: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    texts = {"a": "one", "b": "two", "c": "three"}
    with monkeypatch.context() as patched:
        patched.setattr(module, "write_corpus", lambda *_: None)  # as if it were interrupted
        synthesise(texts, tmp_path, CONFIG)
    synthesise({"b": "two"}, tmp_path, CONFIG)
    fake_speech.clear()
    synthesise(texts | {"b": "corrected"}, tmp_path, CONFIG)
    assert [name for name, _ in fake_speech] == [draw_voice("b", VOICES, CONFIG)[0].name]
    assert "b|corrected|corrected\n" in (tmp_path / "metadata.csv").read_text(encoding="utf-8")
    (tmp_path / "texts.json").write_text("{", encoding="utf-8")
    with pytest.raises(CorpusError, match=r"texts\.json is broken"):
        synthesise(texts, tmp_path, CONFIG)


def test_a_bar_in_a_text_is_no_column(fake_speech: list, tmp_path: Path) -> None:
    texts = draw_texts([{"a": "A | TEXT|end", "b": "|"}], CONFIG)
    assert texts == {"a": "A TEXT end"}
    synthesise(texts, tmp_path, CONFIG)
    assert read_texts(tmp_path / "metadata.csv") == texts


def test_other_settings_or_voices_need_another_folder(
    fake_speech: list, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synthesise({"a": "one"}, tmp_path, CONFIG)
    synthesise({"a": "one"}, tmp_path, replace(CONFIG, num_clips=9, workers=2))
    with pytest.raises(CorpusError, match="other settings"):
        synthesise({"a": "one"}, tmp_path, replace(CONFIG, seed=1))
    monkeypatch.setattr(module, "installed_voices", lambda: list(VOICES[1:]))
    with pytest.raises(CorpusError, match="other settings or voices"):
        synthesise({"a": "one"}, tmp_path, CONFIG)


def test_the_corpus_names_speakers_and_leaves_failures_out(
    fake_speech: list, tmp_path: Path
) -> None:
    texts = {"a": "one", "b": "unspeakable", "c": "three"}
    progress: list[tuple[int, int]] = []
    made = synthesise(texts, tmp_path, CONFIG, lambda *counts: progress.append(counts))
    assert made == 2
    assert progress == [(1, 3), (2, 3), (3, 3)]
    with (tmp_path / "speakers.csv").open(encoding="utf-8") as file:
        rows = {row["id"]: row["speaker"] for row in csv.DictReader(file)}
    assert rows == {name: draw_voice(name, VOICES, CONFIG)[0].name for name in "ac"}
    assert (tmp_path / "metadata.csv").read_text(encoding="utf-8") == "a|one|one\nc|three|three\n"
    assert (tmp_path / "splits.csv").read_text(encoding="utf-8").splitlines()[1:] == [
        "a,train",
        "c,train",
    ]
    for name in "ac":
        voice, manner = draw_voice(name, VOICES, CONFIG)
        samples = decode_native((tmp_path / f"wavs/{name}.wav").read_bytes(), AudioConfig())
        expected = round(11_025 * manner.stretch) / voice.tract
        assert len(samples) == pytest.approx(expected, abs=4)


@pytest.mark.parametrize("program", synthesis_voices.PACKAGES)
def test_a_program_follows_stretch_and_pitch(program: str) -> None:
    voice = _voice(program)
    normal = _spoken(voice)
    assert 60 / 25 < len(normal) / AudioConfig().sample_rate_hz < 60 / 8
    changed = _spoken(voice, Manner(stretch=1.3, pitch=1.2))
    assert _spoken_samples(changed) / _spoken_samples(normal) == pytest.approx(1.3, rel=0.1)
    assert _pitch_hz(changed) / _pitch_hz(normal) == pytest.approx(1.2, rel=0.1)


@pytest.mark.parametrize("program", synthesis_voices.PACKAGES)
def test_a_tract_moves_formants_and_neither_length_nor_pitch(program: str) -> None:
    voice = _voice(program)
    assert voice.tract == 1.0
    normal, small = _spoken(voice), _spoken(replace(voice, tract=1.12))
    assert _spoken_samples(small) / _spoken_samples(normal) == pytest.approx(1.0, rel=0.1)
    assert _pitch_hz(small) / _pitch_hz(normal) == pytest.approx(1.0, rel=0.1)
    assert _formant_ratio(small, normal) == pytest.approx(1.12, abs=0.05)


def _formant_ratio(samples: np.ndarray, reference: np.ndarray) -> float:
    """Return the factor on the frequencies of `reference` that makes its envelope the other's."""
    grid = np.geomspace(300, 5000, 400)
    wanted = _envelope(samples, grid)
    ratios = np.linspace(0.8, 1.25, 91)
    fits = [np.corrcoef(wanted, _envelope(reference, grid / ratio))[0, 1] for ratio in ratios]
    return float(ratios[int(np.argmax(fits))])


def _envelope(samples: np.ndarray, hertz: np.ndarray) -> np.ndarray:
    """Return log magnitudes of all speech, smoothed over 150 Hz, without their tilt."""
    length = 2048
    frames = np.lib.stride_tricks.sliding_window_view(samples, length)[:: length // 2]
    power = (np.abs(np.fft.rfft(frames * np.hanning(length))) ** 2).mean(axis=0)
    smooth = np.convolve(np.log(power + 1e-9), np.hanning(29) / np.hanning(29).sum(), "same")
    values = np.interp(hertz, np.fft.rfftfreq(length, 1 / AudioConfig().sample_rate_hz), smooth)
    return values - np.polyval(np.polyfit(np.log(hertz), values, 1), np.log(hertz))


def test_no_variant_of_espeak_is_silently_left_out() -> None:
    """espeak-ng speaks `en-gb+f2` as a man, without a word; `gmw/en+f2` is the woman."""
    _voice("espeak-ng")
    women = [v for v in _installed() if re.search(r"\+f\d$", v.model)]
    assert len({v.model.split("+")[0] for v in women}) == 4
    for voice in women:
        assert _pitch_hz(_spoken(voice)) > 150, voice.model


@pytest.mark.parametrize("program", synthesis_voices.PACKAGES)
def test_quotes_and_backslashes_are_spoken_text(program: str, tmp_path: Path) -> None:
    voice = _voice(program)
    speak(voice, '--"Well" \\ (he) said; "1 $5!', tmp_path / "speech.wav", Manner())
    samples = decode_any(tmp_path / "speech.wav", AudioConfig())
    assert _spoken_samples(samples) > 0.8 * AudioConfig().sample_rate_hz
