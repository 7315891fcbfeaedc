"""What a caption session gives back while audio goes on."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields, replace
from typing import Any, ClassVar

from speech.transcript import Transcript, Word


@dataclass(frozen=True, kw_only=True)
class Caption:
    """What was understood of one utterance; times are seconds from the start of the session.

    Attributes:
        id: of the utterance; they are counted from 0, and noise may take a number.
        text: normalised text; empty where speech is heard but no word is sure yet.
        start_s: where its speech begins,
        end_s: and how far it was heard.
        confidence: in [0, 1]: the share of its words that are expected to be right.
        words: those of the text, with times and confidence.
    """

    kind: ClassVar[str]

    id: int
    text: str
    start_s: float
    end_s: float
    confidence: float
    words: tuple[Word, ...] = ()

    def to_json(self, *, words: bool = True) -> dict[str, Any]:
        """Return plain values for a JSON document, with the words if wanted."""
        values = asdict(self)
        if not words:
            del values["words"]
        return {"type": self.kind, **values}


class Partial(Caption):
    """What is known so far of the utterance that is being spoken; the next one may differ."""

    kind = "partial"


class Final(Caption):
    """What was said: never changed. An empty text takes an utterance's partials back."""

    kind = "final"


def words_later(transcript: Transcript, offset_s: float) -> tuple[Word, ...]:
    """Return a transcript's words as they lie in a session, where its clip starts `offset_s` in."""
    return tuple(
        replace(
            word,
            start_s=round(word.start_s + offset_s, 3),
            end_s=round(word.end_s + offset_s, 3),
        )
        for word in transcript.words
    )


def caption_from_json(values: dict[str, Any]) -> Caption:
    """Return what `Caption.to_json` gave, without fields that are not known here.

    Raises:
        ValueError: it is something else.
    """
    kinds: dict[str, type[Caption]] = {kind.kind: kind for kind in (Partial, Final)}
    try:
        kind = kinds[values["type"]]
        words = tuple(Word(**_known(Word, word)) for word in values.get("words", []))
        return kind(**{**_known(kind, values), "words": words})
    except (KeyError, TypeError) as error:
        raise ValueError(f"got {values!r:.80}; needed: a partial or a final") from error


def _known(kind: type[Caption | Word], values: dict[str, Any]) -> dict[str, Any]:
    """Return the texts and numbers that a class has fields for; `TypeError` if they are neither."""
    names = [field.name for field in fields(kind) if field.name != "words"]
    known = {name: values[name] for name in names if name in values}
    for name, value in known.items():
        if not isinstance(value, str if name == "text" else (int, float)):
            raise TypeError(f"got {name} {value!r:.40}")
    return known
