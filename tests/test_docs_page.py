"""The API's description at `/docs`: all of it comes from the service itself."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient

import api
from service.page import FOLDER
from service_config import ServerConfig


@pytest.fixture
def client(server_config: ServerConfig) -> TestClient:
    return TestClient(api.create_app(server_config, load=lambda _: None))


def test_all_that_the_page_loads_is_there(client: TestClient) -> None:
    page = client.get("/docs")
    assert page.status_code == 200
    assert page.headers["Content-Type"].startswith("text/html")
    loaded = re.findall(r'(?:href|src)="([^"]+)"', page.text)
    assert len(loaded) == 4
    for link in loaded:
        url = page.url.join(link)
        assert (url.host, client.get(url).status_code) == (page.url.host, 200), link


def test_the_description_is_where_the_script_looks(client: TestClient) -> None:
    script = (FOLDER / "docs/docs.js").read_text(encoding="utf-8")
    (link,) = re.findall(r'new URL\("([^"]+)", document.baseURI\)', script)
    description = client.get(client.get("/docs").url.join(link)).json()
    assert "/v1/audio/transcriptions" in description["paths"]


def test_its_policy_lets_nothing_in_from_outside(client: TestClient) -> None:
    policy = client.get("/docs").headers["Content-Security-Policy"]
    rules = {name: values for name, *values in (part.split() for part in policy.split("; "))}
    assert rules["default-src"] == ["'none'"]
    assert {value for values in rules.values() for value in values} == {"'none'", "'self'", "data:"}
    assert rules["img-src"] == ["'self'", "data:"], "the arrows of Swagger UI's style"


def test_a_prefix_of_a_proxy_stays(client: TestClient) -> None:
    answer = client.get("/docs", follow_redirects=False)
    assert answer.headers["Location"] == "app/docs/"


@pytest.mark.parametrize("path", ["/redoc", "/docs/oauth2-redirect"])
def test_what_would_load_from_other_hosts_is_not_served(client: TestClient, path: str) -> None:
    assert client.get(path).status_code == 404


def test_the_kept_files_are_small() -> None:
    (folder,) = FOLDER.glob("vendor/swagger-ui-dist-*")
    assert {"LICENSE", "NOTICE"} <= {path.name for path in folder.iterdir()}
    assert sum(path.stat().st_size for path in folder.iterdir()) < 2_000_000
