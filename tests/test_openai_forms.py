"""Which words of a form are listened for, which of them come first, and what its page says."""

from __future__ import annotations

import io
import re
from pathlib import Path
from typing import Any

from fastapi import UploadFile

from service import openai_errors
from service.openai_forms import TranscriptionForm
from service.upload_forms import MAX_HOTWORDS
from speech.alphabet import Alphabet
from speech.decoding.hotwords import DEFAULT_WEIGHT


def heard_for(**given: Any) -> dict[str, float]:
    """Return the words that are listened for, with their weights."""
    fields: dict[str, Any] = {"prompt": "", "keywords": [], "hotwords": [], **given}
    form = TranscriptionForm(
        file=UploadFile(io.BytesIO()),
        model="whisper-1",
        response_format="json",
        granularities=frozenset(),
        has_logprobs=False,
        is_stream=False,
        decoder=None,
        beam_width=None,
        **fields,
    )
    return {word.text: word.weight for word in form.options(Alphabet()).hotwords}


def many(first: str) -> list[str]:
    """Return more different words than are listened for."""
    letters = "abcdefghijkl"
    return [f"{first}{a}{b}" for a in letters for b in letters]


def test_punctuation_does_not_make_a_short_word_long() -> None:
    assert list(heard_for(prompt="the, and. «or»… 'tis (the)old house")) == ["house"]
    assert list(heard_for(prompt="state-of-the-art don't")) == ["don't", "state"]


def test_keywords_of_any_length_are_listened_for() -> None:
    assert list(heard_for(keywords=["Ann", "the old mill", "42", "Ann"])) == ["ann", "the old mill"]


def test_what_was_named_comes_before_the_end_of_a_long_prompt() -> None:
    prompt, keywords = " ".join(many("word")), many("key")[:60]
    words = list(heard_for(prompt=prompt, keywords=keywords, hotwords=["Zanzibar"]))
    assert len(words) == MAX_HOTWORDS
    assert words == ["zanzibar", *keywords, *many("word")[::-1][: MAX_HOTWORDS - 61]]


def test_a_hot_word_keeps_its_weight_though_a_hint_names_it_too() -> None:
    words = heard_for(prompt="the house", keywords=["house"], hotwords=["house:16"])
    assert words == {"house": 2 * DEFAULT_WEIGHT}


def test_every_code_of_an_error_is_in_the_documentation() -> None:
    page = Path(__file__).parents[1] / "docs/openai.md"
    rows = re.findall(r"^\| \d{3} \|(.*?)\|", page.read_text(encoding="utf-8"), re.MULTILINE)
    codes = {*openai_errors._CODES.values(), *openai_errors._AUDIO_CODES.values()}
    assert codes <= set(re.findall(r"`(\w+)`", " ".join(rows)))
