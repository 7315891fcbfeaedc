"""What is left of a body is read before its connection is closed, so that its answer arrives."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Message, Receive, Scope, Send


class LingeringClose:
    """Ends an answer that came before the end of its request's body only after that body.

    A connection that is closed while its client still sends is reset, and with it goes the
    answer that says why. So the answer is sent whole, and its end is told to the server, which
    closes then, when the rest of the body has been read and thrown away: for `max_s` seconds
    at most, and `max_idle_s` without a byte.
    """

    def __init__(self, app: ASGIApp, *, max_s: float = 30.0, max_idle_s: float = 5.0) -> None:
        self.app, self.max_s, self.max_idle_s = app, max_s, max_idle_s

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        if scope["type"] != "http" or not _has_body(scope):
            await self.app(scope, receive, send)
            return
        is_whole, is_sized = False, False

        async def receive_noting_the_end() -> Message:
            nonlocal is_whole
            message = await receive()
            is_whole = is_whole or not message.get("more_body", False)
            return message

        async def send_after_the_body(message: Message) -> None:
            nonlocal is_sized
            if message["type"] == "http.response.start":
                is_sized = any(name.lower() == b"content-length" for name, _ in message["headers"])
            elif is_sized and not is_whole and not message.get("more_body", False):
                await send({**message, "more_body": True})
                await self._read_the_rest(receive)
                message = {"type": "http.response.body"}
            await send(message)

        await self.app(scope, receive_noting_the_end, send_after_the_body)

    async def _read_the_rest(self, receive: Receive) -> None:
        loop = asyncio.get_running_loop()
        until = loop.time() + self.max_s
        try:
            while True:
                async with asyncio.timeout_at(min(until, loop.time() + self.max_idle_s)):
                    if not (await receive()).get("more_body", False):
                        return
        except TimeoutError:
            return


def _has_body(scope: Scope) -> bool:
    headers = dict(scope["headers"])
    return headers.get(b"content-length", b"0") != b"0" or b"transfer-encoding" in headers
