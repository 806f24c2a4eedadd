"""TLS between nodes, by option: contexts, the handshake within the reactor, sockets with the surface of plain ones.

Both sides present a certificate of one CA. Which files: host/tls_files.py. The modules below this one are imported
where TLS is on only: the standard library's ``ssl`` costs 15 ms and 3 MB.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from linckia.host.tls_files import TlsFiles, TlsFilesError

if TYPE_CHECKING:
    from linckia.rpc.reactor import Reactor


def use(reactor: Reactor, files: TlsFiles | None, *, check: bool) -> None:
    """Connections of this reactor over TCP use TLS from now on, unless ``files`` is None. With ``check`` the files are
    read and tried now: TlsFilesError says what is wrong with them; else when the first connection needs them.
    """
    if files is None:
        return
    from linckia.rpc.tls.contexts import Tls  # noqa: PLC0415 - see above

    tls = Tls(files)
    if check:
        try:
            tls.check()
        except OSError as error:
            raise TlsFilesError(str(error)) from None
    reactor.tls = tls


def use_paths(reactor: Reactor, paths: list[str]) -> None:
    """What its node told a process of its own: the three files, or nothing."""
    if paths:
        use(reactor, TlsFiles(*paths), check=False)
