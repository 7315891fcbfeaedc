"""MLflow as a tracker: a server that `MLFLOW_TRACKING_URI` names, or a local store."""

from __future__ import annotations

import json
import re
import shutil
import tempfile
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from mlflow import MlflowClient, MlflowException
from mlflow.entities import LifecycleStage, Metric, Param
from mlflow.environment_variables import MLFLOW_EXPERIMENT_NAME
from mlflow.tracking import is_tracking_uri_set

from training.tracking import Sample, Status, Value

EXPERIMENT = "speech-to-text"
TABLE = "samples.json"
_LONGEST_PARAMETER = 6000
_PARAMETERS_A_REQUEST = 100
_STATUS = {Status.finished: "FINISHED", Status.stopped: "KILLED", Status.failed: "FAILED"}


class MlflowTracker:
    """Writes a run to MLflow through its client, with no state outside this object."""

    name = "mlflow"

    def __init__(self, output: Path) -> None:
        self.output, self.run_id = output, ""
        self.sent: set[str] = set()
        self.client: Any = None
        self.is_local = not is_tracking_uri_set()
        missing = [name for name in ("alembic", "sqlalchemy") if find_spec(name) is None]
        if self.is_local and missing:
            raise ImportError(f"No module named {missing[0]!r}")

    def start(self, run_id: str | None, parameters: Mapping[str, Value]) -> str:
        """Continue `run_id` if the store has it; parameters that changed since become tags."""
        self._connect()
        run_id = run_id or self.run_id  # begun here, by a start that failed halfway
        known = self._parameters_of(run_id) if run_id else None
        if known is None:
            run = self.client.create_run(self._experiment_id(), run_name=self.output.resolve().name)
            run_id, known = run.info.run_id, {}
        else:
            self.client.update_run(run_id, status="RUNNING")
        self.run_id = run_id
        wanted = {key: str(value)[:_LONGEST_PARAMETER] for key, value in parameters.items()}
        new = [Param(key, value) for key, value in wanted.items() if key not in known]
        for first in range(0, len(new), _PARAMETERS_A_REQUEST):
            batch = new[first : first + _PARAMETERS_A_REQUEST]
            self.client.log_batch(run_id, params=batch)
        for key, value in wanted.items():
            if known.get(key, value) != value:
                self.client.set_tag(run_id, f"continued_with.{key}", value)
        return run_id

    def log_metrics(self, epoch: int, metrics: Mapping[str, float]) -> None:
        """Log all metrics of an epoch in one request; the epoch is their step."""
        now_ms = int(1000 * time.time())
        values = [Metric(name, value, now_ms, epoch) for name, value in metrics.items()]
        self.client.log_batch(self.run_id, metrics=values)

    def log_samples(self, samples: Sequence[Sample]) -> None:
        """Write `samples.json`, which MLflow shows as a table, and `samples/` with the clips."""
        columns = ["epoch", "id", "reference", "text", "audio"]
        rows = [
            [s.epoch, s.id, s.reference, s.text, f"samples/{_file_name(s)}" if s.audio else None]
            for s in samples
        ]
        table = json.dumps({"columns": columns, "data": rows}, ensure_ascii=False)
        self.client.log_text(self.run_id, table, TABLE)
        about = json.dumps([{"path": TABLE, "type": "table"}])
        self.client.set_tag(self.run_id, "mlflow.loggedArtifacts", about)
        new = {_file_name(s): s.audio for s in samples if s.audio}
        new = {name: audio for name, audio in new.items() if name not in self.sent}
        if not new:
            return
        with tempfile.TemporaryDirectory() as folder:
            for name, audio in new.items():
                shutil.copyfile(audio, Path(folder, name))
            self.client.log_artifacts(self.run_id, folder, "samples")
        self.sent |= set(new)

    def log_model(self, files: Sequence[Path]) -> None:
        """Copy the files into the run's `model/`."""
        for file in files:
            self.client.log_artifact(self.run_id, str(file), "model")

    def finish(self, status: Status) -> None:
        """Set the run's status: a run that was stopped is KILLED until it goes on."""
        self.client.set_terminated(self.run_id, _STATUS[status])

    def _connect(self) -> None:
        uri = None
        if self.is_local:
            self._folder.mkdir(parents=True, exist_ok=True)
            uri = f"sqlite:///{self._folder / 'mlflow.db'}"
        self.client = MlflowClient(tracking_uri=uri)

    def _parameters_of(self, run_id: str) -> dict[str, str] | None:
        """Return those that a run has; None if it is not in this store, or was deleted."""
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            return None
        is_there = run.info.lifecycle_stage == LifecycleStage.ACTIVE
        return dict(run.data.params) if is_there else None

    def _experiment_id(self) -> str:
        name = MLFLOW_EXPERIMENT_NAME.get() or EXPERIMENT
        found = self.client.get_experiment_by_name(name)
        if found:
            return str(found.experiment_id)
        files = (self._folder / "files").as_uri() if self.is_local else None
        return str(self.client.create_experiment(name, artifact_location=files))

    @property
    def _folder(self) -> Path:
        return (self.output / "mlflow").resolve()


def _file_name(sample: Sample) -> str:
    return re.sub(r"[^\w.-]", "_", sample.id) + ".wav"
