"""Uploads that nobody should send: malformed, mislabelled, blown up, broken off; by seed."""

from __future__ import annotations

import base64
import io
import json
import socket
import struct
import zlib
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from typing import Literal

import numpy as np
import soundfile

MULTIPART_PATHS = ("/upload/", "/v1/audio/transcriptions")
JSON_PATHS = ("/transcribe_mobile",)
BOUNDARY = b"hostile-boundary"
ANSWER_TIMEOUT_S = 120
NATIVE_HZ = 22_050
BOMB_S = 600

Manner = Literal["whole", "broken off", "slow", "unfinished"]


@dataclass(frozen=True, kw_only=True)
class Attack:
    """One request as bytes.

    Args:
        may_succeed: it is odd, but right: 200 will do as well as 4xx.
        manner: `broken off`: the client hangs up at the end of `content`; `slow`: it sends nothing
            more, and waits; `unfinished`: so too, and as no request is there, none is answered.
    """

    kind: str
    path: str
    content: bytes
    may_succeed: bool = False
    manner: Manner = "whole"

    def is_fine(self, status: int | None) -> bool:
        """Whether the service may answer so; None: it said nothing and hung up."""
        if status is None:
            return self.manner in ("broken off", "unfinished")
        return 400 <= status < 500 or (self.may_succeed and status == 200)


def attacks(count: int, *, paths: set[str], seed: int = 0) -> Iterator[Attack]:
    """Yield attacks of every kind in turn, on those of our routes that are in `paths`."""
    draw = np.random.default_rng(seed)
    multipart = [path for path in MULTIPART_PATHS if path in paths]
    makers: list[Callable[[np.random.Generator], Attack]] = [
        *(_in_form(path, kind) for path in multipart for kind in AUDIO),
        *(_in_json(path, kind) for path in JSON_PATHS if path in paths for kind in AUDIO),
        *(_broken_form(path, kind) for path in multipart for kind in FORMS),
        *(_broken_json(path, kind) for path in JSON_PATHS if path in paths for kind in JSONS),
        *(_broken_http(path, kind) for path in multipart for kind in HTTP),
    ]
    for i in range(count):
        yield makers[i % len(makers)](draw)


def send(port: int, attack: Attack) -> int | None:
    """Return the status that an attack is answered with; None if there is no answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=ANSWER_TIMEOUT_S) as connection:
        with suppress(BrokenPipeError, ConnectionResetError):  # refused before all was sent
            connection.sendall(attack.content)
            if attack.manner == "broken off":
                return None
        with suppress(ConnectionResetError):
            head = b""
            while b"\r\n" not in head and (chunk := connection.recv(4096)):
                head += chunk
            if head.startswith(b"HTTP/1.1 "):
                return int(head[9:12])
    return None


# Audio: a file that is broken, lies, or is more than it seems


def _wav(samples: bytes, *, channels: int = 1, rate_hz: int = NATIVE_HZ, bits: int = 16) -> bytes:
    codec, frame = 3 if bits == 32 else 1, channels * bits // 8
    form = struct.pack("<HHIIHH", codec, channels, rate_hz, rate_hz * frame % 2**32, frame, bits)
    data = struct.pack("<4sI", b"data", len(samples)) + samples
    return struct.pack("<4sI4s4sI", b"RIFF", 36 + len(samples), b"WAVE", b"fmt ", 16) + form + data


def _noise(draw: np.random.Generator, num_samples: int) -> bytes:
    return draw.integers(-9000, 9000, num_samples, dtype=np.int16).tobytes()


@cache
def _encoded(form: str, subtype: str, seconds: int, rate_hz: int) -> bytes:
    """Return silence: the longer it is, the better it is compressed."""
    file = io.BytesIO()
    with soundfile.SoundFile(
        file, "w", samplerate=rate_hz, channels=1, format=form, subtype=subtype
    ) as writer:
        for _ in range(seconds):
            writer.write(np.zeros(rate_hz, np.float32))
    return file.getvalue()


def _truncated(draw: np.random.Generator) -> bytes:
    whole = [_wav(_noise(draw, 2000)), _encoded("FLAC", "PCM_16", 1, 8000)]
    return whole[int(draw.integers(2))][: int(draw.integers(1, 45))]


def _cut_short(draw: np.random.Generator) -> bytes:
    """Return what a recorder leaves that was switched off: right up to its end."""
    return _wav(_noise(draw, 2000))[: int(draw.integers(46, 4000))]


def _mislabelled(draw: np.random.Generator) -> bytes:
    starts = [b"\x89PNG\r\n\x1a\n", b"PK\x03\x04", b"%PDF-1.7", b"\x7fELF", b"<html>", b"\x1f\x8b"]
    return starts[int(draw.integers(len(starts)))] + draw.bytes(int(draw.integers(1, 4000)))


def _huge_sizes(draw: np.random.Generator) -> bytes:
    file, size = bytearray(_wav(b"")), int(draw.choice([2**31 - 1, 2**31, 2**32 - 1]))
    file[4:8] = file[40:44] = struct.pack("<I", size)
    return bytes(file)


def _huge_flac(draw: np.random.Generator) -> bytes:
    """Say in the header that there are 2**36 - 1 samples, which are not there."""
    file = bytearray(_encoded("FLAC", "PCM_16", 1, 8000)[:200])
    file[21] |= 0x0F
    file[22:26] = b"\xff" * 4
    return bytes(file) + draw.bytes(64)


def _not_finite(draw: np.random.Generator) -> bytes:
    values = draw.choice(np.array([np.nan, np.inf, -np.inf, 0.5], np.float32), 500)
    return _wav(values.astype("<f4").tobytes() + b"\0\0\xc0\x7f", bits=32)


def _zlib_bomb(_: np.random.Generator) -> bytes:
    return zlib.compress(bytes(4_000_000), 9)


AUDIO: dict[str, tuple[Callable[[np.random.Generator], bytes], bool]] = {
    "empty": (lambda _: b"", False),
    "random bytes": (lambda draw: draw.bytes(int(draw.integers(1, 5000))), False),
    "truncated": (_truncated, False),
    "cut short": (_cut_short, True),
    "mislabelled": (_mislabelled, False),
    "sizes of 2**31": (_huge_sizes, False),
    "2**36 samples of FLAC": (_huge_flac, False),
    "NaN samples": (_not_finite, False),
    "no samples": (lambda _: _wav(b""), False),
    "no channels": (lambda draw: _wav(_noise(draw, 99), channels=0), False),
    "0 Hz": (lambda draw: _wav(_noise(draw, 99), rate_hz=0), False),
    "2**32 - 1 Hz": (lambda draw: _wav(_noise(draw, 99), rate_hz=2**32 - 1), True),
    "compressed zeros": (_zlib_bomb, False),
    "FLAC bomb": (lambda _: _encoded("FLAC", "PCM_16", BOMB_S, 8000), False),
    "Vorbis bomb": (lambda _: _encoded("OGG", "VORBIS", BOMB_S, 8000), False),
    "Opus bomb": (lambda _: _encoded("OGG", "OPUS", BOMB_S, 8000), False),
    "1 sample": (lambda draw: _wav(_noise(draw, 1)), True),
    "8 channels": (lambda draw: _wav(_noise(draw, 8 * 2205), channels=8), True),
    "192 kHz": (lambda draw: _wav(_noise(draw, 19_200), rate_hz=192_000), True),
    "1 Hz": (lambda draw: _wav(_noise(draw, 3), rate_hz=1), True),
}


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
    model = _part(b"model", b"english-small", b"")
    return _part(b"file", audio) + model + b"--" + BOUNDARY + b"--\r\n"


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
        body = json.dumps({"audio": base64.b64encode(make(draw)).decode()}).encode()
        content = _request(path, _JSON_KIND, body)
        return Attack(kind=kind, path=path, content=content, may_succeed=may_succeed)

    return attack


_SMALL = _form(_wav(bytes(2000)))
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


_CHUNK = b"10000\r\n" + bytes(0x10000) + b"\r\n"
_ENDLESS = b"%x\r\n%s\r\n" % (len(_part(b"file", b"")), _part(b"file", b"")) + _CHUNK * 500
_HALF = b"X-Half"
HTTP: dict[str, tuple[bytes, bytes, Manner]] = {
    "2**31 bytes declared": (b"Content-Length: %d" % 2**31, b"", "whole"),
    "2**63 bytes declared": (b"Content-Length: %d" % 2**63, b"", "whole"),
    "negative length": (b"Content-Length: -1", _SMALL, "whole"),
    "two lengths": (b"Content-Length: 5\r\nContent-Length: 6", _SMALL, "whole"),
    "chunks beyond the limit": (b"Transfer-Encoding: chunked", _ENDLESS, "whole"),
    "broken chunks": (b"Transfer-Encoding: chunked", b"zz\r\nno\r\n", "whole"),
    "2000 headers": (b"X-Long: x\r\n" * 2000 + b"X-Long: x", _SMALL[:200], "whole"),
    "hang-up in the head": (b"Content-Length: 99999\r\n" + _HALF, b"", "broken off"),
    "head without an end": (b"Content-Length: 99999\r\n" + _HALF, b"", "unfinished"),
    "hang-up before the body": (b"Content-Length: 99999", b"", "broken off"),
    "hang-up in the body": (b"Content-Length: 99999", _SMALL[:999], "broken off"),
    "slow body": (b"Content-Length: 99999", _SMALL[:999], "slow"),
}


def _broken_http(path: str, kind: str) -> Callable[[np.random.Generator], Attack]:
    header, body, manner = HTTP[kind]
    content = _request(path, _FORM_KIND, body, header)
    if header.endswith(_HALF):
        content = content.rstrip()
    return lambda _: Attack(kind=kind, path=path, content=content, manner=manner)
