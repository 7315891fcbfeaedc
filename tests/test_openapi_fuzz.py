"""Requests made from the OpenAPI description: answers are as described, and never a failure.

What is made from a description alone is refused before any audio is looked at: half of the
requests have fields that the service knows, and two thirds a recording that it can read.
"""

from __future__ import annotations

import base64
import operator
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import schemathesis
import soundfile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.python.asgi import shutdown_lifespans
from schemathesis.specs.openapi import checks

import api
from predictor import Predictor
from service.openai import TRANSCRIPTIONS
from service_config import ServerConfig
from serving.local import LocalBackend
from tests.media_files import encode

SAMPLES = Path(__file__).parents[1] / "Data/samples"
UPLOAD, MOBILE = "/upload/", "/transcribe_mobile"
AUDIO_FIELDS = {UPLOAD: "file", TRANSCRIPTIONS: "file", MOBILE: "audio"}
EXAMPLES, EXAMPLES_OF_AUDIO = 15, 40
LEAST_SHARE = 0.1  # of answers with a text, and of refusals, where audio is taken
CHECKS = [
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_schema_conformance,
]
UNDESCRIBED = {405, 411}  # of any path, by HTTP itself


def half_a_second(kind: str) -> list[bytes]:
    """Return the beginnings of the samples as files of a kind."""
    read = [soundfile.read(path, dtype="float32") for path in sorted(SAMPLES.glob("*.wav"))]
    return [encode(kind, waveform[: rate_hz // 2], rate_hz) for waveform, rate_hz in read]


native = st.sampled_from(half_a_second("wav-16"))
others = st.sampled_from([*half_a_second("flac"), *half_a_second("vorbis")])
cut_off = st.builds(lambda file, size: file[:size], native | others, st.integers(0, 200))
audio = st.one_of(native, others, st.binary(max_size=200), cut_off, native, others)

hotwords = st.lists(st.sampled_from(["riverside", "old mill:8", "zanzibar:12"]), max_size=2)
decoding = {
    "decoder": st.sampled_from(["greedy", "beam"]),
    "beam_width": st.integers(1, 8),
    "hotwords": hotwords,
}
answer_forms = st.sampled_from(
    [
        {"response_format": "json", "include[]": ["logprobs"]},
        {"response_format": "json", "stream": True, "include[]": ["logprobs"]},
        {"response_format": "text", "stream": True},
        {"response_format": "verbose_json", "timestamp_granularities[]": ["word", "segment"]},
        {"response_format": "verbose_json", "timestamp_granularities[]": []},
        {"response_format": "srt"},
        {"response_format": "vtt"},
    ]
)
no_options = {"stream": False, "include[]": [], "timestamp_granularities[]": []}
models = st.sampled_from(["whisper-1", "gpt-4o-transcribe", "tiny"])
transcription = st.fixed_dictionaries(
    {
        "model": models,
        "language": st.sampled_from(["en", "en-GB", "English"]),
        "languages[]": st.lists(st.sampled_from(["en", "de", "fr"])).map(
            lambda all_: [*all_, "en"]
        ),
        "hotwords[]": hotwords,
        **decoding,
    }
)
KNOWN_FIELDS = {
    UPLOAD: st.just({}),
    MOBILE: st.fixed_dictionaries(decoding),
    TRANSCRIPTIONS: st.builds(
        lambda fields, answer: {**fields, **no_options, **answer},
        transcription,
        answer_forms,
    ),
}
KNOWN_QUERY = st.fixed_dictionaries(
    {
        **decoding,
        "format": st.sampled_from(["json", "text", "srt", "vtt"]),
        "words": st.booleans(),
        "n_best": st.integers(1, 3),
    }
)


def before_generate_body(context: Any, as_described: Any) -> Any:
    """Put audio into bodies, and into half of them fields that are known and fit together."""
    path = context.operation.path
    files = audio.map(lambda file: base64.b64encode(file).decode()) if path == MOBILE else audio
    with_audio = files.map(lambda file: {AUDIO_FIELDS[path]: file})
    bodies = st.builds(operator.or_, as_described, with_audio)
    return bodies | st.builds(operator.or_, bodies, KNOWN_FIELDS[path])


def before_generate_query(context: Any, as_described: Any) -> Any:
    return as_described | KNOWN_QUERY if context.operation.path == UPLOAD else as_described


def before_generate_path_parameters(context: Any, as_described: Any) -> Any:
    return as_described | st.fixed_dictionaries({"name": models})


@pytest.fixture(scope="module")
def description(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Return the description of a running service."""
    config = ServerConfig(
        model=model_folder,
        log_folder=tmp_path_factory.mktemp("logs"),
        max_upload_bytes=200_000,
        max_duration_s=5.0,
    )
    app = api.create_app(config, load=lambda _: Predictor(LocalBackend(model_folder)))
    description = schemathesis.openapi.from_asgi("/openapi.json", app)
    for hook in (
        before_generate_body,
        before_generate_query,
        before_generate_path_parameters,
    ):
        description.hook(hook)
    yield description
    shutdown_lifespans()


def ask(case: Any) -> int:
    """Return the status of the answer."""
    response = case.call()
    assert response.status_code < 500 or response.status_code == 503, response.text
    if response.status_code == 503:
        assert response.headers["retry-after"]
    assert response.headers["x-request-id"]
    if response.status_code not in UNDESCRIBED:
        case.validate_response(response, checks=CHECKS)
    return response.status_code


def asked(operation: Any, num_examples: int) -> Counter[int]:
    """Send requests made from an operation's description; return how many had which answer."""
    statuses: Counter[int] = Counter()

    @settings(max_examples=num_examples, suppress_health_check=list(HealthCheck))
    @given(case=operation.as_strategy())
    def ask_and_count(case: Any) -> None:
        statuses[ask(case)] += 1

    ask_and_count()
    return statuses


def test_answers_are_as_described(description: Any, subtests: pytest.Subtests) -> None:
    operations = [result.ok() for result in description.get_all_operations()]
    assert {*AUDIO_FIELDS, "/health/ready", "/v1/models/{name}"} <= {o.path for o in operations}
    for operation in operations:
        takes_audio = operation.path in AUDIO_FIELDS
        with subtests.test(operation.label):
            statuses = asked(operation, EXAMPLES_OF_AUDIO if takes_audio else EXAMPLES)
            refused = sum(n for status, n in statuses.items() if 400 <= status < 500)
            if takes_audio:
                assert min(statuses[200], refused) >= LEAST_SHARE * statuses.total(), statuses
