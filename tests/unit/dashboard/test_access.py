"""Who may see what: tokens, cookies and names of hosts."""

from __future__ import annotations

import pytest

from linckia.dashboard import access
from linckia.dashboard.settings import is_any, is_loopback

pytestmark = pytest.mark.row("8.44")
TOKEN = "a" * 64
PORT = 8265
COOKIE = f"{access.cookie_name(PORT)}={access.mark_of(TOKEN)}"


@pytest.mark.parametrize(
    ("authorization", "cookies", "known"),
    [
        (f"Bearer {TOKEN}", "", True),
        (f"bearer {TOKEN}", "", True),
        (f"Bearer {TOKEN}x", "", False),
        (f"Basic {TOKEN}", "", False),
        (TOKEN, "", False),
        ("Bearer ", "", False),
        ("Bearer \udcff", "", False),
        ("", COOKIE, True),
        ("", f"theme=dark; {COOKIE}", True),
        ("", f"{access.cookie_name(PORT)}={TOKEN}", False),
        ("", f"{access.cookie_name(PORT + 1)}={access.mark_of(TOKEN)}", False),
        ("", "\x00=;;;", False),
        ("Bearer wrong", COOKIE, False),
        ("", "", False),
    ],
)
def test_only_the_token_and_its_mark_open(authorization: str, cookies: str, known: bool) -> None:
    assert access.is_known(TOKEN, PORT, authorization, cookies) is known


def test_the_cookie_does_not_tell_the_token() -> None:
    assert TOKEN not in access.mark_of(TOKEN)
    assert access.mark_of(TOKEN) != access.mark_of("b" * 64)
    assert not access.is_known(TOKEN, PORT, f"Bearer {access.mark_of(TOKEN)}", "")


@pytest.mark.parametrize(
    ("bound_to", "header", "allowed"),
    [
        ("127.0.0.1", "127.0.0.1:8265", True),
        ("127.0.0.1", "localhost:9999", True),
        ("127.0.0.1", "LOCALHOST", True),
        ("127.0.0.1", "[::1]:8265", True),
        ("::1", "[::1]:8265", True),
        ("127.0.0.2", "127.0.0.2:8265", True),
        ("localhost", "localhost:8265", True),
        ("127.0.0.1", "evil.example:8265", False),
        ("127.0.0.1", "localhost.evil.example", False),
        ("127.0.0.1", "evil.example:8265:8265", False),
        ("127.0.0.1", "[::1", True),
        ("127.0.0.1", "", False),
        ("0.0.0.0", "rack7.example:8265", True),
        ("10.0.0.7", "anything", True),
    ],
)
def test_names_of_other_sites_are_refused_on_loopback(bound_to: str, header: str, allowed: bool) -> None:
    assert access.is_host_allowed(bound_to, header) is allowed


def test_what_a_host_is() -> None:
    assert [is_any(host) for host in ("0.0.0.0", "::", "127.0.0.1", "name")] == [True, True, False, False]
    assert [is_loopback(host) for host in ("127.0.0.9", "::1", "localhost", "0.0.0.0", "name")] == [
        *(True, True, True),
        *(False, False),
    ]
