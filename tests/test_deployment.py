"""Compose, Kubernetes and TensorFlow Serving's own files: valid, and in agreement."""

from __future__ import annotations

import copy
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml
from google.protobuf import text_format

import settings
from service_config import ServerConfig
from speech.batches import MAX_BATCH
from tests.deployment import (
    APPS,
    BY_NAME,
    COMPOSE,
    DOCKER,
    FLAGS,
    IMAGES,
    KUBERNETES,
    KUSTOMIZATION,
    MANIFESTS,
    MODEL,
    SERVICES,
    batching,
    container,
    flags,
    message,
    model,
    monitoring,
    pod,
    read,
)

# Each file by itself


def test_the_model_is_the_bundled_one_and_its_labels_lead_to_versions() -> None:
    versions = set(model().model_version_policy.specific.versions)
    assert (model().name, model().model_platform) == (MODEL, "tensorflow")
    assert set(model().version_labels) == {"stable", "canary"}
    assert set(model().version_labels.values()) <= versions
    for version in versions:
        assert (ServerConfig().model / f"saved_model/{version}/saved_model.pb").is_file()


def test_batching_takes_the_clients_largest_request() -> None:
    largest, sizes = batching().max_batch_size.value, list(batching().allowed_batch_sizes)
    assert largest >= MAX_BATCH
    assert sizes == sorted(set(sizes))
    assert (sizes[0], sizes[-1]) == (1, largest)
    assert batching().pad_variable_length_inputs
    assert 0 < batching().batch_timeout_micros.value <= 10_000
    assert 1 <= batching().max_enqueued_batches.value <= 100


def test_metrics_are_on() -> None:
    assert monitoring().enable
    assert monitoring().path.startswith("/")


@pytest.mark.parametrize("kind", ["BatchingParameters", "MonitoringConfig"])
def test_a_misspelled_setting_is_found(kind: str) -> None:
    with pytest.raises(text_format.ParseError):
        message("max_batchsize { value: 16 }", kind)


def check_compose(path: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    return subprocess.run([*command, path], capture_output=True, text=True, check=False)


def test_compose_follows_the_compose_specification(tmp_path: Path) -> None:
    done = check_compose(DOCKER / "compose.yaml")
    assert done.returncode == 0, done.stdout
    broken = copy.deepcopy(COMPOSE)
    broken["services"]["api"]["enviroment"] = {}
    (tmp_path / "compose.yaml").write_text(yaml.safe_dump(broken), encoding="utf-8")
    done = check_compose(tmp_path / "compose.yaml")
    assert done.returncode == 1
    assert "enviroment" in done.stdout


@pytest.mark.parametrize("version", ["1.29", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("manifest", MANIFESTS)
def test_a_manifest_follows_its_schema(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_misspelled_manifest_is_found() -> None:
    broken = copy.deepcopy(BY_NAME["Deployment", "api"])
    broken["spec"]["template"]["spec"]["containers"][0]["readynessProbe"] = {}
    with pytest.raises(kubernetes_validate.ValidationError, match="readynessProbe"):
        kubernetes_validate.validate(broken, "1.29", strict=True)


def test_every_manifest_is_applied_but_for_the_loader() -> None:
    files = {path.name for path in KUBERNETES.glob("*.yaml")}
    assert {*KUSTOMIZATION["resources"]} == files - {"kustomization.yaml", "model-loader.yaml"}
    assert ("Namespace", KUSTOMIZATION["namespace"]) in BY_NAME
    assert BY_NAME["Pod", "model-loader"]["metadata"]["namespace"] == KUSTOMIZATION["namespace"]


def test_the_configmap_holds_the_very_files() -> None:
    config = BY_NAME["ConfigMap", "tf-serving-config"]["data"]
    names = ["models.config", "batching_parameters.txt", "monitoring.config"]
    assert config == {name: read(name) for name in names}


# Tags, ports, names and paths


def test_images_are_the_pinned_ones() -> None:
    assert SERVICES["serving"]["image"] == IMAGES["tf-serving"]
    assert SERVICES["api"]["image"] == IMAGES["api"]
    assert {name: container(name)["image"] for name in APPS} == IMAGES
    loader = BY_NAME["Pod", "model-loader"]["spec"]["containers"][0]
    assert loader["image"] == IMAGES["tf-serving"]
    assert f"-t {IMAGES['api']} " in (KUBERNETES / "README.md").read_text(encoding="utf-8")
    assert f"-t {IMAGES['api']} " in read("Dockerfile")


@pytest.mark.parametrize("of", ["compose", "kubernetes"])
def test_flags_are_the_servers_and_lead_to_the_files(of: str) -> None:
    given = flags(of)
    assert given.keys() <= {*FLAGS.split()}
    assert (given["enable_batching"], given["port"]) == ("true", "8500")
    assert given["allow_version_labels_for_unavailable_models"] == "true"
    for flag in ("model_config_file", "batching_parameters_file", "monitoring_config_file"):
        folder, _, name = given[flag].rpartition("/")
        assert folder == "/config"
        assert (DOCKER / name).is_file()
    assert flags("compose").items() <= flags("kubernetes").items()


def test_what_is_mounted_is_where_the_server_looks() -> None:
    mounted = {volume["target"]: volume for volume in SERVICES["serving"]["volumes"]}
    assert mounted.keys() == {"/config", model().base_path}
    assert all(volume["read_only"] for volume in mounted.values())
    assert (DOCKER / mounted["/config"]["source"]).resolve() == DOCKER
    saved_model = (DOCKER / mounted[model().base_path]["source"]).resolve()
    assert saved_model == ServerConfig().model / "saved_model"

    mounts = {mount["mountPath"]: mount for mount in container("tf-serving")["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod("tf-serving")["volumes"]}
    assert mounts.keys() == {"/config", model().base_path, "/tmp"}
    assert mounts["/config"]["readOnly"]
    assert mounts[model().base_path]["readOnly"]
    assert "subPath" not in mounts["/config"]  # or changes would not arrive
    config = volumes[mounts["/config"]["name"]]["configMap"]["name"]
    claim = volumes[mounts[model().base_path]["name"]]["persistentVolumeClaim"]["claimName"]
    assert ("ConfigMap", config) in BY_NAME
    assert ("PersistentVolumeClaim", claim) in BY_NAME
    loader = BY_NAME["Pod", "model-loader"]["spec"]
    assert loader["volumes"][0]["persistentVolumeClaim"]["claimName"] == claim
    assert loader["containers"][0]["volumeMounts"][0]["mountPath"] == model().base_path


def test_ports_are_the_same_everywhere() -> None:
    ports = {"grpc": int(flags("compose")["port"]), "rest": int(flags("compose")["rest_api_port"])}
    ports_of = {"tf-serving": ports, "api": {"http": ServerConfig().port}}
    for name, expected in ports_of.items():
        assert {p["name"]: p["containerPort"] for p in container(name)["ports"]} == expected
        service = BY_NAME["Service", name]["spec"]["ports"]
        assert {p["targetPort"]: p["port"] for p in service} == expected
        published = SERVICES["serving" if name == "tf-serving" else name]["ports"]
        assert published == [f"127.0.0.1:{port}:{port}" for port in expected.values()]
        for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
            ((_, where),) = (i for i in container(name)[probe].items() if isinstance(i[1], dict))
            assert where["port"] in expected


def test_the_api_finds_the_server() -> None:
    environment = {entry["name"]: entry["value"] for entry in container("api")["env"]}
    port = flags("kubernetes")["port"]
    assert environment["STT_TF_SERVING"] == f"dns:///tf-serving:{port}"
    assert BY_NAME["Service", "tf-serving"]["spec"]["clusterIP"] == "None"
    assert SERVICES["api"]["environment"]["STT_TF_SERVING"] == f"serving:{port}"
    assert "serving" in SERVICES["api"]["depends_on"]


@pytest.mark.parametrize("of", ["compose", "kubernetes"])
def test_the_apis_variables_are_its_settings(of: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = SERVICES["api"]["environment"]
    if of == "kubernetes":
        given = {entry["name"]: entry["value"] for entry in container("api")["env"]}
    image = dict(re.findall(r"(STT_\w+)=(\S+)", read("Dockerfile")))
    environment = {**image, **given}
    names = {name.removeprefix("STT_").lower() for name in environment}
    assert names <= settings.Settings.model_fields.keys()
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    remote = settings.read_settings().remote
    assert remote.model == model().name
    assert remote.label in model().version_labels
    assert environment["STT_LOG_FOLDER"].startswith("/tmp/")  # all that can be written


def test_metrics_are_scraped_where_they_are() -> None:
    metadata = BY_NAME["Deployment", "tf-serving"]["spec"]["template"]["metadata"]
    assert metadata["annotations"] == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": flags("kubernetes")["rest_api_port"],
        "prometheus.io/path": monitoring().path,
    }
