"""Trackers against what they write: MLflow's local store, Weights & Biases offline."""

import json
import socket
import struct
import time
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run

from speech.pipeline import read_pipeline
from tests.runs import recipe, stop_after
from tests.trackers import Following
from training.manifest import Utterance
from training.tracking import (
    STATE,
    Sample,
    Status,
    make_tracker,
    tracking,
)
from training.train import train

METRICS = {"loss", "learning_rate", "validation_wer", "validation_cer"}


@pytest.fixture
def hosts_asked(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Hide settings of the user; return the hosts whose addresses are asked for."""
    for name in ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME", "WANDB_PROJECT"):
        monkeypatch.delenv(name, raising=False)
    hosts: list[str] = []
    resolve = socket.getaddrinfo

    def note(host: str, *rest: object, **options: object) -> object:
        hosts.append(host)
        return resolve(host, *rest, **options)

    monkeypatch.setattr(socket, "getaddrinfo", note)
    return hosts


@pytest.fixture
def following(tmp_path: Path) -> Following:
    return Following(tmp_path)


def local_client(output: Path) -> MlflowClient:
    return MlflowClient(tracking_uri=f"sqlite:///{output / 'mlflow' / 'mlflow.db'}")


def only_run(client: MlflowClient) -> Run:
    (experiment,) = [e for e in client.search_experiments() if e.name == "speech-to-text"]
    (run,) = client.search_runs([experiment.experiment_id])
    return run


def steps(client: MlflowClient, run: Run, metric: str) -> list[tuple[int, float]]:
    return [(m.step, m.value) for m in client.get_metric_history(run.info.run_id, metric)]


def test_mlflow_has_the_run_and_goes_on_with_it(
    corpus: list[Utterance], tmp_path: Path, hosts_asked: list[str]
) -> None:
    output = tmp_path / "run"
    train(
        corpus,
        output,
        recipe(epochs=2),
        should_stop=stop_after(8),
        trackers=[make_tracker("mlflow", output)],
    )
    client = local_client(output)
    stopped = only_run(client)
    assert stopped.info.status == "KILLED"
    before = steps(client, stopped, "loss")
    assert [step for step, _ in before] == [1]
    train(corpus, output, recipe(epochs=3), trackers=[make_tracker("mlflow", output)])
    run = only_run(client)
    assert (run.info.run_id, run.info.status) == (stopped.info.run_id, "FINISHED")
    assert set(run.data.metrics) == METRICS
    for metric in METRICS:
        assert [step for step, _ in steps(client, run, metric)] == [1, 2, 3]
    assert steps(client, run, "loss")[:1] == before
    check_parameters(run, output)
    check_artefacts(client, run, corpus, tmp_path, output)
    state = json.loads((output / STATE).read_text())
    assert state == {"mlflow": {"run": run.info.run_id, "epoch": 3, "samples": 3}}
    assert hosts_asked == [], "nothing is asked of a network"
    check_new_run_where_it_is_gone(client, run, output)


def check_new_run_where_it_is_gone(client: MlflowClient, gone: Run, output: Path) -> None:
    """Somebody deleted the run: another one gets all of its epochs, from the run's own log."""
    client.delete_run(gone.info.run_id)
    notes: list[str] = []
    with tracking(
        [make_tracker("mlflow", output)],
        output,
        parameters={},
        clips={},
        is_finished=lambda: True,
        on_note=notes.append,
    ):
        pass
    run = only_run(client)
    assert run.info.run_id != gone.info.run_id
    assert steps(client, run, "loss") == steps(client, gone, "loss")
    assert notes == []


def check_parameters(run: Run, output: Path) -> None:
    parameters = run.data.params
    assert parameters["training.epochs"] == "2"
    assert run.data.tags["continued_with.training.epochs"] == "3"
    assert parameters["training.batch_seconds"] == "2.0"
    assert parameters["network.convolutions.0.kernel"].startswith("[")
    assert parameters["augmentation.noise_probability"] == "0.0"
    assert json.loads(parameters["alphabet.symbols"])[1] == " "
    assert parameters["data.sha256"] == read_pipeline(output).training_data["sha256"]
    assert (parameters["data.corpora"], parameters["data.train_utterances"]) == ('["noise"]', "8")
    assert run.info.run_name == "run"


def check_artefacts(
    client: MlflowClient, run: Run, corpus: list[Utterance], tmp_path: Path, output: Path
) -> None:
    fetched = Path(client.download_artifacts(run.info.run_id, "", str(tmp_path)))
    for name in ("model.keras", "pipeline.json"):
        assert (fetched / "model" / name).read_bytes() == (output / name).read_bytes()
    table = json.loads((fetched / "samples.json").read_text())
    rows = [dict(zip(table["columns"], row, strict=True)) for row in table["data"]]
    assert [row["epoch"] for row in rows] == [1, 1, 2, 2, 3, 3]
    audio = {utterance.id: utterance.audio for utterance in corpus}
    for row in rows:
        assert (fetched / row["audio"]).read_bytes() == Path(audio[row["id"]]).read_bytes()
    assert {row["reference"] for row in rows} == {"one", "two words"}


def test_a_server_that_is_down_does_not_stop_a_run(
    following: Following, monkeypatch: pytest.MonkeyPatch
) -> None:
    """MLflow's real client against a port where nobody listens."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with following.by(make_tracker("mlflow", following.folder)) as follow:
        following.write_epoch()
        follow()
    (note,) = following.notes
    assert note.startswith("mlflow failed (")
    assert str(port) in note


def read_wandb(path: Path) -> list[Any]:
    """Return the records of a run's file: LevelDB's log format after a header of 7 bytes."""
    from wandb.proto.wandb_internal_pb2 import Record

    data, position, records, parts = path.read_bytes(), 7, [], b""
    while position + 7 <= len(data):
        if (left := 32_768 - position % 32_768) < 7:
            position += left
            continue
        _, size, kind = struct.unpack_from("<IHB", data, position)
        parts += data[position + 7 : position + 7 + size]
        position += 7 + size
        if kind in (1, 4):
            records.append(Record.FromString(parts))
            parts = b""
    return records


def test_wandb_offline_keeps_all_in_the_folder(
    tmp_path: Path,
    corpus: list[Utterance],
    monkeypatch: pytest.MonkeyPatch,
    hosts_asked: list[str],
) -> None:
    pytest.importorskip("wandb", reason="an extra: pip install -e '.[wandb]'")
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_SILENT", "true")
    for name in ("WANDB_DATA_DIR", "WANDB_CACHE_DIR", "WANDB_CONFIG_DIR"):
        monkeypatch.setenv(name, str(tmp_path / name))
    model = tmp_path / "model.keras"
    model.write_bytes(b"weights")
    clip = Path(corpus[0].audio)
    run_id = None
    for epoch, status in [(1, Status.stopped), (2, Status.finished)]:
        tracker = make_tracker("wandb", tmp_path / "run")
        given, run_id = run_id, tracker.start(run_id, {"training.epochs": 1 + epoch})
        assert given in (None, run_id)
        tracker.log_metrics(epoch, {"loss": 3.0 / epoch})
        tracker.log_samples(
            [
                Sample(epoch=e, id="noise/0", reference="one", text="won", audio=clip)
                for e in range(1, epoch + 1)
            ]
        )
        tracker.log_model([model])
        tracker.finish(status)
    folders = sorted((tmp_path / "run" / "wandb").glob(f"offline-run-*-{run_id}"))
    assert folders
    history = [row for folder in folders for row in check_wandb(folder, clip, str(run_id))]
    assert history == [(1, 3.0), (2, 1.5)]
    assert hosts_asked == [], "nothing is asked of a network"


def check_wandb(folder: Path, clip: Path, run_id: str) -> list[tuple[int, float]]:
    """Return the losses by epoch; the file is complete a moment after the run is finished."""
    records, until = [], time.monotonic() + 60
    while not (records and records[-1].HasField("exit")) and time.monotonic() < until:
        records = read_wandb(folder / f"run-{run_id}.wandb")
    assert {r.run.project for r in records if r.WhichOneof("record_type") == "run"} == {
        "speech-to-text"
    }
    sounds = list(folder.glob("files/media/audio/**/*.wav"))
    assert [sound.read_bytes() for sound in sounds] == [clip.read_bytes()]
    assert list(folder.glob("files/media/table/*.json"))
    assert [r.artifact.type for r in records if r.HasField("artifact")].count("model") == 1
    rows = [
        {
            "/".join(item.nested_key) or item.key: json.loads(item.value_json)
            for item in r.history.item
        }
        for r in records
        if r.HasField("history")
    ]
    return [(row["epoch"], row["loss"]) for row in rows if "loss" in row]
