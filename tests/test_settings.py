"""Settings from the environment: of a remote model, and of uploads."""

import re
from pathlib import Path

import pytest

from service_config import ServerConfig
from serving_config import BatchingConfig, RemoteConfig
from settings import read_settings, unread_variables
from tests.service_process import ROOT, running


def test_without_an_address_the_model_is_in_this_process() -> None:
    assert read_settings() == ServerConfig()


def test_an_address_makes_a_remote_model(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {
        "STT_TF_SERVING": "serving:8500",
        "STT_TF_SERVING_MODEL": "mine",
        "STT_TF_SERVING_LABEL": "stable",
        "STT_TF_SERVING_DEADLINE_S": "5",
        "STT_TF_SERVING_TLS": "true",
        "STT_TF_SERVING_CA_FILE": "ca.pem",
        "STT_TF_SERVING_TOKEN": "secret",
    }.items():
        monkeypatch.setenv(name, value)
    config = read_settings()
    assert config.remote == RemoteConfig(
        address="serving:8500",
        model="mine",
        label="stable",
        deadline_s=5.0,
        tls=True,
        ca_file=Path("ca.pem"),
        token="secret",
    )


def test_how_many_uploads_there_may_be_and_how_they_are_batched(monkeypatch) -> None:
    for name, value in {
        "STT_MAX_RUNNING": "3",
        "STT_MAX_WAITING": "5",
        "STT_BATCH_MAX_CLIPS": "2",
        "STT_BATCH_WAIT_MS": "0",
    }.items():
        monkeypatch.setenv(name, value)
    config = read_settings()
    assert (config.max_running, config.max_waiting) == (3, 5)
    assert config.batching == BatchingConfig(max_clips=2, wait_ms=0.0)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("STT_TF_SERVING_VERSION", "newest", "tf_serving_version 'newest': "),
        ("STT_TF_SERVING_VERSION", "3", "got version 3 and label stable"),
        ("STT_TF_SERVING_TOKEN", "secret", "token without tls"),
        ("STT_MAX_WAITING", "-1", "max_waiting -1 is negative"),
        ("STT_MAX_DURATION_S", "inf", "max_duration_s inf; needed: seconds over 0, not endless"),
        ("STT_MAX_RECORDING_S", "inf", "max_recording_s inf; needed: seconds over 0, not endless"),
        ("STT_MAX_RECORDING_S", "nan", "max_recording_s nan; needed: seconds over 0, not endless"),
        ("STT_BATCH_MAX_CLIPS", "0", "batch_max_clips 0 is under 1"),
    ],
)
def test_what_does_not_fit_is_refused(monkeypatch, name: str, value: str, message: str) -> None:
    monkeypatch.setenv("STT_TF_SERVING", "serving:8500")
    monkeypatch.setenv("STT_TF_SERVING_LABEL", "stable")
    monkeypatch.setenv(name, value)
    with pytest.raises(ValueError, match=message):
        read_settings()


@pytest.mark.parametrize(
    ("name", "needed"),
    [
        ("STT_MAX_RUNING", "; needed perhaps: STT_MAX_RUNNING"),
        ("stt_prot", "; needed perhaps: STT_PORT"),
        ("STT_KEY", "; needed perhaps: STT_API_KEYS"),
        ("STT_API_KEY", "; needed perhaps: STT_API_KEYS"),
        ("STT_ZZZZZZZZ", ""),
    ],
)
def test_a_variable_that_nothing_reads_is_told_with_the_nearest(name: str, needed: str) -> None:
    given = {"PATH": "/bin", "STT_PORT": "1", "stt_host": "x", name: "1"}
    assert unread_variables(given) == [f"{name} is set, and nothing reads it{needed}"]


def test_a_client_s_key_beside_the_service_s_own_is_no_mistake() -> None:
    assert unread_variables({"STT_API_KEYS": "a,b", "STT_API_KEY": "a"}) == []


def test_the_terminal_shows_it_at_the_start(model_folder: Path, tmp_path: Path) -> None:
    with running(model_folder, tmp_path, STT_MAX_RUNING="3") as service:
        said = service.terminal.read_text(encoding="utf-8")
    assert "STT_MAX_RUNING is set, and nothing reads it; needed perhaps: STT_MAX_RUNNING" in said


@pytest.mark.parametrize(
    "page", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))], ids=lambda page: page.name
)
def test_the_documentation_names_only_variables_that_are_read(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    named = re.findall(r"\bSTT_[A-Z_]*[A-Z]\b", text)
    assert unread_variables({**dict.fromkeys(named, "1"), "STT_API_KEYS": "1"}) == []
    assert re.findall(r"`(?:live|batch|tf_serving)_\w+`", text) == [], "a field of no variable"
