"""The dashboard's process: serves, and tells its node that it lives. Descriptor 0 is its way to the node, which sends
the settings and the socket to listen on.

Started by node/dashboard_child.py. It has no state: when it is killed the next one goes on at the same port.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import socket
from collections.abc import Callable
from typing import Final

import msgspec
import uvicorn

from linckia.dashboard.app import Dashboard
from linckia.dashboard.asking import Asker
from linckia.dashboard.settings import PACKET_MAX_BYTES, PULSE, Settings
from linckia.host import process

CHANNEL: Final = 0
CONNECTIONS_MAX: Final = 512
REQUEST_HEAD_MAX_BYTES: Final = 16 * 1024
KEEP_ALIVE_S: Final = 15


class Server(uvicorn.Server):
    """Without the ten looks at the clock in every second of the original, which an idle machine would notice."""

    def __init__(self, config: uvicorn.Config, on_started: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_started, self._ended = on_started, asyncio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Then it answers."""
        await super().startup(sockets)
        self._on_started()

    async def main_loop(self) -> None:
        """Until it is told to end."""
        await self._ended.wait()

    def handle_exit(self, sig: int, frame: object) -> None:
        """A signal: what is being answered is answered."""
        del sig, frame
        self.should_exit = True
        asyncio.get_running_loop().call_soon_threadsafe(self._ended.set)  # it may sleep


async def _serve(settings: Settings, listener: socket.socket, channel: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    port = listener.getsockname()[1]

    def pulse() -> None:
        with contextlib.suppress(OSError):  # the node is gone, and so will we be
            channel.send(PULSE)
        loop.call_later(settings.pulse_s, pulse)

    def hear() -> None:  # the node says nothing more: it has ended
        os._exit(0)

    loop.add_reader(channel.fileno(), hear)
    config = uvicorn.Config(
        Dashboard(settings, port, Asker(settings.endpoint, settings.token), lambda: os._exit(1)).app(),
        http="h11", ws="none", loop="asyncio", lifespan="on", log_config=None, access_log=False, proxy_headers=False,
        server_header=False, date_header=False, limit_concurrency=CONNECTIONS_MAX, timeout_keep_alive=KEEP_ALIVE_S,
        h11_max_incomplete_event_size=REQUEST_HEAD_MAX_BYTES,
    )  # fmt: skip
    gc.collect()
    gc.freeze()
    await Server(config, pulse).serve([listener])


def main() -> None:
    """Entry of the process."""
    process.die_with_parent(os.getppid())
    process.set_process_name("linckia-dash")
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    gc.enable()
    channel = socket.socket(fileno=os.dup(CHANNEL))
    packet, descriptors, _, _ = socket.recv_fds(channel, PACKET_MAX_BYTES, 1)
    if not packet:
        os._exit(0)
    settings = msgspec.json.decode(packet, type=Settings)
    listener = socket.socket(fileno=descriptors[0])
    asyncio.run(_serve(settings, listener, channel))
    os._exit(0)
