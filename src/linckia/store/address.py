"""``--store``: what a store's address means. Pure, so that a mistake is told before anything is opened.

``memory:``, ``sqlite:/path/to/file``, or
``etcd://[user[:password]@]host:port[,host:port...][/namespace][?option=value&...]`` with the options ``ca``, ``cert``,
``key`` (files; ``ca`` switches TLS on), ``password_file`` (keeps the password out of process lists).
"""

from __future__ import annotations

from typing import Final
from urllib.parse import parse_qsl, unquote

import msgspec

from linckia.base.addresses import parse_host_port
from linckia.store.errors import StoreOpenError

EXPECTED: Final = "expected sqlite:/path, memory: or etcd://host:port,host:port"
ETCD_OPTIONS: Final = ("ca", "cert", "key", "password_file")


class SqliteAddress(msgspec.Struct, frozen=True):
    """A file."""

    path: str


class MemoryAddress(msgspec.Struct, frozen=True):
    """This process."""


class EtcdAddress(msgspec.Struct, frozen=True):
    """An etcd cluster. ``namespace`` is put in front of every key, so that several clusters can share it."""

    endpoints: tuple[str, ...]
    user: str = ""
    password: str = ""
    password_file: str = ""
    ca: str = ""
    cert: str = ""
    key: str = ""
    namespace: bytes = b""

    def __repr__(self) -> str:
        return f"etcd://{','.join(self.endpoints)}"  # never the password


def parse_address(text: str) -> SqliteAddress | MemoryAddress | EtcdAddress:
    """StoreOpenError, with what was expected, for anything else."""
    scheme, colon, rest = text.partition(":")
    match scheme if colon else "":
        case "sqlite":
            path = rest.removeprefix("//")
            if not path:
                raise StoreOpenError(f"store address {text!r}: the path is missing: {EXPECTED}")
            return SqliteAddress(path)
        case "memory" if rest in ("", "//"):
            return MemoryAddress()
        case "etcd" if rest.startswith("//"):
            return _etcd(rest[2:])
        case _:
            raise StoreOpenError(f"store address {without_password(text)!r}: {EXPECTED}")


def _etcd(rest: str) -> EtcdAddress:
    where, _, query = rest.partition("?")
    where, _, namespace = where.partition("/")
    login, _, hosts = where.rpartition("@")
    user, _, password = login.partition(":")
    endpoints = tuple(host.strip() for host in hosts.split(",") if host.strip())
    if not endpoints:
        raise StoreOpenError(f"store address etcd://{hosts}: no host: {EXPECTED}")
    for endpoint in endpoints:
        try:
            parse_host_port(endpoint)
        except ValueError as error:
            raise StoreOpenError(f"store address etcd://{hosts}: {error}") from None
    options = dict(parse_qsl(query, keep_blank_values=True))
    for name in options:
        if name not in ETCD_OPTIONS:
            raise StoreOpenError(f"store address: unknown option {name!r}; known: {', '.join(ETCD_OPTIONS)}")
    if bool(options.get("cert")) != bool(options.get("key")):
        raise StoreOpenError("store address: cert and key go together: give both files or none")
    return EtcdAddress(
        endpoints,
        unquote(user),
        unquote(password),
        options.get("password_file", ""),
        options.get("ca", ""),
        options.get("cert", ""),
        options.get("key", ""),
        f"{namespace.strip('/')}/".encode() if namespace.strip("/") else b"",
    )


def without_password(text: str) -> str:
    """An address as it may be shown."""
    head, at, tail = text.rpartition("@")
    return f"...{at}{tail}" if head else text
