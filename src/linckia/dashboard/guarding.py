"""What every request passes: is its name ours, who asks, are there too many; and the headers of every answer.

ASGI middleware around app.py. Decisions are access.py's.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse, Response

from linckia.base.limits import DASHBOARD_WAITING_MAX
from linckia.dashboard.access import OPEN_PATHS, is_host_allowed, is_known
from linckia.dashboard.bodies import envelope
from linckia.dashboard.metrics import Requests
from linckia.dashboard.settings import Settings

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

POLICY: Final = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)
HEADERS: Final = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
ROUTE: Final = "linckia.route"
"""Of a scope: the pattern of the path, for the count of requests."""
UNROUTED: Final = "other"


def refusal(status: int, text: str) -> Response:
    """In the shape of all answers."""
    headers = {"WWW-Authenticate": "Bearer"} if status == 401 else {}
    return JSONResponse(envelope({}, text, result=False), status, headers)


class Guard:
    """``port``: where this dashboard listens."""

    def __init__(self, app: App, settings: Settings, port: int, requests: Requests) -> None:
        self._app, self._settings, self._port, self._requests = app, settings, port, requests
        self._waiting = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """ASGI."""
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                await self._app(scope, receive, send)
            return
        began_s, statuses = time.monotonic(), [500]

        async def say(message: MutableMapping[str, Any]) -> None:
            if message["type"] == "http.response.start":
                statuses[0] = message["status"]
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        refused = self._refused(scope)
        if refused is not None:
            await refused(scope, receive, say)
        else:
            await self._admitted(scope, receive, say)
        self._requests.answered(scope.get(ROUTE, UNROUTED), statuses[0], time.monotonic() - began_s)

    async def _admitted(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._waiting += 1
        try:
            await self._app(scope, receive, send)
        finally:
            self._waiting -= 1

    def _refused(self, scope: Scope) -> Response | None:
        headers, path = Headers(scope=scope), scope["path"]
        host = headers.get("host", "")
        if not is_host_allowed(self._settings.host, host):
            return refusal(403, f"this dashboard is not called {host[:100]!r}: open it as localhost or 127.0.0.1")
        if path in OPEN_PATHS:
            return None
        authorization, cookies = headers.get("authorization", ""), headers.get("cookie", "")
        if not is_known(self._settings.token, self._port, authorization, cookies):
            if path == "/" and not authorization:
                return RedirectResponse("/login", 303)
            return refusal(
                401,
                "the cluster's token is needed: `linckia get-auth-token` prints it; send it as Authorization: Bearer",
            )
        if self._waiting >= DASHBOARD_WAITING_MAX:
            return refusal(
                429, f"{self._waiting} requests are being answered, which is the most: ask again in a moment"
            )
        return None
