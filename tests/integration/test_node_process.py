"""The node process as its clients and the operating system see it: start, leases, logs, deaths of everything, and what
is left.
"""

from __future__ import annotations

import os
import pathlib
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator

import msgspec
import pytest

from linckia.host import session
from linckia.node.launch import NodeProcess, NodeStartError, start_node
from linckia.node.options import NodeOptions
from linckia.protocol import messages as m
from tests.integration.node_client import HERE, Client, state_of, tree_of, wait_gone

StartNode = Callable[..., NodeProcess]


@pytest.fixture
def tmp_path() -> Iterator[pathlib.Path]:
    """Shorter than pytest's own: Unix sockets live below it."""
    with tempfile.TemporaryDirectory(prefix="lk") as path:
        yield pathlib.Path(path)


@pytest.fixture
def begin(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[StartNode]:
    """Start nodes with stand-in workers; they are stopped at the end."""
    monkeypatch.syspath_prepend(HERE)
    nodes: list[NodeProcess] = []

    def begin(**options: object) -> NodeProcess:
        defaults = {"num_cpus": 2, "object_store_memory": 100 << 20, "worker_entry": "standin_worker:run"}
        node = start_node(NodeOptions(**{**defaults, "temp_dir": str(tmp_path), **options}))
        nodes.append(node)
        node.wait_ready(20)
        return node

    yield begin
    for node in nodes:
        node.stop()


@pytest.fixture
def node(begin: StartNode) -> NodeProcess:
    """One node with two CPUs."""
    return begin()


@pytest.fixture
def client(node: NodeProcess) -> Iterator[Client]:
    """A registered driver of it."""
    client = Client.of(node)
    client.register()
    yield client
    client.close()


def sessions(tmp_path: pathlib.Path) -> list[str]:
    return session.session_names(session.base_directory(str(tmp_path)))


# --- start and stop ---------------------------------------------------------------------------------------------------


def test_a_driver_gets_a_worker(node: NodeProcess, client: Client) -> None:
    granted = client.lease(2, CPU=1.0)
    assert granted.assigned == {"CPU": 1.0}
    assert granted.pid in tree_of(node.pid)
    assert granted.worker.endpoint.startswith(f"unix:{node.session_dir}/sockets/w-")


@pytest.mark.row("7.22", "P27")
def test_a_node_is_one_process_its_zygote_and_workers(node: NodeProcess, client: Client) -> None:
    """There are no agents beside it that could die and take it along; what the zygote's death does is shown below."""
    zygote_pid = node.facts["zygote_pid"]
    assert client.lease(2, CPU=2.0).pid in tree_of(zygote_pid)
    looks = (tree_of(node.pid) - tree_of(zygote_pid) for _ in range(50))  # a worker may end between the two looks
    assert {node.pid} in looks


def test_session_directory_is_private(node: NodeProcess) -> None:
    for path in [node.session_dir, node.session_dir + "/sockets", node.session_dir + "/logs"]:
        assert os.stat(path).st_mode & 0o777 == 0o700
    assert os.stat(node.token_path).st_mode & 0o777 == 0o600


def test_stop_leaves_nothing(tmp_path: pathlib.Path, node: NodeProcess, client: Client) -> None:
    client.lease(2, CPU=1.0)
    pids = tree_of(node.pid)
    assert len(pids) >= 4
    node.stop()
    assert wait_gone(pids, 0.2) == set()
    assert sessions(tmp_path) == []


@pytest.mark.slow
@pytest.mark.row("P26")
def test_twenty_cycles_leave_nothing(tmp_path: pathlib.Path, begin: StartNode) -> None:
    shm = set(os.listdir("/dev/shm"))
    open_fds = len(os.listdir("/proc/self/fd"))
    for cycle in range(20):
        node = begin(num_cpus=1)
        client = Client.of(node)
        client.register()
        client.lease(2, CPU=1.0)
        pids = tree_of(node.pid)
        client.close()
        if cycle % 3 == 0:
            os.kill(node.pid, signal.SIGKILL)
        node.stop()
        assert wait_gone(pids, 1.0) == set()
        ours = {node.pid} if cycle % 3 == 0 else pids  # of a killed node init is the heir, and reaps when it likes
        assert all(state_of(pid) == "" for pid in ours)
    assert sessions(tmp_path) == []
    assert set(os.listdir("/dev/shm")) <= shm
    assert len(os.listdir("/proc/self/fd")) == open_fds


@pytest.mark.row("P12")
def test_a_failing_start_says_why(begin: StartNode, tmp_path: pathlib.Path) -> None:
    with pytest.raises(NodeStartError, match="resource 'oil'"):
        begin(resources={"oil": -1.0})
    assert sessions(tmp_path) == []


@pytest.mark.row("P12")
def test_a_start_that_crashes_shows_its_last_lines(begin: StartNode, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("linckia.node.launch.BOOT", "import linckia_is_not_here")
    with pytest.raises(NodeStartError, match="No module named 'linckia_is_not_here'"):
        begin()


def test_wrong_token_is_refused(node: NodeProcess) -> None:
    stranger = Client(node.endpoint, token=b"wrong")
    stranger.poll_until(lambda: stranger.closed, "refusal")
    assert "wrong cluster token" in stranger.closed
    stranger.close()


def test_two_clusters_side_by_side(begin: StartNode) -> None:
    first, second = begin(), begin()
    assert first.session_dir != second.session_dir
    second.stop()
    client = Client.of(first)
    assert client.register().session_name == first.session_name
    client.close()


@pytest.mark.row("P26")
def test_a_dead_session_is_recognised_by_its_lock(begin: StartNode, tmp_path: pathlib.Path) -> None:
    living = begin()
    base = session.base_directory(str(tmp_path))
    dead = pathlib.Path(base, "session_20200101_000000_1_dead")
    dead.mkdir()
    (dead / "lock").touch()
    kept = pathlib.Path(base, "session_20200101_000000_2_kept")
    kept.mkdir()
    (kept / "session.json").write_text('{"keep": true, "pid": 1}')
    begin()
    assert not dead.exists()
    assert kept.exists()
    assert os.path.isdir(living.session_dir)
    paths = [path for path, _ in session.live_sessions(str(tmp_path))]
    assert living.session_dir in paths
    assert str(kept) not in paths


# --- deaths -----------------------------------------------------------------------------------------------------------


def leased_tree(node: NodeProcess, client: Client) -> tuple[m.LeaseGranted, int, set[int]]:
    """A leased worker, the subprocess it started, and all processes of the node."""
    granted = client.lease(2, CPU=1.0)
    lines = client.log_text("line 99")
    child = next(int(line.text.split()[1]) for line in lines if line.text.startswith("child"))
    pids = tree_of(node.pid)
    assert child in pids
    return granted, child, pids


@pytest.mark.fault
@pytest.mark.row("P24")
def test_sigkill_of_the_node_ends_everything(node: NodeProcess, client: Client) -> None:
    _, _, pids = leased_tree(node, client)
    os.kill(node.pid, signal.SIGKILL)
    assert wait_gone(pids, 1.0) == set()


@pytest.mark.fault
@pytest.mark.row("P24")
def test_sigkill_of_the_driver_ends_everything(tmp_path: pathlib.Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from linckia.node.launch import start_node; from linckia.node.options import NodeOptions\n"
        "node = start_node(NodeOptions(num_cpus=2, temp_dir=sys.argv[2], worker_entry='standin_worker:run'))\n"
        "node.wait_ready(20)\n"
        "import os, signal; os.fork() or signal.pause()\n"  # a forked child holds the life pipe open
        "print(node.pid, flush=True); signal.pause()\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", script, HERE, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert driver.stdout is not None
    with driver.stdout:
        node_pid = int(driver.stdout.readline())
    below = tree_of(driver.pid) - {driver.pid}
    pids = tree_of(node_pid)
    driver.kill()
    driver.wait()
    assert wait_gone(pids, 1.0) == set()
    assert sessions(tmp_path) == []
    for pid in below - pids:
        os.kill(pid, signal.SIGKILL)


@pytest.mark.fault
def test_sigkill_of_a_worker(node: NodeProcess, client: Client) -> None:
    granted, child, _ = leased_tree(node, client)
    os.kill(granted.pid, signal.SIGKILL)
    broken = client.wait_for(m.LeaseBroken)
    assert broken.lease_id == granted.lease_id
    assert not broken.intended
    assert f"worker process {granted.pid} was killed by SIGKILL" in broken.reason
    assert wait_gone({granted.pid, child}, 1.0) == set()
    assert state_of(granted.pid) == ""
    assert client.lease(3, CPU=2.0).pid != granted.pid


@pytest.mark.fault
@pytest.mark.row("7.22")
def test_sigkill_of_the_zygote(node: NodeProcess, client: Client) -> None:
    granted, child, pids = leased_tree(node, client)
    os.kill(node.facts["zygote_pid"], signal.SIGKILL)
    assert client.wait_for(m.LeaseBroken).lease_id == granted.lease_id
    assert client.lease(3, CPU=2.0).pid not in pids
    assert wait_gone({granted.pid, child}, 1.0) == set()


@pytest.mark.fault
@pytest.mark.parametrize("victim", ["worker", "zygote"])
def test_stopped_processes_do_not_hold_up_the_end(node: NodeProcess, client: Client, victim: str) -> None:
    granted, _, pids = leased_tree(node, client)
    os.kill(node.facts["zygote_pid"] if victim == "zygote" else granted.pid, signal.SIGSTOP)
    node.stop()
    assert wait_gone(pids, 1.0) == set()
    assert not os.path.exists(node.session_dir)


@pytest.mark.fault
def test_a_subprocess_that_left_its_group_ends_with_the_node(begin: StartNode) -> None:
    node = begin(worker_entry="standin_worker:with_daemon")
    client = Client.of(node)
    client.register()
    granted = client.lease(2, CPU=1.0)
    daemon = int(client.log_text("daemon")[0].text)
    os.kill(granted.pid, signal.SIGKILL)
    client.wait_for(m.LeaseBroken)
    assert state_of(daemon) not in ("", "Z")
    client.close()
    node.stop()
    assert wait_gone({daemon}, 1.0) == set()


@pytest.mark.fault
def test_a_crash_of_the_node_leaves_its_last_words(node: NodeProcess, client: Client, tmp_path: pathlib.Path) -> None:
    for _ in range(4):  # more zygotes than it puts up with
        names = {pid: pathlib.Path(f"/proc/{pid}/comm").read_text().strip() for pid in tree_of(node.pid)}
        zygotes = [pid for pid, name in names.items() if name == "linckia-zygote"]
        for pid in zygotes:
            os.kill(pid, signal.SIGKILL)
        wait_gone(set(zygotes), 1.0)
        client.reactor.poll(0.3)
    client.poll_until(lambda: client.closed, "the node's end")
    assert wait_gone({node.pid}, 1.0) == set()
    assert "the zygote died 4 times" in node.log_tail()
    node.stop()
    assert sessions(tmp_path) == []


@pytest.mark.fault
@pytest.mark.row("4.34")
def test_a_driver_that_hangs_up_takes_its_workers_along(node: NodeProcess, client: Client) -> None:
    other = Client.of(node)
    assert other.register().job_id != client.job_id
    granted = other.lease(2, CPU=1.0)
    other.close()
    assert wait_gone({granted.pid}, 1.0) == set()
    assert client.lease(2, CPU=2.0)


@pytest.mark.row("P12")
def test_a_worker_that_cannot_start_is_the_requesters_error(begin: StartNode) -> None:
    client = Client.of(begin(worker_entry="standin_worker:broken"))
    client.register()
    client.request(2, CPU=1.0)
    refused = client.wait_for(m.LeaseRefused)
    assert refused.kind == "worker_start"
    assert "exited with code 7" in refused.reason
    assert "this is why" in refused.reason
    client.close()


def test_a_runtime_that_cannot_be_imported_is_the_requesters_error(begin: StartNode) -> None:
    client = Client.of(begin(worker_entry="there_is_no_such_runtime:run"))
    client.register()
    client.request(2, CPU=1.0)
    assert "No module named 'there_is_no_such_runtime'" in client.wait_for(m.LeaseRefused).reason
    client.close()


# --- service ----------------------------------------------------------------------------------------------------------


@pytest.mark.row("P23")
def test_output_arrives_in_order_once_with_its_source(client: Client) -> None:
    client.lease(2, CPU=1.0)
    lines = client.log_text("line 99")
    out = [line for line in lines if line.stream == 1]
    assert out[0].text == f"segment {100 << 20}"
    assert out[0].source == ""
    assert [line.text for line in out[2:]] == [f"line {number}" for number in range(100)]
    assert {line.source for line in out[1:]} == {"f"}
    assert len({line.seq for line in lines}) == len(lines)


def test_output_is_also_in_the_log_directory(node: NodeProcess, client: Client) -> None:
    granted = client.lease(2, CPU=1.0)
    client.log_text("line 99")
    (path,) = pathlib.Path(node.session_dir, "logs").glob(f"worker-*-{granted.pid}.out")
    assert path.read_text().endswith("line 98\nline 99\n")
    assert "\0" not in path.read_text()


def test_the_same_worker_serves_again(client: Client) -> None:
    first = client.lease(2, CPU=2.0)
    client.post(m.ReturnLease(first.lease_id))
    assert client.lease(3, CPU=2.0).pid == first.pid


def test_a_waiting_owner_makes_another_give_way(node: NodeProcess, client: Client) -> None:
    mine = [client.lease(rid, CPU=1.0) for rid in (2, 3)]
    other = Client.of(node)
    other.register()
    other.request(2, CPU=1.0)
    recalled = client.wait_for(m.RecallLease)
    assert recalled.lease_id in {lease.lease_id for lease in mine}
    client.post(m.ReturnLease(recalled.lease_id))
    assert other.wait_for(m.LeaseGranted).rid == 2
    other.close()


def test_why_pending(client: Client) -> None:
    client.request(2, CPU=5.0)
    client.lease(3, CPU=2.0)
    client.request(4, CPU=1.0)
    for rid, kind, word in ((2, "infeasible", "CPU: 5"), (4, "resources", "free are {CPU: 0}"), (9, "unknown", "no")):
        client.post(m.WhyPending(100 + rid, rid))
        answer = client.wait_for(m.Pending)
        assert answer.kind == kind
        assert word in answer.text
    assert "CPU: 5" in client.wait_for(m.DriverMessage).text


def ask(client: Client, what: str, rid: int) -> object:
    client.post(m.ClusterQuery(rid, what))
    return msgspec.msgpack.decode(client.wait_for(m.ClusterAnswer).body)


def test_cluster_questions_and_key_value(client: Client) -> None:
    client.lease(2, CPU=1.0)
    total = ask(client, "total", 10)
    available = ask(client, "available", 11)
    assert isinstance(total, dict)
    assert isinstance(available, dict)
    assert (total["CPU"], available["CPU"]) == (2.0, 1.0)
    client.post(m.KvPut(12, "ns", b"k", b"v"))
    assert client.wait_for(m.KvReply).count == 1
    client.post(m.KvPut(12, "ns", b"k", b"v"))  # a retry is answered from memory
    assert client.wait_for(m.KvReply).count == 1
    client.post(m.KvGet(13, "ns", b"k"))
    assert client.wait_for(m.KvReply).values == [b"v"]
    client.post(m.ClusterQuery(14, "weather"))
    assert "known are" in client.wait_for(m.Failure).text


def test_a_bad_request_is_answered_and_the_node_lives(client: Client) -> None:
    client.post(m.RegisterNode(20, b"x", b"not an encoded node"))
    assert client.wait_for(m.Failure).rid == 20
    client.post(m.Ping(21))
    assert client.wait_for(m.Pong).rid == 21


def test_a_detached_node_outlives_its_starter_and_ends_on_sigterm(tmp_path: pathlib.Path) -> None:
    script = (
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from linckia.node.launch import start_node; from linckia.node.options import NodeOptions\n"
        "node = start_node(NodeOptions(num_cpus=1, temp_dir=sys.argv[2], worker_entry='standin_worker:run',\n"
        "                              fate_share_with_driver=False, object_store_memory=100 << 20))\n"
        "node.wait_ready(20); print(node.pid)\n"
    )
    command = [sys.executable, "-c", script, HERE, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    pid = int(done.stdout)
    ((path, facts),) = session.live_sessions(str(tmp_path))
    assert facts["pid"] == pid
    assert not facts["fate_share_with_driver"]
    token = pathlib.Path(path, "token").read_bytes()
    client = Client(facts["endpoint"], token=token)
    client.register()
    client.lease(2, CPU=1.0)
    pids = tree_of(pid)
    os.kill(pid, signal.SIGTERM)
    assert wait_gone(pids, 1.0) == set()
    assert sessions(tmp_path) == []
    client.close()


def test_stop_request(node: NodeProcess, client: Client) -> None:
    client.post(m.Stop(30, "test"))
    assert client.wait_for(m.Stopped).rid == 30
    assert wait_gone({node.pid}, 1.0) == set()
