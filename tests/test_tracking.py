"""A run is followed whatever happens to a tracker; what is missing is named."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from cli import app
from config import CorpusError, SpeechToTextError
from tests.runs import recipe
from tests.trackers import FakeTracker, Following
from training.manifest import Utterance
from training.tracking import (
    STATE,
    Status,
    make_tracker,
    parameters_of,
)


@pytest.fixture
def following(tmp_path: Path) -> Following:
    return Following(tmp_path)


def test_a_tracker_that_fails_is_told_once_and_gets_all_later(following: Following) -> None:
    broken, sound = FakeTracker(), FakeTracker()
    sound.name = "sound"
    with following.by(broken, sound) as follow:
        for is_down in (False, True, True, False):
            broken.is_down = is_down
            following.write_epoch()
            follow()
    metrics = [("metrics", epoch, epoch / 2) for epoch in (1, 2, 3, 4)]
    for tracker in (broken, sound):
        assert [call for call in tracker.calls if call[0] == "metrics"] == metrics
        assert ("samples", [1, 2, 3, 4]) in tracker.calls
        assert tracker.calls[-2:] == [
            ("model", ["model.keras", "pipeline.json"]),
            ("finish", Status.finished),
        ]
    lost, back = following.notes
    assert lost.startswith("fake failed (no route to host); training goes on")
    assert back == "fake works again"


def test_a_tracker_that_never_starts_stops_nothing(following: Following) -> None:
    tracker = FakeTracker()
    tracker.is_down = True
    with following.by(tracker) as follow:
        following.write_epoch()
        follow()
    assert tracker.calls == []
    assert len(following.notes) == 1
    assert not (following.folder / STATE).exists()
    tracker.is_down = False
    with following.by(tracker, finished=False):
        pass
    assert [call[0] for call in tracker.calls] == ["start", "metrics", "samples", "model", "finish"]
    assert tracker.calls[-1] == ("finish", Status.stopped)


def test_how_a_run_ended_is_told_and_a_new_one_is_another(following: Following) -> None:
    tracker = FakeTracker()

    def train_until(error: BaseException) -> None:
        with following.by(tracker) as follow:
            following.write_epoch()
            follow()
            raise error

    with pytest.raises(KeyboardInterrupt):
        train_until(KeyboardInterrupt())
    assert tracker.calls[-2:] == [
        ("model", ["model.keras", "pipeline.json"]),
        ("finish", Status.stopped),
    ]
    with pytest.raises(CorpusError, match="broken"):
        train_until(CorpusError("broken"))
    assert tracker.calls[-2:] == [("samples", [1, 2]), ("finish", Status.failed)]
    with following.by(tracker):
        pass
    assert ("start", "id-1") in tracker.calls
    Following(following.folder)  # somebody deleted the run and trains anew
    tracker.calls.clear()
    with following.by(tracker):
        pass
    assert tracker.calls[0] == ("start", None)


def test_samples_that_were_missed_are_sent_by_the_next_process(following: Following) -> None:
    broken, sound = FakeTracker(), FakeTracker()
    broken.failing = {"samples"}
    with following.by(broken) as follow:
        following.write_epoch()
        follow()
    assert [call[0] for call in broken.calls] == ["start", "metrics", "model", "finish"]
    for _ in range(2):  # the second time nothing is owed
        with following.by(sound):
            pass
    assert [call for call in sound.calls if call[0] != "model"] == [
        ("start", "id-1"),
        ("samples", [1]),
        ("finish", Status.finished),
        ("start", "id-1"),
        ("finish", Status.finished),
    ]


@pytest.mark.parametrize(
    "content", [b"", b'{"fake": {"ru', b"[1]", b'{"fake": 3}', b'{"fake": {"epoch": "2"}}', b"\xff"]
)
def test_a_broken_state_is_told_once_and_replaced(following: Following, content: bytes) -> None:
    (following.folder / STATE).write_bytes(content)
    following.write_epoch()
    one, other = FakeTracker(), FakeTracker()
    other.name = "other"
    with following.by(one, other):
        pass
    (note,) = following.notes
    assert f"{STATE} is broken" in note
    assert [call[0] for call in one.calls] == ["start", "metrics", "samples", "model", "finish"]
    entry = {"run": "id-1", "epoch": 1, "samples": 1}
    assert json.loads((following.folder / STATE).read_text()) == {"fake": entry, "other": entry}


def test_a_missing_package_is_named_with_its_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("mlflow", "wandb"):
        monkeypatch.setitem(sys.modules, name, None)
        monkeypatch.delitem(sys.modules, f"training.tracking_{name}", raising=False)
        with pytest.raises(SpeechToTextError, match=rf"needed: pip install -e '\.\[{name}\]'"):
            make_tracker(name, tmp_path)
    with pytest.raises(ValueError, match="got the tracker 'aim'; needed: one of mlflow, wandb"):
        make_tracker("aim", tmp_path)


def test_the_command_names_the_extra_before_it_trains(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    monkeypatch.delitem(sys.modules, "training.tracking_mlflow", raising=False)
    args = ["train", str(tmp_path), "--output", str(tmp_path / "run"), "--track", "mlflow"]
    result = CliRunner().invoke(app, args)
    assert result.exit_code == 1
    assert "pip install -e '.[mlflow]'" in result.output
    assert not (tmp_path / "run").exists()


def test_every_leaf_of_a_recipe_is_a_parameter(corpus: list[Utterance]) -> None:
    found = parameters_of(recipe(repeat=(("noise", 2),)), corpus[:1], corpus[1:2])
    assert found["training.repeat"] == '[["noise", 2]]'
    assert found["audio.sample_rate_hz"] == 22_050
    assert found["data.validation_utterances"] == 1
    assert {name.split(".")[0] for name in found} == {
        "audio", "features", "network", "alphabet", "training", "augmentation", "data",
    }  # fmt: skip
    assert all(isinstance(value, str | int | float | bool | None) for value in found.values())
