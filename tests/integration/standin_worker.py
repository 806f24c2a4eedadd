"""A worker that registers and idles, for tests of the node that must not depend on the real worker runtime.

On AssignJob it prints lines and starts a subprocess that would outlive it; on ActorStarting it answers as the actor's
class name says.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import Any

import msgspec

from linckia.model.specs import ActorSpec
from linckia.protocol import messages as m
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor


def run(config: dict[str, Any]) -> None:
    """Entry named in NodeOptions.worker_entry."""
    reactor = Reactor()
    identity = Identity("worker", config["worker_id"], config["token"])

    def on_messages(raylet: Any, batch: list[m.Message]) -> None:
        for message in batch:
            if isinstance(message, m.AssignJob):
                announce(config)
            elif isinstance(message, m.ActorStarting):
                start_actor(raylet, msgspec.msgpack.decode(message.spec, type=ActorSpec))
            elif isinstance(message, (m.ExitWorker, m.TerminateActor)):
                os._exit(0)

    raylet = reactor.connect(config["raylet_endpoint"], identity, on_messages, lambda _c, _why: os._exit(3))
    raylet.post(m.RegisterWorker(config["worker_id"], os.getpid(), config["listen_endpoint"]))
    reactor.run()


def announce(config: dict[str, Any]) -> None:
    """Say who we are on both streams, in two sources."""
    child = subprocess.Popen(["sleep", "1000"])
    print(f"segment {os.fstat(config['segment_fd']).st_size}")
    print("\0linckia:source=f\0")
    print(f"child {child.pid}")
    print("to stderr", file=sys.stderr)
    for number in range(100):
        print(f"line {number}")


def start_actor(raylet: Any, spec: ActorSpec) -> None:
    """Good: alive. Bad: its constructor raised. Quits: exits after saying so."""
    if spec.class_name == "Bad":
        raylet.send(m.ActorStarted(spec.actor_id, b"error"))
        return
    raylet.send(m.ActorStarted(spec.actor_id, None, spec.class_name))
    if spec.class_name == "Quits":
        raylet.send(m.ActorExiting(spec.actor_id, True, "exit_actor"))
        os._exit(0)


def with_daemon(config: dict[str, Any]) -> None:
    """A worker whose subprocess leaves the process group."""
    daemon = subprocess.Popen(["sleep", "1000"], start_new_session=True)

    def announce_daemon(_config: dict[str, Any]) -> None:
        print(daemon.pid)
        print("daemon")

    globals()["announce"] = announce_daemon
    run(config)


def broken(_config: dict[str, Any]) -> None:
    """A runtime that ends before it registers."""
    print("this is why", file=sys.stderr)
    sys.exit(7)


def stubborn(_config: dict[str, Any]) -> None:
    """Registers nothing and ignores everything."""
    while True:
        signal.pause()
