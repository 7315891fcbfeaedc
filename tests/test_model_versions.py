"""Versions of a model come, go and fail under running requests; labels name them."""

import gc
import shutil
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import grpc
import numpy as np
import pytest
from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2, model_management_pb2

from serving.remote import RemoteBackend
from serving_config import ModelServerConfig, RemoteConfig
from tests.model_servers import Running, running

CLIENTS = 8


@pytest.fixture
def base(model_folder: Path, tmp_path: Path) -> Path:
    """Return a folder of versions with version 1."""
    copy_version(model_folder, tmp_path / "versions", 1)
    return tmp_path / "versions"


def copy_version(model_folder: Path, base: Path, version: int) -> None:
    """Put a version in place as a deployment should: beside, then by a rename."""
    base.mkdir(parents=True, exist_ok=True)
    shutil.copytree(model_folder / "saved_model" / "1", base / f".{version}")
    (base / f".{version}").rename(base / str(version))


@contextmanager
def serving(base: Path, **flags: object) -> Iterator[Running]:
    config = {"model_name": "tiny", "model_base_path": base, "file_system_poll_wait_seconds": 0.05}
    with running(ModelServerConfig(**{**config, **flags})) as server:
        yield server


def states(server: Running) -> dict[int, str]:
    """Return the state of each version by number."""
    request = get_model_status_pb2.GetModelStatusRequest()
    request.model_spec.name = "tiny"
    name = get_model_status_pb2.ModelVersionStatus.State.Name
    answer = server.models.GetModelStatus(request).model_version_status
    return {entry.version: name(entry.state) for entry in answer}


def wait_until(holds: Callable[[], bool]) -> None:
    for _ in range(2400):
        if holds():
            return
        time.sleep(0.05)
    raise AssertionError("it did not come to hold in 120 s")


class Clients:
    """Threads that send one clip after another until told to stop."""

    def __init__(self, address: str, model_folder: Path) -> None:
        self.backend = RemoteBackend(model_folder, RemoteConfig(address=address))
        self.answers, self.errors, self._stop = 0, [], threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(CLIENTS)]

    def _send(self) -> None:
        clip = np.random.default_rng(0).uniform(-0.5, 0.5, 4000).astype(np.float32)
        while not self._stop.is_set():
            try:
                self.backend.log_probs([clip])
                self.answers += 1
            except Exception as error:
                self.errors.append(error)
            time.sleep(0.01)  # the processors are not for the clients alone

    def __enter__(self) -> "Clients":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join(60)
        self.backend.close()


def test_a_new_version_takes_over_without_a_failed_request(base: Path, model_folder: Path) -> None:
    with serving(base) as server, Clients(server.address, model_folder) as clients:
        wait_until(lambda: clients.answers > 2 * CLIENTS)
        copy_version(model_folder, base, 2)
        wait_until(lambda: states(server) == {1: "END", 2: "AVAILABLE"})
        seen = clients.answers
        wait_until(lambda: clients.answers > seen + 2 * CLIENTS)
    assert clients.errors == []


def test_a_broken_version_is_reported_and_the_old_one_goes_on(
    base: Path, model_folder: Path, caplog
) -> None:
    with serving(base) as server, Clients(server.address, model_folder) as clients:
        copy_version(model_folder, base, 2)
        wait_until(lambda: states(server).get(2) == "AVAILABLE")
        shutil.copytree(base / "2", base / ".3")
        (base / ".3/saved_model.pb").write_bytes(b"no graph")
        (base / ".3").rename(base / "3")
        wait_until(lambda: states(server).get(3) == "END")
        assert states(server)[2] == "AVAILABLE"
        seen = clients.answers
        wait_until(lambda: clients.answers > seen + CLIENTS)
    assert clients.errors == []
    assert "tiny version 3: END" in caplog.text


def test_the_status_says_why_a_version_failed(base: Path) -> None:
    with serving(base) as server:
        (base / "2").mkdir()
        wait_until(lambda: states(server).get(2) == "END")
        (version, old) = server.rest.get("/v1/models/tiny").json()["model_version_status"]
    assert (old["version"], old["state"]) == ("1", "AVAILABLE")
    assert version["status"]["error_code"] == "NOT_FOUND"
    assert "Could not find SavedModel .pb or .pbtxt" in version["status"]["error_message"]


def test_a_version_that_is_mended_is_loaded(base: Path) -> None:
    with serving(base) as server:
        (base / "2").mkdir()
        wait_until(lambda: states(server).get(2) == "END")
        shutil.rmtree(base / "2")
        server.manager.poll()
        shutil.copytree(base / "1", base / ".2")
        (base / ".2").rename(base / "2")
        wait_until(lambda: states(server) == {1: "END", 2: "AVAILABLE"})


def test_a_model_that_goes_away_and_one_that_comes_later(base: Path, tmp_path: Path) -> None:
    with serving(base) as server:
        shutil.rmtree(base / "1")
        wait_until(lambda: states(server) == {1: "END"})
        body = '{"instances": [1]}'
        gone = server.rest.post("/v1/models/tiny:predict", content=body)
        assert gone.json() == {"error": "Servable not found for request: Latest(tiny)"}
    with serving(tmp_path / "nothing yet") as server:
        assert server.rest.get("/v1/models/tiny").status_code == 404


def models_config(base: Path, *versions: int, **labels: int) -> str:
    policy = "".join(f"versions: {version} " for version in versions)
    named = "".join(
        f"version_labels {{ key: '{label}' value: {version} }} "
        for label, version in labels.items()
    )
    return (
        f"model_config_list {{ config {{ name: 'tiny' base_path: '{base}' "
        f"model_platform: 'tensorflow' model_version_policy {{ specific {{ {policy} }} }} "
        f"{named} }} }}"
    )


def test_a_rollout_with_labels(base: Path, model_folder: Path, tmp_path: Path, caplog) -> None:
    """Both versions, canary to 2, stable to 2, drop 1: the file is followed without a restart."""
    copy_version(model_folder, base, 2)
    file = tmp_path / "models.config"
    file.write_text(models_config(base, 1, stable=1, canary=1), encoding="utf-8")
    flags = {
        "model_config_file": file,
        "model_config_file_poll_wait_seconds": 0.05,
        "allow_version_labels_for_unavailable_models": True,
    }

    def write(text: str) -> None:
        """Replace the file at once: what is half written would be refused."""
        beside = tmp_path / "beside"
        beside.write_text(text, encoding="utf-8")
        beside.replace(file)

    def version_of(label: str) -> int:
        answer = server.rest.get(f"/v1/models/tiny/labels/{label}/metadata").json()
        return int(answer["model_spec"]["version"])

    with serving(base, **flags) as server:
        assert (version_of("stable"), version_of("canary")) == (1, 1)
        write(models_config(base, 1, 2, stable=1, canary=1))
        wait_until(lambda: states(server).get(2) == "AVAILABLE")
        write(models_config(base, 1, 2, stable=1, canary=2))
        wait_until(lambda: version_of("canary") == 2)
        assert version_of("stable") == 1
        write(models_config(base, 1, 2, stable=2, canary=2))
        wait_until(lambda: version_of("stable") == 2)
        write(models_config(base, 2, stable=2, canary=2))
        wait_until(lambda: states(server) == {1: "END", 2: "AVAILABLE"})
        for broken, why in (
            ("model_config_list { oops", "Invalid protobuf file"),
            ("", "Cannot transition to requested config"),
        ):
            caplog.clear()
            write(broken)
            wait_until(lambda why=why: why in caplog.text)
            assert version_of("stable") == 2


def reload(server: Running, config: str) -> None:
    request = model_management_pb2.ReloadConfigRequest()
    text_format.Parse(config, request.config)
    server.models.HandleReloadConfigRequest(request)


def test_labels_name_only_what_is_available(base: Path, model_folder: Path, tmp_path: Path) -> None:
    copy_version(model_folder, base, 2)
    with serving(base) as server:
        reload(server, models_config(base, 1, 2, stable=2))
        with pytest.raises(grpc.RpcError) as caught:
            reload(server, models_config(base, 1, 2, canary=3))
        assert caught.value.code() == grpc.StatusCode.FAILED_PRECONDITION
        assert caught.value.details() == (
            "Request to assign label to version 3 of model tiny, which is not currently available "
            "for inference"
        )
        with pytest.raises(grpc.RpcError) as caught:
            reload(server, models_config(base, 1).replace("'tiny'", "'other'").replace(
                str(base), str(tmp_path / "nowhere")))  # fmt: skip
        assert "Some models did not become available: {other}" in caught.value.details()
    file = tmp_path / "models.config"
    file.write_text(models_config(base, 1, stable=1), encoding="utf-8")
    with (
        pytest.raises(ValueError, match="Request to assign label to version 1"),
        serving(base, model_config_file=file),
    ):
        pass


@pytest.mark.parametrize(
    ("policy", "expected"), [("all {}", [1, 2, 3]), ("latest { num_versions: 2 }", [2, 3])]
)
def test_policies(base: Path, model_folder: Path, policy: str, expected: list[int]) -> None:
    for version in (2, 3):
        copy_version(model_folder, base, version)
    (base / "notes").mkdir()
    config = models_config(base).replace("specific {  }", policy)
    with serving(base.parent / "none") as server:
        reload(server, config)
        assert sorted(states(server)) == expected
        assert set(states(server).values()) == {"AVAILABLE"}


def test_the_same_name_stays_with_a_memory_that_does_not_grow(base: Path, model_folder) -> None:
    """A dropped version's session is closed: nothing holds it once its requests are answered."""
    with serving(base) as server:
        spec = get_model_status_pb2.GetModelStatusRequest().model_spec
        spec.name = "tiny"
        old = weakref.ref(server.manager.servable(spec))
        copy_version(model_folder, base, 2)
        wait_until(lambda: states(server) == {1: "END", 2: "AVAILABLE"})
        wait_until(lambda: gc.collect() >= 0 and old() is None)


def test_a_folder_that_is_away_for_a_moment_unloads_nothing(base: Path, caplog) -> None:
    with serving(base) as server:
        base.rename(base.with_name("away"))
        wait_until(lambda: "Could not find base path for servable tiny" in caplog.text)
        assert states(server) == {1: "AVAILABLE"}


def test_a_folder_without_versions_is_reported(base: Path, caplog) -> None:
    with serving(base / "1"):
        assert "No versions of servable tiny found under base path" in caplog.text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("tensorflow", "torch"), "Model tiny requests unsupported platform torch"),
        (("base_path: '/", "base_path: '"), "Expected model tiny to have an absolute path or URI"),
        (("} }", "} } config { name: 'tiny' }"), "Illegal to list model tiny multiple times"),
    ],
)
def test_what_the_server_refuses_is_refused(base: Path, change, message: str) -> None:
    with serving(base) as server:
        config = models_config(base, 1)
        old, new = change
        if "config {" in new:
            config = config[: config.rindex("}")] + config[config.index("config {") :]
        with pytest.raises(grpc.RpcError) as caught:
            reload(server, config.replace(old, new) if "config {" not in new else config)
        assert caught.value.code() == grpc.StatusCode.INVALID_ARGUMENT
        assert message in caught.value.details()
        assert states(server) == {1: "AVAILABLE"}
