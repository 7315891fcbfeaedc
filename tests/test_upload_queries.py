"""What can be asked of `/upload/` beside the file: words, alternatives, decoders, forms."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import httpx
import pytest
from fastapi.testclient import TestClient

import api
from predictor import Predictor, load_predictor
from service.upload_forms import MAX_BEAM_WIDTH
from service_config import ServerConfig
from speech.alphabet import Alphabet
from tests.upload_service import predictor  # noqa: F401

ROOT = Path(__file__).parents[1]


def sample() -> bytes:
    return (ROOT / "Data/samples/sample.wav").read_bytes()


def ask(client: TestClient, **query: object) -> httpx.Response:
    return client.post(
        "/upload/", params=query, files={"file": ("clip.wav", sample(), "audio/wav")}
    )


@pytest.fixture(scope="module")
def bundled_client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    config = ServerConfig(log_folder=tmp_path_factory.mktemp("logs"), compile_clips=False)
    with TestClient(api.create_app(config, load=load_predictor)) as client:
        yield client


def test_words_and_alternatives_are_there_if_asked_for(bundled_client: TestClient) -> None:
    plain = ask(bundled_client).json()
    assert set(plain) == {"transcryption", "transcription", "confidence", "duration_s", "model"}
    full = ask(bundled_client, words=True, n_best=3).json()
    assert [word["text"] for word in full["words"]] == full["transcription"].split()
    assert set(full["words"][0]) == {"text", "start_s", "end_s", "confidence"}
    scores = [alternative["score"] for alternative in full["alternatives"]]
    assert len(scores) == 3
    assert scores == sorted(scores, reverse=True)
    assert full["alternatives"][0]["text"] == full["transcription"]


def test_the_best_path_alone_is_an_alternative_if_more_were_asked_for(
    bundled_client: TestClient,
) -> None:
    answer = ask(bundled_client, decoder="greedy", n_best=3).json()
    (only,) = answer["alternatives"]
    assert only["text"] == answer["transcription"]
    assert -1000 < only["score"] < 0


def test_the_decoder_can_be_chosen(bundled_client: TestClient) -> None:
    beam, greedy = ask(bundled_client).json(), ask(bundled_client, decoder="greedy").json()
    assert beam == ask(bundled_client, decoder="beam", beam_width=64).json()
    assert "people of the town" in beam["transcription"]
    assert greedy["transcription"] not in ("", beam["transcription"])


def test_hotwords_lift_what_was_nearly_heard(bundled_client: TestClient) -> None:
    lifted = ask(bundled_client, hotwords=["knew:80", "zanzibar"]).json()["transcription"]
    assert "town knew it well" in lifted
    assert "zanzibar" not in lifted


def test_no_weight_writes_what_was_not_nearly_heard(bundled_client: TestClient) -> None:
    plain = ask(bundled_client).json()["transcription"]
    hotwords = ["zanzibar:100", "kestrels:100", "centuries:100"]
    assert ask(bundled_client, hotwords=hotwords).json()["transcription"] == plain


@pytest.mark.parametrize(
    ("form", "kind", "start"),
    [
        ("text", "text/plain", "the old house stood"),
        ("srt", "application/x-subrip", "1\n00:00:00,"),
        ("vtt", "text/vtt", "WEBVTT"),
    ],
)
def test_other_forms(bundled_client: TestClient, form: str, kind: str, start: str) -> None:
    response = ask(bundled_client, format=form)
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith(kind)
    assert response.text.startswith(start)
    assert "old house" in response.text


def test_a_parameter_of_somebody_elses_is_ignored(bundled_client: TestClient) -> None:
    assert ask(bundled_client, utm="1").status_code == 200


@pytest.mark.parametrize(
    "query",
    [
        {"format": "doc"},
        {"n_best": 0},
        {"n_best": 21},
        {"decoder": "best"},
        {"beam_width": MAX_BEAM_WIDTH + 1},
        {"beam_width": 0},
        {"beam_width": "wide"},
        {"hotwords": "..."},
        {"hotwords": "steels:many"},
        {"hotwords": ["a"] * 101},
    ],
)
def test_queries_out_of_bounds_are_422(bundled_client: TestClient, query: dict) -> None:
    response = ask(bundled_client, **query)
    assert response.status_code == 422
    assert response.json()["detail"]


def test_a_beam_that_is_too_wide_is_told_whose_limit_it_is(bundled_client: TestClient) -> None:
    assert ask(bundled_client, beam_width=MAX_BEAM_WIDTH).status_code == 200
    (wrong,) = ask(bundled_client, beam_width=MAX_BEAM_WIDTH + 1).json()["detail"]
    assert wrong["loc"] == ["query", "beam_width"]
    assert wrong["msg"] == (
        "got 257; needed: 1 to 256, the limit of this service (stt transcribe --beam-width, "
        "which searches on your own machine, goes up to 1024)"
    )


def test_hotwords_where_the_alphabet_has_no_space_are_422(
    server_config: ServerConfig, predictor: Predictor
) -> None:
    class Unspaced:
        """A model whose alphabet has another symbol in the place of the space."""

        version = "1"
        symbols = tuple(s.replace(" ", "-") for s in predictor.pipeline.alphabet.symbols)
        pipeline = replace(predictor.pipeline, alphabet=Alphabet(symbols))
        log_probs = predictor.backend.log_probs

        def check_ready(self) -> None: ...

        def close(self) -> None: ...

    unspaced = Predictor(Unspaced())
    with TestClient(api.create_app(server_config, load=lambda _: unspaced)) as client:
        assert ask(client).status_code == 200
        response = ask(client, hotwords="knew")
    assert response.status_code == 422
    assert response.json()["detail"].startswith(
        "hot word 'knew', and the model's alphabet has no space; needed: "
    )
