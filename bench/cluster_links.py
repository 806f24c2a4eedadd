"""A broadcast where links are the limit, as between real machines: each node in a network namespace of its own, on a
link of ``RATE``. On loopback two cores copy everything, and eight copies take eight times one, whoever makes them.

Needs root and iproute2. Used by `cluster_session.py`; Linckia only.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, cast

from bench.cluster_nodes import MIB, ClusterApi, Clusters, Running, Shape, scaled
from bench.cluster_transfer import READERS, once
from bench.measure import Timing
from bench.workloads import Values

if TYPE_CHECKING:
    from linckia.testing.namespaces import Host, Network

RATE, BURST = "500mbit", "256kb"
LINK_BYTES_PER_S = 500e6 / 8
SIZE_BYTES, SMALLEST_BYTES = 512 * MIB, 32 * MIB
REPEATS = 2
PORT = 6379
END_MAX_S = 15.0


def links(_clusters: Clusters, timing: Timing) -> Values:
    """Time from submitting the readers to the last one's answer, for one reader and for eight, each behind its link."""
    from linckia.testing.namespaces import Network  # noqa: PLC0415 - other engines' processes do not have it

    size = scaled(SIZE_BYTES, timing, SMALLEST_BYTES)
    repeats = REPEATS if timing.scale == 1 else 1
    network = Network(["head", *(f"node{number}" for number in range(READERS + 1))])
    try:
        with tempfile.TemporaryDirectory(prefix="lb-") as folder, _cluster(network, Path(folder), 2 * size) as cluster:
            nodes = range(1, READERS + 1)
            once(cluster, nodes, MIB, 0)  # workers, numpy and connections are there
            for host in network.hosts.values():
                network.slow(host, RATE, BURST, "50ms")
            one_s = statistics.median(once(cluster, nodes[:1], size, number + 11) for number in range(repeats))
            all_s = statistics.median(once(cluster, nodes, size, number + 101) for number in range(repeats))
    finally:
        network.close()
    return {
        "links_mib": size / MIB,
        "links_one": size / one_s / 1e6,
        "links_share": 100 * size / one_s / LINK_BYTES_PER_S,
        "links_ratio": all_s / one_s,
    }


@contextmanager
def _cluster(network: Network, folder: Path, store_bytes: int) -> Iterator[Running]:
    """A head and nodes by the `linckia` command, this process being a driver on the head's host."""
    import linckia  # noqa: PLC0415 - other engines' processes do not have it

    head, *nodes = network.hosts.values()
    os.environ["LINCKIA_AUTH_TOKEN"] = os.urandom(32).hex()
    try:
        _start(head, folder, "--head", f"--port={PORT}", "--num-cpus=0")
        for host in nodes:
            _start(host, folder, f"--address={head.address}:{PORT}", "--num-cpus=1", store_bytes=store_bytes)
        os.environ["LINCKIA_TMPDIR"] = str(folder / head.name)
        with network.inside(head):
            linckia.init(address=f"{head.address}:{PORT}", log_to_driver=False)
            try:
                ids = {node["NodeManagerAddress"]: node["NodeID"] for node in linckia.nodes()}
                node_ids = tuple(ids[host.address] for host in nodes)
                yield Running("linckia", cast("ClusterApi", linckia), Shape(len(nodes), 1, store_bytes), node_ids, 0.0)
            finally:
                linckia.shutdown()
    finally:
        for host in reversed([head, *nodes]):
            _stop(host, folder)


def _start(host: Host, folder: Path, *words: str, store_bytes: int = 128 * MIB) -> None:
    (folder / host.name).mkdir()
    command = [*host.enter(), sys.executable, "-m", "linckia.cli.main", "start", *words]
    command += [f"--node-ip-address={host.address}", f"--object-store-memory={store_bytes}"]
    subprocess.run(command, env=_environment(host, folder), check=True, stdout=subprocess.DEVNULL)


def _stop(host: Host, folder: Path) -> None:
    command = [*host.enter(), sys.executable, "-m", "linckia.cli.main", "stop"]
    subprocess.run(command, env=_environment(host, folder), stdout=subprocess.DEVNULL, timeout=END_MAX_S, check=False)


def _environment(host: Host, folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if name not in ("LINCKIA_ADDRESS", "RAY_ADDRESS")}
    return {**kept, "LINCKIA_TMPDIR": str(folder / host.name)}
