"""Starting child processes that are Linckia's own programs, with a socket as descriptor 0. Used by node/head_forks.py
and node/scaler_child.py, who supervise them.
"""

from __future__ import annotations

import os
import socket
import sys

from linckia.host import environment
from linckia.node.launch import program


def spawn(module: str, name: str, channel: socket.socket, log_path: str) -> int:
    """Its pid. Its output goes to the end of the log. OSError when there is no memory or process left just now."""
    log_fd = os.open(log_path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    command, boot = program(module, name)
    files = [
        (os.POSIX_SPAWN_DUP2, channel.fileno(), 0),
        (os.POSIX_SPAWN_DUP2, log_fd, 1),
        (os.POSIX_SPAWN_DUP2, log_fd, 2),
    ]
    try:
        return os.posix_spawn(
            sys.executable, command, {**environment.process_environment(), **boot}, file_actions=files
        )
    finally:
        os.close(log_fd)
