"""Asking owners that have ended: who asks before the cluster says so, and who asks after it, get the same answer."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from linckia.model.wire import Address
from linckia.protocol import messages as m
from linckia.raylet.transfer import owners
from linckia.raylet.transfer.owners import OwnerLinks

OWNER = Address(b"owner", "unix:/owner")


def ask(links: OwnerLinks, answers: list[tuple[str, str]]) -> None:
    links.locate(
        OWNER,
        lambda rid: m.LocateObject(rid, b"o" * 28, b"node", []),
        lambda _sources, kind, reason: answers.append((kind, reason)),
    )


def test_an_owner_that_has_ended_is_dead_and_not_merely_out_of_reach() -> None:
    soon: list[Callable[[], None]] = []
    reactor: Any = SimpleNamespace(call_soon=soon.append, call_later=lambda _delay_s, _call: None)
    open_connection = SimpleNamespace(closed=False, post=lambda _message: None)
    links = OwnerLinks(reactor, None, "node n", lambda _worker_id: open_connection, lambda _conn, _message: None)
    answers: list[tuple[str, str]] = []
    ask(links, answers)
    links.gone(OWNER.worker_id, "it was killed")
    ask(links, answers)
    assert answers == [("owner_died", "it was killed")], "the second answer never comes from within the call"
    for call in soon:
        call()
    assert answers == [("owner_died", "it was killed")] * 2


def test_few_are_remembered() -> None:
    reactor: Any = SimpleNamespace(call_soon=lambda call: call(), call_later=lambda _delay_s, _call: None)
    links = OwnerLinks(reactor, None, "node n", lambda _worker_id: None, lambda _conn, _message: None)
    links.gone(OWNER.worker_id, "first")
    for number in range(owners.GONE_REMEMBERED_MAX):
        links.gone(b"%d" % number, "later")
    answers: list[tuple[str, str]] = []
    ask(links, answers)
    assert [kind for kind, _ in answers] == ["owner_unreachable"]
