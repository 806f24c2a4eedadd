"""Addresses of stores, and the sentences for what is none."""

from __future__ import annotations

import pytest

from linckia.store.address import EtcdAddress, MemoryAddress, SqliteAddress, parse_address
from linckia.store.blocking import at_once
from linckia.store.errors import StoreOpenError
from linckia.store.opening import open_store


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("sqlite:/var/lib/x.db", SqliteAddress("/var/lib/x.db")),
        ("sqlite:///var/lib/x.db", SqliteAddress("/var/lib/x.db")),
        ("sqlite:x.db", SqliteAddress("x.db")),
        ("memory:", MemoryAddress()),
        ("etcd://h1:2379", EtcdAddress(("h1:2379",))),
        ("etcd://h1:2379,h2:2379,[::1]:2379", EtcdAddress(("h1:2379", "h2:2379", "[::1]:2379"))),
        ("etcd://me:p%40ss@h1:1", EtcdAddress(("h1:1",), "me", "p@ss")),
        ("etcd://me@h1:1?password_file=/p", EtcdAddress(("h1:1",), "me", password_file="/p")),
        ("etcd://h1:1/clusters/a", EtcdAddress(("h1:1",), namespace=b"clusters/a/")),
        ("etcd://h1:1/a/", EtcdAddress(("h1:1",), namespace=b"a/")),
        ("etcd://h1:1?ca=/ca&cert=/c&key=/k", EtcdAddress(("h1:1",), ca="/ca", cert="/c", key="/k")),
    ],
)
def test_what_an_address_means(text: str, address: object) -> None:
    assert parse_address(text) == address


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "expected sqlite:/path"),
        ("/var/lib/x.db", "expected sqlite:/path"),
        ("redis://h:1", "expected sqlite:/path"),
        ("sqlite:", "the path is missing"),
        ("memory:x", "expected sqlite:/path"),
        ("etcd:h1:2379", "expected sqlite:/path"),
        ("etcd://", "no host"),
        ("etcd://h1", "expected host:port"),
        ("etcd://h1:2379,h2:0", "expected host:port"),
        ("etcd://h1:2379?tls=1", "unknown option 'tls'; known: ca, cert, key, password_file"),
        ("etcd://h1:2379?cert=/c", "cert and key go together"),
    ],
)
def test_what_is_no_address(text: str, told: str) -> None:
    with pytest.raises(StoreOpenError, match=told):
        parse_address(text)


def test_a_password_is_never_shown() -> None:
    assert "secret" not in repr(parse_address("etcd://me:secret@h1:1"))
    for text in ("etcd:me:secret@h1:1", "etcd://me:secret@h1", "etcd://me:secret@h1:1?x=1"):
        with pytest.raises(StoreOpenError) as caught:
            parse_address(text)
        assert "secret" not in str(caught.value)


def test_what_cannot_be_opened_says_why() -> None:
    with pytest.raises(StoreOpenError, match="/nowhere/ca cannot be read: No such file"):
        open_store("etcd://h1:1?ca=/nowhere/ca", at_once)
    with pytest.raises(StoreOpenError, match="for the simulator"):
        open_store("memory:", at_once)
    with pytest.raises(StoreOpenError, match="/proc/x.db cannot be opened"):
        open_store("sqlite:/proc/x.db", at_once)
