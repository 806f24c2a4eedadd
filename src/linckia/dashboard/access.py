"""Who may see what: decisions about one request, without I/O. Called by guarding.py.

A browser does not get the cluster's token as its cookie: cookies of 127.0.0.1 go to every port there, and with the
token one may run code. It gets a mark that only a dashboard of this cluster takes.
"""

from __future__ import annotations

import hmac
from http.cookies import CookieError, SimpleCookie
from typing import Final

from linckia.dashboard.settings import is_loopback

OPEN_PATHS: Final = frozenset(
    {"/healthz", "/login", "/api/authenticate", "/api/authentication_mode", "/static/style.css"}
)
"""No token is needed: whether the process lives, the login page and what belongs to it."""
MARK_PURPOSE: Final = b"linckia dashboard cookie"
LOCAL_HOSTS: Final = frozenset({"localhost", "127.0.0.1", "::1"})


def mark_of(token: str) -> str:
    """What stands for the token in a browser."""
    return hmac.digest(token.encode(), MARK_PURPOSE, "sha256").hex()


def cookie_name(port: int) -> str:
    """Two dashboards on one machine do not take each other's."""
    return f"linckia-dashboard-{port}"


def is_token(token: str, given: str) -> bool:
    """In constant time."""
    return hmac.compare_digest(token.encode(), given.encode("utf-8", "surrogateescape"))


def is_known(token: str, port: int, authorization: str, cookies: str) -> bool:
    """``Authorization: Bearer TOKEN``, or the cookie. A wrong header is not made good by a cookie."""
    if authorization:
        kind, _, given = authorization.partition(" ")
        return kind.lower() == "bearer" and is_token(token, given.strip())
    try:
        morsel = SimpleCookie(cookies).get(cookie_name(port))
    except CookieError:
        return False
    return morsel is not None and is_token(mark_of(token), morsel.value)


def is_host_allowed(bound_to: str, host_header: str) -> bool:
    """On loopback a page of another site may have its own name point here (DNS rebinding): only our names are served.
    Other addresses have names that we do not know.
    """
    if not is_loopback(bound_to):
        return True
    return host_of(host_header) in LOCAL_HOSTS | {bound_to.lower()}


def host_of(header: str) -> str:
    """``[::1]:8265`` is ``::1``, ``localhost:8265`` is ``localhost``."""
    text = header.strip().lower()
    if text.startswith("["):
        return text[1:].partition("]")[0]
    return text.rpartition(":")[0] if text.count(":") == 1 else text
