"""OpenAI's contract, asked by OpenAI's own Python client, over the bundled model."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import asyncio
import math

import httpx
import numpy as np
import openai
import pytest
from openai import OpenAI
from openai.types.audio import TranscriptionVerbose

import api
from predictor import Predictor
from service.openai_forms import TranscriptionForm
from service_config import ServerConfig
from speech.alphabet import Alphabet
from speech.decoding.decoder import DecodingOptions
from tests.media_files import KINDS, encode
from tests.openai_service import (  # noqa: F401
    RATE_HZ,
    SAMPLE,
    ask,
    client,
    client_of,
    long_wav,
    predictor,
    sample,
)
from tests.services import served


def test_json_is_what_the_predictor_says(client: OpenAI, predictor: Predictor) -> None:
    wanted = predictor.transcribe(SAMPLE.read_bytes())
    answer = ask(client)
    assert answer.text == wanted.text
    assert "people of the town" in answer.text
    assert answer.duration == wanted.duration_s
    assert answer.confidence == pytest.approx(wanted.confidence, abs=1e-3)
    assert answer.usage.to_dict() == {"type": "duration", "seconds": math.ceil(wanted.duration_s)}
    assert answer.logprobs is None


def test_verbose_json_has_segments_or_words_or_both(client: OpenAI, long_wav: bytes) -> None:
    plain = ask(client, long_wav, response_format="verbose_json")
    assert isinstance(plain, TranscriptionVerbose)
    assert (plain.language, plain.task, plain.words) == ("english", "transcribe", None)
    assert plain.duration == pytest.approx(90.0)
    words = ask(client, long_wav, response_format="verbose_json", timestamp_granularities=["word"])
    assert words.segments is None
    assert " ".join(word.word for word in words.words) == words.text == plain.text
    assert all(0 <= word.start <= word.end <= 90.0 for word in words.words)
    both = ask(
        client,
        long_wav,
        response_format="verbose_json",
        timestamp_granularities=["word", "segment"],
    )
    assert (both.words, both.segments) == (words.words, plain.segments)


def test_segments_have_what_openai_s_have(client: OpenAI, long_wav: bytes, predictor) -> None:
    answer = ask(client, long_wav, response_format="verbose_json")
    segments = answer.segments
    assert len(segments) > 10
    assert " ".join(segment.text for segment in segments) == answer.text
    assert [segment.id for segment in segments] == list(range(len(segments)))
    alphabet = predictor.pipeline.alphabet
    for segment, following in zip(segments, [*segments[1:], None], strict=True):
        assert alphabet.decode(segment.tokens) == segment.text
        assert segment.start <= segment.end <= segment.start + 7
        assert following is None or segment.end <= following.start + 0.1
        assert segment.seek == int(segment.start * 100)
        assert -14 < segment.avg_logprob <= 0
        assert 0.5 < segment.compression_ratio < 3
        assert (segment.temperature, segment.no_speech_prob) == (0, 0)
        assert 0 < segment.confidence <= 1


@pytest.mark.parametrize(
    ("form", "start"),
    [("text", "the old house"), ("srt", "1\n00:00:00,"), ("vtt", "WEBVTT\n\n00:00:00.")],
)
def test_forms_that_are_no_json(client: OpenAI, form: str, start: str) -> None:
    answer = ask(client, response_format=form)
    assert isinstance(answer, str)
    assert answer.startswith(start)
    assert "people" in answer


def test_logprobs_are_of_words_and_make_the_text(client: OpenAI) -> None:
    answer = ask(client, include=["logprobs"])
    assert "".join(part.token for part in answer.logprobs) == answer.text
    assert all(bytes(map(int, part.bytes)).decode() == part.token for part in answer.logprobs)
    timed = ask(client, response_format="verbose_json", timestamp_granularities=["word"])
    for part, word in zip(answer.logprobs, timed.words, strict=True):
        assert math.exp(part.logprob) == pytest.approx(word.confidence, abs=1e-3)


def test_a_stream_has_a_delta_a_piece_and_then_all(client: OpenAI, long_wav: bytes) -> None:
    *deltas, done = ask(client, long_wav, stream=True)
    assert [event.type for event in deltas] == ["transcript.text.delta"] * len(deltas)
    assert done.type == "transcript.text.done"
    assert len(deltas) >= 4
    assert "".join(event.delta for event in deltas) == done.text
    whole = ask(client, long_wav)
    assert done.text == whole.text
    for answer in (done, whole):
        assert [language.code for language in answer.languages] == ["en"]


def test_a_stream_has_logprobs_if_asked_for(client: OpenAI, long_wav: bytes) -> None:
    *deltas, done = ask(client, long_wav, stream=True, include=["logprobs"])
    tokens = [part.token for event in deltas for part in event.logprobs]
    assert "".join(tokens) == done.text
    assert [part.token for part in done.logprobs] == tokens
    *deltas, done = ask(client, stream=True)
    assert deltas[0].logprobs is None
    assert done.logprobs is None


def test_silence_is_an_empty_text(client: OpenAI) -> None:
    silence = encode("flac", np.zeros(30 * RATE_HZ, np.float32), RATE_HZ)
    nothing = ask(client, silence)
    assert (nothing.text, nothing.languages) == ("", [])
    (done,) = ask(client, silence, stream=True)
    assert (done.type, done.text) == ("transcript.text.done", "")
    verbose = ask(client, silence, response_format="verbose_json")
    assert (verbose.text, verbose.segments) == ("", [])
    assert ask(client, silence, response_format="vtt") == "WEBVTT\n"


@pytest.mark.parametrize("kind", KINDS)
def test_audio_of_every_kind_whatever_its_name(client: OpenAI, kind: str) -> None:
    """The name says MP3; the content is what it is."""
    content = encode(kind, sample(), RATE_HZ)
    answer = client.audio.transcriptions.create(file=("voice.mp3", content), model="whisper-1")
    assert "house stood near the river" in answer.text
    assert abs(answer.duration - len(sample()) / RATE_HZ) < 0.15


def refusal(client: OpenAI, content: bytes | None = None, **fields) -> tuple:
    """Return status, type, param, code and message of the error that is answered."""
    with pytest.raises(openai.APIStatusError) as caught:
        list(ask(client, content, **fields)) if fields.get("stream") else ask(
            client, content, **fields
        )
    error = caught.value
    assert set(error.body) == {"message", "type", "param", "code"}
    return error.status_code, error.type, error.param, error.code, error.body["message"]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("content", "status", "code", "message"),
    [
        (b"", 400, "invalid_audio", "got 0 bytes; needed: an audio file"),
        (b"hello", 415, "unsupported_audio", "got content that is no known audio; needed: WAV"),
        (b"fLaC" + bytes(99), 400, "invalid_audio", "cannot read the audio: "),
        (
            encode("flac", np.zeros(121 * 8000, np.float32), 8000),
            413,
            "audio_too_long",
            "got over 120 s of audio; needed: at most 120 s",
        ),
        (bytes(8_000_001), 413, "file_too_large", "got 8000001 bytes; needed: at most 8000000"),
    ],
    ids=["empty", "text", "broken", "too long", "too large"],
)
def test_audio_that_is_refused(
    client: OpenAI, content: bytes, status: int, code: str, message: str, stream: bool
) -> None:
    got = refusal(client, content, stream=stream)
    assert got[:4] == (status, "invalid_request_error", "file", code)
    assert got[4].startswith(message)


@pytest.mark.parametrize(
    ("fields", "param"),
    [
        ({"language": "de"}, "language"),
        ({"language": "de-en"}, "language"),
        ({"extra_body": {"languages": ["fr", "de"]}}, "languages[]"),
        ({"temperature": 1.5}, "temperature"),
        ({"temperature": -0.1}, "temperature"),
        ({"response_format": "diarized_json"}, "response_format"),
        ({"timestamp_granularities": ["word"]}, "timestamp_granularities[]"),
        (
            {"response_format": "verbose_json", "timestamp_granularities": ["letter"]},
            "timestamp_granularities[]",
        ),
        ({"include": ["logprobs"], "response_format": "text"}, "include[]"),
        ({"include": ["tokens"]}, "include[]"),
        ({"stream": True, "response_format": "srt"}, "stream"),
        ({"extra_body": {"hotwords": "..."}}, "hotwords"),
        ({"extra_body": {"hotwords": "steels:many"}}, "hotwords"),
        ({"extra_body": {"hotwords": ["steels:many"]}}, "hotwords"),
        ({"extra_body": {"decoder": "best"}}, "decoder"),
        ({"extra_body": {"beam_width": 1000}}, "beam_width"),
    ],
    ids=str,
)
def test_fields_that_are_refused(client: OpenAI, fields: dict, param: str) -> None:
    got = refusal(client, **fields)
    assert got[:4] == (400, "invalid_request_error", param, "invalid_value")


@pytest.mark.parametrize(
    ("param", "fields"),
    [
        ("keywords[]", {"extra_body": {"keywords": ["a" * 201]}}),
        ("keywords[]", {"extra_body": {"keywords": ["zanzibar"] * 101}}),
        ("hotwords", {"extra_body": {"hotwords": "a" * 201}}),
        ("hotwords[]", {"extra_body": {"hotwords": ["a" * 201]}}),
        ("hotwords[]", {"extra_body": {"hotwords": ["zanzibar"] * 101}}),
    ],
    ids=["long keyword", "many keywords", "long hot word", "long in list", "many"],
)
def test_more_words_than_can_be_listened_for_are_refused(
    client: OpenAI, param: str, fields: dict
) -> None:
    got = refusal(client, **fields)
    assert got[:4] == (400, "invalid_request_error", param, "invalid_value")
    assert "at most" in got[4]


@pytest.mark.parametrize("stream", [False, True])
def test_words_are_read_in_a_thread_for_others_are_served_meanwhile(
    client: OpenAI, monkeypatch: pytest.MonkeyPatch, stream: bool
) -> None:
    read, loops = TranscriptionForm.options, []

    def options(form: TranscriptionForm, alphabet: Alphabet) -> DecodingOptions:
        loops.append(asyncio._get_running_loop())
        return read(form, alphabet)

    monkeypatch.setattr(TranscriptionForm, "options", options)
    answer = ask(client, prompt="the old house", stream=stream)
    assert "people" in (list(answer)[-1] if stream else answer).text
    assert loops == [None]


def test_another_language_is_told_which_there_is(client: OpenAI) -> None:
    message = refusal(client, language="de")[4]
    assert message == "got 'de'; needed: en or english, the only language here, or nothing"


@pytest.mark.parametrize("language", ["en", "EN", "en-US", "en_GB", "English", "", "english"])
def test_english_is_accepted(client: OpenAI, language: str) -> None:
    assert "people" in ask(client, language=language, temperature=0.7).text


def test_a_prompt_may_be_as_long_as_a_field(client: OpenAI) -> None:
    prompt = "and so it goes on " * 3600
    assert 64_000 < len(prompt) < 65_536
    assert "people" in ask(client, prompt=prompt).text
    assert "64KB" in refusal(client, prompt=prompt + "and on " * 200)[4]


def test_a_prompt_s_words_are_listened_for(client: OpenAI) -> None:
    """`knew` is heard as `now` without being told; the others are in no alphabet, or no words."""
    plain = ask(client).text
    hinted = ask(client, extra_body={"hotwords": "knew:80"}).text
    assert "town knew it well" in hinted
    assert "town knew it well" not in plain
    assert ask(client, prompt="«Zürich» 東京 42 … :: and it was, of Zanzibar: a").text == plain
    assert ask(client, extra_body={"keywords": ["東京", "zanzibar"]}).text == plain


@pytest.mark.parametrize("hotwords", ["knew:80", ["knew:80"], ["zanzibar", "knew:80"]], ids=str)
def test_hot_words_are_one_or_a_list(client: OpenAI, hotwords: str | list[str]) -> None:
    """The client names a list `hotwords[]`, and a single one `hotwords`."""
    assert "town knew it well" in ask(client, extra_body={"hotwords": hotwords}).text


def test_hot_words_under_both_names_are_one_list(client: OpenAI) -> None:
    def post(*names: str) -> httpx.Response:
        parts = [(name, (None, "zanzibar" if i else "knew:80")) for i, name in enumerate(names)]
        files = [("file", SAMPLE.read_bytes()), ("model", (None, "whisper-1")), *parts]
        return client._client.post(f"{client.base_url}audio/transcriptions", files=files)

    for names in (("hotwords", "hotwords[]"), ("hotwords[]", "hotwords")):
        assert "town knew it well" in post(*names).json()["text"]
    refused = post(*["hotwords"] * 60, *["hotwords[]"] * 41)
    assert refused.status_code == 400
    assert refused.json()["error"]["param"] == "hotwords"
    assert refused.json()["error"]["message"] == "got 101 hot words; needed: at most 100"


def test_a_beam_that_is_too_wide_is_told_whose_limit_it_is(client: OpenAI) -> None:
    message = refusal(client, extra_body={"beam_width": 1000})[4]
    assert message.startswith("beam_width: got 1000; needed: 1 to 256, the limit of this service")


def test_the_decoder_can_be_chosen(client: OpenAI) -> None:
    greedy = ask(client, extra_body={"decoder": "greedy"}).text
    assert greedy not in ("", ask(client).text)
    assert ask(client, extra_body={"decoder": "beam", "beam_width": 64}).text == ask(client).text


def test_missing_fields_and_other_addresses(client: OpenAI) -> None:
    post = client._client.post
    url = f"{client.base_url}audio/transcriptions"
    for fields, param in (
        ({"data": {"model": "whisper-1"}}, "file"),
        ({"files": {"file": b"x"}}, "model"),
    ):
        response = post(url, **fields)
        assert response.status_code == 400
        assert response.json()["error"]["param"] == param
        assert response.json()["error"]["code"] == "missing_required_parameter"
    response = post(url, content=b"{}", headers={"Content-Type": "application/json"})
    assert response.status_code == 400
    response = client._client.get(url)
    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    assert response.json()["error"]["code"] == "method_not_allowed"
    response = client._client.get(f"{client.base_url}nothing")
    assert (response.status_code, response.json()["error"]["code"]) == (404, "not_found")


def test_a_body_over_the_limit_is_refused_before_it_is_read(client: OpenAI) -> None:
    got = refusal(client, bytes(8_200_000))
    assert got[:2] == (413, "invalid_request_error")
    assert "needed: a file of at most 8000000 bytes" in got[4]


def test_upload_keeps_its_own_limits_and_errors(client: OpenAI) -> None:
    url = str(client.base_url).replace("/v1/", "/upload/")
    response = client._client.post(url, files={"file": bytes(2_200_000)})
    assert response.status_code == 413
    assert "needed: a file of at most 2000000 bytes" in response.json()["detail"]
    response = client._client.post(url, files={"file": b"hello"})
    assert response.json() == {"detail": "not a WAV file: it does not start with RIFF and WAVE"}
    assert client._client.post(url).status_code == 422
    assert client._client.get(url.replace("upload", "nothing")).json() == {"detail": "Not Found"}


def test_without_a_model_it_is_503(server_config: ServerConfig) -> None:
    def load(_: ServerConfig) -> Predictor:
        raise OSError("the disk is gone")

    app = api.create_app(server_config, load=load)
    unavailable = pytest.raises(openai.InternalServerError)
    with served(app) as (_, port), client_of(port) as client, unavailable as caught:
        ask(client)
    assert caught.value.status_code == 503
    assert caught.value.response.headers["Retry-After"] == "5"
    assert caught.value.type == "server_error"
    assert "the disk is gone" in caught.value.body["message"]
