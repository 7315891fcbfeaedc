"""Scoring: rates against counts made by hand, and the report's parts."""

import json
from pathlib import Path

import pytest

from config import AudioConfig
from predictor import Predictor
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.clips import babble
from training.evaluate import (
    Scored,
    align,
    evaluate,
    rates,
    to_markdown,
    worst,
    write_evaluation,
)
from training.manifest import Split, Utterance


def scored(reference: str, hypothesis: str, wer: float = 0.0) -> Scored:
    return Scored(
        id=reference,
        speaker="x",
        duration_s=1.0,
        reference=reference,
        hypothesis=hypothesis,
        confidence=0.5,
        wer=wer,
        word_confidences=(0.5,) * len(hypothesis.split()),
    )


def test_rates_are_those_counted_by_hand() -> None:
    """One substitution, one deletion, one insertion in seven words; pooled, not averaged."""
    clips = [
        scored("a dog ran", "a dig ran"),
        scored("one two", "one"),
        scored("so it", "so it is"),
    ]
    result = rates(clips)
    assert (result.substitutions, result.deletions, result.insertions) == (1, 1, 1)
    assert result.words == 7
    assert result.wer == pytest.approx(3 / 7)
    assert result.cer == pytest.approx((1 + 4 + 3) / 21)


def test_an_empty_hypothesis_is_all_deletions() -> None:
    assert rates([scored("a b c", "")]).deletions == 3


def test_the_worst_come_first_and_are_aligned() -> None:
    clips = [scored("a b", "a b", 0.0), scored("c d", "e", 1.0), scored("f g", "f h", 0.5)]

    assert [clip.reference for clip in worst(clips, 2)] == ["c d", "f g"]
    lines = align(scored("the dog", "the fog")).splitlines()
    assert any("dog" in line for line in lines)
    assert any(line.rstrip().endswith("S") for line in lines)


def test_a_split_is_scored_through_the_predictor(model_folder: Path, tmp_path: Path) -> None:
    predictor = Predictor(LocalBackend(model_folder))
    utterances = []
    for i, seconds in enumerate((0.5, 3.0, 6.0)):
        path = tmp_path / f"{i}.wav"
        count = int(seconds * 22_050)
        path.write_bytes(encode_native(babble(seconds, seed=i), AudioConfig()))
        utterances.append(
            Utterance(
                id=f"x/{i}",
                corpus="x",
                speaker=f"x/{i % 2}",
                audio=str(path),
                text="some words",
                num_samples=count,
                split=Split.test,
            )
        )
    done: list[tuple[int, int]] = []
    report = evaluate(predictor, utterances, lambda *counts: done.append(counts))
    assert done[-1] == (3, 3)
    assert list(report.by_duration) == ["0-2 s", "2-5 s", "5-10 s"]
    assert {name: r.clips for name, r in report.by_speaker.items()} == {"x/0": 2, "x/1": 1}
    assert report.by_corpus["x"] == report.total
    assert report.audio_s == pytest.approx(9.5)
    assert report.real_time_factor > 0
    for clip, utterance in zip(report.clips, utterances, strict=True):
        wav = Path(utterance.audio).read_bytes()
        assert clip.hypothesis == predictor.transcribe(wav).text
    as_json, as_markdown, plot = write_evaluation(tmp_path / "out", "report", report)
    assert plot.read_bytes().startswith(b"\x89PNG")
    assert "AUROC" in to_markdown(report)
    assert json.loads(as_json.read_text(encoding="utf-8"))["total"]["words"] == 6
    assert as_markdown.read_text(encoding="utf-8") == to_markdown(report)
    assert "## By speaker" in to_markdown(report)
    with pytest.raises(ValueError, match="no utterance"):
        evaluate(predictor, [])
