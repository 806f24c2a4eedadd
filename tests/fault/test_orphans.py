"""Values with replicas outlive the process that owns them: with its node, without it, for all who hold a reference.

One cluster for most of it: each test ends nodes, and the next one begins with three again.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy
import pytest
from heads_of import kill_leader
from watching import until

import linckia
from linckia.base.limits import ORPHAN_SEARCH_MAX_S
from linckia.cluster_utils import Cluster
from linckia.exceptions import OwnerDiedError
from linckia.experimental import get_object_locations

pytestmark = pytest.mark.fault

STORE = {"object_store_memory": 100 * 2**20}
ITEMS = 250_000  # 2 MB
GET_MAX_S = 20


class Nodes:
    """A connected head without CPUs, and three nodes with one each."""

    def __init__(self, **head: Any) -> None:
        self.cluster = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0, **STORE, **head})
        self.places: dict[int, Any] = {}

    def fill(self) -> None:
        """All three are there."""
        for number in range(3):
            if number not in self.places:
                resources = {f"node{number}": 1}
                self.places[number] = self.cluster.add_node(num_cpus=1, resources=resources, **STORE)

    def kill(self, number: int) -> str:
        """SIGKILL of a node and all that runs there, which nobody knows yet; its id."""
        node = self.places.pop(number)
        node.kill()
        return str(node.node_id)

    def close(self) -> None:
        linckia.shutdown()
        self.cluster.shutdown()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Nodes]:
    nodes = Nodes(store="session")
    try:
        yield nodes
    finally:
        nodes.close()


@pytest.fixture
def nodes(cluster: Nodes) -> Nodes:
    cluster.fill()
    return cluster


def copies_of(ref: Any) -> list[str]:
    found: list[str] = get_object_locations([ref])[ref]["node_ids"]
    return found


def wait_for_copies(ref: Any, count: int) -> None:
    until(lambda: len(copies_of(ref)) == count, 30, f"{count} copies")


@linckia.remote(num_cpus=0)
class Owner:
    """Lives where it is told, and owns what it puts."""

    def __init__(self) -> None:
        self.refs: list[Any] = []

    def put(self, value: Any, replicas: int = 2, *, waits: bool = True, forgets: bool = False) -> Any:
        self.refs = [*([] if forgets else self.refs), linckia.put(value, replicas=replicas)]
        if waits:
            wait_for_copies(self.refs[-1], replicas)
        return self.refs[-1:]

    def fill(self, count: int) -> None:
        """The store, so that what is older goes to disk."""
        self.more = [linckia.put(numpy.full(2 * 10**6, number)) for number in range(count)]  # 16 MB each
        until(lambda: get_object_locations(self.refs[-1:])[self.refs[-1]]["did_spill"])

    def keep(self, value: Any, replicas: int = 2) -> None:
        """For itself."""
        self.refs.append(linckia.put(value, replicas=replicas))
        wait_for_copies(self.refs[-1], replicas)

    def run(self, function: Any, *args: Any) -> Any:
        self.refs.append(function.remote(*args))
        linckia.wait(self.refs[-1:], fetch_local=False)
        wait_for_copies(self.refs[-1], 2)
        return self.refs[-1:]

    def pid(self) -> int:
        return os.getpid()


@linckia.remote(num_cpus=0)
class Holder:
    """Another process that refers to a value."""

    def hold(self, refs: list[Any]) -> None:
        self.refs = refs

    def total(self) -> int:
        return int(linckia.get(self.refs[0]).sum())


@linckia.remote(num_cpus=0)
def total(value: Any) -> int:
    return int(value.sum())


def on(number: int) -> dict[str, Any]:
    return {"resources": {f"node{number}": 0.1}}


def here(ref: Any) -> Any:
    return linckia.get(ref, timeout=GET_MAX_S)


def an_owner(number: int = 0) -> Any:
    return Owner.options(**on(number)).remote()


JOB = """
import os, signal, sys, linckia, numpy
from linckia.experimental import get_object_locations

@linckia.remote(num_cpus=0)
class Owner:
    def put(self):
        ref = linckia.put(numpy.zeros(10**6), replicas=3)
        while len(get_object_locations([ref])[ref]["node_ids"]) < 3:
            linckia.wait([ref], fetch_local=False)
        return [ref]
    def die(self):
        os.kill(os.getpid(), signal.SIGKILL)

linckia.init(address=sys.argv[1])
owner = Owner.remote()
refs = linckia.get(owner.put.remote())
owner.die.remote()
try:
    linckia.get(owner.put.remote())
except linckia.exceptions.RayActorError:
    print(len(linckia.get(refs[0])), flush=True)
sys.stdin.readline()
"""


@pytest.mark.parametrize("how", ["returns", "killed"])
def test_the_memory_is_free_again_when_the_job_has_ended(nodes: Nodes, tmp_path: Path, how: str) -> None:
    def used() -> int:
        of = "object_store_memory"
        return int(linckia.cluster_resources()[of] - linckia.available_resources()[of])

    script = tmp_path / "job.py"
    script.write_text(JOB)
    until(lambda: used() == 0, 10, "nothing is there but this job")
    command = [sys.executable, str(script), nodes.cluster.address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as job:
        assert job.stdin is not None and job.stdout is not None
        assert job.stdout.readline() == "1000000\n"
        until(lambda: used() >= 3 * 8 * 10**6, 10, "three copies")
        if how == "killed":
            job.kill()
        else:
            job.stdin.write("\n")
            job.stdin.flush()
        job.wait(20)
    until(lambda: used() == 0, 20, "all of the memory is free")


def test_a_put_value_survives_its_node_and_all_who_refer_to_it_can_use_it(nodes: Nodes) -> None:
    owner, holder = an_owner(0), Holder.options(**on(2)).remote()
    value = numpy.arange(ITEMS)
    refs = here(owner.put.remote(value))
    late, read = here(owner.put.remote(value + 1)), here(owner.put.remote(value + 2))
    assert here(read[0])[0] == 2  # its place is known here, and will be wrong
    here(holder.hold.remote(refs))
    nested = linckia.put({"inside": refs[0]})
    nodes.kill(0)
    ready, _ = linckia.wait(late, timeout=GET_MAX_S)
    assert ready == late and (here(late[0]) == value + 1).all()
    assert here(total.options(**on(1)).remote(refs[0])) == value.sum()
    assert here(holder.total.remote()) == value.sum()
    assert (here(here(nested)["inside"]) == value).all()
    assert (here(read[0]) == value + 2).all()
    again = linckia.get([*refs, *late, *read], timeout=GET_MAX_S)
    assert [each[0] for each in again] == [0, 1, 2]


def test_small_values_survive_too_when_replicas_are_asked_for(nodes: Nodes) -> None:
    owner = an_owner(0)
    (small,), (plain,) = here(owner.put.remote("small")), here(owner.put.remote("plain", 1, waits=False))
    mine = linckia.put(("mine", b""), replicas=3)
    wait_for_copies(mine, 3)
    nodes.kill(0)
    assert here(small) == "small" and here(mine) == ("mine", b"")
    with pytest.raises(OwnerDiedError):
        here(plain)


def test_the_primary_counts_when_only_the_process_has_ended(nodes: Nodes) -> None:
    """Then it is read in place by processes of that node, and from it by others."""
    owner, holder = an_owner(0), Holder.options(**on(0)).remote()
    value = numpy.arange(ITEMS)
    ref, other = a_copy_on_a_worker(nodes, owner, value)
    here(holder.hold.remote([ref]))
    os.kill(here(owner.pid.remote()), signal.SIGKILL)
    until(lambda: is_dead(owner))
    nodes.kill(other)
    assert here(holder.total.remote()) == value.sum()
    assert here(total.options(**on(0)).remote(ref)) == value.sum()
    assert (here(ref) == value).all()


def a_copy_on_a_worker(nodes: Nodes, owner: Any, value: Any) -> tuple[Any, int]:
    """(ref, number of the node with the second copy): not the head, which cannot be killed."""
    while True:
        ref = None
        (ref,) = here(owner.put.remote(value, forgets=True))
        for number in (1, 2):
            if nodes.places[number].node_id in copies_of(ref):
                return ref, number


def test_a_primary_that_was_moved_to_disk_counts_too(nodes: Nodes) -> None:
    owner = an_owner(0)
    value = numpy.arange(3 * 10**6)  # 24 MB
    ref, other = a_copy_on_a_worker(nodes, owner, value)
    here(owner.fill.remote(6))
    os.kill(here(owner.pid.remote()), signal.SIGKILL)
    until(lambda: is_dead(owner))
    nodes.kill(other)
    assert here(total.options(**on(0)).remote(ref)) == value.sum(), "what is there now is something else"
    assert (here(ref) == value).all()


def is_dead(actor: Any) -> bool:
    try:
        here(actor.pid.remote())
    except linckia.exceptions.RayActorError:
        return True
    return False


def test_a_result_survives_its_owner_and_then_the_node_of_its_primary(nodes: Nodes) -> None:
    @linckia.remote(num_cpus=0, replicas=2, max_retries=0, resources={"node1": 0.1})
    def result() -> Any:
        return numpy.arange(ITEMS)

    owner = an_owner(0)
    (ref,) = here(owner.run.remote(result))
    nodes.kill(0)
    assert here(total.options(**on(2)).remote(ref)) == numpy.arange(ITEMS).sum()
    if nodes.places[1].node_id:
        nodes.kill(1)
    try:
        assert here(total.options(**on(2)).remote(ref)) == numpy.arange(ITEMS).sum()
    except OwnerDiedError as error:  # both copies may have been on the two nodes that died
        assert "is dead" in str(error)


def test_without_a_copy_it_is_lost_soon_and_the_error_says_why(nodes: Nodes) -> None:
    owner = an_owner(0)
    (alone,) = here(owner.put.remote(numpy.arange(ITEMS), 1, waits=False))
    twice, other = a_copy_on_a_worker(nodes, owner, b"x" * 10**6)
    names = [nodes.kill(0)[:8], nodes.kill(other)[:8]]
    began_s = time.monotonic()
    for ref in (alone, twice):
        with pytest.raises(OwnerDiedError, match="no copy of it is left") as caught:
            here(ref)
        assert all(name in str(caught.value) for name in names)
    with pytest.raises(OwnerDiedError):
        here(total.remote(twice))
    assert linckia.wait([twice], timeout=GET_MAX_S)[0] == [twice]
    assert time.monotonic() - began_s < ORPHAN_SEARCH_MAX_S / 2, "the head and all nodes were there to answer"


def test_killed_while_the_second_copy_is_made(nodes: Nodes) -> None:
    """Either it was complete, or the error says that it was not: soon."""
    for size in (10**6, 40 * 10**6):
        nodes.fill()
        owner = an_owner(0)
        (ref,) = here(owner.put.remote(numpy.zeros(size, numpy.uint8), waits=False))
        nodes.kill(0)
        began_s = time.monotonic()
        try:
            assert len(here(ref)) == size
        except OwnerDiedError as error:
            assert "no copy of it is left" in str(error)
        assert time.monotonic() - began_s < ORPHAN_SEARCH_MAX_S


def test_what_others_cannot_refer_to_ends_with_its_owner(nodes: Nodes) -> None:
    """Else the replicas of one process after the other would fill half of the stores until the job ends."""
    for _ in range(3):  # each 24 MB of the 50 MB that replicas may take on a node
        owner = an_owner(0)
        here(owner.keep.remote(numpy.zeros(3 * 10**6), 3))
        linckia.kill(owner)
        until(lambda owner=owner: is_dead(owner))


def test_many_references_to_values_of_a_dead_owner(nodes: Nodes) -> None:
    @linckia.remote(num_cpus=0)
    class Many:
        def put(self, count: int) -> list[Any]:
            refs = [linckia.put(number, replicas=2) for number in range(count)]
            for ref in refs:
                wait_for_copies(ref, 2)
            return refs

    refs = here(Many.options(**on(0)).remote().put.remote(500))
    nodes.kill(0)
    assert linckia.get(refs, timeout=GET_MAX_S) == list(range(500))


@pytest.mark.parametrize("first", ["node", "head"])
def test_another_head_finds_them_too(nodes: Nodes, first: str) -> None:
    owner = an_owner(0)
    (ref,) = here(owner.put.remote(numpy.arange(ITEMS)))
    ends = [lambda: nodes.kill(0), lambda: kill_leader(nodes.cluster)]
    for end in ends if first == "node" else reversed(ends):
        end()
    assert (here(ref) == numpy.arange(ITEMS)).all()
