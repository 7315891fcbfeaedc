"""What a client under `benchmarks.load` was answered: done, refused for now, or wrong."""

from __future__ import annotations

from dataclasses import dataclass

import httpx

_SHOWN_CHARACTERS = 200


@dataclass(frozen=True, kw_only=True)
class Answer:
    """An answer.

    Args:
        code: HTTP's status, or the code that a WebSocket was closed with.
        fault: what is wrong with it; empty if nothing is.
        retry_after_s: set if the client was refused, and is to ask again then.
        latency_s: how long it waited, where that is not from asking to the answer's end.
    """

    code: str
    fault: str = ""
    retry_after_s: float | None = None
    latency_s: float | None = None


def answer_of(response: httpx.Response, *, needs: str, kind: str = "") -> Answer:
    """Return what an HTTP answer means; a 200 of no such `kind`, or without `needs`, is wrong."""
    code, text = response.status_code, response.text
    if code == 503 and "Retry-After" in response.headers:
        return Answer(code="503", retry_after_s=float(response.headers["Retry-After"]))
    is_kind = response.headers.get("Content-Type", "").startswith(kind)
    is_right = code == 200 and is_kind and needs in text
    return Answer(code=str(code), fault="" if is_right else text[:_SHOWN_CHARACTERS] or "empty")
