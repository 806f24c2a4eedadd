"""The fault `stale-head`: the leader is stopped until another head leads, then it goes on, and its old term is used.

Beside what the woken head does by itself, the store is asked for a write that is fenced by the old term, and each node
is told in that term's name that its head leads, as a head does that nodes do not come to.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from linckia.core.leadership import records
from linckia.core.mvcc.records import Put, Txn
from linckia.host import process
from linckia.host.entropy import random_bytes
from linckia.node import head_process
from linckia.protocol import messages as m
from linckia.rpc.handshake import Identity
from linckia.rpc.reactor import Reactor
from linckia.store.blocking import BlockingStore, at_once
from linckia.store.opening import open_store
from linckia.testing.chaos import stale
from linckia.testing.chaos.ground import OwnGround, until
from linckia.testing.chaos.history import Deed
from linckia.testing.chaos.injecting import Doing, Injector
from linckia.testing.chaos.process_faults import leading
from linckia.testing.chaos.schedule import Fault

FOLLOWER_MAX_S, LOOK_MAX_S = 15.0, 1.0
CALL_S = 0.2
"""Long enough for messages to be sent; what a node does about it, its log tells."""
PROBE = b"chaos/stale"


class StaleFaults:
    """``kinds`` by name; ``found`` counts at the end of the run, while the logs are there. The ground is on etcd."""

    def __init__(self, injector: Injector, ground: OwnGround) -> None:
        self.injector, self.ground = injector, ground
        self.rounds: list[stale.Round] = []
        self.calls = 0

    def kinds(self) -> dict[str, Doing]:
        """How each is done."""
        return {"stale-head": self._stale}

    def found(self) -> stale.Stale | None:
        """None when there were no such faults."""
        if not self.rounds:
            return None
        logs = [Path(node.process.session_dir, "logs") for node in self.ground.cluster.list_all_nodes()]
        nodes = [path.joinpath("node.log").read_text(errors="replace") for path in logs]
        heads = [path.joinpath("head.log") for path in logs]
        return stale.count(self.rounds, self.calls, nodes, [each.read_text() for each in heads if each.exists()])

    def _stale(self, fault: Fault) -> Deed | None:
        """Blocks until another head leads and the time is over, then lets the old one go on."""
        found = leading(self.injector)
        head = self.ground.leader() if found else None
        if head is None:
            return None
        at_ns = time.monotonic_ns()
        pidfd = os.pidfd_open(head["pid"])
        try:
            process.signal_pidfd(pidfd, signal.SIGSTOP)
            next_epoch = self._follower(head["epoch"], at_ns / 1e9 + fault.lasts_s)
            continued_s = time.monotonic()
        finally:
            process.signal_pidfd(pidfd, signal.SIGCONT)
            os.close(pidfd)
        accepted = self._write(head["epoch"])
        if next_epoch:
            self._call_nodes(m.NewLeader(f"{head['host']}:{head['port']}", head["epoch"]))
        self.rounds.append(stale.Round(head["epoch"], next_epoch, at_ns / 1e9, continued_s, accepted))
        self.injector.epochs.append(next_epoch or head["epoch"])
        return Deed(fault.kind, at_ns, f"epoch {head['epoch']}, then {next_epoch}", head["pid"], fault.lasts_s)

    def _follower(self, epoch: int, not_before_s: float) -> int:
        """The term of who leads then; 0 when nobody came."""
        terms = [0]

        def look() -> bool:
            now = self.ground.leader(LOOK_MAX_S)
            terms[0] = now["epoch"] if now is not None and now["epoch"] > epoch else 0
            return bool(terms[0]) and time.monotonic() >= not_before_s

        until(look, FOLLOWER_MAX_S)
        return terms[0]

    def _write(self, epoch: int) -> bool:
        """As its head would. Whether the store took it."""
        store = BlockingStore(open_store(self.ground.store, at_once))
        try:
            return store.txn(Txn((records.fence(epoch),), (Put(PROBE, b"%d" % epoch),))).succeeded
        finally:
            store.close()

    def _call_nodes(self, message: m.NewLeader) -> None:
        token = Path(self.ground.token_path).read_bytes().strip()
        reactor = Reactor()
        try:
            for node in self.ground.cluster.list_all_nodes():
                head_process.call(reactor, Identity("gcs", random_bytes(28), token), f"tcp:{node.address}", message)
                self.calls += 1
            until_s = time.monotonic() + CALL_S
            while time.monotonic() < until_s:
                reactor.poll(until_s - time.monotonic())
        finally:
            reactor.close()
