"""The notebook as it lies in git, and executed from top to bottom on real speech."""

from __future__ import annotations

import ast
import csv
import re
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import nbformat
import pytest
import tensorflow as tf
from nbclient import NotebookClient

from tests.models import TINY_NETWORK
from training.checkpoint import read_state
from training.manifest import read_manifest
from training.notebook import describe_device, make_recipe
from training.presets import PRESETS
from training.run import CHECKPOINT
from training.train import train

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "SpeechToTextModel.ipynb"
LONGEST_CELL = 16  # lines
SECTIONS = [
    "1. Setup and dependencies",
    "2. Data preprocessing",
    "3. Model",
    "4. Training",
    "5. Evaluation",
    "6. Inference",
    "7. Export",
]
EPOCHS = 2
# A preset of the test's own; it is there before the notebook asks for it.
SETTINGS = """
from dataclasses import replace
from tests.models import TINY_NETWORK
from training.presets import PRESETS
small = PRESETS["small"]
training = replace(small.training, batch_seconds=8.0)
PRESETS["tiny"] = replace(small, network=TINY_NETWORK, training=training)
FIVE_MINUTES, PRESET, AUGMENT = False, "tiny", "none"
CORPUS, DATA_DIR, CHECKPOINT_DIR = {corpus!r}, {data!r}, {run!r}
EPOCHS, LOAD_CHECKPOINT = {epochs}, {load}
"""


def read() -> Any:
    return nbformat.read(NOTEBOOK, nbformat.NO_CONVERT)


def code_cells(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def execute(**settings: object) -> Any:
    """Run all cells with these settings after the notebook's own; the first error raises."""
    notebook = read()
    tags = [cell.metadata.get("tags", []) for cell in notebook.cells]
    place = next(i for i, own in enumerate(tags) if "parameters" in own)
    given = nbformat.v4.new_code_cell(SETTINGS.format(**settings))
    notebook.cells.insert(place + 1, given)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}})
    return client.execute()


def printed(notebook: Any) -> str:
    outputs = [output for cell in code_cells(notebook) for output in cell.outputs]
    return "".join(o.text for o in outputs if o.output_type == "stream")


def output_of(notebook: Any, cell_id: str, form: str) -> list[str]:
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    shown = [output.data for output in cell.outputs if "data" in output]
    return [data[form] for data in shown if form in data]


def test_it_is_stripped_and_valid() -> None:
    notebook = read()
    nbformat.validate(notebook)
    for cell in code_cells(notebook):
        assert not cell.outputs
        assert cell.execution_count is None
    assert not re.search(r"(/home|/work|/tmp|/root|/Users|C:\\)", NOTEBOOK.read_text("utf-8"))


def test_it_defines_nothing_and_its_cells_are_short() -> None:
    for cell in code_cells(read()):
        tree = ast.parse(cell.source)
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef, ast.Lambda)
        assert not [node for node in ast.walk(tree) if isinstance(node, kinds)], cell.source
        assert len(cell.source.splitlines()) <= LONGEST_CELL, cell.source


def test_its_sections_are_in_order() -> None:
    text = "\n".join(cell.source for cell in read().cells if cell.cell_type == "markdown")
    assert re.findall(r"^## (.*)$", text, flags=re.MULTILINE) == SECTIONS


def test_every_setting_is_a_form_field_and_explained() -> None:
    cells = read().cells
    settings = next(cell for cell in cells if "parameters" in cell.metadata.get("tags", []))
    names = [node.targets[0].id for node in ast.parse(settings.source).body]
    assert len(names) == settings.source.count("# @param")
    explained = next(cell.source for cell in cells if cell.id == "setup")
    assert not [name for name in names if f"`{name}`" not in explained]
    used = "\n".join(c.source for c in code_cells(read()) if c.id != settings.id)
    assert not [name for name in names if name not in used]


def test_without_a_checkout_it_asks_for_one_or_clones_it(tmp_path: Path) -> None:
    source = next(cell.source for cell in read().cells if cell.id == "project")

    def run(repository: str) -> subprocess.CompletedProcess[str]:
        code = f"REPOSITORY = {repository!r}\n{source}\nimport training.installation as found\n"
        command = [sys.executable, "-c", f"{code}print(found.__file__)"]
        return subprocess.run(command, cwd=work, capture_output=True, text=True, check=False)

    work, origin = tmp_path / "work", tmp_path / "origin"
    work.mkdir()
    asked = run("")
    assert asked.returncode
    assert "fill in REPOSITORY above" in asked.stderr
    (origin / "training").mkdir(parents=True)
    for name in ("config.py", "training/__init__.py", "training/installation.py"):
        shutil.copy(ROOT / name, origin / name)
    git = ["git", "-C", str(origin), "-c", "user.name=x", "-c", "user.email=x@example.org"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "x"]):
        subprocess.run([*git, *command], check=True)
    for _ in range(2):  # the second time it is there
        cloned = run(str(origin))
        assert cloned.returncode == 0, cloned.stderr
        path = Path(cloned.stdout.strip())
        assert path == work / "speech-to-text" / "training" / "installation.py"


@pytest.fixture(scope="module")
def corpus(ljspeech: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ten real clips, the shortest: six to train on, two to validate, two to test."""
    folder = tmp_path_factory.mktemp("corpora") / "ten"
    (folder / "wavs").mkdir(parents=True)
    lines = (ljspeech / "metadata.csv").read_text(encoding="utf-8").splitlines()
    wavs = {line.partition("|")[0]: line for line in lines}
    sized = {name: ljspeech / "wavs" / f"{name}.wav" for name in wavs}
    chosen = sorted(
        (name for name, path in sized.items() if path.exists()),
        key=lambda name: (sized[name].stat().st_size, name),
    )[:10]
    for name in chosen:
        shutil.copy(sized[name], folder / "wavs")
    (folder / "metadata.csv").write_text("".join(f"{wavs[name]}\n" for name in chosen), "utf-8")
    sides = ["train"] * 6 + ["validation"] * 2 + ["test"] * 2
    rows = [f"{name},{side}\n" for name, side in zip(chosen, sides, strict=True)]
    (folder / "splits.csv").write_text("id,split\n" + "".join(rows), "utf-8")
    return folder


@pytest.fixture
def tiny_preset(monkeypatch: pytest.MonkeyPatch) -> None:
    small = PRESETS["small"]
    training = replace(small.training, batch_seconds=8.0)
    tiny = replace(small, network=TINY_NETWORK, training=training)
    monkeypatch.setitem(PRESETS, "tiny", tiny)


def test_from_top_to_bottom_then_on_from_the_middle_of_an_epoch(
    corpus: Path, tmp_path: Path, tiny_preset: None
) -> None:
    run, data = tmp_path / "drive" / "mine", tmp_path / "disk"
    settings = {"corpus": str(corpus), "data": str(data), "run": str(run)}
    first = execute(**settings, epochs=1, load=True)
    check_what_is_shown(first)
    check_what_is_left(first, run, data, corpus)
    assert f"{run}: a new run" in printed(first)
    assert read_state(run / CHECKPOINT).epoch == 1

    # The next runtime dies within the second epoch, and its disk with it.
    utterances = read_manifest(data / "ten-prepared")
    recipe = make_recipe("tiny", epochs=EPOCHS, augment="none")
    train(utterances, run, recipe, should_stop=lambda: True)
    assert (read_state(run / CHECKPOINT).epoch, read_state(run / CHECKPOINT).batch) == (1, 1)
    shutil.rmtree(data)

    second = execute(**settings, epochs=EPOCHS, load=True)
    assert f"{run}: goes on in epoch 2 after 1 of its steps" in printed(second)
    assert "epoch 1:" not in printed(second)
    assert "epoch 2:" in printed(second)
    assert read_state(run / CHECKPOINT).epoch == EPOCHS
    with (run / "log.csv").open(encoding="utf-8") as file:
        assert [row["epoch"] for row in csv.DictReader(file)] == ["1", "2"]
    assert {path.name for path in (run / "saved_model").iterdir()} == {"1", "2"}


def check_what_is_shown(notebook: Any) -> None:
    """No cell failed; each picture is one, each player has its recording."""
    kinds = {o.output_type for cell in code_cells(notebook) for o in cell.outputs}
    assert kinds <= {"stream", "display_data", "execute_result"}
    for cell_id in ("spectrogram", "curves", "alignment"):
        (picture,) = output_of(notebook, cell_id, "image/png")
        assert len(picture) > 10_000
    (table,) = output_of(notebook, "clips", "text/html")
    assert table.count("<audio controls") == table.count("data:audio/wav;base64,") == 3
    (table,) = output_of(notebook, "players", "text/html")
    assert table.count("<audio controls") == table.count("<b>hypothesis</b>") == 2
    (report,) = output_of(notebook, "evaluate", "text/markdown")
    assert "| all | 2 |" in report
    words = printed(notebook)
    assert "all epochs are done" in words
    assert re.search(r"about \S+ (s|min|h) for 1 epochs over 0\.0 hours of speech", words)
    assert describe_device() in words


def check_what_is_left(notebook: Any, run: Path, data: Path, corpus: Path) -> None:
    """The run is complete, its export transcribes, and audio stays on the disk."""
    names = {path.name for path in run.iterdir()}
    assert {CHECKPOINT, "model.keras", "pipeline.json", "log.csv", "saved_model"} <= names
    assert not [path for path in run.rglob("*") if path.suffix in (".wav", ".jsonl.part")]
    wav = next((corpus / "wavs").iterdir()).read_bytes()
    model = tf.saved_model.load(str(run / "saved_model" / "1"))
    answer = model.signatures["transcribe"](wav_bytes=tf.constant([wav, b"no wav"]))
    errors = [error.decode() for error in answer["error"].numpy()]
    assert errors[0] == ""
    assert "WAV" in errors[1]
    with zipfile.ZipFile(data / "mine.zip") as packed:
        inside = set(packed.namelist())
    assert {"model.keras", "pipeline.json", "saved_model/1/saved_model.pb"} <= inside
    assert f"{run / 'saved_model' / '1'}\nwrites: " in printed(notebook)
