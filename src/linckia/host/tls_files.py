"""Whether connections between nodes use TLS, and where the certificate, its key and the CA's certificate are.

Order: options of the command line; ``LINCKIA_USE_TLS=1`` with ``LINCKIA_TLS_SERVER_CERT``, ``LINCKIA_TLS_SERVER_KEY``
and ``LINCKIA_TLS_CA_CERT`` (or the same with ``RAY_``), where all three default to what ``linckia tls init`` wrote to
``~/.linckia/tls``. Paths only: rpc/tls reads the files. Called by node/main.py, cli/ and linckia_command.py.
"""

from __future__ import annotations

import os
from typing import NamedTuple

from linckia.host import environment

CERT_NAME, KEY_NAME, CA_NAME = "node.crt", "node.key", "ca.crt"
VARIABLES = ("TLS_SERVER_CERT", "TLS_SERVER_KEY", "TLS_CA_CERT")
OPTIONS = ("--tls-cert", "--tls-key", "--tls-ca")


class TlsFiles(NamedTuple):
    """Absolute paths of PEM files: this machine's certificate and its key, and whose certificates are trusted."""

    cert: str
    key: str
    ca: str


class TlsFilesError(RuntimeError):
    """TLS is wanted and it is not said with which files; the text says what to do."""


def default_directory() -> str:
    """``~/.linckia/tls``."""
    return os.path.join(os.path.expanduser("~"), ".linckia", "tls")


def in_directory(folder: str) -> TlsFiles:
    """The files as ``linckia tls init`` names them."""
    return TlsFiles(*(os.path.join(folder, name) for name in (CERT_NAME, KEY_NAME, CA_NAME)))


def configured(cert: str = "", key: str = "", ca: str = "") -> TlsFiles | None:
    """What options, else the environment, say; None: no TLS. TlsFilesError when they say only half of it."""
    given = (cert, key, ca)
    if any(given):
        return _complete(given, OPTIONS, "TLS needs all of them")
    if not environment.option_on("USE_TLS", default=False):
        return None
    named = tuple(environment.option(name) for name in VARIABLES)
    if any(named):
        return _complete(named, tuple(f"LINCKIA_{name}" for name in VARIABLES), "LINCKIA_USE_TLS=1 needs all of them")
    files = in_directory(default_directory())
    if not os.path.exists(files.ca):
        variables = ", ".join(f"LINCKIA_{name}" for name in VARIABLES)
        raise TlsFilesError(
            f"LINCKIA_USE_TLS=1, but there is no {files.ca}: make certificates with `linckia tls init`, "
            f"copy those of the head there, or name yours in {variables}"
        )
    return files


def configured_for(address: str, temp_dir: str = "") -> TlsFiles | None:
    """The same for who talks to the node at ``address`` (host:port); without a word in the environment, what a node of
    that cluster uses that this user runs on this machine.
    """
    files = configured()
    if files is not None or environment.option("USE_TLS"):
        return files
    from linckia.host import session  # noqa: PLC0415 - embedded clusters never look

    for _path, facts in session.live_sessions(temp_dir or environment.temporary_directory()):
        if address in (facts.get("tcp_address"), facts.get("cluster_address")) and facts.get("tls"):
            return TlsFiles(*facts["tls"])
    return None


def _complete(paths: tuple[str, ...], names: tuple[str, ...], rule: str) -> TlsFiles:
    missing = [name for name, path in zip(names, paths, strict=True) if not path]
    if missing:
        raise TlsFilesError(f"{' and '.join(missing)} is missing: {rule} ({', '.join(names)})")
    return TlsFiles(*map(os.path.abspath, paths))
