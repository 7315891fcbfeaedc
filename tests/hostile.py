"""Uploads that nobody should send: malformed, mislabelled, blown up, broken off; by seed."""

from __future__ import annotations

import base64
import json
import select
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from typing import Literal

import numpy as np

from tests.hostile_audio import AUDIO, MAX_RECORDING_S, wav_of

MULTIPART_PATHS = ("/upload/", "/v1/audio/transcriptions")
JSON_PATHS = ("/transcribe_mobile",)
BOUNDARY = b"hostile-boundary"
ANSWER_TIMEOUT_S, TRICKLE_S = 120, 0.1
# What the service is to run with, so that bombs are beyond its limits and slow bodies end.
LIMITS = {
    "STT_MAX_RECORDING_S": str(MAX_RECORDING_S),
    "STT_BODY_TIMEOUT_S": "2",
    "MALLOC_ARENA_MAX": "2",  # so that memory that is free is given back, or used again
}

Manner = Literal["whole", "broken off", "slow", "trickled", "unfinished", "unread"]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One request as bytes.

    Args:
        may_succeed: it is odd, but right: 200 will do as well as 4xx.
        manner: `broken off`: the client hangs up at the end of `content`; `slow`: it sends nothing
            more, and waits; `trickled`: it goes on, a byte at a time; `unfinished`: as `slow`, and
            as no request is there, none is answered; `unread`: it reads no answer, and must be
            cut off.
    """

    kind: str
    path: str
    content: bytes
    may_succeed: bool = False
    manner: Manner = "whole"

    def is_fine(self, status: int | None) -> bool:
        """Whether the service may answer so; None: it said nothing and hung up."""
        if status is None:
            return self.manner in ("broken off", "unfinished", "unread")
        return 400 <= status < 500 or (self.may_succeed and status == 200)


def attacks(count: int, *, paths: set[str], seed: int = 0) -> Iterator[Attack]:
    """Yield attacks on those of our routes that are in `paths`: all, mixed, then all again."""
    draw = np.random.default_rng(seed)
    multipart = [path for path in MULTIPART_PATHS if path in paths]
    makers: list[Callable[[np.random.Generator], Attack]] = [
        *(_in_form(path, kind) for path in multipart for kind in AUDIO),
        *(_in_json(path, kind) for path in JSON_PATHS if path in paths for kind in AUDIO),
        *(_broken_form(path, kind) for path in multipart for kind in FORMS),
        *(_broken_json(path, kind) for path in JSON_PATHS if path in paths for kind in JSONS),
        *(_broken_http(path, kind) for path in DOORS if path in paths for kind in HTTP),
    ]
    order: list[int] = []
    for _ in range(count):
        order = order or draw.permutation(len(makers)).tolist()
        yield makers[order.pop()](draw)


def send(port: int, attack: Attack) -> int | None:
    """Return the status that an attack is answered with; None if there is no answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
            connection.sendall(attack.content)
            if attack.manner == "broken off":
                return None
            if attack.manner == "trickled":
                _trickle(connection)
            if attack.manner == "unread":
                return None if _is_cut_off(connection) else 200
        with suppress(ConnectionResetError, TimeoutError):
            head = b""
            while b"\r\n" not in head and (chunk := connection.recv(4096)):
                head += chunk
            if head.startswith(b"HTTP/1.1 "):
                return int(head[9:12])
    return None


def _trickle(connection: socket.socket) -> None:
    """Send a byte at a time until there is an answer."""
    until = time.monotonic() + ANSWER_TIMEOUT_S
    while time.monotonic() < until and not select.select([connection], [], [], TRICKLE_S)[0]:
        connection.sendall(b"x")


def _is_cut_off(connection: socket.socket) -> bool:
    """Wait, without reading, until what is sent has nobody to take it."""
    until = time.monotonic() + ANSWER_TIMEOUT_S
    try:
        while time.monotonic() < until:
            time.sleep(TRICKLE_S)
            connection.sendall(b"x")
    except (BrokenPipeError, ConnectionResetError):
        return True
    return False


# Requests: right around wrong audio, and wrong themselves


def _request(path: str, kind: bytes, body: bytes, *headers: bytes) -> bytes:
    if not any(header.lower().startswith((b"content-length", b"transfer-")) for header in headers):
        headers = (*headers, b"Content-Length: %d" % len(body))
    lines = (b"POST %s HTTP/1.1" % path.encode(), b"Host: 127.0.0.1", b"Connection: close")
    return b"\r\n".join([*lines, b"Content-Type: " + kind, *headers, b"", b""]) + body


def _part(name: bytes, content: bytes, more: bytes = b'; filename="a.wav"') -> bytes:
    head = b'--%s\r\nContent-Disposition: form-data; name="%s"%s\r\n\r\n' % (BOUNDARY, name, more)
    return head + content + b"\r\n"


def _form(audio: bytes) -> bytes:
    model = _part(b"model", b"whisper-1", b"")  # which is any model
    return _part(b"file", audio) + model + b"--" + BOUNDARY + b"--\r\n"


def _json(audio: bytes) -> bytes:
    return json.dumps({"audio": base64.b64encode(audio).decode()}).encode()


_FORM_KIND = b"multipart/form-data; boundary=" + BOUNDARY
_JSON_KIND = b"application/json"


def _in_form(path: str, kind: str) -> Callable[[np.random.Generator], Attack]:
    make, may_succeed = AUDIO[kind]

    def attack(draw: np.random.Generator) -> Attack:
        content = _request(path, _FORM_KIND, _form(make(draw)))
        return Attack(kind=kind, path=path, content=content, may_succeed=may_succeed)

    return attack


def _in_json(path: str, kind: str) -> Callable[[np.random.Generator], Attack]:
    make, may_succeed = AUDIO[kind]

    def attack(draw: np.random.Generator) -> Attack:
        content = _request(path, _JSON_KIND, _json(make(draw)))
        return Attack(kind=kind, path=path, content=content, may_succeed=may_succeed)

    return attack


_SMALL = _form(wav_of(bytes(2000)))
FORMS: dict[str, tuple[bytes, bytes]] = {
    "no boundary": (b"multipart/form-data", _SMALL),
    "wrong boundary": (b"multipart/form-data; boundary=other", _SMALL),
    "endless boundary": (b"multipart/form-data; boundary=" + b"x" * 5000, _SMALL),
    "boundary of nothing": (b"multipart/form-data; boundary=", _SMALL),
    "another kind": (b"text/plain", _SMALL),
    "not multipart": (_FORM_KIND, b"audio=1&file=2"),
    "a part without a name": (_FORM_KIND, _SMALL.replace(b'name="file"', b"")),
    "a part without an end": (_FORM_KIND, _SMALL[:200]),
    "a part with broken headers": (_FORM_KIND, _SMALL.replace(b"Disposition:", b"Dis\0position")),
    "a file that is text": (_FORM_KIND, _SMALL.replace(b'; filename="a.wav"', b"")),
    "5000 fields": (_FORM_KIND, _part(b"x", b"y", b"") * 5000 + _SMALL),
    "2000 files": (_FORM_KIND, _part(b"x", b"y") * 2000 + _SMALL),
    "a field of 2 MB": (_FORM_KIND, _part(b"x", bytes(2_000_000), b"") + _SMALL),
}


def _broken_form(path: str, kind: str) -> Callable[[np.random.Generator], Attack]:
    header, body = FORMS[kind]
    content = _request(path, header, body)
    return lambda _: Attack(kind=kind, path=path, content=content)


JSONS: dict[str, bytes] = {
    "half an object": b'{"audio": "UklG',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"audio":' * 50_000,
    "no text": b'{"audio": 17}',
    "half a character": b'{"audio": "\\ud800"}',
    "not UTF-8": b'{"audio": "\xff\xfe"}',
    "no base64": b'{"audio": "!!!!"}',
    "a data URL of nothing": b'{"audio": "data:;base64,"}',
    "an endless number": b'{"audio": "", "beam_width": ' + b"9" * 5000 + b"}",
    "NaN": b'{"audio": NaN}',
    "10 000 hot words": b'{"audio": "", "hotwords": [%s"a"]}' % (b'"a",' * 10_000),
}


def _broken_json(path: str, kind: str) -> Callable[[np.random.Generator], Attack]:
    content = _request(path, _JSON_KIND, JSONS[kind])
    return lambda _: Attack(kind=kind, path=path, content=content)


@dataclass(frozen=True)
class Door:
    """The kind of body that a route takes, one that is right, and how one begins."""

    kind: bytes
    whole: bytes
    beginning: bytes

    def endless(self) -> bytes:
        """Return chunks of 32 MB, and no last one."""
        first = b"%x\r\n%s\r\n" % (len(self.beginning), self.beginning)
        return first + (b"10000\r\n" + b"A" * 0x10000 + b"\r\n") * 500


_FORM_DOOR = Door(_FORM_KIND, _SMALL, _part(b"file", b""))
_JSON_DOOR = Door(_JSON_KIND, _json(wav_of(bytes(2000))), b'{"audio": "')
DOORS = {**dict.fromkeys(MULTIPART_PATHS, _FORM_DOOR), **dict.fromkeys(JSON_PATHS, _JSON_DOOR)}
_HALF = b"X-Half"
# More than the buffers between two sockets hold: 1.7 MB each.
_LARGE = b"/app/vendor/swagger-ui-dist-5.35.0/swagger-ui-bundle.js"
_LARGE_ANSWERS = 8 * (b"GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n" % _LARGE)
_CHUNKED, _MORE = b"Transfer-Encoding: chunked", b"Content-Length: 99999"
HTTP: dict[str, tuple[bytes, Callable[[Door], bytes], Manner]] = {
    "2**31 bytes declared": (b"Content-Length: %d" % 2**31, lambda _: b"", "whole"),
    "2**63 bytes declared": (b"Content-Length: %d" % 2**63, lambda _: b"", "whole"),
    "negative length": (b"Content-Length: -1", lambda door: door.whole, "whole"),
    "two lengths": (b"Content-Length: 5\r\nContent-Length: 6", lambda door: door.whole, "whole"),
    "chunks beyond the limit": (_CHUNKED, Door.endless, "whole"),
    "broken chunks": (_CHUNKED, lambda _: b"zz\r\nno\r\n", "whole"),
    "2000 headers": (
        b"X-Long: x\r\n" * 2000 + b"X-Long: x",
        lambda door: door.whole[:200],
        "whole",
    ),
    "hang-up in the head": (_MORE + b"\r\n" + _HALF, lambda _: b"", "broken off"),
    "head without an end": (_MORE + b"\r\n" + _HALF, lambda _: b"", "unfinished"),
    "hang-up before the body": (_MORE, lambda _: b"", "broken off"),
    "hang-up in the body": (_MORE, lambda door: door.whole[:999], "broken off"),
    "slow body": (_MORE, lambda door: door.whole[:999], "slow"),
    "trickled body": (_MORE, lambda door: door.whole[:999], "trickled"),
    "answers that are not read": (b"X-Odd: 1", lambda door: door.whole, "unread"),
}


def _broken_http(path: str, kind: str) -> Callable[[np.random.Generator], Attack]:
    header, body, manner = HTTP[kind]
    door = DOORS[path]
    content = _request(path, door.kind, body(door), header)
    if header.endswith(_HALF):
        content = content.rstrip()
    if manner == "unread":
        content = _LARGE_ANSWERS + content
    return lambda _: Attack(kind=kind, path=path, content=content, manner=manner)
