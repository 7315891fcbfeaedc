"""What is deployed tells when it is ready, is no root, and stays available."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import pairwise

import pytest

from service.health import router
from service.keys import METRICS_PATH
from service_config import ServerConfig
from tests.deployment import (
    APPS,
    BY_NAME,
    KUBERNETES,
    KUSTOMIZATION,
    READY,
    ROOT,
    SERVICES,
    batching,
    container,
    flags,
    model,
    pod,
    read,
)

USER = 10001


def test_probes_ask_for_the_models_status_and_not_the_processs() -> None:
    assert "stable" in model().version_labels
    for probe in ("startupProbe", "readinessProbe"):
        assert container("tf-serving")[probe]["httpGet"] == {"path": READY, "port": "rest"}
    assert "tcpSocket" in container("tf-serving")["livenessProbe"]
    assert container("api")["readinessProbe"]["httpGet"]["path"] == "/health/ready"
    for probe in ("startupProbe", "livenessProbe"):
        assert container("api")[probe]["httpGet"]["path"] == "/health/live"
    paths = {route.path for route in router.routes}
    assert {"/health/ready", "/health/live"} <= paths


class Health(BaseHTTPRequestHandler):
    """Answers `self.server.answers`' status for a path, 404 for any other."""

    def do_GET(self) -> None:
        self.send_response(self.server.answers.get(self.path, 404))
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@pytest.fixture
def health() -> Iterator[HTTPServer]:
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def health_check(name: str) -> tuple[list[str], str]:
    """Return a container's health check and the port that it asks."""
    if name == "serving":
        command = SERVICES["serving"]["healthcheck"]["test"]
        assert command[0] == "CMD"
        return command[1:], flags("compose")["rest_api_port"]
    text = read("Dockerfile").partition("HEALTHCHECK")[2]
    command = json.loads(re.search(r"CMD (\[.*\])\n", text)[1])
    return [sys.executable if word == "python" else word for word in command], "8000"


@pytest.mark.parametrize(("name", "path"), [("serving", READY), ("api", "/health/ready")])
def test_a_health_check_passes_only_when_ready(name: str, path: str, health: HTTPServer) -> None:
    command, port = health_check(name)
    assert "127.0.0.1" in command[-1]
    assert command[-1].count(port) == 1
    here = [word.replace(port, str(health.server_port)) for word in command]
    for answers, ready in (({path: 200}, True), ({path: 503}, False), ({"/": 200}, False)):
        health.answers = answers
        done = subprocess.run(here, capture_output=True, check=False, timeout=30)
        assert (done.returncode == 0) is ready, (answers, done.stderr)
    away = [word.replace(port, "1") for word in command]
    assert subprocess.run(away, capture_output=True, check=False, timeout=30).returncode != 0


@pytest.mark.parametrize(
    "kind", [("Deployment", "tf-serving"), ("Deployment", "api"), ("Pod", "model-loader")]
)
def test_nothing_on_kubernetes_runs_as_root(kind: tuple[str, str]) -> None:
    """What the Pod Security Standard `restricted` asks for, and a read-only file system."""
    spec = BY_NAME[kind]["spec"]
    spec = spec.get("template", {}).get("spec", spec)
    security = spec["securityContext"]
    assert security["runAsNonRoot"]
    assert security["runAsUser"] == security["runAsGroup"] == USER
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["automountServiceAccountToken"] is False
    for entry in spec["containers"]:
        assert entry["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }
        assert {"cpu", "memory"} == entry["resources"]["requests"].keys()
        assert {"cpu", "memory"} == entry["resources"]["limits"].keys()


def test_nothing_in_compose_runs_as_root() -> None:
    assert SERVICES["serving"]["user"] == f"{USER}:{USER}"
    assert re.findall(r"^USER (.*)$", read("Dockerfile"), re.MULTILINE) == [f"{USER}:{USER}"]
    for service in SERVICES.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]


def test_who_calls_the_api_has_a_key_or_is_on_this_machine() -> None:
    """The image listens to all; so it starts with keys, or where somebody says that it may."""
    (source,) = container("api")["envFrom"]
    secret = source["secretRef"]["name"]
    readme = (KUBERNETES / "README.md").read_text(encoding="utf-8")
    assert f"create secret generic {secret} --from-literal=STT_API_KEYS=" in readme
    given = {entry["name"] for entry in container("api")["env"]}
    assert "STT_ALLOW_OPEN" not in given
    assert "STT_HOST=0.0.0.0" in read("Dockerfile")
    assert SERVICES["api"]["environment"]["STT_ALLOW_OPEN"] == "true"
    for service in SERVICES.values():
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])


def test_the_apis_metrics_are_scraped_without_a_key() -> None:
    annotations = BY_NAME["Deployment", "api"]["spec"]["template"]["metadata"]["annotations"]
    assert annotations == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(container("api")["ports"][0]["containerPort"]),
        "prometheus.io/path": METRICS_PATH,
    }
    assert {"name": "STT_METRICS_PUBLIC", "value": "true"} in container("api")["env"]


@pytest.mark.parametrize("name", APPS)
def test_selectors_and_targets_lead_to_the_deployment(name: str) -> None:
    deployment = BY_NAME["Deployment", name]
    labels = deployment["spec"]["template"]["metadata"]["labels"]
    selected = [
        deployment["spec"]["selector"]["matchLabels"],
        BY_NAME["Service", name]["spec"]["selector"],
        BY_NAME["PodDisruptionBudget", name]["spec"]["selector"]["matchLabels"],
        pod(name)["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
    ]
    assert all(selector == labels for selector in selected)
    scaler = BY_NAME["HorizontalPodAutoscaler", name]["spec"]
    target = scaler["scaleTargetRef"]
    assert (target["kind"], target["name"]) == ("Deployment", name)
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
    assert "replicas" not in deployment["spec"]  # or each `apply` would undo the scaler
    assert deployment["spec"]["strategy"]["rollingUpdate"]["maxUnavailable"] == 0


def test_threads_are_the_pods_cores() -> None:
    cores = container("tf-serving")["resources"]["limits"]["cpu"]
    given = flags("kubernetes")
    assert str(batching().num_batch_threads.value) == cores
    assert given["tensorflow_intra_op_parallelism"] == cores
    assert given["tensorflow_inter_op_parallelism"] == cores


def test_there_is_room_for_the_bodies_that_the_api_holds_and_its_logs() -> None:
    needed = ServerConfig().limits.max_bodies_bytes + 200 * 2**20
    (volume,) = (volume for volume in pod("api")["volumes"] if volume["name"] == "tmp")
    (mount,) = SERVICES["api"]["tmpfs"]
    for size in (volume["emptyDir"]["sizeLimit"], mount.removeprefix("/tmp:size=")):
        gibibytes = int(re.fullmatch(r"(\d+)(?:Gi|g)", size)[1])
        assert gibibytes * 2**30 > needed


def test_the_readmes_commands_name_what_there_is() -> None:
    text = (KUBERNETES / "README.md").read_text(encoding="utf-8")
    lines = [line.strip() for line in text.splitlines() if line.strip().startswith("kubectl")]
    assert len(lines) >= 10
    for line in lines:
        words = shlex.split(line, comments=True)
        for flag, value in pairwise(words):
            if flag in ("-k", "-f"):
                assert (ROOT / value).exists()
            if flag == "-n":
                assert value == KUSTOMIZATION["namespace"]
        for word in words:
            kind, _, name = word.partition("/")
            if kind in ("deployment", "service", "pod"):
                assert (kind.capitalize(), name) in BY_NAME
            if word.startswith("--from-file="):
                assert (ROOT / word.partition("=")[2]).is_file()
            if word.startswith("STT_TF_SERVING_LABEL="):
                assert word.partition("=")[2] in model().version_labels
