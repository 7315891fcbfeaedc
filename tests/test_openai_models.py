"""Names of the model that is served: its own, and OpenAI's for it."""

# ruff: noqa: F811 (fixtures)

from __future__ import annotations

import openai
import pytest
from openai import OpenAI

from predictor import Predictor
from service.health import builtin_clip
from service.openai_forms import OPENAI_MODELS
from tests.media_files import encode
from tests.openai_service import RATE_HZ, ask, client, predictor  # noqa: F401


@pytest.mark.parametrize(
    "name",
    ["whisper-9", pytest.param("gpt-4o-transcribe-diarize", id="which would tell speakers apart")],
)
def test_a_model_that_is_not_there(client: OpenAI, name: str) -> None:
    with pytest.raises(openai.NotFoundError, match=name) as caught:
        ask(client, model=name)
    error = caught.value
    assert (error.type, error.param) == ("invalid_request_error", "model")
    assert error.code == "model_not_found"
    for retrieved in (name, f"a/{name}"):
        with pytest.raises(openai.NotFoundError, match=retrieved):
            client.models.retrieve(retrieved)


def test_models_are_listed_under_every_name_that_is_taken(
    client: OpenAI, predictor: Predictor
) -> None:
    hum = encode("wav-16", builtin_clip(RATE_HZ), RATE_HZ)
    models = client.models.list().data
    assert models[0].id == predictor.pipeline.name
    assert {model.id for model in models[1:]} == OPENAI_MODELS
    assert len({model.id for model in models}) == len(models)
    for model in models:
        assert model.object == "model"
        assert model.created > 1_700_000_000
        assert client.models.retrieve(model.id) == model
        assert ask(client, hum, model=model.id).model == predictor.pipeline.name
