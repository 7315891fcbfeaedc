"""The language that is heard, and how clients name it."""

from __future__ import annotations

from collections.abc import Sequence

# `pipeline.json` names no language: every model so far is English. Here alone is it written down.
LANGUAGE, LANGUAGE_CODE = "english", "en"


def check_languages(named: Sequence[str]) -> None:
    """Return if ours is among those named, as `en`, `en-US`, `en_US` or `english`, or none is.

    Raises:
        ValueError: only others are; it says which there is.
    """
    known = {LANGUAGE, LANGUAGE_CODE}
    if named and not known & {_without_region(name) for name in named}:
        raise ValueError(
            f"got {', '.join(named)[:200]!r}; needed: {LANGUAGE_CODE} or {LANGUAGE}, "
            "the only language here, or nothing"
        )


def _without_region(name: str) -> str:
    return name.strip().casefold().replace("_", "-").partition("-")[0]
