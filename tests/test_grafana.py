"""The Grafana dashboard: in form, and about figures that the service has."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from fastapi.testclient import TestClient
from prometheus_client.parser import text_string_to_metric_families

import api
from config import AudioConfig
from predictor import Predictor
from service.live_messages import CloseCode
from service_config import ServerConfig
from serving.local import LocalBackend
from speech.audio import encode_native
from tests.clips import babble

FILE = Path(__file__).parents[1] / "serving/grafana/speech-to-text.json"
DASHBOARD = json.loads(FILE.read_text(encoding="utf-8"))
TARGETS = [
    pytest.param(target["expr"], id=f"{panel['id']} {panel['title']}")
    for panel in DASHBOARD["panels"]
    for target in panel["targets"]
]
ALWAYS = {"job", "instance", "le"}  # Prometheus and histograms have them


@pytest.fixture(scope="module")
def labels(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, set[str]]:
    """Return the labels of each figure of a service that was used."""
    config = ServerConfig(model=model_folder, log_folder=tmp_path_factory.mktemp("logs"))
    app = api.create_app(config, load=lambda _: Predictor(LocalBackend(model_folder)))
    with TestClient(app) as client:
        clip = encode_native(babble(0.5), AudioConfig())
        assert client.post("/upload/", files={"file": clip}).status_code == 200
        text = client.get("/metrics").text
    found: dict[str, set[str]] = {}
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            found.setdefault(sample.name, set()).update(sample.labels)
    return found


@pytest.mark.parametrize("expression", TARGETS)
def test_a_panel_asks_for_figures_and_labels_that_exist(
    expression: str, labels: dict[str, set[str]]
) -> None:
    names = re.findall(r"\b(?:stt|process)_\w+", expression)
    assert names
    for name in names:
        assert name in labels
    asked = re.findall(r"(\w+)=~?\"", expression)
    by = [
        label.strip()
        for group in re.findall(r"by \(([^)]*)\)", expression)
        for label in group.split(",")
    ]
    known = ALWAYS.union(*(labels[name] for name in names))
    assert {*asked, *by} <= known
    assert expression.count("(") == expression.count(")")
    assert expression.count("{") == expression.count("}")


def test_every_figure_of_ours_is_on_a_panel(labels: dict[str, set[str]]) -> None:
    asked = " ".join(target.values[0] for target in TARGETS)
    ours = {
        re.sub(r"_(bucket|count|sum|created|total)$", "", n) for n in labels if n.startswith("stt_")
    }
    assert len(ours) >= 9
    assert [name for name in sorted(ours) if name not in asked] == []


def test_each_code_of_a_failure_is_on_one_side() -> None:
    """Of WebSockets the code is that of the close: some are the service's, some its client's."""
    (panel,) = [panel for panel in DASHBOARD["panels"] if panel["title"] == "Share of errors"]
    ours, clients = [
        re.compile(re.findall(r'code=~"([^"]+)"', target["expr"])[0]) for target in panel["targets"]
    ]
    of_service = {CloseCode.INTERNAL, CloseCode.RESTART, CloseCode.TRY_LATER}
    of_client = {*CloseCode} - of_service - {CloseCode.NORMAL}
    for code in [*range(500, 600), *map(int, of_service)]:
        assert ours.fullmatch(str(code))
        assert not clients.fullmatch(str(code))
    for code in [*range(400, 500), *map(int, of_client)]:
        assert clients.fullmatch(str(code))
        assert not ours.fullmatch(str(code))
    for code in (200, 307, 1000, 1001, 1005):
        assert not ours.fullmatch(str(code))
        assert not clients.fullmatch(str(code))


def test_the_data_source_is_a_variable() -> None:
    variables = {variable["name"]: variable for variable in DASHBOARD["templating"]["list"]}
    assert variables["datasource"]["type"] == "datasource"
    sources = [*DASHBOARD["panels"], *variables.values()]
    sources += [target for panel in DASHBOARD["panels"] for target in panel["targets"]]
    uids = {source["datasource"]["uid"] for source in sources if "datasource" in source}
    assert uids == {"${datasource}"}
    used = set(re.findall(r"\$(\w+)", json.dumps(DASHBOARD["panels"])))
    assert used - {"__rate_interval"} <= variables.keys()


def test_panels_have_a_place_of_their_own() -> None:
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    cells = set()
    for panel in DASHBOARD["panels"]:
        assert {"title", "type", "fieldConfig", "gridPos"} <= panel.keys()
        at = panel["gridPos"]
        own = {(at["x"] + i, at["y"] + j) for i in range(at["w"]) for j in range(at["h"])}
        assert at["x"] + at["w"] <= 24
        assert not own & cells
        cells |= own
