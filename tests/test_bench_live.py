"""The benchmark of live captions, small; and its counting, by hand."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

from benchmarks import live, live_choices, uploads
from benchmarks.live_clips import Clip, count_words, make_talk, read_clips, trimmed
from captions.events import Final, Partial
from config import AudioConfig
from speech.alphabet import Alphabet
from speech.transcript import Word
from tests.clips import babble, write_ljspeech
from tests.models import TinyModel

RATE_HZ = 22_050


def caption(kind: str, text: str, *, id: int = 0) -> dict:  # noqa: A002
    return {"type": kind, "id": id, "text": text}


def test_words_that_are_replaced_or_gone_are_changed_and_those_that_follow_are_not() -> None:
    captions = [
        caption("partial", ""),
        caption("partial", "the old how"),
        caption("partial", "the old house"),
        caption("partial", "and", id=1),
        caption("final", "the cold house stood"),
        caption("final", "", id=1),
    ]
    assert count_words(captions) == {"shown": 5, "changed": 3, "final": 4}


def test_a_word_s_delay_ends_when_it_is_shown_for_good() -> None:
    def at(text: str, ends: tuple[float, ...]) -> tuple[Word, ...]:
        pairs = zip(text.split(), ends, strict=True)
        return tuple(Word(text=w, start_s=0.0, end_s=e, confidence=1.0) for w, e in pairs)

    ends = (0.5, 1.0, 1.5)
    shared = {"id": 0, "start_s": 0.0, "end_s": 1.5, "confidence": 1.0}
    captions = [
        (0.8, Partial(text="a", words=at("a", ends[:1]), **shared)),
        (1.2, Partial(text="a b", words=at("a b", ends[:2]), **shared)),
        (1.6, Partial(text="a c", words=at("a c", ends[:2]), **shared)),
        (1.8, Partial(text="a b", words=at("a b", ends[:2]), **shared)),
        (2.0, Final(text="a b c", words=at("a b c", ends), **shared)),
    ]
    assert live_choices.word_delays(captions) == [
        pytest.approx(pair) for pair in [(0.3, 0.3), (0.2, 0.8), (0.5, 0.5)]
    ]


def test_a_clip_is_trimmed_to_its_sound_and_a_talk_says_where_clips_end() -> None:
    silence = np.full(RATE_HZ, 1e-4, np.float32)
    sound = babble(1.0)
    clip = Clip(trimmed(np.concatenate([silence, sound, silence]), RATE_HZ), "")
    assert len(clip.waveform) == pytest.approx(RATE_HZ, abs=0.25 * RATE_HZ)
    talk = make_talk([clip, clip], pause_s=0.5, sample_rate_hz=RATE_HZ)
    first, second = talk.ends
    assert first == RATE_HZ // 2 + len(clip.waveform)
    assert second - first == first
    np.testing.assert_array_equal(talk.waveform[first - 100 : first], clip.waveform[-100:])


def test_a_final_counts_for_the_clip_at_whose_end_it_ends() -> None:
    talk = make_talk([Clip(babble(2.0), "")] * 2, pause_s=1.0, sample_rate_hz=RATE_HZ)
    finals = [(2.1, 1.8), (3.4, 3.1), (6.5, 5.0)]  # the first ends within the first clip
    heard = live.Heard([(at, {"type": "final", "end_s": end}) for at, end in finals])
    assert heard.final_delays(talk, RATE_HZ) == pytest.approx([0.4, np.inf])


def test_a_folder_s_clips_have_the_texts_of_its_metadata(tmp_path: Path) -> None:
    write_ljspeech(tmp_path, {"a": "The old house.", "b": "Stood."})
    clips = read_clips(tmp_path, AudioConfig(), Alphabet())
    assert [clip.text for clip in clips] == ["the old house", "stood"]
    with pytest.raises(SystemExit, match="has no clips"):
        read_clips(tmp_path / "nothing", AudioConfig(), Alphabet())


def test_a_model_s_windows_and_streams_are_measured(
    streaming_model: TinyModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ljspeech(tmp_path / "clips", {"a": "one two", "b": "three"})
    monkeypatch.setattr(live, "SPEAKERS", (1, 2))
    monkeypatch.setattr(live, "TALK_S", 3.0)
    monkeypatch.setattr(live, "FEWEST_S", 3.0)
    monkeypatch.setattr(live, "WARM_UP_S", 1.0)
    monkeypatch.setattr(live, "REAL_TIME_S", 60.0)
    monkeypatch.setattr(live, "RESULTS", tmp_path / "live.json")
    monkeypatch.setattr(sys, "argv", ["live", str(tmp_path / "clips"), str(streaming_model.folder)])
    live.main()
    result = json.loads((tmp_path / "live.json").read_text(encoding="utf-8"))
    window, stream = result["readers"]
    assert (window["reads"], stream["reads"]) == ("window", "stream")
    assert window["wer_captions"] == stream["wer_captions"] > 0
    assert min(window["cpu_s_per_s_of_audio"], stream["cpu_s_per_s_of_audio"]) > 0
    assert [row["speakers"] for row in result["speakers"]] == [1, 2]
    for row in result["speakers"]:
        assert 0 < row["final_delay_p50_ms"] <= row["final_delay_p95_ms"]
        assert row["partials_per_s"] > 0
        assert 0 <= row["words_changed_of_shown"] <= 1


def test_choices_are_compared(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_ljspeech(tmp_path / "clips", {"a": "one two", "b": "three"})
    monkeypatch.setattr(uploads, "MODEL", model_folder)
    monkeypatch.setattr(live_choices, "RESULTS", tmp_path / "choices.json")
    monkeypatch.setattr(sys, "argv", ["live_choices", str(tmp_path / "clips")])
    live_choices.main()
    result = json.loads((tmp_path / "choices.json").read_text(encoding="utf-8"))
    assert len(result["showing"]) == 2 * len(live_choices.SHOWING)
    assert [row["endpoint_silence_s"] for row in result["silences"]] == [
        None,
        *live_choices.SILENCES_S,
    ]
