"""`stt evaluate` on a corpus that nobody trained on: the clips in git, the bundled model."""

import csv
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import soundfile
from click.testing import Result
from typer.testing import CliRunner

import cli
from config import AudioConfig, CorpusError
from speech.audio import encode_native
from tests.clips import babble
from training.folder import find_source, is_corpus
from training.manifest import Split, Utterance, write_manifest

ROOT = Path(__file__).parents[1]
SAMPLES = ROOT / "Data/samples"
REPORT = "evaluation-english-small-samples"

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Return a function that runs `stt` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *words: runner.invoke(cli.app, [str(word) for word in words])


def state(folder: Path) -> dict[str, int]:
    return {str(path): path.stat().st_mtime_ns for path in folder.rglob("*")}


def copy_of_samples(folder: Path) -> Path:
    return Path(shutil.copytree(SAMPLES, folder / "samples"))


def write_clip(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(encode_native(babble(1.0, seed=3), AudioConfig()))


def write_utterance(path: Path) -> None:
    write_clip(path.parent / "a.wav")
    utterance = Utterance(
        id="x/a",
        corpus="x",
        speaker="x/x",
        audio=str(path.parent / "a.wav"),
        text="some words",
        num_samples=22_050,
        split=Split.test,
    )
    write_manifest(path, [utterance])


def test_one_command_measures_every_clip_and_leaves_the_corpus_alone(run: Run) -> None:
    before = state(SAMPLES)
    result = run("evaluate", SAMPLES)
    assert result.exit_code == 0, result.output
    assert state(SAMPLES) == before
    written = {"json", "md", "png"}
    assert {path.suffix[1:] for path in Path().iterdir()} == written
    report = json.loads(Path(f"{REPORT}.json").read_text(encoding="utf-8"))
    assert {clip["id"] for clip in report["clips"]} == {
        f"samples/{name}" for name in ("sample", "canoe", "harbour", "letter")
    }
    assert report["total"]["words"] == 57
    assert report["total"]["wer"] < 0.6
    assert Path(f"{REPORT}.md").read_text(encoding="utf-8").strip() in result.stdout
    assert "Not scored" not in result.stdout


def test_a_corpus_scores_as_its_manifest_does(run: Run, tmp_path: Path) -> None:
    """With all clips on one side; a splits.csv decides nothing for a corpus."""
    corpus = copy_of_samples(tmp_path)
    rows = "".join(f"{path.stem},test\n" for path in corpus.glob("*.wav"))
    (corpus / "splits.csv").write_text(f"id,split\n{rows}", encoding="utf-8")
    assert run("prepare", corpus, "--output", "prepared").exit_code == 0
    assert run("evaluate", "prepared", "--decoder", "greedy").exit_code == 0
    (corpus / "splits.csv").write_text("id,split\nsample,train\ncanoe,test\n", encoding="utf-8")
    assert run("evaluate", corpus, "--decoder", "greedy", "--output", "new").exit_code == 0
    paths = Path("prepared/evaluation-english-small-test-greedy.json"), f"new/{REPORT}-greedy.json"
    as_manifest, as_corpus = (json.loads(Path(p).read_text(encoding="utf-8")) for p in paths)
    assert as_corpus["total"] == as_manifest["total"]
    assert sorted(map(str, as_corpus["clips"])) == sorted(map(str, as_manifest["clips"]))


def test_clips_of_no_use_are_named_and_counted(run: Run, tmp_path: Path) -> None:
    corpus = copy_of_samples(tmp_path)
    (corpus / "broken.wav").write_bytes(b"not audio")
    with (corpus / "metadata.csv").open("a", encoding="utf-8") as file:
        file.write("broken|some words\nmissing|some words\nletter2|of 1825\n")
    result = run("evaluate", corpus)
    assert result.exit_code == 0, result.output
    assert "4 clips" in result.stdout
    assert "## Not scored: 3 of 7 clips" in result.stdout
    for name in ("broken", "missing", "letter2"):
        assert f"`samples/{name}`" in result.stdout
    markdown = Path(f"{REPORT}.md").read_text(encoding="utf-8")
    assert "## Not scored: 3 of 7 clips" in markdown
    with Path(f"{REPORT}-not-scored.csv").open(encoding="utf-8", newline="") as file:
        problems = {row["id"]: row["problem"] for row in csv.DictReader(file)}
    assert problems.keys() == {"samples/broken", "samples/missing", "samples/letter2"}
    assert "no audio file: missing.wav" in problems["samples/missing"]
    shutil.copy(SAMPLES / "metadata.csv", corpus / "metadata.csv")
    assert run("evaluate", corpus).exit_code == 0
    assert not Path(f"{REPORT}-not-scored.csv").exists()


def test_no_usable_clip_is_an_error_that_says_why(run: Run, tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/metadata.csv").write_text("a|some words\nb|more\n", encoding="utf-8")
    result = run("evaluate", "mine")
    assert result.exit_code == 4
    assert "no usable clip among 2; needed: one. no audio file: 2" in result.stderr


def test_a_table_of_clips_in_other_forms(run: Run, tmp_path: Path) -> None:
    """A text too long for the audio's time is scored all the same: it counts against the model."""
    waveform, rate = soundfile.read(SAMPLES / "sample.wav")
    (tmp_path / "clips").mkdir()
    soundfile.write(tmp_path / "clips/a.flac", waveform, rate)
    soundfile.write(tmp_path / "clips/b.flac", waveform[: rate // 4], rate)
    text = "the old house stood near the river and the people of the town knew it well"
    rows = [
        {"audio": f"clips/{name}.flac", "text": text, "speaker": speaker}
        for name, speaker in (("a", "ann"), ("b", "ben"))
    ]
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (tmp_path / "mine.jsonl").write_text(lines, encoding="utf-8")
    result = run("evaluate", "mine.jsonl")
    assert result.exit_code == 0, result.output
    report = json.loads(Path("evaluation-english-small-mine.json").read_text(encoding="utf-8"))
    assert report["total"]["clips"] == 2
    assert report["by_speaker"].keys() == {"mine/ann", "mine/ben"}
    assert [path.name for path in (tmp_path / "clips").iterdir() if path.suffix == ".wav"] == []


def test_the_report_is_never_written_into_the_corpus(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    corpus = copy_of_samples(tmp_path)
    monkeypatch.chdir(corpus)
    for words in ((".",), (corpus, "--output", corpus / "reports")):
        result = run("evaluate", *words)
        assert result.exit_code == 4
        assert "would be written into the corpus" in result.stderr
        assert "needed: --output, outside of it" in result.stderr
    assert state(corpus).keys() == {str(corpus / path.name) for path in SAMPLES.iterdir()}


@pytest.mark.parametrize("option", ["--split", "--corpus"])
def test_what_only_a_manifest_has_is_refused_for_a_corpus(run: Run, option: str) -> None:
    result = run("evaluate", SAMPLES, option, "test")
    assert result.exit_code == 2
    assert "is a corpus and measured whole" in result.stderr


@pytest.mark.parametrize(
    ("name", "message"),
    [("nowhere", "no such file or folder"), ("empty", "not a corpus of a known form")],
)
def test_neither_a_manifest_nor_a_corpus(run: Run, name: str, message: str) -> None:
    Path("empty").mkdir()
    result = run("evaluate", name)
    assert result.exit_code == 4
    assert message in result.stderr
    assert "what `stt prepare` writes" in result.stderr


def test_a_manifest_is_told_from_a_corpus(tmp_path: Path) -> None:
    write_utterance(tmp_path / "prepared/manifest.jsonl")
    write_utterance(tmp_path / "other/renamed.jsonl")
    (tmp_path / "prepared/metadata.csv").write_text("a|some words\n", encoding="utf-8")
    for name in ("prepared", "prepared/manifest.jsonl", "other/renamed.jsonl"):
        assert not is_corpus(tmp_path / name)
        found = find_source(tmp_path / name, split=None, corpus=None, output=None)
        assert [utterance.id for utterance in found.utterances or []] == ["x/a"]
        assert found.parts == ("test",)
        assert found.folder.samefile(tmp_path / name.partition("/")[0])
    with pytest.raises(CorpusError, match="no train utterance of any corpus"):
        find_source(tmp_path / "prepared", split=Split.train, corpus=None, output=None)
    found = find_source(SAMPLES, split=None, corpus=None, output=tmp_path)
    assert (found.utterances, found.folder, found.parts) == (None, tmp_path, ("samples",))
