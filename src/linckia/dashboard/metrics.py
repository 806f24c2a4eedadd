"""The cluster in Prometheus' text format: Ray's names where Ray has the metric (R 8.49-8.68), else `linckia_`.

Made of the overview when somebody scrapes; nothing is counted in between but the dashboard's own requests. The registry
is the dashboard's own: nothing of this process's memory or garbage collector is in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from prometheus_client import CollectorRegistry, Counter, Histogram, disable_created_metrics, generate_latest
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

from linckia.core.actors.states import ActorState
from linckia.core.placement.states import GroupState
from linckia.dashboard.bodies import node_view, parts, resources

BUCKETS_S: Final = (0.01, 0.1, 1.0, 10.0)
Sample = tuple[list[str], float]


class Requests:
    """How many requests were answered, and how long that took."""

    def __init__(self) -> None:
        disable_created_metrics()  # type: ignore[no-untyped-call]
        self.registry = CollectorRegistry()
        labels = ("endpoint", "http_status")
        self._count = Counter("ray_dashboard_api_requests_count", "Requests answered.", labels, registry=self.registry)
        self._duration = Histogram(
            "ray_dashboard_api_requests_duration_seconds",
            "Time to an answer.",
            labels[:1],
            registry=self.registry,
            buckets=BUCKETS_S,
        )

    def answered(self, route: str, status: int, took_s: float) -> None:
        """``route``: the pattern, not the path: ids would be series without end."""
        self._count.labels(route, str(status)).inc()
        self._duration.labels(route).observe(took_s)


class ClusterMetrics(Collector):
    """``told``: the overview; ``age_s``: how old it is."""

    def __init__(self, told: dict[str, Any], age_s: float) -> None:
        self._told, self._age_s = told, age_s

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """All of them."""
        session = self._told["session_name"]
        for family in (*self._nodes(), *self._states(), *self._heads(), *self._parts()):
            for sample in family.samples:
                sample.labels["SessionName"] = session
            yield family
        yield gauge("linckia_snapshot_age_seconds", "How old these figures are.", [], [([], self._age_s)])

    def _nodes(self) -> Iterator[GaugeMetricFamily]:
        nodes = [node_view(node) for node in self._told["nodes"]]
        alive = [node for node in nodes if node["state"] == "ALIVE"]
        yield gauge("ray_cluster_active_nodes", "Nodes that live.", [], [([], len(alive))])
        yield gauge("ray_cluster_failed_nodes", "Dead nodes that are remembered.", [], [([], len(nodes) - len(alive))])
        amounts = [
            ([each["name"], state], each["used"] if state == "USED" else each["total"] - each["used"])
            for each in resources(self._told)
            for state in ("USED", "AVAILABLE")
        ]
        yield gauge("ray_resources", "Amounts of resources.", ["Name", "State"], amounts)
        for name, key, text in (
            ("ray_object_store_used_memory", "objectStoreUsedMemory", "Shared memory that objects take, in bytes."),
            ("ray_object_store_available_memory", "objectStoreAvailableMemory", "Shared memory left, in bytes."),
            ("ray_node_mem_used", "memoryUsed", "Memory of the machine in use, in bytes; 0: not looked at."),
        ):
            yield gauge(name, text, ["ip", "NodeId"], [(_place(node), float(node[key])) for node in alive])

    def _states(self) -> Iterator[GaugeMetricFamily]:
        counts = self._told["counts"]
        actors, groups, jobs = (counts.get(what, {}) for what in ("actors", "placement_groups", "jobs"))
        yield gauge("ray_actors", "Actors.", ["State"], _each([state.value for state in ActorState], actors))
        yield gauge("ray_gcs_actors_count", "Actors.", ["State"], _each([state.value for state in ActorState], actors))
        yield gauge("ray_placement_groups", "Groups.", ["State"], _each([state.value for state in GroupState], groups))
        yield gauge("ray_running_jobs", "Drivers that run.", [], [([], jobs.get("RUNNING", 0))])
        yield gauge("ray_finished_jobs", "Drivers that ended and are remembered.", [], [([], jobs.get("FINISHED", 0))])

    def _heads(self) -> Iterator[GaugeMetricFamily]:
        heads = [([f"{each['host']}:{each['port']}"], each) for each in self._told["heads"]]
        for name, key, text in (
            ("linckia_head_leader", "leader", "1: this head leads."),
            ("linckia_head_epoch", "epoch", "Term by which it leads; 0: it does not."),
            ("linckia_head_lag_revisions", "lag_revisions", "Revisions that it is behind; -1: not connected."),
        ):
            yield gauge(name, text, ["head"], [(where, float(each[key])) for where, each in heads])
        yield gauge("linckia_store_revision", "Revision of the store.", [], [([], float(self._told["revision"]))])

    def _parts(self) -> Iterator[GaugeMetricFamily]:
        told = [([part["name"], part["node_id"]], part) for part in parts(self._told)]
        up = [(labels, float(part["is_up"])) for labels, part in told]
        failures = [(labels, float(part["failures"])) for labels, part in told]
        yield gauge("linckia_part_up", "1: this supervised part works.", ["part", "NodeId"], up)
        yield gauge("linckia_part_failures", "Times that it had to be started again.", ["part", "NodeId"], failures)


def gauge(name: str, text: str, labels: list[str], samples: Iterable[Sample]) -> GaugeMetricFamily:
    """A family of samples."""
    family = GaugeMetricFamily(name, text, labels=labels)
    for values, amount in samples:
        family.add_metric(values, amount)
    return family


def exposition(told: dict[str, Any] | None, age_s: float, requests: Requests) -> bytes:
    """The text of a scrape; without the cluster's part where nothing is known of it."""
    mine: bytes = generate_latest(requests.registry)
    if told is None:
        return mine
    registry = CollectorRegistry(auto_describe=False)
    registry.register(ClusterMetrics(told, age_s))
    cluster: bytes = generate_latest(registry)
    return cluster + mine


def _place(node: dict[str, Any]) -> list[str]:
    return [node["nodeManagerAddress"], node["nodeId"]]


def _each(states: Iterable[str], counts: dict[str, int]) -> list[Sample]:
    """Also those that no one is in: a series that ends looks like one that is stuck."""
    return [([state], float(counts.get(state, 0))) for state in states]
