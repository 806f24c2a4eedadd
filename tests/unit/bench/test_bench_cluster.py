"""What the cluster benches compute themselves: sizes, slowdown over a run, the raw socket, and how facts are shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import cluster_limits, cluster_spill, cluster_transfer
from bench.cluster_nodes import GIB, MIB, many_nodes, scaled
from bench.cluster_queue import _last_to_first
from bench.engines import choose
from bench.figures import FIGURES, Summary
from bench.measure import Timing
from bench.report import figure_table

BY_ID = {figure.id: figure for figure in FIGURES}


def test_full_scale_is_what_the_issue_names() -> None:
    full = Timing()
    assert many_nodes(full).nodes == 20
    assert scaled(1_000_000, full) == 1_000_000
    assert cluster_transfer.transfer_bytes(full) <= GIB
    assert cluster_spill.spill_bytes(full) <= 4 * GIB
    assert (scaled(1_000, Timing(scale=0.1), 200), many_nodes(Timing(scale=0.01)).nodes) == (200, 2)


def test_sizes_shrink_where_there_is_no_room(monkeypatch: pytest.MonkeyPatch) -> None:
    class Usage:
        free = 640 * MIB

    monkeypatch.setattr("shutil.disk_usage", lambda _path: Usage)
    assert cluster_transfer.transfer_bytes(Timing()) * 9 * 1.5 <= Usage.free
    assert cluster_spill.spill_bytes(Timing()) == Usage.free // 4


def test_slowdown_compares_the_last_three_tenths_with_the_first_and_ignores_one_pause() -> None:
    steady = [float(stamp) for stamp in range(11)]
    assert _last_to_first(steady) == 1
    assert _last_to_first([*steady[:-1], steady[-1] + 100]) == 1
    assert _last_to_first([0, 1, 2, 3, 4, 5, 6, 7, 9, 11, 13]) == 2


def test_raw_socket_moves_every_byte(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_limits, "WINDOW_BYTES", 2 * MIB)
    monkeypatch.setattr(cluster_limits, "transfer_bytes", lambda _timing: 5 * MIB)
    values = cluster_limits.sockets(Timing())
    assert sorted(values) == ["socket_memory", "socket_stream", "sockets_ratio"]
    assert all(value > 0 for value in values.values())


def test_disk_rate_reads_back_what_it_wrote(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(cluster_limits, "spill_bytes", lambda _timing: 20 * MIB)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    assert sorted(cluster_limits.disk(Timing())) == ["disk_read", "disk_write"]
    assert list(tmp_path.iterdir()) == []


def test_nobody_is_better_at_a_fact() -> None:
    found = {(engine, id_): Summary(value, value, value, 1)
             for engine, value in (("linckia", 20.0), ("ray", 4.0)) for id_ in ("nodes", "nodes_tasks")}  # fmt: skip
    rows = figure_table([BY_ID["nodes"], BY_ID["nodes_tasks"]], choose(["linckia", "ray"]), found)
    assert [row[-1] for row in rows[1:]] == ["4", "4 (5x)"]
