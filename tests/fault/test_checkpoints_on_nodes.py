"""An actor whose node dies goes on elsewhere with what it had saved in a directory that both nodes see."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import linckia
from linckia.cluster_utils import Cluster

pytestmark = pytest.mark.fault


@pytest.mark.parametrize("shared", [True, False])
def test_it_is_restored_on_another_node_when_the_directory_is_shared(
    tmp_path: Path, shared: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    policy = linckia.CheckpointPolicy(every_calls=5, dir=str(tmp_path) if shared else None)

    @linckia.remote(max_restarts=-1, max_task_retries=-1, checkpoint=policy, resources={"home": 1})
    class Ledger:
        def __init__(self) -> None:
            self.entries: list[int] = []

        def add(self, entry: int) -> None:
            self.entries.append(entry)

        def look(self) -> Any:
            return self.entries, linckia.get_runtime_context().restored_checkpoint

    nodes = Cluster(initialize_head=True, connect=True, head_node_args={"num_cpus": 0})
    try:
        first = nodes.add_node(num_cpus=1, resources={"home": 1})
        actor = Ledger.remote()
        for number in range(7):
            linckia.get(actor.add.remote(number), timeout=30)
        nodes.add_node(num_cpus=1, resources={"home": 1})
        nodes.remove_node(first, allow_graceful=False)
        entries, restored = linckia.get(actor.look.remote(), timeout=60)
        if shared:
            assert entries == list(range(5)) and restored.calls_since >= 2
        else:
            assert (entries, restored) == ([], None), "the other node does not see the first one's session"
    finally:
        linckia.shutdown()
        nodes.shutdown()
    if not shared:
        assert "begins anew" in capfd.readouterr().err
