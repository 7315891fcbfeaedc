"""`stt analyze` as a user runs it: the bundled model on the clips in git."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import Result
from typer.testing import CliRunner

import cli
from config import AudioConfig
from speech.audio import encode_native
from tests.clips import babble
from training.manifest import Split, Utterance, write_manifest

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "Data/samples"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `stt` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.app, [str(word) for word in words])


def manifest(folder: Path, *texts: str) -> Path:
    """Write a manifest of a clip a text, without speakers."""
    folder.mkdir()
    utterances = []
    for i, text in enumerate(texts):
        path = folder / f"{i}.wav"
        path.write_bytes(encode_native(babble(1.0, seed=i), AudioConfig()))
        utterance = Utterance(
            id=f"x/{i}",
            corpus="x",
            speaker="x/x",
            audio=str(path),
            text=text,
            num_samples=22_050,
            split=Split.test,
        )
        utterances.append(utterance)
    write_manifest(folder / "manifest.jsonl", utterances)
    return folder


def test_a_corpus_becomes_one_page_and_its_figures(run: Run) -> None:
    result = run("analyze", SAMPLES, "--snr", 20, "--snr", -10, "--noise-clips", 3)
    assert result.exit_code == 0, result.output
    page, figures = (Path(f"analysis-english-small-samples.{kind}") for kind in ("html", "json"))
    assert sorted(Path().iterdir()) == [page, figures]
    assert page.stat().st_size < 3_000_000
    html = page.read_text(encoding="utf-8")
    assert not re.search(r"""(src|href)=["']?https?:""", html)
    assert html.count("<audio") >= 1
    found = json.loads(figures.read_text(encoding="utf-8"))
    assert found["total"]["clips"] == 4
    assert found["total"]["wer"]["count"] == 57
    assert "beam search of width" in found["decoder"]
    assert "one of words" in found["decoder"]
    assert found["vocabulary"]["size"] > 1000
    curve = found["noise"]
    assert curve["clips"] == 3
    assert [level["snr_db"] for level in curve["levels"]] == [None, 20.0, -10.0]
    clean, _, loud = (level["wer"]["value"] for level in curve["levels"])
    assert loud > clean
    assert all(0 < clip["snr_db"] <= 60 for clip in found["clips"])
    assert "WER" in result.stdout
    assert run("evaluate", SAMPLES, "--output", "e").exit_code == 0
    scores = json.loads(Path("e/evaluation-english-small-samples.json").read_text(encoding="utf-8"))
    for ours, theirs in (("wer", "wer"), ("cer", "cer")):
        assert found["total"][ours]["value"] == pytest.approx(scores["total"][theirs])


def test_a_manifest_by_another_decoder_to_a_chosen_file(
    run: Run, model_folder: Path, tmp_path: Path
) -> None:
    folder = manifest(tmp_path / "mine", "some words", "and more", "one")
    words = ("analyze", folder, "-m", model_folder, "--no-noise", "--decoder", "greedy")
    result = run(*words, "--output", "here/page.html", "--worst", 1)
    assert result.exit_code == 0, result.output
    found = json.loads(Path("here/page.json").read_text(encoding="utf-8"))
    assert (found["decoder"], found["noise"]) == ("best path", None)
    assert found["vocabulary"] is None
    assert found["source"] == "mine, test"
    assert Path("here/page.html").read_text(encoding="utf-8").count("<audio") == 1
    assert run(*words).exit_code == 0
    assert (folder / "analysis-tiny-test-greedy.html").exists()


def test_what_cannot_be_is_refused_before_any_work(
    run: Run, model_folder: Path, tmp_path: Path
) -> None:
    folder = manifest(tmp_path / "mine", "some words", " . ")
    common = ("analyze", folder, "-m", model_folder)
    empty = run(*common)
    assert (empty.exit_code, "x/1: the reference is empty" in empty.stderr) == (4, True)
    name = run(*common, "--output", "page.txt")
    assert (name.exit_code, "a file that ends in .html" in name.stderr) == (2, True)
    loud = run(*common, "--snr", "inf")
    assert (loud.exit_code, "needed: some, each -20 to 60" in loud.stderr) == (2, True)
    (folder / "report.json").write_text("{}", encoding="utf-8")
    taken = run(*common, "--output", folder / "report.html")
    assert (taken.exit_code, "another --output" in taken.stderr) == (2, True)
    none = run(*common, "--split", "train")
    assert (none.exit_code, "no train utterance" in none.stderr) == (4, True)
    assert sorted(path.name for path in folder.iterdir()) == [
        "0.wav",
        "1.wav",
        "manifest.jsonl",
        "report.json",
    ]


def test_nothing_is_written_into_a_corpus(run: Run, tmp_path: Path) -> None:
    corpus = Path(shutil.copytree(SAMPLES, tmp_path / "samples"))
    result = run("analyze", corpus, "--output", corpus / "page.html")
    assert result.exit_code == 4
    assert "written into the corpus" in result.stderr


def test_help_answers_with_an_example(run: Run) -> None:
    result = run("analyze", "--help")
    assert result.exit_code == 0
    assert "stt analyze Data/samples" in result.output
