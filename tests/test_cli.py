"""The `stt` command as a user runs it: real files, real model, exit codes."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import soundfile
import srt
from typer.testing import CliRunner

import cli
from config import LARGEST_BEAM_WIDTH, AudioConfig
from service.upload_forms import MAX_BEAM_WIDTH
from speech.audio import decode_native, encode_native
from tests.clips import babble, write_ljspeech
from tests.media_files import encode
from tests.models import LOG_MEL_FEATURES, make_model

ROOT = Path(__file__).parents[1]
COMMANDS = (
    "prepare",
    "synthesise",
    "recombine",
    "train",
    "evaluate",
    "export",
    "transcribe",
    "serve",
    "lm build",
    "lm tune",
    "listen",
)


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Return a function that runs `stt` in an empty folder."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner()
    return lambda *words, **options: runner.invoke(cli.app, [str(w) for w in words], **options)


def clip(seconds: float = 0.5) -> np.ndarray:
    return babble(seconds, seed=5)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_answers_with_an_example(run, command: str) -> None:
    result = run(*command.split(), "--help", env={"COLUMNS": "200"})
    assert result.exit_code == 0
    assert f"stt {command} " in result.output


@pytest.mark.parametrize("command", ["transcribe", "evaluate", "analyze"])
def test_the_widest_beam_is_that_of_the_decoder_and_help_names_that_of_a_service(
    run, command: str
) -> None:
    refused = run(command, "x", "--beam-width", LARGEST_BEAM_WIDTH + 1, env={"COLUMNS": "200"})
    assert refused.exit_code == 2
    assert str(LARGEST_BEAM_WIDTH) in refused.output
    wide = {"COLUMNS": "300"}
    assert f"a service takes {MAX_BEAM_WIDTH} at most" in run(command, "--help", env=wide).output
    page = (ROOT / "docs/decoding.md").read_text(encoding="utf-8")
    assert f"`beam_width` of 1 to {MAX_BEAM_WIDTH} at every door" in page
    assert f"`--beam-width` 1 to {LARGEST_BEAM_WIDTH}" in page
    assert f"1 to {MAX_BEAM_WIDTH}, [the" in (ROOT / "docs/openai.md").read_text(encoding="utf-8")
    form = (ROOT / "service/app/index.html").read_text(encoding="utf-8")
    assert f'max="{MAX_BEAM_WIDTH}"' in form
    assert f"1 to {MAX_BEAM_WIDTH}." in form


def test_transcribe_text_json_folder_glob_and_stdin(
    run, model_folder: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "clips"
    folder.mkdir()
    soundfile.write(folder / "a.flac", clip(), 22_050)
    soundfile.write(folder / "b.wav", np.stack([clip(1.0)] * 2, axis=1), 16_000)
    one = run("transcribe", folder / "a.flac", "--model", model_folder)
    assert one.exit_code == 0
    text = one.stdout.strip()
    both = run("transcribe", folder, "--model", model_folder)
    lines = dict(line.split("\t") for line in both.stdout.splitlines())
    assert lines[str(folder / "a.flac")] == text
    assert len(lines) == 2
    as_json = run("transcribe", f"{folder}/*.flac", "-m", model_folder, "--format", "json")
    answer = json.loads(as_json.stdout)
    assert answer["text"] == text
    assert answer["duration_s"] == 0.5
    piped = run("transcribe", "-", "-m", model_folder, input=(folder / "a.flac").read_bytes())
    assert piped.stdout.strip() == text


TO_A_FILE = """
import os, pty, subprocess, sys, threading
terminal, end = pty.openpty()

def read_all():
    while True:
        os.read(terminal, 65536)

threading.Thread(target=read_all, daemon=True).start()
words = [sys.executable, "cli.py", "transcribe", sys.argv[1], "-f", "json", "-m", sys.argv[2]]
with open(sys.argv[3], "wb") as file:
    done = subprocess.run(words, stdout=file, stderr=end, stdin=subprocess.DEVNULL)
sys.exit(done.returncode)
"""


def test_text_goes_to_a_file_though_the_bar_is_on_a_terminal(
    model_folder: Path, tmp_path: Path
) -> None:
    wav, out = tmp_path / "clip.wav", tmp_path / "out.txt"
    wav.write_bytes(encode_native(clip(), AudioConfig()))
    words = [sys.executable, "-c", TO_A_FILE, str(wav), str(model_folder), str(out)]
    subprocess.run(words, check=True, cwd=ROOT, timeout=300)
    assert json.loads(out.read_text(encoding="utf-8"))["duration_s"] == 0.5


def test_a_bad_file_is_reported_and_the_others_go_on(run, model_folder, tmp_path: Path) -> None:
    (tmp_path / "bad.wav").write_bytes(b"not audio")
    (tmp_path / "good.wav").write_bytes(encode_native(clip(), AudioConfig()))
    result = run("transcribe", "bad.wav", "none.wav", "good.wav", "--model", model_folder)
    assert result.exit_code == 3
    assert "bad.wav: got content that is no known audio; needed: WAV, FLAC" in result.stderr
    assert "none.wav: no audio file; needed: a file, a folder" in result.stderr
    assert result.stdout.startswith("good.wav\t")


@pytest.mark.parametrize(
    ("words", "code", "message"),
    [
        (["transcribe", "x.wav", "--model", "nowhere"], 5, "no usable model in nowhere"),
        (["prepare"], 4, "got no corpus"),
        (["prepare", "nowhere"], 4, "nowhere"),
        (["train", "nowhere", "--output", "out"], 4, "cannot read the manifest"),
        (["evaluate", "nowhere"], 4, "cannot read the manifest"),
        (["export", "nowhere"], 5, "no usable model in nowhere"),
        (["train", "x", "--output", "out", "--repeat", "lj"], 2, "needed: corpus=N"),
        (["serve", "--port", "70000"], 2, "port 70000 is not in 0 to 65535"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_errors_are_one_line_and_an_exit_code(
    run, tmp_path: Path, words: list[str], code: int, message: str
) -> None:
    if "x.wav" in words:
        (tmp_path / "x.wav").write_bytes(encode_native(clip(), AudioConfig()))
    result = run(*words)
    assert result.exit_code == code, result.output
    assert message in result.stderr.replace("\n", " ")
    assert "Traceback" not in result.output


def test_the_samples_go_the_whole_way(run, tmp_path: Path) -> None:
    """Prepare, train one epoch, export, evaluate, transcribe, on the clips that are in git."""
    shutil.copytree(ROOT / "Data/samples", "samples")
    Path("samples/splits.csv").write_text(
        "id,split\nsample,train\nharbour,validation\nletter,test\n", encoding="utf-8"
    )
    prepared = run("prepare", "samples", "--output", "prepared")
    assert prepared.exit_code == 0, prepared.output
    assert "4 utterances" in prepared.output
    trained = run("train", "prepared", "--output", "model", "--epochs", "1")
    assert trained.exit_code == 0, trained.output
    assert "epoch 1: loss" in trained.output
    assert run("export", "model").exit_code == 0
    assert Path("model/saved_model/1/saved_model.pb").is_file()
    evaluated = run("evaluate", "prepared", "--model", "model", "--split", "test")
    assert evaluated.exit_code == 0, evaluated.output
    report = json.loads(Path("prepared/evaluation-model-test.json").read_text(encoding="utf-8"))
    assert report["total"]["clips"] == 1
    assert report["total"]["words"] == 14
    assert "| all | 1 | 14 |" in Path("prepared/evaluation-model-test.md").read_text(
        encoding="utf-8"
    )
    assert run("transcribe", "samples", "--model", "model").exit_code == 0


def test_synthesise_makes_a_corpus(run, tmp_path: Path) -> None:
    if not (shutil.which("flite") and shutil.which("espeak-ng")):
        Path("texts.csv").write_text("a|one two\n", encoding="utf-8")
        result = run("synthesise", "texts.csv", "--output", "made")
        assert result.exit_code == 4
        assert "is not installed; needed: apt-get install" in result.stderr
        return
    texts = "".join(
        f"t{i}|a short text number {word}\n" for i, word in enumerate(["one", "two", "six"])
    )
    Path("texts.csv").write_text(texts, encoding="utf-8")
    assert run("synthesise", "texts.csv", "--output", "made").exit_code == 0
    made = sorted(Path("made/wavs").glob("*.wav"))
    assert [path.stem for path in made] == ["t0", "t1", "t2"]
    assert all(len(decode_native(path.read_bytes(), AudioConfig())) > 10_000 for path in made)
    before = [path.read_bytes() for path in made]
    assert run("synthesise", "texts.csv", "--output", "made").exit_code == 0
    assert [path.read_bytes() for path in made] == before
    assert Path("made/metadata.csv").read_text(encoding="utf-8").count("|") == 6


def test_recombine_makes_a_corpus_that_can_be_prepared(run, model_folder: Path) -> None:
    words = ["one two three four", "five six seven", "eight nine ten eleven"]
    write_ljspeech(Path("corpus"), {f"c{i}": words[i % 3] for i in range(120)})
    assert run("prepare", "corpus", "--output", "prepared").exit_code == 0
    Path("texts.csv").write_text("a|Nine, two and six!\n", encoding="utf-8")
    line = ("recombine", "prepared", "texts.csv", "--clips", "5", "--model", model_folder)
    result = run(*line, "--output", "made")
    assert result.exit_code == 0, result.output
    assert "made: 5 clips" in result.output
    rows = Path("made/metadata.csv").read_text(encoding="utf-8").splitlines()
    assert all(8 <= len(row.split("|")[1].split()) <= 28 for row in rows)
    assert run("prepare", "corpus", "made", "--output", "both").exit_code == 0
    result = run(*line, "--leave-out", "corpus")
    assert result.exit_code == 4
    assert "no speaker has 30 clips" in result.stderr


def test_export_in_float16(run, tmp_path: Path) -> None:
    model = make_model(tmp_path / "tiny", LOG_MEL_FEATURES)
    result = run("export", model.folder, "--precision", "float16")
    assert result.exit_code == 0
    assert result.output.strip().endswith("saved_model/2")


def test_words_alternatives_and_hotwords(run) -> None:
    """With the bundled model and its language model."""
    sample = ROOT / "Data/samples/sample.wav"
    result = run("transcribe", sample, "--format", "json", "--words", "--n-best", 2)
    (row,) = [json.loads(line) for line in result.stdout.splitlines()]
    assert [word["text"] for word in row["words"]] == row["text"].split()
    assert len(row["alternatives"]) == 2
    assert "town knew it" not in row["text"]
    lifted = run("transcribe", sample, "--hotword", "knew:80")
    assert "town knew it" in lifted.stdout
    greedy = run("transcribe", sample, "--decoder", "greedy")
    assert greedy.stdout.strip() not in ("", row["text"])
    wrong = run("transcribe", sample, "--hotword", "knew:much")
    assert wrong.exit_code == 2
    assert "hot word 'knew:much'" in wrong.stderr


@pytest.mark.parametrize("kind", ["m4a", "opus"])
def test_audio_of_any_kind_is_read_by_its_content(run, tmp_path: Path, kind: str) -> None:
    sample, rate_hz = soundfile.read(ROOT / "Data/samples/sample.wav", dtype="float32")
    (tmp_path / "memo.m4a").write_bytes(encode(kind, sample, rate_hz))
    result = run("transcribe", "memo.m4a")
    assert "old house stood near the river" in result.stdout
    assert run("transcribe", tmp_path).stdout == result.stdout  # a folder's files, by their suffix


@pytest.mark.parametrize("seconds", [0.2, 1.0, 2.9, 4.0])
def test_steady_noise_is_empty_text_however_short(run, tmp_path: Path, seconds: float, rng) -> None:
    """With the bundled model, which writes letters for noise that it is given."""
    noise = rng.normal(0, 0.05, int(seconds * 22_050))
    soundfile.write(tmp_path / "noise.wav", noise, 22_050)
    result = run("transcribe", "noise.wav", "--format", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["text"] == ""


@pytest.mark.parametrize("form", ["srt", "vtt", "text", "json"])
def test_a_file_a_source_is_written(run, tmp_path: Path, form: str) -> None:
    result = run("transcribe", ROOT / "Data/samples", "--format", form, "--output", "out")
    assert result.exit_code == 0
    suffix = {"text": "txt"}.get(form, form)
    names = sorted(path.name for path in (tmp_path / "out").iterdir())
    assert names == sorted(f"{p.stem}.{suffix}" for p in (ROOT / "Data/samples").glob("*.wav"))
    content = (tmp_path / "out" / f"sample.{suffix}").read_text(encoding="utf-8")
    assert "old house" in content
    assert form == "json" or "sample.wav" not in content


def test_a_long_recording_becomes_subtitles_at_its_joins(run, tmp_path: Path) -> None:
    """The sample clips, joined with silences over and over: a cue starts at each known start."""
    clips = [soundfile.read(p)[0] for p in sorted((ROOT / "Data/samples").glob("*.wav"))]
    silence, parts, starts, length = np.zeros(33_075), [], [], 0
    for clip_ in clips * 4:
        starts.append(length / 22_050)
        parts += [clip_, silence]
        length += len(clip_) + len(silence)
    soundfile.write(tmp_path / "long.wav", np.concatenate(parts), 22_050)
    result = run("transcribe", "long.wav", "--format", "srt")
    assert result.exit_code == 0
    cues = [cue.start.total_seconds() for cue in srt.parse(result.stdout)]
    late = [min(abs(cue - start) for cue in cues) for start in starts]
    assert np.median(late) < 0.5
    assert max(late) < 1.5


def test_several_sources_are_not_mixed_into_one_file(run, tmp_path: Path) -> None:
    result = run("transcribe", ROOT / "Data/samples", "--format", "vtt")
    assert result.exit_code == 2
    assert "needed: --output FOLDER" in result.stderr
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.wav").write_bytes((ROOT / "Data/samples/sample.wav").read_bytes())
    result = run("transcribe", "a/x.wav", "b/x.wav", "--output", "out")
    assert result.exit_code == 2
    assert "sources of the same name" in result.stderr
    assert not (tmp_path / "out").exists()
