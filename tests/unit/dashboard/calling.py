"""A client of the service without a network: calls from threads, as many at a time as a test wants."""

from __future__ import annotations

from contextlib import ExitStack
from functools import partial
from typing import Any

import httpx
from anyio.from_thread import start_blocking_portal

from linckia.dashboard.app import Dashboard


class Client:
    """A context manager, which is the life of the service. Redirects are not followed."""

    def __init__(self, dashboard: Dashboard, base_url: str) -> None:
        self._dashboard, self._base_url = dashboard, base_url
        self._stack = ExitStack()

    def __enter__(self) -> Client:
        self._portal = self._stack.enter_context(start_blocking_portal())
        self._stack.enter_context(self._portal.wrap_async_context_manager(self._dashboard.life()))
        transport = httpx.ASGITransport(self._dashboard.app())
        self._client = httpx.AsyncClient(transport=transport, base_url=self._base_url)
        self._stack.enter_context(self._portal.wrap_async_context_manager(self._client))
        return self

    def __exit__(self, *_exc: object) -> None:
        self._stack.close()

    def get(self, path: str, headers: dict[str, str] | None = None) -> httpx.Response:
        """Its answer."""
        return self._call("GET", path, headers=headers)

    def post(self, path: str, headers: dict[str, str] | None = None, content: bytes = b"") -> httpx.Response:
        """Its answer."""
        return self._call("POST", path, headers=headers, content=content)

    def _call(self, method: str, path: str, **more: Any) -> httpx.Response:
        response = self._portal.call(partial(self._client.request, method, path, **more))
        self._client.cookies.clear()
        return response
