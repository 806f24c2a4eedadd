"""The cluster token: where a process finds it, and what to say when there is none.

Order: ``LINCKIA_AUTH_TOKEN`` (or ``RAY_AUTH_TOKEN``), the file of ``LINCKIA_AUTH_TOKEN_PATH`` (``RAY_...``), a node of
that cluster that this user runs on this machine, ``~/.linckia/auth_token``. Called by api/, cli/ and node/main.py.
"""

from __future__ import annotations

import os

from linckia.base.addresses import parse_host_port
from linckia.host import environment


class TokenError(RuntimeError):
    """No token, or its file cannot be read; the text says what to do."""


def given_token() -> str:
    """From the environment; empty when it says nothing. TokenError when the file it names cannot be read."""
    for prefix in ("LINCKIA", "RAY"):
        token = environment.setting(f"{prefix}_AUTH_TOKEN")
        if token:
            return token.strip()
        path = environment.setting(f"{prefix}_AUTH_TOKEN_PATH")
        if path:
            try:
                with open(path, encoding="ascii") as file:
                    return file.read().strip()
            except OSError as error:
                raise TokenError(f"{prefix}_AUTH_TOKEN_PATH: cannot read {path}: {error.strerror}") from error
    return ""


def default_path() -> str:
    """``~/.linckia/auth_token``."""
    return os.path.join(os.path.expanduser("~"), ".linckia", "auth_token")


def token_for(address: str, temp_dir: str = "") -> str:
    """The token of the cluster whose head listens at ``address`` (host:port). TokenError when it is nowhere."""
    try:
        parse_host_port(address)
    except ValueError as error:
        raise TokenError(str(error)) from error
    token = given_token() or _of_local_node(address, temp_dir) or _read(default_path())
    if not token:
        raise TokenError(
            f"joining {address} needs that cluster's token: print it on the head with `linckia get-auth-token`, then "
            f"set LINCKIA_AUTH_TOKEN, or write it to {default_path()} (mode 0600)"
        )
    return token


def _of_local_node(address: str, temp_dir: str) -> str:
    from linckia.host import session  # noqa: PLC0415 - embedded clusters never look

    for path, facts in session.live_sessions(temp_dir or environment.temporary_directory()):
        if address in (facts.get("tcp_address"), facts.get("cluster_address")):
            return _read(os.path.join(path, "token"))
    return ""


def _read(path: str) -> str:
    try:
        with open(path, encoding="ascii") as file:
            return file.read().strip()
    except OSError:
        return ""
