"""Heads that die: what runs goes on, what was acknowledged is there, nothing runs twice. SQLite and etcd, for real.

The simulator's scenario ``heads`` has the same with thousands of histories (`make sim SCENARIO=heads SEEDS=1000`).
"""

from __future__ import annotations

import os
import signal
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from heads_of import head_and_node, kill_leader, leader, told, until_others

import linckia
from linckia.cluster_utils import Cluster
from linckia.core.mvcc.records import Put, Txn
from linckia.gcs import records
from linckia.gcs.chunks import WHOLE
from linckia.node.launch import NodeStartError
from linckia.store.blocking import BlockingStore, at_once
from linckia.store.sqlite import SqliteStore
from linckia.testing.etcd import EtcdCluster, missing
from linckia.util.placement_group import placement_group, placement_group_table

pytestmark = pytest.mark.fault
GET_MAX_S = 15


@linckia.remote(num_cpus=0)
class Counter:
    def __init__(self) -> None:
        self.count = 0

    def inc(self) -> int:
        self.count += 1
        return self.count

    def pid(self) -> int:
        return os.getpid()


@linckia.remote
def double(value: int) -> int:
    return 2 * value


@linckia.remote
def wait_for(path: str) -> str:
    while not os.path.exists(path):
        time.sleep(0.01)  # sleep: another process makes the file
    return path


def here(get: Any) -> Any:
    return linckia.get(get, timeout=GET_MAX_S)


@pytest.fixture
def one_head() -> Iterator[Cluster]:
    """A head with SQLite, and a node with three CPUs."""
    with head_and_node(3) as cluster:
        yield cluster


@pytest.fixture(scope="module")
def etcd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EtcdCluster]:
    """Three members."""
    if why := missing():
        pytest.skip(why)
    members = EtcdCluster(tmp_path_factory.mktemp("etcd"), 3)
    yield members
    members.close()


@pytest.fixture
def three_heads(etcd: EtcdCluster, request: pytest.FixtureRequest) -> Iterator[Cluster]:
    """Three heads on etcd, and a node with four CPUs, where the program is."""
    store = f"etcd://{','.join(etcd.endpoints)}/{request.node.name}"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=0, store=store)
        worker = cluster.add_node(num_cpus=4)
        linckia.init(address=worker.address)
        until_others(cluster, 2)
        yield cluster
    finally:
        linckia.shutdown()
        cluster.shutdown()


# --- one head, SQLite -------------------------------------------------------------------------------------------------


@pytest.mark.row("S1", "S10", "P2", "P3")
def test_a_killed_head_comes_back_with_everything(one_head: Cluster, tmp_path: Path) -> None:
    """Tasks, actors, a group, a name, what waits: all as before; the killed process is the only one that died."""
    group = placement_group([{"CPU": 1}], name="gang", lifetime="detached")
    assert here(group.ready())
    kept = Counter.options(name="kept", namespace="n", lifetime="detached").remote()
    waits = Counter.options(resources={"late": 1}).remote()
    pid, flag = here(kept.pid.remote()), str(tmp_path / "flag")
    running, big = wait_for.remote(flag), linckia.put(b"x" * 1_000_000)
    before = told(one_head)
    killed = kill_leader(one_head)
    assert here(kept.inc.remote()) == 1
    assert here(double.remote(3)) == 6
    assert here(Counter.remote().inc.remote()) == 1, "a new actor, by the new head"
    Path(flag).touch()
    assert here(running) == flag
    assert len(here(big)) == 1_000_000
    after = told(one_head)
    assert leader(one_head)["pid"] != killed["pid"]
    assert [node["node_id"] for node in after["nodes"]] == [node["node_id"] for node in before["nodes"]]
    assert all(node["alive"] for node in after["nodes"])
    assert here(linckia.get_actor("kept", "n").pid.remote()) == pid
    assert placement_group_table(group)["state"] == "CREATED"
    one_head.add_node(num_cpus=0, resources={"late": 1})
    assert here(waits.inc.remote()) == 1, "an actor that waited for its node under the first head"
    print(f"head {killed['pid']} was killed: nodes lost 0, actors restarted 0, tasks retried 0")


@pytest.mark.row("S1", "5.13")
def test_what_happened_while_no_head_was_there_is_told(one_head: Cluster) -> None:
    """The head stops, an actor's process dies, the head is killed: the next one hears of it and starts the actor."""
    actor = Counter.options(max_restarts=1, max_task_retries=-1).remote()
    pid = here(actor.pid.remote())
    head = leader(one_head)
    os.kill(head["pid"], signal.SIGSTOP)
    os.kill(pid, signal.SIGKILL)
    with pytest.raises(linckia.exceptions.GetTimeoutError):
        linckia.get(actor.pid.remote(), timeout=0.3)
    os.kill(head["pid"], signal.SIGKILL)
    assert here(actor.pid.remote()) != pid
    assert here(actor.inc.remote()) == 1


@pytest.mark.row("S1", "P2")
def test_many_deaths_in_a_row(one_head: Cluster) -> None:
    """The head is killed while actors are being created: each creation ends well, once; nobody else restarts, and the
    next head does not come later each time.
    """
    kept = Counter.options(name="kept", namespace="n").remote()
    pid, nodes = here(kept.pid.remote()), [node["node_id"] for node in told(one_head)["nodes"]]
    made: list[Any] = []
    back_s: list[float] = []
    for _ in range(10):
        made += [Counter.remote() for _ in range(2)]
        kill_leader(one_head)
        killed_s = time.monotonic()
        linckia.get_actor("kept", "n")
        back_s.append(time.monotonic() - killed_s)
        made += [Counter.remote() for _ in range(2)]
    assert here([each.inc.remote() for each in made]) == [1] * len(made)
    assert len(set(here([each.pid.remote() for each in made]))) == len(made)
    assert here(kept.pid.remote()) == pid
    assert [node["node_id"] for node in told(one_head)["nodes"]] == nodes
    assert sum(back_s) < 10.0, f"with pauses that double it takes 20 s and more: {back_s}"
    print(f"heads killed {len(back_s)}, actors made {len(made)}, lost 0, doubled 0, restarted 0; back after")
    print(f"{min(back_s):.3f} / {statistics.median(back_s):.3f} / {max(back_s):.3f} s (min, median, max)")


def test_jobs_have_new_numbers_after_a_head_died(one_head: Cluster) -> None:
    first = linckia.get_runtime_context().get_job_id()
    kill_leader(one_head)
    linckia.shutdown()
    one_head.connect()
    assert int(linckia.get_runtime_context().get_job_id(), 16) > int(first, 16)


@pytest.mark.row("P3")
def test_programs_are_told_when_no_head_answers(capfd: pytest.CaptureFixture[str]) -> None:
    """The head's node is stopped, so that it cannot start the head again: tasks go on, and who waits is told why."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": "session"})
    try:
        linckia.init(address=cluster.add_node(num_cpus=1).address)
        assert cluster.head_node is not None
        killed = leader(cluster)["pid"]
        os.kill(cluster.head_node.pid, signal.SIGSTOP)
        os.kill(killed, signal.SIGKILL)
        said, deadline_s = "", time.monotonic() + GET_MAX_S
        while "no head answers since 5 s" not in said:
            assert here(double.remote(2)) == 4
            assert time.monotonic() < deadline_s, said
            said += capfd.readouterr().err
        os.kill(cluster.head_node.pid, signal.SIGCONT)
        assert here(Counter.remote().inc.remote()) == 1
        while "a head leads again, after" not in said:
            assert here(double.remote(2)) == 4
            assert time.monotonic() < deadline_s, said
            said += capfd.readouterr().err
    finally:
        linckia.shutdown()
        cluster.shutdown()


# --- bad input --------------------------------------------------------------------------------------------------------


def test_a_store_in_use_is_refused_in_a_sentence(tmp_path: Path) -> None:
    store = f"sqlite:{tmp_path}/s.db"
    first = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store})
    try:
        with pytest.raises(NodeStartError, match="the head does not start: .*in use"):
            Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store})
        assert told(first)["nodes"]
    finally:
        first.shutdown()


def test_another_clusters_store_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = f"sqlite:{tmp_path}/s.db"
    Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store}).shutdown()
    monkeypatch.setenv("LINCKIA_AUTH_TOKEN", "ab" * 32)
    with pytest.raises(NodeStartError, match="belongs to the cluster .* another token"):
        Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store})


def test_records_of_a_later_version_are_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINCKIA_AUTH_TOKEN", "cd" * 32)
    store = f"sqlite:{tmp_path}/s.db"
    Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store}).shutdown()
    make_newer(tmp_path / "s.db")
    with pytest.raises(NodeStartError, match="format 99"):
        Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store})


def make_newer(path: Path) -> None:
    """As a later version would write it."""
    store = BlockingStore(SqliteStore(str(path), at_once))
    store.txn(Txn(then=(Put(b"gcs/meta/", WHOLE + records.encode(records.MetaRow(99, "later"))),)))
    store.close()


def test_a_damaged_file_is_kept_aside(tmp_path: Path) -> None:
    path = tmp_path / "s.db"
    path.write_bytes(b"SQLite format 3\0" + b"no such thing" * 1000)
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": f"sqlite:{path}"})
    try:
        assert told(cluster)["nodes"]
        assert list(tmp_path.glob("s.db.corrupt-*")), "the damaged file is there for whoever wants it"
        assert path.exists()
    finally:
        cluster.shutdown()


# --- three heads, etcd ------------------------------------------------------------------------------------------------


class Load:
    """Tasks, calls and creations from three threads; the longest pause of each is what a user would notice."""

    def __init__(self, actor: Any) -> None:
        self.longest_s: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.errors: list[BaseException] = []
        self._over = threading.Event()
        kinds: dict[str, Callable[[], object]] = {
            "task": lambda: here(double.remote(1)),
            "call": lambda: here(actor.inc.remote()),
            "creation": lambda: here(Counter.remote().inc.remote()),
        }
        self._threads = [threading.Thread(target=self._run, args=each) for each in kinds.items()]
        for thread in self._threads:
            thread.start()

    def _run(self, kind: str, operation: Callable[[], object]) -> None:
        last_s = time.monotonic()
        while not self._over.is_set():
            try:
                operation()
            except BaseException as error:  # noqa: BLE001 - told by the test
                self.errors.append(error)
                return
            now_s = time.monotonic()
            self.longest_s[kind] = max(self.longest_s.get(kind, 0.0), now_s - last_s)
            self.counts[kind] = self.counts.get(kind, 0) + 1
            last_s = now_s
            time.sleep(0.002)  # sleep: a user's pace, and cores for the others

    def take(self) -> dict[str, float]:
        """The longest pauses since the last time."""
        taken, self.longest_s = self.longest_s, {}
        return taken

    def end(self) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()
        assert not self.errors, self.errors


@pytest.mark.row("S1", "S12", "P2")
def test_killed_leaders_are_followed_by_others(three_heads: Cluster) -> None:
    actor = Counter.remote()
    pid = here(actor.pid.remote())
    load = Load(actor)
    pauses: list[dict[str, float]] = []
    epochs = [leader(three_heads)["epoch"]]
    for _ in range(3):
        load.take()
        made = load.counts.get("creation", 0)
        kill_leader(three_heads)
        while load.counts.get("creation", 0) < made + 2 and not load.errors:
            time.sleep(0.01)  # sleep: the load goes on in its threads
        pauses.append(load.take())
        epochs.append(leader(three_heads)["epoch"])
        until_others(three_heads, 2)
    load.end()
    assert epochs == sorted(set(epochs)), "each term has a higher epoch"
    assert here(actor.pid.remote()) == pid, "it was not restarted"
    assert here(actor.inc.remote()) == load.counts["call"] + 1, "each call was carried out once"
    assert all(node["alive"] for node in told(three_heads)["nodes"])
    for kind in ("task", "call", "creation"):
        seen = [pause.get(kind, 0.0) for pause in pauses]
        print(f"{kind}: {load.counts[kind]}, longest pause {statistics.median(seen):.3f} s median, {max(seen):.3f} max")


@pytest.mark.row("S1", "S4")
def test_a_node_ends_the_lease_of_its_dead_head(etcd: EtcdCluster, request: pytest.FixtureRequest) -> None:
    """It saw the process end: nobody has to wait for the end of the lease, not even where no other head looks."""
    store = f"etcd://{','.join(etcd.endpoints)}/{request.node.name}"
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "store": store})
    try:
        killed = kill_leader(cluster)["pid"]
        killed_s = time.monotonic()
        assert leader(cluster)["pid"] != killed
        took_s = time.monotonic() - killed_s
        assert cluster.head_node is not None
        log = Path(cluster.head_node.process.session_dir, "logs", "head.log")
        until_said(log, f"the lease of process {killed} is ended")
        print(f"leases ended by a node 1; a head leads again {took_s:.3f} s after the kill")
    finally:
        cluster.shutdown()


def until_said(log: Path, text: str) -> None:
    deadline_s = time.monotonic() + GET_MAX_S
    while text not in log.read_text():
        assert time.monotonic() < deadline_s, log.read_text()
        time.sleep(0.01)  # sleep: another process writes the file


@pytest.mark.row("S13", "S14")
def test_a_leader_that_stops_for_long_leads_no_more(three_heads: Cluster) -> None:
    """SIGSTOP: nobody can tell it from a slow one. Another leads when its lease ends; woken up, it does no harm. A node
    that is started meanwhile with the address of the stopped one is sent on.
    """
    actor = Counter.remote()
    pid = here(actor.pid.remote())
    old = leader(three_heads)
    os.kill(old["pid"], signal.SIGSTOP)
    try:
        assert here(Counter.remote().inc.remote()) == 1
        new = leader(three_heads)
        assert new["pid"] != old["pid"]
        assert new["epoch"] > old["epoch"]
        assert three_heads.head_node is not None
        assert three_heads.address.endswith(f":{old['port']}")
        began_s = time.monotonic()
        joined = three_heads.add_node(num_cpus=0)
        took_s = time.monotonic() - began_s
        assert bytes.fromhex(joined.node_id) in [node["node_id"] for node in told(three_heads)["nodes"]]
        print(f"nodes that joined by the address of a stopped head: 1, in {took_s:.2f} s")
    finally:
        os.kill(old["pid"], signal.SIGCONT)
    until_others(three_heads, 2)
    assert leader(three_heads)["epoch"] == new["epoch"]
    assert here(actor.pid.remote()) == pid


@pytest.mark.row("S11")
def test_without_a_store_work_goes_on_and_changes_wait(three_heads: Cluster, etcd: EtcdCluster) -> None:
    """All etcd members are killed: tasks and calls do not notice; an actor is created when etcd is back."""
    actor = Counter.remote()
    assert here(actor.inc.remote()) == 1
    before = leader(three_heads)
    creating = [Counter.remote() for _ in range(4)]  # writes are on their way
    for member in etcd.members:
        member.kill()
    try:
        begun_s = time.monotonic()
        count = 1
        while time.monotonic() - begun_s < 3.0:
            count += 1
            assert here(actor.inc.remote()) == count
            assert here(double.remote(count)) == 2 * count
        late = Counter.remote()
        call = late.inc.remote()
        assert linckia.wait([call], timeout=0.5)[0] == []
    finally:
        etcd.start()
    healthy_s = time.monotonic()
    assert here(call) == 1
    took_s = time.monotonic() - healthy_s
    assert here([each.inc.remote() for each in creating]) == [1] * len(creating)
    assert here(actor.inc.remote()) == count + 1
    after = leader(three_heads)
    assert (after["pid"], after["epoch"]) == (before["pid"], before["epoch"]), "nobody else can have led"
    print(f"{count} calls and as many tasks without a store; lost 0; changes of heads 0; an actor that waited was made")
    print(f"{took_s:.3f} s after all members of etcd were healthy")
