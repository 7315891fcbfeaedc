"""Which versions of which models answer: polled from folders, swapped under running requests."""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

from grpc import StatusCode
from tensorflow_serving.apis.get_model_status_pb2 import GetModelStatusResponse, ModelVersionStatus
from tensorflow_serving.apis.status_pb2 import StatusProto

from serving.stand_in.servable import Servable, check

logger = logging.getLogger("stt.model_server")
_TRIES = 6


class ModelManager:
    """Loads new versions before it drops old ones; where a new one fails, the old one stays."""

    def __init__(self, load: Callable[[int, Path], Servable], *, early_labels: bool) -> None:
        """Take what loads a version; `early_labels` may name versions that are not there yet."""
        self._load, self._early_labels, self._polling = load, early_labels, threading.Lock()
        self._configs: dict[str, Any] = {}
        self._available: dict[str, dict[int, Servable]] = defaultdict(dict)
        self._status: dict[str, dict[int, ModelVersionStatus]] = defaultdict(dict)
        self._failures: dict[tuple[str, int], int] = defaultdict(int)

    def predict(self, request: Any) -> Any:
        """Answer a `PredictRequest`."""
        return self.servable(request.model_spec).predict(request)

    def servable(self, spec: Any) -> Servable:
        """Return what answers for a `ModelSpec`; `RefusedError` if nothing does."""
        check(spec.name, "ModelSpec has no name specified.")
        versions, wanted = self._available.get(spec.name, {}), self._version(spec)
        version = max(versions, default=-1) if wanted is None else wanted
        asked = f"Latest({spec.name})" if wanted is None else f"Specific({spec.name}, {wanted})"
        message = f"Servable not found for request: {asked}"
        check(version in versions, message, StatusCode.NOT_FOUND)
        return versions[version]

    def status(self, request: Any) -> GetModelStatusResponse:
        """Answer a `GetModelStatusRequest`: all versions, or the one that it names."""
        spec = request.model_spec
        wanted, known = self._version(spec), self._status.get(spec.name, {})
        which = "any versions" if wanted is None else f"version {wanted}"
        found = [known[v] for v in sorted(known, reverse=True) if wanted in (None, v)]
        check(found, f"Could not find {which} of model {spec.name}", StatusCode.NOT_FOUND)
        return GetModelStatusResponse(model_version_status=found)

    def _version(self, spec: Any) -> int | None:
        if spec.WhichOneof("version_choice") != "version_label":
            return int(spec.version.value) if spec.HasField("version") else None
        labels = self._labels(spec.name)
        message = f"Unrecognized servable version label: {spec.version_label}"
        check(spec.version_label in labels, message)
        return int(labels[spec.version_label])

    def _labels(self, name: str) -> dict[str, int]:
        return dict(self._configs[name].version_labels) if name in self._configs else {}

    def apply(self, config: Any) -> list[str]:
        """Serve the models of a `ModelServerConfig` and no others.

        Returns:
            New models of which no version is available, once each was tried.
        """
        message = "Cannot transition to requested config. It is only legal to transition from one"
        message += " ModelConfigList to another."
        check(config.HasField("model_config_list"), message, StatusCode.FAILED_PRECONDITION)
        models: dict[str, Any] = {}
        for model in config.model_config_list.config:
            self._check_model(model, models)
            models[model.name] = model
        added, self._configs = models.keys() - self._configs.keys(), models
        self.poll()
        return [name for name in sorted(added) if not self._available.get(name)]

    def _check_model(self, model: Any, before: dict[str, Any]) -> None:
        name, path = model.name, model.base_path
        check(name not in before, f"Illegal to list model {name} multiple times in config list")
        message = f"Model {name} requests unsupported platform {model.model_platform}"
        check(model.model_platform == "tensorflow", message)
        message = f"Expected model {name} to have an absolute path or URI; got base_path()={path}"
        check(Path(path).is_absolute(), message)
        for label, version in model.version_labels.items():
            early = self._early_labels and self._labels(name).get(label, version) == version
            message = f"Request to assign label to version {version} of model {name}, which is"
            message += " not currently available for inference"
            there = early or version in self._available.get(name, {})
            check(there, message, StatusCode.FAILED_PRECONDITION)

    def poll(self) -> None:
        """Load and drop versions until the folders and the configuration are followed."""
        with self._polling:
            for name in {*self._configs, *self._available}:
                try:
                    self._follow(name, _aspired(self._configs.get(name)))
                except OSError as error:  # it may be away for a moment: keep what there is
                    logger.error("Could not find base path for servable %s: %s", name, error)

    def _follow(self, name: str, aspired: dict[int, Path]) -> None:
        for version in aspired.keys() - self._available[name].keys():
            if self._failures[name, version] < _TRIES:
                self._try_to_load(name, version, aspired[version])
        for version in self._status[name].keys() - aspired.keys():
            self._failures.pop((name, version), None)
        available = self._available[name]
        if aspired and not available.keys() & aspired.keys():
            return  # nothing would be left
        self._available[name] = {v: available[v] for v in available.keys() & aspired.keys()}
        for version in available.keys() - aspired.keys():
            self._set_status(name, version, "END")

    def _try_to_load(self, name: str, version: int, path: Path) -> None:
        self._set_status(name, version, "LOADING")
        try:
            servable = self._load(version, path)
        except Exception as error:  # whatever broken files make TensorFlow raise
            self._failures[name, version] += 1
            self._set_status(name, version, "END", error)
        else:
            self._available[name] = {**self._available[name], version: servable}
            self._set_status(name, version, "AVAILABLE")

    def _set_status(self, name: str, version: int, state: str, error: Any = None) -> None:
        code = getattr(error, "code", StatusCode.UNKNOWN if error else StatusCode.OK)
        number = getattr(error, "error_code", code.value[0])  # one of TensorFlow's own has that
        status = StatusProto(error_code=number, error_message=str(error or ""))
        entry = ModelVersionStatus(version=version, state=state, status=status)
        self._status[name] = {**self._status[name], version: entry}
        level = logging.ERROR if error else logging.INFO
        logger.log(level, "%s version %d: %s %s", name, version, state, error or "")


def _aspired(config: Any) -> dict[int, Path]:
    """Return the versions that a model's policy asks for, of those that its folder has."""
    if config is None:
        return {}
    folders = sorted(Path(config.base_path).iterdir())
    found = {int(path.name): path for path in folders if path.name.isdecimal() and path.is_dir()}
    if not found:
        message = "No versions of servable %s found under base path %s. Did you forget to name your"
        logger.error(
            f"{message} leaf directory as a number (eg. '/1/')?", config.name, config.base_path
        )
    policy = config.model_version_policy
    if policy.HasField("specific"):
        return {version: found[version] for version in policy.specific.versions if version in found}
    if policy.HasField("all"):
        return found
    return {v: found[v] for v in sorted(found)[-(policy.latest.num_versions or 1) :]}


def every(seconds: float, action: Callable[[], object], stopped: threading.Event) -> None:
    """Call `action` in a thread every `seconds`, if not 0, until `stopped`; log what it raises."""

    def loop() -> None:
        while not stopped.wait(seconds):
            try:
                action()
            except Exception as error:  # the next time may go well
                logger.error("%s", error)

    if seconds > 0:
        threading.Thread(target=loop, daemon=True).start()
