"""What is left of a body is read before its request ends, so that its answer arrives."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class Lingering:
    """Reads what is left of bodies and throws it away; for one event loop.

    Args:
        max_s: the longest that a body may still take.
        max_idle_s: the longest without a byte of it.
    """

    def __init__(self, *, max_s: float = 30.0, max_idle_s: float = 5.0) -> None:
        self.max_s, self.max_idle_s = max_s, max_idle_s
        self._running: set[asyncio.Timeout] = set()
        self._is_over = False

    async def read(self, receive: Receive) -> None:
        """Read until the body ends, its client goes, or time is up."""
        try:
            async with asyncio.timeout(0 if self._is_over else self.max_s) as timeout:
                self._running.add(timeout)
                try:
                    await self._read(receive)
                finally:
                    self._running.discard(timeout)
        except TimeoutError:
            return

    async def _read(self, receive: Receive) -> None:
        while True:
            async with asyncio.timeout(self.max_idle_s):
                if not (await receive()).get("more_body", False):
                    return

    def end(self) -> None:
        """Wait for nobody any more: the service stops."""
        self._is_over = True
        for timeout in self._running:
            timeout.reschedule(asyncio.get_running_loop().time())


class LingeringClose:
    """Ends an answer that came before the end of its request's body only after that body.

    A connection that is closed while its client still sends is reset, and with it goes the
    answer that says why. So the answer is sent whole, but its end, upon which the server closes
    the connection or awaits the next request, is told only when the rest of the body was read.
    """

    def __init__(self, app: ASGIApp, *, lingering: Lingering) -> None:
        self.app, self.lingering = app, lingering

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not _has_body(scope):
            await self.app(scope, receive, send)
            return
        is_coming = dict(scope["headers"]).get(b"expect", b"").lower() != b"100-continue"
        is_whole = is_sized = is_held_back = False

        async def receive_noting_the_end() -> Message:
            nonlocal is_coming, is_whole
            is_coming = True
            message = await receive()
            is_whole = is_whole or not message.get("more_body", False)
            return message

        async def send_but_the_end(message: Message) -> None:
            nonlocal is_sized, is_held_back
            if message["type"] == "http.response.start":
                is_sized = any(name.lower() == b"content-length" for name, _ in message["headers"])
            elif is_sized and is_coming and not is_whole and not message.get("more_body", False):
                is_held_back, message = True, {**message, "more_body": True}
            await send(message)

        await self.app(scope, receive_noting_the_end, send_but_the_end)
        if is_held_back:
            await self.lingering.read(receive)
            await send({"type": "http.response.body"})


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
