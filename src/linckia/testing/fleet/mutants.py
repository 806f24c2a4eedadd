"""Planted bugs: parts of the product that are broken on purpose, one at a time, and the scenario that has to notice.

``make sim-mutants`` prints how each was found (``SEEDS``: at most so many lives for each); ``tests/sim/test_fleet.py``
runs the same list. A bug that nothing finds means that a check is missing.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import msgspec

from linckia.core.actors.directory import ActorDirectory, Stop
from linckia.core.autoscaling.packing import Slot
from linckia.core.autoscaling.records import Observation, Round
from linckia.core.leases import vectors
from linckia.core.leases.claims import Claims
from linckia.core.leases.gpus import Assignment, GpuLedger
from linckia.core.leases.manager import LeaseManager
from linckia.core.leases.records import Lease
from linckia.core.leases.vectors import UNITS_PER_ONE, Units
from linckia.core.links.answers import Answers
from linckia.core.links.windows import ReceiveCount, SendWindow
from linckia.core.nodes.directory import NodeDirectory
from linckia.core.placement import bundles
from linckia.core.placement.directory import GroupDirectory
from linckia.core.scheduling.settling import SettlingView
from linckia.core.scheduling.view import ClusterView
from linckia.gcs.actor_placement import ActorPlacement
from linckia.gcs.actors import ActorService
from linckia.gcs.journal import Journal
from linckia.gcs.placement_groups import GroupService
from linckia.gcs.scaling import ScalingService
from linckia.gcs.service import Gcs
from linckia.protocol import messages as m
from linckia.raylet.actors import ActorHost
from linckia.raylet.bundles import BundleHost
from linckia.raylet.gcs_link import GcsLink
from linckia.raylet.lease_desk import LeaseDesk
from linckia.raylet.relaying import Relaying
from linckia.rpc.idempotence import RecentReplies
from linckia.scaling.monitor import Monitor
from linckia.testing.fleet.scenarios import SCENARIOS
from linckia.testing.fleet.world import Fleet, FleetFailure

NODES = 24
SEEDS_MAX = 6


class Mutant(NamedTuple):
    """``owner.attribute`` is replaced by ``broken``. ``what`` says what the product then does wrong."""

    what: str
    owner: Any
    attribute: str
    broken: Callable[..., Any]
    scenario: str

    @property
    def name(self) -> str:
        """Where it is: short and unique."""
        return f"{self.owner.__name__.rpartition('.')[2]}.{self.attribute}"


class Found(NamedTuple):
    """How a planted bug showed itself. ``seed`` -1: not at all."""

    seed: int
    says: str
    steps: int
    took_s: float


def hunt(mutant: Mutant, seeds: int = SEEDS_MAX) -> Found:
    """Lives with the bug in it, until one fails."""
    began_s = time.perf_counter()
    with planted(mutant):
        for seed in range(seeds):
            fleet = Fleet(SCENARIOS[mutant.scenario], seed, NODES)
            try:
                fleet.run()
            except FleetFailure as failure:
                says, replay = str(failure).splitlines()[-2:]
                assert replay == f"replay: {fleet.replay}"
                return Found(seed, says, fleet.steps, time.perf_counter() - began_s)
    return Found(-1, "", 0, time.perf_counter() - began_s)


@contextlib.contextmanager
def planted(mutant: Mutant) -> Iterator[None]:
    """The bug is there meanwhile."""
    sound = vars(mutant.owner)[mutant.attribute]
    setattr(mutant.owner, mutant.attribute, mutant.broken)
    try:
        yield
    finally:
        setattr(mutant.owner, mutant.attribute, sound)


# --- leases of one node -----------------------------------------------------------------------------------------------


def nothing(*_args: Any, **_options: Any) -> list[Any]:
    """A step that is left out."""
    return []


def nowhere(*_args: Any) -> bytes:
    """No node will do."""
    return b""


def never(*_args: Any) -> bool:
    """A question that is always answered with no."""
    return False


def keep_resources(self: LeaseManager, lease: Lease) -> None:
    """A lease that ends gives nothing back."""
    del self.leases[lease.lease_id]
    self._disown(lease.request.owner, lease_id=lease.lease_id)
    self.recalls.ended(lease)


def reserve_unseen(self: LeaseManager, wanted: list[Units]) -> list[Assignment]:
    """Bundles are reserved whether or not there is room."""
    for units in wanted:
        vectors.subtract(self.available, units)
    return [{} for _ in wanted]


def always_the_first_gpu(self: GpuLedger, units: int) -> Assignment:
    """The same device for everybody."""
    first = min(self.free)
    self.free[first] = max(0, self.free[first] - units)
    return {first: min(units, UNITS_PER_ONE)}


# --- nodes, and what is known of them ---------------------------------------------------------------------------------


def an_answer_is_a_refusal(self: NodeDirectory, node_id: bytes, _outcome: str, text: str) -> list[Any]:
    """A node whose connection broke is dead, though it answers."""
    return probed(self, node_id, "refused", text)


def never_heard_again(self: NodeDirectory, node_id: bytes, now_s: float) -> list[Any]:
    """Who was suspect once stays so."""
    node = self.nodes.get(node_id)
    if node is not None:
        node.heard_s = now_s
    return []


def late_unseen(self: Answers[bytes], now_s: float) -> list[bytes]:
    """Nobody minds that a node does not acknowledge what it is asked."""
    late(self, now_s)
    return []


probed, late = NodeDirectory.probed, Answers.late


# --- placement groups -------------------------------------------------------------------------------------------------


def commit_at_once(self: GroupDirectory, group_id: bytes, attempt: int, node_id: bytes, now_s: float) -> list[Any]:
    """The first node that commits stands for all."""
    group = self.groups[group_id]
    group.waiting_for.intersection_update([node_id])
    return committed(self, group_id, attempt, node_id, now_s)


def expect_anything(_self: GroupDirectory, _group_id: bytes, _index: int, _node_id: bytes) -> bool:
    """A new head takes every bundle that a node has for one that it wants there."""
    return True


def not_so_strict(
    free: dict[bytes, Units], ask: bundles.BundleAsk, todo: list[int], allowed: Any
) -> dict[int, bytes] | None:
    """STRICT_SPREAD takes as few nodes as it can."""
    return bundles._on_few(free, ask, todo, allowed)


committed = GroupDirectory.committed


# --- actors -----------------------------------------------------------------------------------------------------------


def first_ones_only(self: ActorPlacement) -> None:
    """Those that wait longest, again and again."""
    self._goes_on = False
    for spec, restarts, _why in list(self.waiting.values())[:200]:
        self._start(spec, restarts, is_new=False)


def nobody_has_that_name(_self: ActorDirectory, _name: str, _namespace: str) -> None:
    """A name is given to whoever asks."""


def keep_the_name(self: ActorDirectory, actor: Any, reason: Any, text: str) -> list[Any]:
    """The dead keep their names."""
    key = (actor.spec.namespace, actor.spec.name)
    holder = self.names.get(key)
    effects = die(self, actor, reason, text)
    if holder is not None and holder == actor.spec.actor_id:
        self.names[key] = holder
    return effects


def kill_in_the_books(self: ActorDirectory, actor_id: bytes, *, no_restart: bool, reason: str = "") -> list[Any]:
    """A killed actor is dead, and its process lives on."""
    return [each for each in kill(self, actor_id, no_restart=no_restart, reason=reason) if not isinstance(each, Stop)]


def begin_unasked(self: ActorHost, grant: Any, worker: Any) -> None:
    """A node runs the constructor without the head's word."""
    granted(self, grant, worker)
    actor = self.actors[grant.request.actor_id]
    self.on_begin(None, m.BeginActor(grant.request.actor_id, actor.attempt, 1))


def withdraw_what_has_begun(self: ActorDirectory, actor_id: bytes) -> int:
    """A node that is silent is not waited for, whatever it was told."""
    self.actors[actor_id].may_have_begun = False
    return withdrawn(self, actor_id)


def always(*_args: Any) -> bool:
    """A question that is always answered with yes."""
    return True


die, kill, granted = ActorDirectory._die, ActorDirectory.kill, ActorHost.granted
withdrawn = ActorDirectory.withdrawn


# --- messages, links, heads -------------------------------------------------------------------------------------------


def run_every_time(_self: RecentReplies, _client: bytes, _rid: int) -> tuple[bool, None]:
    """A repeated request is another one."""
    return True, None


def count_some_twice(self: ReceiveCount, messages: int = 1) -> bool:
    """One message in fifty counts for two."""
    return count(self, messages + (self.count % 50 == 0))


def take_any_head_for_the_last(self: GcsLink, conn: Any, message: Any) -> None:
    """A head that knows nothing is taken for the one that knew all."""
    message.resumed = bool(self._head) or message.resumed
    welcome(self, conn, message)


def take_unnoticed(self: Slot, need: dict[str, float]) -> None:
    """A node that a waiting gang needs looks idle."""
    for name, amount in need.items():
        self.free[name] = self.free.get(name, 0.0) - amount


count, welcome = ReceiveCount.add, GcsLink._welcome


# --- autoscaling over heads -------------------------------------------------------------------------------------------


def launch_before_it_is_written(self: Monitor, began_s: float, seen: Observation) -> None:
    """As if the provider's memory were the only one."""

    def at_once(what: str, body: bytes, then: Callable[[bytes], None]) -> None:
        ask(what, body, then)
        if what == "round":
            made = msgspec.msgpack.decode(body, type=Round)
            for name, node_type in made.launch:
                self.provider.launch(self._types[node_type], name)

    ask, self.head.ask = self.head.ask, at_once  # type: ignore[method-assign]
    try:
        look(self, began_s, seen)
    finally:
        self.head.ask = ask  # type: ignore[method-assign]


def hold_nothing(_self: ScalingService) -> str:
    """Nodes that have not come to this head yet are missing."""
    return ""


look = Monitor._seen


MUTANTS: list[Mutant] = [
    Mutant("a lease that ends gives nothing back", LeaseManager, "_end_lease", keep_resources, "gangs"),
    Mutant("workers outlive their job", LeaseManager, "job_gone", nothing, "gangs"),
    Mutant("bundles are reserved where there is no room", LeaseManager, "reserve", reserve_unseen, "gangs"),
    Mutant("a bundle that was given back is still used", LeaseManager, "withdraw", nothing, "gangs"),
    Mutant("everybody gets the same GPU", GpuLedger, "take", always_the_first_gpu, "gangs"),
    Mutant("actors that find no room wait at the head alone", ActorPlacement, "_scouted", nowhere, "stream"),
    Mutant("nobody makes room for a group", GroupDirectory, "_claim_next", nothing, "stream"),
    Mutant("what a group waits for goes to others", Claims, "bar", never, "stream"),
    Mutant("what waits is never looked at again", LeaseDesk, "look_again", nothing, "gangs"),
    Mutant("nobody brakes when most nodes are silent", NodeDirectory, "_pull_brake", nothing, "partition"),
    Mutant("who was suspect once stays so", NodeDirectory, "heard", never_heard_again, "partition"),
    Mutant("a broken connection is a death", NodeDirectory, "probed", an_answer_is_a_refusal, "links"),
    Mutant("dead nodes stay in the view", ClusterView, "leave", nothing, "churn"),
    Mutant("what was sent and refused is never free again", SettlingView, "settle", nothing, "churn"),
    Mutant("a refused group gives nothing back", GroupDirectory, "_give_back", nothing, "gangs"),
    Mutant("a group is there when one node has committed", GroupDirectory, "committed", commit_at_once, "gangs"),
    Mutant("groups do not hear of dead nodes", GroupDirectory, "node_dead", nothing, "churn"),
    Mutant("a new head wants every bundle it finds", GroupDirectory, "expects", expect_anything, "heads"),
    Mutant("STRICT_SPREAD shares nodes", bundles, "_apart", not_so_strict, "gangs"),
    Mutant("bundles are never given back", BundleHost, "on_return", nothing, "gangs"),
    Mutant("only the first waiting actors are looked at", ActorPlacement, "_go_on", first_ones_only, "gangs"),
    Mutant("two actors of one name", ActorDirectory, "by_name", nobody_has_that_name, "churn"),
    Mutant("the dead keep their names", ActorDirectory, "_die", keep_the_name, "churn"),
    Mutant("a killed actor's process lives on", ActorDirectory, "kill", kill_in_the_books, "churn"),
    Mutant("a node begins unasked", ActorHost, "granted", begin_unasked, "starts"),
    Mutant("what has begun is asked of others too", ActorDirectory, "withdrawn", withdraw_what_has_begun, "starts"),
    Mutant("who does not acknowledge is not missed", Answers, "late", late_unseen, "starts"),
    Mutant("what comes late of an actor counts", ActorDirectory, "is_current", always, "starts"),
    Mutant("a repeated request runs again", RecentReplies, "begin", run_every_time, "lossy"),
    Mutant("jobs outlive their node", Gcs, "_node_dead", nothing, "churn"),
    Mutant("a needed node looks idle", Slot, "take", take_unnoticed, "autoscale"),
    Mutant("what was on its way is lost", SendWindow, "unacked", nothing, "links"),
    Mutant("some messages count for two", ReceiveCount, "add", count_some_twice, "links"),
    Mutant("nothing is written down", Journal, "touch", nothing, "heads"),
    Mutant("a new head does not hear who listens", Relaying, "listen_again", nothing, "heads"),
    Mutant("a new head is asked what was answered", Relaying, "is_answered", never, "heads"),
    Mutant("a new head does not hear of actors", ActorService, "node_runs", nothing, "heads"),
    Mutant("a new head does not hear of bundles", GroupService, "node_runs", nothing, "heads"),
    Mutant("a new head passes for the last one", GcsLink, "_welcome", take_any_head_for_the_last, "heads"),
    Mutant("a new head forgets what was asked for", ScalingService, "restore", nothing, "scaling"),
    Mutant("a new head does not wait for its nodes", ScalingService, "_why_hold", hold_nothing, "scaling"),
    Mutant("nodes are launched before it is written", Monitor, "_seen", launch_before_it_is_written, "scaling"),
]


def main() -> int:
    """One line per planted bug, as a table in Markdown; exit code 1 when one was not found."""
    seeds = int(os.environ.get("SEEDS") or SEEDS_MAX)
    rows = ["| planted bug | where | scenario | seed | what the simulator said |", "| --- | --- | --- | --- | --- |"]
    print("\n".join(rows), flush=True)  # noqa: T201
    missed = 0
    for mutant in MUTANTS:
        found = hunt(mutant, seeds)
        missed += found.seed < 0
        seed, says = (str(found.seed), _short(found.says)) if found.seed >= 0 else ("-", f"NOT FOUND in {seeds} seeds")
        print(f"| {mutant.what} | `{mutant.name}` | {mutant.scenario} | {seed} | {says} |", flush=True)  # noqa: T201
    print(f"\n{len(MUTANTS) - missed} of {len(MUTANTS)} found, {NODES} machines, at most {seeds} seeds each")  # noqa: T201
    return min(1, missed)


def _short(text: str, most: int = 90) -> str:
    kind, _, rest = text.partition(": ")
    says = rest if kind == "BrokenPromise" else text
    return (says if len(says) <= most else says[: most - 1] + "…").replace("|", "/")


if __name__ == "__main__":
    sys.exit(main())
