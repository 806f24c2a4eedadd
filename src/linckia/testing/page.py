"""A reader of a dashboard, for tests: one request at a time, with the cluster's token. Knows nothing of contents."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, NamedTuple

from linckia.host import session

TIMEOUT_S = 20.0


class Answer(NamedTuple):
    """``headers`` by lower-case name."""

    status: int
    text: str
    headers: dict[str, str]

    @property
    def body(self) -> Any:
        """As JSON."""
        return json.loads(self.text)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_args: Any, **_more: Any) -> None:
        return None


class Page:
    """``url`` is ``host:port``. OSError when nobody listens there."""

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self._open = urllib.request.build_opener(_NoRedirects, urllib.request.ProxyHandler({})).open

    @classmethod
    def of(cls, session_dir: str) -> Page:
        """The dashboard that a session on this machine says it has."""
        url = str(session.read_facts(session_dir)["dashboard_url"])
        return cls(url, Path(session_dir, "token").read_text(encoding="ascii"))

    def get(self, path: str, headers: dict[str, str] | None = None, data: bytes | None = None) -> Answer:
        """With the token, unless ``headers`` are given; a POST of ``data``."""
        sent = {"Authorization": f"Bearer {self.token}"} if headers is None else headers
        request = urllib.request.Request(f"http://{self.url}{path}", data=data, headers=sent)
        try:
            with self._open(request, timeout=TIMEOUT_S) as response:
                return _answer(response.status, response)
        except urllib.error.HTTPError as error:
            with error:
                return _answer(error.code, error)

    def cluster(self) -> dict[str, Any]:
        """The overview. AssertionError when there is none."""
        answer = self.get("/api/cluster_status")
        assert answer.status == 200, answer
        found: dict[str, Any] = answer.body["data"]["clusterStatus"]
        return found

    def is_there(self) -> bool:
        """It answers."""
        try:
            return self.get("/healthz").status == 200
        except OSError:
            return False


def _answer(status: int, response: Any) -> Answer:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Answer(status, response.read().decode(), headers)
