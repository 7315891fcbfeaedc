"""The report of `prepare`: numbers against ones worked out by hand, and its three forms."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.console import Console

from config import AudioConfig
from training.corpus import Checked, Prepared
from training.corpus_report import build_report, report_table, to_markdown, write_report
from training.manifest import Split, Utterance

AUDIO = AudioConfig(sample_rate_hz=1000)


def utterance(corpus: str, split: Split, *, seconds: int, text: str, speaker: str) -> Utterance:
    """Return an utterance of `seconds`."""
    return Utterance(
        id=f"{corpus}/x",
        corpus=corpus,
        speaker=speaker,
        audio="/x.wav",
        text=text,
        num_samples=1000 * seconds,
        split=split,
    )


def rejected(name: str, problem: str) -> Checked:
    """Return a rejected clip."""
    return Checked(
        id=name, corpus="c", speaker="s", audio="/x", text="", num_samples=0, problem=problem
    )


@pytest.fixture
def prepared() -> Prepared:
    utterances = [
        utterance("b [bold]|", Split.train, seconds=36, text="a" * 36, speaker="1"),
        utterance("b [bold]|", Split.train, seconds=72, text="a" * 144, speaker="1"),
        utterance("b [bold]|", Split.test, seconds=36, text="a" * 360, speaker="2"),
        utterance("a", Split.train, seconds=180, text="a" * 540, speaker="3"),
    ]
    clips = [rejected(f"c/{n}", f"no audio file: {n}.wav") for n in "gfedcba"]
    return Prepared(utterances=utterances, rejected=[rejected("c/z", "empty text"), *clips])


def test_summaries_by_corpus_and_split(prepared: Prepared) -> None:
    report = build_report(prepared, AUDIO)
    assert [(s.corpus, s.split, s.utterances, s.speakers) for s in report.summaries] == [
        ("b [bold]|", "train", 2, 1),
        ("b [bold]|", "test", 1, 1),
        ("a", "train", 1, 1),
        ("all", "train", 3, 2),
        ("all", "test", 1, 1),
        ("all", "all", 4, 3),
    ]
    assert [round(s.hours, 6) for s in report.summaries] == [0.03, 0.01, 0.05, 0.08, 0.01, 0.09]
    train = report.summaries[3]
    assert (train.min_s, train.median_s, train.max_s) == (36.0, 72.0, 180.0)
    # Linear between the two largest: 72 + 0.9 * (180 - 72).
    assert train.p95_s == pytest.approx(169.2)
    assert train.characters_per_s_median == 2.0
    assert train.characters_per_s_p5 == pytest.approx(1.1)
    assert train.characters_per_s_p95 == pytest.approx(2.9)


def test_rejections_are_grouped_by_reason_most_first(prepared: Prepared) -> None:
    first, second = build_report(prepared, AUDIO).rejections
    assert (first.reason, first.clips) == ("no audio file", 7)
    assert first.examples == ("c/a", "c/b", "c/c", "c/d", "c/e")
    assert (second.reason, second.clips, second.examples) == ("empty text", 1, ("c/z",))


def test_the_files_hold_the_report(prepared: Prepared, tmp_path: Path) -> None:
    report = write_report(tmp_path, prepared, AUDIO)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.json", "report.md"]
    content = json.loads((tmp_path / "report.json").read_text())
    assert content["summaries"][0]["hours"] == report.summaries[0].hours
    assert content["rejections"][0]["examples"] == ["c/a", "c/b", "c/c", "c/d", "c/e"]
    page = (tmp_path / "report.md").read_text()
    assert page == to_markdown(report)
    assert "| a | train | 0.05 | 1 | 1 | 180.0 / 180.0 / 180.0 / 180.0 | 3.0 / 3.0 / 3.0 |" in page
    assert "| no audio file | 7 | c/a, c/b, c/c, c/d, c/e |" in page
    assert r"| b [bold]\| | test |" in page


def test_no_rejection_is_said(prepared: Prepared) -> None:
    report = build_report(Prepared(utterances=prepared.utterances, rejected=[]), AUDIO)
    assert to_markdown(report).endswith("## Rejected clips\n\nNone.\n")
    assert "no clip was rejected" in printed(report_table(report))


def printed(table: object) -> str:
    """Return what a console of 160 columns shows."""
    console = Console(file=io.StringIO(), width=160)
    console.print(table)
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def test_the_table_shows_names_that_look_like_markup(prepared: Prepared) -> None:
    shown = printed(report_table(build_report(prepared, AUDIO)))
    assert "b [bold]|" in shown
    assert "rejected: 7 × no audio file (c/a, c/b, c/c, c/d, c/e, …)" in shown
    assert "rejected: 1 × empty text (c/z)" in shown


def test_ids_that_are_not_utf8_can_be_written(prepared: Prepared, tmp_path: Path) -> None:
    broken = Prepared(utterances=prepared.utterances, rejected=[rejected("c/\udcff", "empty text")])
    write_report(tmp_path, broken, AUDIO)
    assert r"c/\\udcff" in (tmp_path / "report.md").read_text()
