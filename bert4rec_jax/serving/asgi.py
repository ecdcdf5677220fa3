"""What surrounds every request, whatever it asks for: bounded bodies, headers, figures."""

import asyncio
import time

from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bert4rec_jax.serving.telemetry import Telemetry

# Nothing from elsewhere, no inline script: a title cannot become code, whatever it contains.
_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-cache",  # ask again: a new version of the page, a new checkpoint
}
_METHODS = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"}


class BoundedBody:
    """Reads a request's body before the app sees it: 413 if too long, 408 if too slow."""

    def __init__(self, app: ASGIApp, *, most_bytes: int, seconds: float):
        self._app, self._most_bytes, self._seconds = app, most_bytes, seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] in ("GET", "HEAD"):
            await self._app(scope, receive, send)
            return
        try:
            async with asyncio.timeout(self._seconds):
                body = await self._read(scope, receive)
        except TimeoutError:
            await _refuse(408, f"the body took more than {self._seconds:g} s", scope, receive, send)
            return
        except ConnectionError:
            return  # the client is gone: there is nobody to answer
        if body is None:
            detail = f"the body is longer than {self._most_bytes} bytes"
            await _refuse(413, detail, scope, receive, send)
            return
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def replay() -> Message:
            return next(messages, None) or await receive()

        await self._app(scope, replay, send)

    async def _read(self, scope: Scope, receive: Receive) -> bytes | None:
        """The body; None if it is too long."""
        said = dict(scope["headers"]).get(b"content-length", b"0")
        if said.isdigit() and int(said) > self._most_bytes:
            return None
        body = bytearray()
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                raise ConnectionError
            body += message.get("body", b"")
            if len(body) > self._most_bytes:
                return None
            if not message.get("more_body", False):
                return bytes(body)


class Observed:
    """Counts and times every request, and adds the headers that all responses carry."""

    def __init__(self, app: ASGIApp, *, telemetry: Telemetry):
        self._app, self._telemetry = app, telemetry
        self._headers = [(k.lower().encode(), v.encode()) for k, v in _HEADERS.items()]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        status, started = 500, time.perf_counter()

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message["headers"] = [*message.get("headers", ()), *self._headers]
            await send(message)

        try:
            await self._app(scope, receive, noting)
        finally:
            # Of few values each, whatever clients send: every combination is kept for good.
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"
            self._telemetry.requests.labels(route, method, status).inc()
            self._telemetry.seconds.labels(route).observe(time.perf_counter() - started)


async def _refuse(status: int, detail: str, scope: Scope, receive: Receive, send: Send) -> None:
    # The rest of the body is not read, so the connection cannot be used again.
    response = JSONResponse({"detail": detail}, status, headers={"Connection": "close"})
    await response(scope, receive, send)
