"""A cluster of real nodes, one per host of a network of namespaces, started with the `linckia` command.

Each machine has its own directory for sessions, so that none sees another's processes; files are shared, which lets
tests write down what really ran. What the cluster thinks is asked through the head's Unix socket, whatever the network
does. Used through the fixture ``machines``.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import msgspec
from programs import SOURCE
from watching import is_gone, until

import linckia
from linckia.host import session
from linckia.protocol import messages as m
from linckia.rpc.ask import AskError, ask
from linckia.testing.namespaces import Host, Network

PORT = 6379
TOKEN = "5" * 64
STORE_BYTES = 200 * 2**20


class Machine:
    """A host and the node that runs on it. A node that joined again is another node of the same process."""

    def __init__(self, host: Host, folder: Path) -> None:
        self.host, self.folder = host, folder
        self.address = host.address
        self.pid = 0

    @property
    def facts(self) -> dict[str, Any]:
        """What the node wrote down about itself."""
        found = session.live_sessions(str(self.folder))
        return {"session_dir": found[-1][0], **found[-1][1]} if found else {}

    @property
    def node_id(self) -> str:
        """Of the node that runs there now, in hex."""
        found: str = self.facts["node_id"]
        return found

    def log(self) -> str:
        """The node's log, and on a head the head's."""
        logs = Path(self.facts["session_dir"], "logs")
        return "".join(path.read_text() for path in (logs / "node.log", logs / "head.log") if path.exists())

    def kill(self) -> None:
        """SIGKILL to the node process."""
        os.kill(self.pid, signal.SIGKILL)

    def stop(self) -> None:
        """SIGSTOP to the node process; its workers go on."""
        os.kill(self.pid, signal.SIGSTOP)

    def cont(self) -> None:
        """SIGCONT."""
        os.kill(self.pid, signal.SIGCONT)


class Machines:
    """``head`` and ``nodes``."""

    def __init__(self, network: Network, folder: Path) -> None:
        self.network = network
        self.all = [Machine(host, folder / host.name) for host in network.hosts.values()]
        self.head, self.nodes = self.all[0], self.all[1:]
        self.address = f"{self.head.address}:{PORT}"

    # --- starting and ending ------------------------------------------------------------------------------------------

    def start(self, num_cpus: int = 2) -> None:
        """The head, without CPUs, then all others at once."""
        self.launch(self.head, "--head", f"--port={PORT}", "--num-cpus=0")
        with ThreadPoolExecutor(4) as pool:
            list(pool.map(lambda node: self.join(node, num_cpus), self.nodes))

    def join(self, machine: Machine, num_cpus: int = 2) -> None:
        """Start the node of a machine; it has joined when this returns."""
        self.launch(machine, f"--address={self.address}", f"--num-cpus={num_cpus}")

    def launch(self, machine: Machine, *arguments: str, small_disk: str = "") -> None:
        """`linckia start` on that machine. On ``small_disk`` it finds an empty disk of 64 MB, which only it sees."""
        machine.folder.mkdir(exist_ok=True)
        store = f"--object-store-memory={STORE_BYTES}"
        command = [*machine.host.enter(), sys.executable, "-m", "linckia.cli.main", "start", *arguments, store]
        if small_disk:
            mount = f'mount -t tmpfs -o size=64m tmpfs {small_disk} && exec "$@"'
            command = ["unshare", "--mount", "sh", "-c", mount, "sh", *command]
        ended = subprocess.run(
            [*command, f"--node-ip-address={machine.address}"],
            env=self._environment(machine),
            capture_output=True,
            text=True,
            timeout=60,
        )
        assert ended.returncode == 0, f"{machine.host.name}: {ended.stdout}\n{ended.stderr}"
        machine.pid = machine.facts["pid"]

    def _environment(self, machine: Machine) -> dict[str, str]:
        hidden = ("LINCKIA_ADDRESS", "RAY_ADDRESS")
        env = {name: value for name, value in os.environ.items() if name not in hidden}
        paths = os.pathsep.join(filter(None, [SOURCE, os.environ.get("PYTHONPATH")]))
        more = {"LINCKIA_TMPDIR": str(machine.folder), "LINCKIA_AUTH_TOKEN": TOKEN}
        return {**env, **more, "PYTHONPATH": paths}

    def close(self) -> list[int]:
        """End all nodes, the head last; pids of what had to be killed besides."""
        for machine in reversed(self.all):
            if machine.pid and not is_gone(machine.pid):
                machine.cont()
                os.kill(machine.pid, signal.SIGTERM)
        deadline_s = time.monotonic() + 10
        while (left := [pid for each in self.all for pid in each.host.pids()]) and time.monotonic() < deadline_s:
            time.sleep(0.05)  # sleep: processes that are not our children end
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return left

    # --- a driver -----------------------------------------------------------------------------------------------------

    @contextmanager
    def driver(self, machine: Machine) -> Iterator[None]:
        """This process is a driver on that machine meanwhile."""
        before = {name: os.environ.get(name) for name in ("LINCKIA_TMPDIR", "LINCKIA_AUTH_TOKEN")}
        os.environ.update({"LINCKIA_TMPDIR": str(machine.folder), "LINCKIA_AUTH_TOKEN": TOKEN})
        try:
            with self.network.inside(machine.host):
                linckia.init(address=self.address, log_to_driver=False)
                try:
                    yield
                finally:
                    linckia.shutdown()
        finally:
            for name, value in before.items():
                os.environ.pop(name) if value is None else os.environ.update({name: value})

    # --- what the cluster thinks --------------------------------------------------------------------------------------

    def table(self) -> dict[str, dict[str, Any]]:
        """Node id -> row of the head's node table, the dead included."""
        endpoint = f"{self.head.facts['session_dir']}/sockets/raylet.sock"
        for attempt in range(5):
            try:
                answer = ask(f"unix:{endpoint}", TOKEN.encode(), m.ClusterQuery(1, "nodes"))
                break
            except AskError:
                if attempt == 4:
                    raise
        return {row["node_id"].hex(): row for row in msgspec.msgpack.decode(answer.body)}

    def state(self, node_id: str) -> str:
        """ALIVE | SUSPECT | DRAINING | DEAD."""
        found: str = self.table()[node_id]["state"]
        return found

    def dead(self) -> dict[str, str]:
        """Node id -> why, of all that ever died."""
        return {node_id: row["death_reason"] for node_id, row in self.table().items() if not row["alive"]}

    def until_state(self, node_ids: list[str], state: str, timeout_s: float) -> dict[str, float]:
        """Wait until all are in that state; node id -> seconds that it took."""
        began_s, took_s = time.monotonic(), dict[str, float]()

        def look() -> bool:
            table = self.table()
            for node_id in node_ids:
                if table[node_id]["state"] == state:
                    took_s.setdefault(node_id, time.monotonic() - began_s)
            return len(took_s) == len(node_ids)

        until(look, timeout_s, f"nodes {[each[:8] for each in node_ids]} are {state}")
        return took_s

    def until_rejoined(self, machine: Machine, old_id: str, timeout_s: float) -> str:
        """Wait until another node of that machine is alive; its id."""

        def look() -> str:
            mine = {key: row for key, row in self.table().items() if row["node_ip"] == machine.address}
            return next((key for key, row in mine.items() if row["state"] == "ALIVE" and key != old_id), "")

        found: str = until(look, timeout_s, f"{machine.host.name} has joined again")
        return found

    def at_once(self, deed: Callable[[Machine], object], machines: list[Machine]) -> None:
        """The same to several."""
        for machine in machines:
            deed(machine)
