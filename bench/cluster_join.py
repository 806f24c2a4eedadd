"""A node joins by command line and gets its first task: `start --head`, `start --address`, then one task on it.

The clock of the first task starts when `start` has returned its prompt; how long `start` itself took stands beside it.
The task asks for a resource that only the new node has, so it cannot have run anywhere else.
"""

from __future__ import annotations

import importlib
import json
import os
import secrets
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import cast

from bench.cluster_nodes import ClusterApi, Clusters
from bench.measure import Timing, expect
from bench.memory import session_processes, wait_until_gone

LOOPBACK = "127.0.0.1"
JOINS = 3
COMMAND_TIMEOUT_S = 120
GONE_TIMEOUT_S = 10
ENVIRONMENT = {
    "linckia": {"LINCKIA_AUTH_TOKEN": secrets.token_hex(32)},
    "ray": {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)},
}
"""Both check a token on every connection."""

HEAD_OPTIONS = {
    "linckia": [],
    "ray": ["--include-dashboard=false", "--disable-usage-stats"],
}
"""Ray's head gets no dashboard, to its advantage: Linckia has none yet."""


def join(clusters: Clusters, timing: Timing) -> dict[str, float]:
    """Start a head and join nodes one after the other; medians over the joined ones."""
    engine = clusters.engine
    clusters.stop()
    os.environ.update(ENVIRONMENT[engine])
    port = _free_port()
    with tempfile.TemporaryDirectory(prefix="lb") as directory:
        try:
            module = importlib.import_module(engine)
            ray = cast("ClusterApi", module)
            host = str(module.util.get_node_ip_address()) if engine == "ray" else LOOPBACK  # Ray's refuses loopback
            ip, temp = f"--node-ip-address={host}", ["--temp-dir", directory]
            head_s = _start(engine, [ip, "--head", f"--port={port}", "--num-cpus=0", *temp, *HEAD_OPTIONS[engine]])
            ray.init(address=f"{host}:{port}", log_to_driver=False)
            own = [ip] if engine == "ray" else [ip, *temp]  # Ray's nodes ask the head for the directory
            count = JOINS if timing.scale == 1 else 1
            joined = [_join_one(engine, ray, f"{host}:{port}", number, own) for number in range(count)]
            ray.shutdown()
        finally:
            _end_all()
    starts, firsts = zip(*joined, strict=True)
    return {
        "head_start_s": head_s,
        "join_start_s": statistics.median(starts),
        "join_first_task_s": statistics.median(firsts),
        "join_total_s": statistics.median(map(sum, joined)),
    }


def _join_one(engine: str, ray: ClusterApi, address: str, number: int, own: list[str]) -> tuple[float, float]:
    """Return how long `start` took and how long after it the first task's result was there."""
    resource = f"joined{number}"
    start_s = _start(engine, [f"--address={address}", "--num-cpus=1", "--resources", json.dumps({resource: 1}), *own])
    start = time.perf_counter()
    pid = ray.get(ray.remote(num_cpus=1, resources={resource: 1})(_where()).remote())
    first_s = time.perf_counter() - start
    expect(pid == os.getpid(), False, "the first task ran in the driver")
    return start_s, first_s


def _where() -> Callable[[], int]:
    """Return a function that tells which process it runs in, by value: workers know nothing of the bench."""

    def where() -> int:
        import os  # noqa: PLC0415 (in the worker)

        return os.getpid()

    return where


def _start(engine: str, options: list[str]) -> float:
    command = [str(Path(sys.executable).with_name(engine)), "start", *options]
    start = time.perf_counter()
    # a file, not a pipe: a daemon that inherits a pipe would keep us reading after the prompt is back
    with tempfile.TemporaryFile() as output:
        done = subprocess.run(
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, timeout=COMMAND_TIMEOUT_S, check=False
        )
        elapsed_s = time.perf_counter() - start
        if done.returncode:
            output.seek(0)
            tail = output.read().decode(errors="replace")[-500:]
            raise RuntimeError(f"{' '.join(command)}: exit code {done.returncode}, expected 0; it said: {tail}")
    return elapsed_s


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("", 0))
        return int(probe.getsockname()[1])


def _end_all() -> None:
    """End the daemons, which carry this run's marker: `ray stop` would end every Ray of the machine."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        for pid in session_processes(os.getpid()):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue
        if not wait_until_gone(lambda: session_processes(os.getpid()), GONE_TIMEOUT_S):
            return
