"""What the notebook calls: folders, Drive, choices of clips, players, the line of progress."""

from __future__ import annotations

import base64
import sys
from dataclasses import replace
from pathlib import Path
from types import ModuleType, SimpleNamespace

import pytest

from config import ModelError
from service_config import ServerConfig
from tests.runs import recipe, stop_after
from training import notebook, notebook_views
from training.checkpoint import read_state
from training.manifest import Split, Utterance
from training.notebook import TrainingStoppedError
from training.notebook_views import Heard, Line, pair_with_audio, players_html
from training.run import CHECKPOINT


def put_colab(monkeypatch: pytest.MonkeyPatch, **modules: object) -> None:
    """Let `google.colab` have these modules."""
    package = ModuleType("google.colab")
    package.__path__ = []
    monkeypatch.setitem(sys.modules, "google.colab", package)
    for name, content in modules.items():
        monkeypatch.setitem(sys.modules, f"google.colab.{name}", content)


def test_drive_is_mounted_where_there_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    assert notebook.mount_drive() is None
    mounted: list[str] = []
    put_colab(monkeypatch, drive=SimpleNamespace(mount=mounted.append))
    assert notebook.mount_drive() == Path("/content/drive/MyDrive")
    assert mounted == ["/content/drive"]


def test_a_drive_that_is_declined_is_a_warning(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def mount(_: str) -> None:
        raise ValueError("mount failed")

    put_colab(monkeypatch, drive=SimpleNamespace(mount=mount))
    assert notebook.mount_drive() is None
    assert "WARNING: Drive is not mounted (mount failed)" in capsys.readouterr().out


def test_a_machine_without_gpu_is_told_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebook.tf.config, "list_physical_devices", lambda _: [])
    text = notebook.describe_device()
    assert text.startswith("No GPU: training will run on ")
    assert "FIVE_MINUTES works without one" in text
    assert "Runtime > Change runtime type" in text
    monkeypatch.setattr(notebook.tf.config, "list_physical_devices", lambda _: ["one"])
    monkeypatch.setattr(notebook, "device_name", lambda: "Tesla T4")
    assert notebook.describe_device() == "Training will run on Tesla T4."


def choose(base: Path, *, five_minutes: bool = False, load_checkpoint: bool = True) -> Path:
    return notebook.choose_run_folder(
        "runs/mine", base=base, five_minutes=five_minutes, load_checkpoint=load_checkpoint
    )


def test_training_shows_where_it_is_stops_and_goes_on(
    corpus: list[Utterance],
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    lines: list[str] = []
    monkeypatch.setattr(Line, "finish", lambda line: lines.append(line.text))
    folder, own = choose(tmp_path), recipe(epochs=2)
    assert "a new run" in capsys.readouterr().out
    with pytest.raises(TrainingStoppedError, match="saved: run this cell again") as stopped:
        notebook.train(corpus, folder, own, should_stop=stop_after(2))
    assert stopped.value._render_traceback_() == [f"STOPPED\n\n{stopped.value}"]
    assert "all epochs are done" not in capsys.readouterr().out
    assert lines[-1].startswith("epoch 1 of 2, step 2 of ")
    assert choose(tmp_path) == folder
    assert "goes on in epoch 1 after 2 of its steps" in capsys.readouterr().out
    notebook.train(corpus, folder, own)
    said = capsys.readouterr().out
    assert "epoch 2: loss " in said
    assert "   ref one\n   hyp " in said
    assert "all epochs are done" in said
    kept = (folder / CHECKPOINT).read_bytes()
    assert choose(tmp_path, load_checkpoint=False) == folder
    assert not folder.exists()
    (aside,) = folder.parent.iterdir()
    assert aside.name.startswith("mine-until-")
    assert (aside / CHECKPOINT).read_bytes() == kept
    assert str(aside) in capsys.readouterr().out


def test_a_broken_checkpoint_is_moved_aside_like_any_other(tmp_path: Path) -> None:
    checkpoint = tmp_path / "runs" / "mine" / CHECKPOINT
    checkpoint.parent.mkdir(parents=True)
    checkpoint.write_bytes(b"cut off")
    with pytest.raises(ModelError, match="cannot resume"):
        choose(tmp_path)
    assert choose(tmp_path, load_checkpoint=False) == checkpoint.parent
    (aside,) = checkpoint.parents[1].iterdir()
    assert (aside / CHECKPOINT).read_bytes() == b"cut off"


def test_five_minutes_have_a_folder_and_a_recipe_of_their_own(tmp_path: Path) -> None:
    assert choose(tmp_path, five_minutes=True) == tmp_path / "runs" / "mine-five-minutes"
    found = notebook.five_minutes_recipe()
    assert found.training.init_from == str(ServerConfig.model)
    assert found.training.epochs <= 5
    full = notebook.make_recipe("deepspeech2", epochs=50, augment="mild")
    assert full.training.init_from is None
    assert full.network.gru_units == 512
    assert full.training.checkpoint_minutes <= 10
    assert read_state(tmp_path / CHECKPOINT) is None


def test_five_minutes_without_a_gpu_time_a_small_network(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    full = notebook.make_recipe("deepspeech2", epochs=50)
    gpus: list[str] = []
    monkeypatch.setattr(notebook.tf.config, "list_physical_devices", lambda _: gpus)
    assert notebook.recipe_to_time(full, five_minutes=False) is full
    assert notebook.recipe_to_time(full, five_minutes=True).network.gru_units == 256
    assert "the preset small is timed" in capsys.readouterr().out
    gpus.append("one")
    assert notebook.recipe_to_time(full, five_minutes=True) is full


def test_a_corpus_is_the_given_one_the_whole_one_or_the_front_of_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(notebook, "download_ljspeech", lambda folder, **_: folder / "whole")
    monkeypatch.setattr(notebook, "download_sample", lambda folder, **_: folder / "front")

    def get(corpus: str, *, five_minutes: bool) -> str:
        return notebook.get_corpus(corpus, tmp_path, five_minutes=five_minutes).name

    assert get("a/b", five_minutes=True) == "b"
    assert get("", five_minutes=False) == "whole"
    assert get("", five_minutes=True) == "front"
    (tmp_path / "LJSpeech-1.1").mkdir()
    (tmp_path / "LJSpeech-1.1" / "metadata.csv").touch()
    assert get("", five_minutes=True) == "whole"


def test_a_hundred_clips_keep_their_splits(corpus: list[Utterance]) -> None:
    one = corpus[0]
    many = [
        replace(one, id=f"{split}/{i}", split=split)
        for split in (Split.train, Split.test, Split.validation)
        for i in range(150)
    ]
    found = notebook.take(many, 100)
    counts = [len(notebook.of_split(found, split)) for split in ("train", "validation", "test")]
    assert counts == [80, 10, 10]
    assert notebook.take(many[:100], 100) == many[:100]
    hours = notebook.hours_to_train(many, recipe().audio)
    assert hours == pytest.approx(300 * one.num_samples / 22_050 / 3600)


def test_a_small_corpus_has_all_sides_and_few_clips(
    corpus: list[Utterance],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    reports: list[str] = []
    monkeypatch.setattr(notebook, "show_markdown", reports.append)
    monkeypatch.setattr(Line, "finish", lambda _: None)
    monkeypatch.setattr(notebook, "FIVE_MINUTES_CLIPS", 5)
    clips = notebook.of_split(corpus, "train")
    lines = [f"{Path(u.audio).stem}|{u.text}\n" for u in clips]
    (tmp_path / "metadata.csv").write_text("".join(lines), encoding="utf-8")
    found = notebook.prepare_corpus(tmp_path, tmp_path / "out", recipe(), five_minutes=True)
    assert {u.split for u in found} == set(Split)
    assert len(found) <= 6
    assert (
        len(notebook.prepare_corpus(tmp_path, tmp_path / "out", recipe(), five_minutes=False)) == 8
    )
    assert "## Rejected clips" in reports[0]


def test_players_hold_the_recording_beside_texts_that_are_marked(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(b"sound")
    html = players_html(
        [
            Heard(audio=path, reference="a <b> c", hypothesis="a d c e"),
            Heard(audio=path, reference="only this"),
            Heard(audio=path, reference="said", hypothesis=""),
        ]
    )
    assert html.count(f"data:audio/wav;base64,{base64.b64encode(b'sound').decode()}") == 3
    assert "<b>reference</b> a <mark>&lt;b&gt;</mark> c<br>" in html
    assert "<b>hypothesis</b> a <mark>d</mark> c <mark>e</mark></td>" in html
    assert "only this</td>" in html
    assert "<b>hypothesis</b> <i>nothing</i>" in html


def test_scored_clips_find_their_recordings(corpus: list[Utterance]) -> None:
    scored = SimpleNamespace(id=corpus[2].id, reference="r", hypothesis="h")
    expected = Heard(audio=Path(corpus[2].audio), reference="r", hypothesis="h")
    assert pair_with_audio([scored], corpus) == [expected]


def test_a_line_is_written_at_most_twice_a_second(monkeypatch: pytest.MonkeyPatch) -> None:
    now, shown = [100.0], []
    monkeypatch.setattr(notebook_views.time, "monotonic", lambda: now[0])

    def display(content: dict[str, str], **_: object) -> object:
        shown.append(content["text/plain"])
        return SimpleNamespace(update=lambda new, **_: shown.append(new["text/plain"]))

    monkeypatch.setattr(notebook_views, "ipython", SimpleNamespace(display=display))
    line = Line("clips", scale=0.5, unit="pairs")
    for done in (2, 4, 6):
        line(done, 0)
        now[0] += 0.3
    line(8, 8)
    assert shown == ["clips: 1 pairs", "clips: 3 pairs", "clips: 4 of 4 pairs"]
