"""What the host says of memory: limits of both versions of control groups, the page cache, kills, processes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from linckia.host import cgroup, process_memory
from linckia.host.memory import GroupSource, MemoryProbe

LIMIT, USED = 512 << 20, 400 << 20


def tree(root: Path, files: dict[str, str]) -> None:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def probe_of(root: Path, own: str) -> MemoryProbe:
    (root / "own").write_text(own)
    return MemoryProbe(str(root), str(root / "own"))


VERSION_1 = {
    "memory/a/memory.limit_in_bytes": f"{LIMIT}\n",
    "memory/a/memory.usage_in_bytes": f"{USED}\n",
    "memory/a/memory.stat": "inactive_file 1\ntotal_inactive_file 1000\ntotal_active_file 2000\n",
    "memory/a/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 3\n",
    "memory/a/b/memory.limit_in_bytes": f"{1 << 63}\n",
    "memory/a/b/memory.oom_control": "oom_kill_disable 0\nunder_oom 0\noom_kill 4\n",
}
VERSION_2 = {
    "memory.max": "max\n",
    "a/memory.max": f"{LIMIT}\n",
    "a/memory.current": f"{USED}\n",
    "a/memory.stat": "anon 5\ninactive_file 1000\nactive_file 2000\nfile 3000\n",
    "a/memory.events": "low 0\nhigh 0\nmax 9\noom 2\noom_kill 3\n",
    "a/b/memory.max": "max\n",
    "a/b/memory.events": "low 0\noom_kill 4\n",
}


@pytest.mark.row("7.17", "P16")
@pytest.mark.parametrize(("files", "own"), [(VERSION_1, "4:memory:/a/b\n"), (VERSION_2, "0::/a/b\n")])
def test_limits_of_both_versions(tmp_path: Path, files: dict[str, str], own: str) -> None:
    tree(tmp_path, files)
    probe = probe_of(tmp_path, own)
    (group,) = [source for source in probe.sources if isinstance(source, GroupSource)]
    assert group.usage()[1:] == (USED, LIMIT)
    assert group.usage_without_cache().used_bytes == USED - 3000
    assert group.where.endswith("/a")
    assert [usage.used_bytes for usage in probe.read(lambda _limit: 1 << 62)][1:] == [USED], "far away: a rough look"
    assert [usage.used_bytes for usage in probe.read(lambda _limit: 0)][1:] == [USED - 3000], "near: a closer look"
    probe.close()


@pytest.mark.parametrize(("files", "own"), [(VERSION_1, "4:memory:/a/b\n"), (VERSION_2, "0::/a/b\n")])
def test_each_kill_of_the_kernel_is_told_once(tmp_path: Path, files: dict[str, str], own: str) -> None:
    tree(tmp_path, files)
    probe = probe_of(tmp_path, own)
    assert not probe.kernel_killed(), "what was before does not count"
    counter = Path(cgroup.kill_counter(str(tmp_path), str(tmp_path / "own")))
    counter.write_text(counter.read_text().replace("oom_kill 4", "oom_kill 6"))
    assert [probe.kernel_killed() for _ in range(3)] == [True, True, False]
    probe.close()


def test_a_limit_that_changes_or_goes_is_noticed(tmp_path: Path) -> None:
    tree(tmp_path, VERSION_2)
    probe = probe_of(tmp_path, "0::/a\n")
    (tmp_path / "a/memory.max").write_text(str(LIMIT // 2))
    probe.refresh()
    assert probe.read(lambda _limit: 1 << 62)[1].limit_bytes == LIMIT // 2
    (tmp_path / "a/memory.current").write_text("")
    assert len(probe.read(lambda _limit: 1 << 62)) == 1, "a group that is gone is left out"
    probe.close()


def test_this_machine() -> None:
    probe = MemoryProbe()
    for usage in probe.read(lambda _limit: 1 << 62):
        assert 0 < usage.used_bytes <= usage.limit_bytes
    assert probe.tightest()
    alarms = probe.alarms(lambda limit: limit)
    for alarm in alarms:
        alarm.rearm()
        os.close(alarm.fd)
    probe.close()


def test_of_a_process_that_is_gone_nothing_is_held() -> None:
    gone = 2_000_000_000
    assert process_memory.private_bytes(gone) == 0
    assert process_memory.measure(gone) == (0, 0, 0)
    assert process_memory.private_bytes_of_family(gone) == 0
