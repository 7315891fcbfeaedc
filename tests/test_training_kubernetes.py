"""The Job that trains on several hosts: valid, and each pod knows who it is."""

import json
import subprocess
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
import yaml

FILE = Path(__file__).parents[1] / "training" / "kubernetes" / "train.yaml"
SERVICE, JOB = yaml.safe_load_all(FILE.read_text(encoding="utf-8"))


@pytest.mark.parametrize("version", ["1.29", "1.37"])
@pytest.mark.parametrize("manifest", [SERVICE, JOB], ids=["service", "job"])
def test_manifests_are_valid(manifest: dict[str, Any], version: str) -> None:
    kubernetes_validate.validate(manifest, version, strict=True)


def test_a_mistake_is_found() -> None:
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**JOB, "spec": {"replicas": 2}}, "1.29", strict=True)


@pytest.mark.parametrize("index", range(JOB["spec"]["completions"]))
def test_each_pod_knows_its_place(index: int) -> None:
    """The script is run up to the training itself."""
    pod = JOB["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    script = container["args"][0].replace("exec stt train", 'printf %s "$TF_CONFIG" #')
    done = subprocess.run(
        [*container["command"], script],
        env={"JOB_COMPLETION_INDEX": str(index)},
        capture_output=True,
        text=True,
        check=True,
    )
    config = json.loads(done.stdout)
    name, port = JOB["metadata"]["name"], SERVICE["spec"]["ports"][0]["port"]
    workers = [
        f"{name}-{i}.{SERVICE['metadata']['name']}:{port}"
        for i in range(JOB["spec"]["completions"])
    ]
    assert config == {
        "cluster": {"worker": workers},
        "task": {"type": "worker", "index": index},
    }
    assert pod["subdomain"] == SERVICE["metadata"]["name"]
    assert SERVICE["spec"]["selector"] == {"job-name": name}
